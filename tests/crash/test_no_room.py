"""A run that has no memory, or may not append, says so and leaves nothing half-done."""

from __future__ import annotations

import subprocess
import sys
from errno import ENOMEM

import pytest
from pipeline_bench import ROOT, shell

FAILS = """
import sys
import runner.__main__ as program
def fails(**_):
    raise {error}
program.main = fails
sys.exit(program.program())
"""


@pytest.mark.parametrize("error", ["MemoryError", f"OSError({ENOMEM}, 'x')"])
def test_memory_that_runs_out_before_anything_is_loaded_is_reported(error) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FAILS.format(error=error)], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (74, "", "error: out of memory\n")


def test_a_run_with_nothing_to_do_leaves_nothing_if_it_cannot_append_to_the_ledger(bench, monkeypatch) -> None:
    bench.define(shell("a", "echo >$PIPELINE_OUTPUT_OUT"))
    bench.succeed()
    ledger = bench.root / "state/audit_ledger.jsonl"
    before = sorted(path.name for path in (bench.root / "state").iterdir())
    fixed = subprocess.run(["chattr", "+i", str(ledger)], check=False, capture_output=True, text=True)
    if fixed.returncode:
        pytest.skip(f"no file can be made immutable here: {fixed.stderr.strip()}")
    try:
        for plain in ("1", ""):
            monkeypatch.setenv("OFFPIPE_PLAIN", plain)
            assert bench.run().returncode == 74
    finally:
        subprocess.run(["chattr", "-i", str(ledger)], check=True)
    assert sorted(path.name for path in (bench.root / "state").iterdir()) == before
    bench.succeed("verify")
