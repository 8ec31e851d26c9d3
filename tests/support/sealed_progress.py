"""A sealed stage that gets on by some lines an attempt, from checkpoint to checkpoint, and what it leaves."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from runner.paths import is_partial

if TYPE_CHECKING:
    from pipeline_bench import PipelineBench

LINES = 60
WHOLE = "".join(f"LINE {number}\n" for number in range(LINES))
# Passes on lines, in upper case, and takes a checkpoint after each tenth. Stops after each `stop`th line of an attempt.
SDK = """
import os, sys, time
from runner import sdk
with sdk.stage() as stage, stage.lines("text", to="out") as job:
    for number, line in enumerate(job, 1):
        print(job.line_offset, file=sys.stderr, flush=True)
        job.write(line.upper())
        if number == stage.params["stop"]:
            {then}
"""
# The same in a language without the SDK, which appends to what it finds.
APPENDS = """
at=0
[ ! -e "$PIPELINE_PROGRESS" ] || at=$(sed 's/.*"lineOffset": *\\([0-9]*\\).*/\\1/' "$PIPELINE_PROGRESS")
number=0 worked=0 length=0
while read -r line; do
    number=$((number + 1)) text=LINE${line#line}
    length=$((length + ${#text} + 1))
    [ $number -gt $at ] || continue
    echo $((number - 1)) >&2
    echo "$text" >>"$PIPELINE_OUTPUT_OUT"
    worked=$((worked + 1))
    if [ $((number % 10)) = 0 ]; then
        printf '{"v": 1, "key": "%s", "lineOffset": %d, "outputs": {"out": {"length": %d}}}\\n' \\
            $PIPELINE_KEY $number $length >"$PIPELINE_PROGRESS~"
        mv "$PIPELINE_PROGRESS~" "$PIPELINE_PROGRESS"
    fi
    [ $worked != @STOP ] || { @THEN; }
done <"$PIPELINE_INPUT_TEXT"
"""
ENDS = {"fails": ("sys.exit(75)", "exit 75"), "waits": ("time.sleep(600)", "sleep 600")}


def progressing(
    bench: PipelineBench, kind: str, end: str, *, stop: int = 25, output: str = "out/lines", **fields: object
) -> None:
    """Define a sealed stage that gets on by `stop` lines an attempt, then fails or waits."""
    bench.write("in.txt", "".join(f"line {number}\n" for number in range(LINES)))
    stage: dict[str, object] = {
        "name": "lines",
        "sealed": True,
        "inputs": {"text": "in.txt"},
        "outputs": {"out": output},
        **fields,
    }
    sdk, script = ENDS[end]
    if kind == "shell":
        bench.write("lines.sh", APPENDS.replace("@STOP", str(stop)).replace("@THEN", script))
        stage |= {"command": ["sh", "lines.sh"], "inputs": {"text": "in.txt", "code": "lines.sh"}}
    else:
        bench.write("lines.py", SDK.replace("{then}", sdk))
        stage |= {"processor": "lines.py", "params": {"stop": stop}, "checkpoint": {"everyLines": 10}}
        stage["freshInterpreter"] = kind == "fresh"
    bench.define(stage)


def worked(bench: PipelineBench, state: str = "state") -> list[list[int]]:
    """The lines on which the attempts have worked, in order; attempts note them in their logs."""
    logs = sorted((bench.root / state / "logs").glob("*/lines.*.log"), key=lambda log: (len(log.name), log.name))
    return [[int(word) for word in log.read_text().split() if word.isdecimal()] for log in logs]


def assert_whole(bench: PipelineBench, output: str = "out/lines", state: str = "state") -> None:
    """Check that three attempts have made all lines, none twice, and that each has gone on from a checkpoint."""
    attempts = worked(bench, state)
    assert [attempt == [*range(attempt[0], attempt[-1] + 1)] for attempt in attempts] == [True] * 3
    for before, after in pairwise(attempts):
        assert before[-1] - 10 < after[0] <= before[-1] + 1
    assert bench.read(output).decode() == WHOLE
    assert left(bench, state) == []
    assert bench.skips_everything()


def left(bench: PipelineBench, state: str = "state") -> list[object]:
    """What attempts have left: views and other partials, scratch, progress files, mounts and processes."""
    below = [path for path in bench.root.rglob("*") if is_partial(path.name)]
    mounts = [
        line
        for line in Path("/proc/self/mounts").read_text().splitlines()
        if ".partial-" in line or "/tmp/view" in line
    ]
    return [*below, *(bench.root / state / "tmp").glob("*/*"), *bench.leftovers(), *mounts, *bench.program_processes()]


KINDS = ["sdk", "fresh", "shell"]
