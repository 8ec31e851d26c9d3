"""A flipped bit in a checkpoint makes its stage start anew, and never costs a line of its output."""

from __future__ import annotations

import json
import re

import pytest

# Two jobs copy one input to one output. The first attempt fails in the middle of the second, after a checkpoint.
STAGE = """
import os
from runner import sdk

with sdk.stage() as stage:
    for turn in ("one", "two"):
        with stage.lines("text", to="out") as job:
            for line in job:
                if turn == "two" and job.line_offset == 35 and os.path.exists("fails"):
                    raise sdk.Transient("asked to fail")
                job.write(turn.encode() + b" " + line)
"""
LINES = [f"line {number}\n" for number in range(100)]
WHOLE = "".join(f"{turn} {line}" for turn in ("one", "two") for line in LINES)


@pytest.fixture
def stopped(bench):
    """A bench whose stage failed after its checkpoint at line 30 of its second job."""
    bench.write("stage.py", STAGE)
    bench.write("in.txt", "".join(LINES))
    bench.write("fails", "")
    stage = {"name": "a", "processor": "stage.py", "inputs": {"text": "in.txt"}, "outputs": {"out": "out.txt"}}
    bench.define({**stage, "checkpoint": {"everyLines": 10}})
    assert bench.run().returncode == 75
    (bench.root / "fails").unlink()
    assert json.loads(bench.read("state/progress_a.json"))["job"] == 1
    return bench


def digits(content: bytes, field: str) -> list[int]:
    """Return the positions of the digits of a field's value."""
    match = re.search(rb'"%b": *([0-9]+)' % field.encode(), content)
    assert match is not None
    return list(range(*match.span(1)))


@pytest.mark.full_after(1)
@pytest.mark.parametrize("field", ["byteOffset", "job", "lineOffset", "length"])
def test_a_flipped_bit_of_a_checkpoint_loses_no_line(stopped, field) -> None:
    content = stopped.read("state/progress_a.json")
    position = digits(content, field)[-1]
    stopped.write(
        "state/progress_a.json", content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]
    )
    done = stopped.succeed()
    assert stopped.read("out.txt").decode() == WHOLE
    assert "progress_a.json: is damaged" in done.stderr
    assert stopped.run("verify", "--outputs").returncode == 0
    assert stopped.succeed().stderr.count("warning") == 0


def test_resumes_from_a_sound_checkpoint_and_records_its_offsets(stopped) -> None:
    reached = json.loads(stopped.read("state/progress_a.json"))
    stopped.succeed()
    assert stopped.read("out.txt").decode() == WHOLE
    first, second = (record["data"] for record in stopped.records("attempt.started"))
    assert "resumedFrom" not in first
    assert second["resumedFrom"] == {
        "job": 1, "lineOffset": reached["lineOffset"], "byteOffset": reached["byteOffset"],
        "outputs": {"out": reached["outputs"]["out"]["length"]},
    }  # fmt: skip


def test_a_checkpoint_without_checksum_starts_the_stage_anew(stopped) -> None:
    reached = json.loads(stopped.read("state/progress_a.json"))
    del reached["checksum"]
    stopped.write("state/progress_a.json", json.dumps({**reached, "byteOffset": 12}))  # inside a line
    stopped.succeed()
    assert stopped.read("out.txt").decode() == WHOLE


EDITS = """
import os
if os.environ["PIPELINE_ATTEMPT"] == "2":
    open("in.txt", "w").write("x" * 5000 + "\\n")
"""


@pytest.mark.full_after(1)
@pytest.mark.parametrize("length", [5000, 50], ids=["inside a line", "behind the end"])
def test_an_input_that_is_edited_between_two_attempts_starts_the_stage_again(bench, length) -> None:
    """`length` says where the offset of the checkpoint lies in the new text."""
    bench.write(
        "stage.py", EDITS.replace("5000", str(length)) + STAGE.replace('"two" and', '"two" and stage.attempt == 1 and')
    )
    bench.write("in.txt", "".join(LINES))
    bench.write("fails", "")
    stage = {"name": "a", "processor": "stage.py", "inputs": {"text": "in.txt"}, "outputs": {"out": "out.txt"}}
    bench.define({**stage, "checkpoint": {"everyLines": 10}, "retry": {"attempts": 2, "delaySeconds": 0}})
    bench.succeed()
    assert bench.read("out.txt").decode() == "".join(f"{turn} {'x' * length}\n" for turn in ("one", "two"))


@pytest.mark.full_after(1)
@pytest.mark.parametrize("code", ["''", "[]", "0.0"])
def test_a_job_left_by_a_failing_exit_is_not_done(bench, code) -> None:
    leaves = f"if job.line_offset == 35 and stage.attempt == 1:\n                raise SystemExit({code})"
    bench.write(
        "stage.py",
        f"""
from runner import sdk

with sdk.stage() as stage:
    with stage.lines("text", to="out") as job:
        for line in job:
            {leaves}
            job.write(line)
""",
    )
    bench.write("in.txt", "".join(LINES))
    stage = {"name": "a", "processor": "stage.py", "inputs": {"text": "in.txt"}, "outputs": {"out": "out.txt"}}
    retry = {"attempts": 2, "delaySeconds": 0, "retryExitCodes": [1]}
    bench.define({**stage, "checkpoint": {"everyLines": 10}, "retry": retry})
    bench.succeed()
    assert bench.read("out.txt").decode() == "".join(LINES)
