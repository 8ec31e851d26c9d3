"""Ten years of nights: the ledger stays small, and what a run, `status` and `runs` read does not grow with it."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from pipeline_bench import ROOT, PipelineBench, shell

from runner.canonical import GENESIS, stamp
from runner.record.events import CLOSED, NOOP, OPENED, PRUNED, LedgerEntry
from runner.record.invocation import invocation_entry
from runner.record.log import Position, encode_record, last_record, position_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

NIGHTS = 3650
LARGEST = 10_000_000  # bytes, of the ledger of these nights
BLOCKS = 1 << 19  # bytes: each reader takes a few blocks at the end of the ledger
COUNTED = """\
import runner.__main__
code = runner.__main__.main()
with open("/proc/self/io") as counts, open("/dev/stderr", "w") as stderr:
    stderr.write(counts.readline())
raise SystemExit(code)
"""
CALLS = """\
import sys
import runner.__main__
calls = 0
def count(frame, event, argument):
    global calls
    calls += event in ("call", "c_call")
sys.setprofile(count)
runner.__main__.main()
sys.setprofile(None)
print(calls, file=sys.stderr)
"""


def bytes_read(bench: PipelineBench, *words: str) -> int:
    """Run the command line in an interpreter of its own; return the bytes that it read, including modules."""
    argv = [sys.executable, "-c", COUNTED, words[0], str(bench.spec), *words[1:]]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    name, count = done.stderr.splitlines()[-1].split()
    assert name == "rchar:"
    return int(count)


def append(ledger: Path, entries: Iterable[tuple[str, str, LedgerEntry]]) -> None:
    """Append records to a ledger at once; the file need not exist."""
    last = last_record(str(ledger))
    at, lines = position_of(last) if last else Position(-1, GENESIS), []
    for event, run, entry in entries:
        line, digest = encode_record(at.seq + 1, run, stamp(), event, entry, at.hash)
        at = Position(at.seq + 1, digest)
        lines.append(line)
    ledger.parent.mkdir(exist_ok=True)
    with open(ledger, "ab") as file:
        file.write(b"".join(lines))


def nights(count: int) -> Iterable[tuple[str, str, LedgerEntry]]:
    """The lines of nights with nothing to do, each with its `prune`."""
    idle, pruned = invocation_entry(stamp(), 0, {"skipped": 1}), invocation_entry(stamp(), 0, {}, verb="prune")
    for night in range(count):
        run = f"night-{night:05}"
        yield NOOP, run, LedgerEntry("bench", (), None, 1, GENESIS, None, idle)
        yield PRUNED, f"prune-{night:05}", LedgerEntry("bench", (), None, None, None, None, pruned, None, [run])


@pytest.fixture
def old(tmp_path) -> PipelineBench:
    """A pipeline after ten years, in the directory `old`; the same one on its first day is beside it, in `new`."""
    for name in ("new", "old"):
        bench = PipelineBench(tmp_path / name)
        bench.write("in.txt", "x\n")
        bench.define(shell("a", "cat in.txt > $PIPELINE_OUTPUT_OUT", inputs={"x": "in.txt"}))
        if name == "old":
            append(bench.root / "state/audit_ledger.jsonl", nights(NIGHTS))
        bench.succeed()
    return bench


@pytest.mark.full
@pytest.mark.skipif(not os.path.exists("/proc/self/io"), reason="the kernel counts no reads")
def test_after_ten_years_a_night_reads_what_it_read_on_the_first_day(old) -> None:
    new, ledger = PipelineBench(old.root.parent / "new"), old.root / "state/audit_ledger.jsonl"
    for bench in (new, old):
        bench.succeed()  # the first one may fill caches
    for words in (("run",), ("status",), ("runs", "--limit", "30"), ("plan",), ("log",), ("log", "a")):
        assert bytes_read(old, *words) < bytes_read(new, *words) + BLOCKS, words
    assert bytes_read(old, "runs") > bytes_read(new, "runs") + ledger.stat().st_size - BLOCKS > 3 * BLOCKS
    assert len(old.json("runs")["runs"]) >= NIGHTS
    assert f"{NIGHTS:,} runs pruned" in old.succeed("verify", "--outputs").stdout


@pytest.mark.full
def test_ten_years_of_nights_with_work_fit_into_a_small_ledger(bench) -> None:
    stages = [shell(name, "cat in.txt > $PIPELINE_OUTPUT_OUT", inputs={"x": "in.txt"}) for name in ("a", "b", "c", "d")]
    bench.define(*stages)
    ledger, state, sizes, entries = bench.root / "state/audit_ledger.jsonl", bench.root / "state", [], []
    for night in range(5):
        bench.write("in.txt", f"{night}\n")
        bench.succeed("-q")
        bench.succeed("prune", "--keep", "2")
        sizes.append(ledger.stat().st_size)
        entries.append(len([*state.rglob("*")]))
    assert (sizes[-1] - sizes[-2]) * NIGHTS < LARGEST
    assert entries[-1] == entries[-2] == entries[-3], "nothing grows except the ledger"


@pytest.mark.full
def test_each_of_ten_thousand_invocations_is_listed_with_a_few_calls(bench) -> None:
    def invocations():
        for number in range(10_000):
            run, ending = f"20261129T000000Z-{number:04x}", invocation_entry(stamp(), 0, {"succeeded": 1})
            yield OPENED, run, LedgerEntry("bench", [run], None, 0, GENESIS, 1)
            yield CLOSED, run, LedgerEntry("bench", (), None, 9, GENESIS, 1, ending)

    bench.define(shell("a", "true"))
    append(bench.root / "state/audit_ledger.jsonl", invocations())
    argv = [sys.executable, "-c", CALLS, "runs", str(bench.spec)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.count("\n") == 10_000
    assert int(done.stderr) < 10_000 * 250, "function calls: unlike seconds, they are the same on a slow machine"
