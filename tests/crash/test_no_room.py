"""Where memory, or the right to append, is missing, that is what is told, and nothing is left of what was begun."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest
from pipeline_bench import ROOT, shell


def limited(kind, size, *words):
    return subprocess.run(
        [sys.executable, *words], cwd=ROOT, check=False, capture_output=True, text=True, timeout=60,
        preexec_fn=lambda: resource.setrlimit(kind, (size, size)),
    )  # fmt: skip


@pytest.mark.parametrize("plain", ["", "1"])
def test_a_run_that_cannot_have_memory_says_so_wherever_it_runs_out(bench, plain, monkeypatch) -> None:
    monkeypatch.setenv("OFFPIPE_PLAIN", plain)
    bench.define(shell("a", "echo >$PIPELINE_OUTPUT_OUT"))
    kind, told, begins = resource.RLIMIT_DATA, [], ("-c", "import runner.__main__, runpy")  # what Python itself does
    least = next(size for size in range(1 << 20, 1 << 28, 1 << 17) if not limited(kind, size, *begins).returncode)
    for size in range(least + (1 << 18), least + (1 << 23), 1 << 18):
        done = limited(kind, size, "-m", "runner", str(bench.spec))
        if done.returncode == 0:
            break
        told.append((done.returncode, done.stderr.splitlines()[-1]))
    assert (74, "error: out of memory") in told, "while modules are loaded Python may also say it in other ways"
    bench.succeed()
    bench.succeed("verify", "--outputs")


def test_of_a_run_with_nothing_to_do_that_no_ledger_takes_nothing_is_left(bench, monkeypatch) -> None:
    bench.define(shell("a", "echo >$PIPELINE_OUTPUT_OUT"))
    bench.succeed()
    ledger = bench.root / "state/audit_ledger.jsonl"
    before = sorted(one.name for one in (bench.root / "state").iterdir())
    fixed = subprocess.run(["chattr", "+i", str(ledger)], check=False, capture_output=True, text=True)
    if fixed.returncode:
        pytest.skip(f"no file can be made immutable here: {fixed.stderr.strip()}")
    try:
        for plain in ("1", ""):
            monkeypatch.setenv("OFFPIPE_PLAIN", plain)
            assert bench.run().returncode == 74
    finally:
        subprocess.run(["chattr", "-i", str(ledger)], check=True)
    assert sorted(one.name for one in (bench.root / "state").iterdir()) == before
    bench.succeed("verify")
