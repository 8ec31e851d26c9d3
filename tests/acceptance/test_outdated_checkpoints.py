"""A checkpoint with an outdated key is discarded. `status`, `plan`, `explain` and the run say so."""

from __future__ import annotations

import re

import pytest
from pipeline_bench import shell, unstamped

# Fails once, after a checkpoint of 1,200 lines. The next attempt resumes from it, or starts anew.
SLOW = """
test -e "$PIPELINE_OUTPUT_OUT" || echo begun > "$PIPELINE_OUTPUT_OUT"
test -e broken || exit 0
echo "{\\"v\\": 1, \\"key\\": \\"$PIPELINE_KEY\\", OFFSET \\"outputs\\": {\\"out\\": {\\"length\\": 3}}}" > "$PIPELINE_PROGRESS"
exit 1
"""  # noqa: E501 - a shell script
LINES = "checkpoint of 1,200 lines no longer fits: the stage starts anew"


def stopped(bench, offset='\\"lineOffset\\": 1200,'):
    """Run a stage until it fails at its checkpoint; return a function that defines it with another `mode`."""
    script = SLOW.replace("OFFSET", offset)

    def define(mode):
        first = shell("first", "cat $PIPELINE_INPUT_IN > $PIPELINE_OUTPUT_OUT", inputs={"in": "in.txt"})
        bench.define(first, shell("slow", script, params={"mode": mode}, inputs={"in": "out/first.txt"}))

    bench.write("in.txt", "text\n")
    bench.write("broken", "")
    define("before")
    assert bench.run().returncode == 1
    (bench.root / "broken").unlink()
    return define


def test_status_plan_explain_and_the_run_report_an_outdated_checkpoint(bench) -> None:
    define = stopped(bench)
    before = [bench.run(*words).stdout for words in (["status"], ["plan"], ["explain", "slow"])]
    assert "\nslow  incomplete, 1,200 lines\n" in before[0] and "fit" not in "".join(before)
    assert bench.json("status")["incomplete"][0]["fits"] is True
    define("after")
    status = bench.run("status").stdout
    assert f"\nslow  {LINES}\n" in status and status.count("fit") == 1
    assert bench.json("status")["incomplete"][0]["fits"] is False
    assert re.search(rf"\nslow   run      no completed run; failed in .+; {LINES}\n", bench.run("plan").stdout)
    assert f"  {LINES}\n" in bench.run("explain", "slow").stdout
    messages = unstamped(bench.succeed().stderr)
    assert f"slow: {LINES}\nslow: started" in messages and messages.count("fit") == 1
    assert bench.read("out/slow.txt") == b"begun\n"


def test_plan_and_explain_report_a_checkpoint_that_fits_and_the_run_resumes_from_it(bench) -> None:
    stopped(bench)
    assert re.search(r"\nslow   run      .+; failed in .+; goes on from line 1,200\n", bench.run("plan").stdout)
    assert "  goes on from line 1,200\n" in bench.run("explain", "slow").stdout
    messages = bench.succeed().stderr
    assert "from line 1,200" in messages and "fit" not in messages
    assert bench.read("out/slow.txt") == b"beg"


@pytest.mark.full_after(1)
@pytest.mark.parametrize(
    ("offset", "text"),
    [
        ('\\"byteOffset\\": 9,', "checkpoint of 9 bytes no longer fits: the stage starts anew"),
        ("", "checkpoint no longer fits: the stage starts anew"),
    ],
)  # fmt: skip
def test_an_outdated_checkpoint_is_described_by_the_offsets_in_it(bench, offset, text) -> None:
    stopped(bench, offset)("after")
    assert f"slow  {text}\n" in bench.run("status").stdout
    assert f"slow: {text}\n" in bench.succeed().stderr


def test_whether_a_checkpoint_fits_is_unknown_until_its_inputs_are_made(bench) -> None:
    stopped(bench)
    bench.write("in.txt", "other text\n")
    assert "\nslow  incomplete, 1,200 lines\n" in bench.run("status").stdout
    assert bench.json("status")["incomplete"][0]["fits"] is None
    assert not re.search("fit|goes on", bench.run("plan").stdout)
    assert f"slow: {LINES}\n" in bench.succeed().stderr


def test_a_quiet_run_does_not_report_an_outdated_checkpoint(bench) -> None:
    stopped(bench)("after")
    assert bench.succeed("-q").stderr == ""
