"""The check `stop`: which faults it finds, and how it reports them."""

import pytest
from checked_stage import SLOW, TOO_FAST, CheckedStage
from suites import full_but


@pytest.fixture
def stage(pytester):
    return CheckedStage(pytester)


def test_passes_a_stage_that_term_ends(stage):
    stage.python(SLOW).passes("stop")


@pytest.mark.parametrize("word", ["timeout 60", pytest.param("setsid -w", marks=pytest.mark.full)])
def test_passes_a_program_in_a_process_group_of_its_own(stage, word):
    script = 'while read -r line; do echo "$line"; sleep 0.05; done'
    stage.text = "line\n" * 20
    stage.shell("")
    stage.stage.update(command=[*word.split(), "sh", "-c", script], stdin="text", stdout="text")
    stage.passes("stop")


@pytest.mark.full
def test_passes_a_stage_that_ends_in_its_own_way(stage):
    stage.python("import signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(75))\n" + _plain(SLOW)).passes(
        "stop"
    )


def test_finds_a_stage_that_takes_term_for_success(stage):
    stage.python("import os, signal\nsignal.signal(signal.SIGTERM, lambda *_: os._exit(0))\n" + _plain(SLOW)).finds(
        "stop",
        "it ended with 0 though it was stopped",
        "  done:     sent TERM to it in mid-work",
        "  expected: an exit code other than 0, or a signal",
        "            text differs at line * (3,690 and * bytes)",
        "            undisturbed:  *",
        "            when stopped: (the end)",
    )


@pytest.mark.full
def test_finds_a_stage_that_takes_term_for_success_without_any_output(stage):
    stage.shell(
        """
        trap 'rm "$o"; exit 0' TERM
        echo > "$o"
        n=0
        while [ $n -lt 30 ]; do n=$((n + 1)); sleep 0.01; done
        """
    ).finds(
        "stop",
        "it ended with 0 though it was stopped",
        "*output*",
    )


@pytest.mark.full
def test_finds_a_stage_that_goes_on_after_term(stage):
    stage.shell(
        """
        echo begun > "$o"
        trap 'while :; do sleep 0.2; done' TERM
        sleep 0.3
        """
    ).finds(
        "stop",
        "it went on for 5 s, and was killed",
        "  done:     sent TERM to it in mid-work",
        "  expected: it ends within 5 s",
    )


@pytest.mark.full
def test_finds_what_a_stopped_stage_left_for_the_next_run(stage):
    stage.shell(
        """
        mkdir work.lock
        cat "$i" > "$o"
        sleep 0.3
        rmdir work.lock
        """
    ).finds("stop", "  done:     sent TERM to it in mid-work, and ran it again", "*work.lock*File exists")


@pytest.mark.full
def test_finds_a_stage_that_takes_term_for_success_once_all_it_needs_is_loaded(stage):
    """It writes its bytes at the end. TERM while it loads, which takes most of its time, would just end it."""
    stage.python(
        """
        import os, signal, time
        time.sleep(1)  # as long as large modules take
        signal.signal(signal.SIGTERM, lambda *_: finish())
        lines = []
        def finish():
            with open(os.environ["PIPELINE_OUTPUT_TEXT"], "w") as to:
                to.writelines(lines)
            os._exit(0)
        with open(os.environ["PIPELINE_INPUT_TEXT"]) as source:
            for line in source:
                lines.append(line)
                time.sleep(0.003)  # a third of the whole time for all lines, so that a tenth is in the middle
        finish()
        """
    ).finds("stop", "it ended with 0 though it was stopped", "            text differs at line *")


@pytest.mark.full
def test_asks_no_stage_to_end_before_it_has_begun(stage):
    """It reads and writes nothing until it is almost done, so no part of its time is known to be mid-work."""
    stage.shell(f"sleep 0.3\n{TOO_FAST}")
    result = stage.check("stop")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*it was done before *"])


@pytest.mark.full
@pytest.mark.parametrize("strict", full_but([False, True], [False]))
def test_is_not_made_where_all_work_was_done_before_term_mattered(stage, strict):
    stage.shell(
        """
        trap '' TERM
        cat "$i" > "$o"
        sleep 0.3
        """
    )
    result = stage.check("stop", *(["--offpipe-strict"] if strict else []))
    result.assert_outcomes(failed=int(strict), skipped=int(not strict))
    summary = ["offpipe: 1 check could not be made*", "SKIPPED*it had all its work done before TERM*"]
    result.stdout.fnmatch_lines(["it had all its work done before TERM ended it*"] if strict else summary)


@pytest.mark.full
def test_is_not_made_where_all_was_done_before_term_could_be_sent(stage):
    stage.shell(f"{TOO_FAST}\ngrep -q shim.py /proc/$PPID/cmdline || sleep 2")  # so a tenth of its time is long
    result = stage.check("stop")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*it was done before TERM could be sent; larger inputs*"])


@pytest.mark.full
def test_is_not_made_where_the_bytes_of_a_success_cannot_be_told_from_others(stage):
    stage.shell(
        """
        trap 'exit 0' TERM
        date +%N > "$o"
        sleep 0.3
        """
    )
    stage.stage["x-offpipe"] = {"volatile": "stamps the time"}
    result = stage.check("stop")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*volatile bytes do not show whether all of its work was done*"])


def test_is_not_made_where_two_runs_take_longer_than_the_budget(stage):
    stage.shell('cat "$i" > "$o"; sleep 0.1')
    result = stage.check("stop", "--offpipe-budget=0.15")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*do not fit into the 0.15 s of --offpipe-budget*"])


def _plain(source):
    import textwrap

    return textwrap.dedent(source)
