"""The check `retry`: which faults it finds, and how it reports them."""

import shlex
from pathlib import Path

import pytest
from checked_stage import SLOW, CheckedStage

from runner.cli.main import main


@pytest.fixture
def stage(pytester):
    return CheckedStage(pytester)


def test_passes_a_stage_that_starts_anew(stage):
    stage.shell('sort -r "$i" > "$o"').passes("retry")


def test_finds_lines_that_a_retry_doubles(stage):
    stage.shell(
        """
        cat "$i" >> work.tmp
        cat work.tmp > "$o"
        """
    ).finds(
        "retry",
        "text differs at line 201 (3,690 and 7,380 bytes)",
        "  done:     made an attempt exit with 75 when its work was done, and let it be retried",
        "  expected: the same bytes as undisturbed",
        "  found:    text differs at line 201 (3,690 and 7,380 bytes)",
        "            undisturbed:   (the end)",
        r"            after a retry: 'line 0 of a text\n'",
        "  kept:     *work.retry",
        "  by hand:  pytest 'spec.json::work[[]retry]' --offpipe-seed *",
        "            offpipe *work.retry/after/files/spec.json --force   (runs it once more where it was kept)",
    )


def test_command_of_a_failure_runs_the_stage_where_it_was_kept(stage):
    result = stage.shell(
        """
        cat "$i" >> work.tmp
        cat work.tmp > "$o"
        """
    ).check("retry")
    line = next(text for text in result.outlines if "(runs it once more where it was kept)" in text)
    _, spec, *options = shlex.split(line.partition("   (")[0])
    kept = Path(spec).parent / "out.txt"
    before = kept.read_bytes()
    assert main(["run", spec, *options]) == 0
    assert len(kept.read_bytes()) == len(before) * 3 // 2


def test_finds_a_leftover_that_makes_the_second_attempt_fail(stage):
    stage.shell(
        """
        echo begins
        mkdir work.lock
        cat "$i" > "$o"
        """
    ).finds(
        "retry",
        "  expected: exit 0, and the same bytes as undisturbed",
        "  found:    *exit 1*",
        "  log:      begins",
        "*work.lock*File exists",
    )


def test_exits_with_a_code_that_the_stage_retries(stage):
    stage.shell(
        """
        cat "$i" >> "$HOME/seen"
        cat "$HOME/seen" > "$o"
        """,
        retry={"attempts": 3, "retryExitCodes": ["SIGKILL", 99, 111]},
    ).finds("retry", "  done:     made an attempt exit with 99 when its work was done, and let it be retried")


def test_exits_with_75_where_any_code_is_retried(stage):
    stage.shell(
        """
        cat "$i" >> "$HOME/seen"
        cat "$HOME/seen" > "$o"
        """,
        retry={"attempts": 2, "retryExitCodes": "any"},
    ).finds("retry", "  done:     made an attempt exit with 75 when its work was done, and let it be retried")


def test_a_stage_with_values_for_each_attempt_is_checked_like_any_other(stage):
    fields = {"timeoutSeconds": [30, 60], "resources": {"cpus": [1, 2], "memoryMiB": [100, 200]}}
    stage.shell('cat "$i" > "$o"', **fields).passes("retry")
    stage.passes("run")


def test_copies_ask_no_program_for_its_version(stage):
    asked = stage.pytester.path / "asked"
    stage.shell('cat "$i" > "$o"', programVersion=["touch", str(asked)]).passes("retry")
    assert not asked.exists()


def test_is_not_made_where_nothing_tells_that_an_attempt_was_made_to_exit(stage):
    stage.shell('rm -f "$HOME"/../faults/*.fired; cat "$i" > "$o"')
    result = stage.check("retry")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*nothing shows that it was made to exit with 75 before it did anything*"])


def test_lands_in_the_second_attempt_of_a_stage_that_fails_its_first(stage):
    stage.python(
        """
        import os, sys
        if os.environ["PIPELINE_ATTEMPT"] == "1":
            sys.exit(75)
        with open("seen", "a") as seen:
            seen.write("once more\\n")
        with open("seen") as seen, open(os.environ["PIPELINE_OUTPUT_TEXT"], "w") as to:
            to.write(seen.read())
        """,
        retry={"attempts": 2, "delaySeconds": 0},
    ).finds("retry", "  found:    text differs at line 2 (10 and 20 bytes)")


@pytest.mark.full
def test_compares_existence_only_of_a_volatile_stage_and_says_so(stage):
    stage.python(SLOW.replace("to.write(line)", "to.write(str(time.time_ns()))"))
    stage.stage["x-offpipe"] = {"volatile": "stamps the time"}
    result = stage.passes("retry", "-rP")
    result.stdout.fnmatch_lines(["compared existence only, because the spec calls its bytes volatile: stamps the time"])


def test_junit_report_says_what_was_not_compared(stage):
    stage.shell('date +%N > "$o"')
    stage.stage["x-offpipe"] = {"volatile": "stamps the time"}
    stage.passes("retry", "--junit-xml=report.xml")
    assert 'name="offpipe_note" value="compared existence only' in (stage.pytester.path / "report.xml").read_text()


def test_leaves_a_stage_out_for_the_reason_that_the_spec_gives(stage):
    stage.shell('cat "$i" > "$o"')
    stage.stage["x-offpipe"] = {"skipChecks": {"retry": "rents a machine"}}
    result = stage.check("retry")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*the spec skips it: rents a machine"])
