"""The check `resume`: which faults it finds, where it kills, and what it reports."""

import json
import random
import subprocess
import sys

import pytest
from checked_stage import SLOW, TOO_FAST, CheckedStage

from pytest_offpipe.checks.interrupted import KILLS, at_checkpoints
from pytest_offpipe.faults import shim

NUMBERED = """
    from runner import sdk

    with sdk.stage() as stage, stage.lines("text", to="text") as job:
        number = FIRST
        for line in job:
            job.write(b"%d " % number + line)
            number += 1
"""


@pytest.fixture
def stage(pytester):
    return CheckedStage(pytester)


def test_passes_a_stage_that_goes_on_from_its_checkpoints(stage):
    stage.python(NUMBERED.replace("FIRST", "job.line_offset"))
    result = stage.passes("resume", "-rP")
    result.stdout.fnmatch_lines(["8 of 8 kills landed: at checkpoints, of 1*"])


def test_finds_a_count_that_starts_again_when_resumed(stage):
    stage.python(NUMBERED.replace("FIRST", "0")).finds(
        "resume",
        "text differs at line * (4,380 and * bytes)",
        "  done:     killed it at checkpoint * of *, after it was recorded, then ran it again",
        "  expected: the same bytes as undisturbed",
        "            undisturbed:  '* line * of a text*",
        "            when resumed: '0 line * of a text*",
        "  by hand:  pytest 'spec.json::work[[]resume]' --offpipe-seed *",
    )


@pytest.mark.full
def test_finds_lines_that_are_lost_between_two_checkpoints(stage):
    stage.python(
        """
        from runner import sdk

        with sdk.stage() as stage:
            kept = []
            with stage.lines("text", to="text") as job:
                for line in job:
                    kept.append(line)
                    if len(kept) == 5:
                        job.write(b"".join(kept))
                        kept.clear()
                job.write(b"".join(kept))
        """
    ).finds("resume", "text differs at line *", "  done:     killed it at checkpoint *")


def test_finds_bytes_that_depend_on_where_the_checkpoints_are(stage):
    stage.python(
        """
        from runner import sdk

        with sdk.stage() as stage, stage.blocks("text", to="text") as job:
            for block in job:
                job.write(b"# a block\\n" + block)
        """
    ).finds("resume", "  done:     ran it with a checkpoint every 12 lines")


@pytest.mark.full
def test_finds_a_program_that_appends_to_what_was_there(stage):
    stage.shell(
        """
        while read -r line; do
            echo "$line" >> seen.tmp
            echo "$line" >> "$o"
        done < "$i"
        cat seen.tmp > "$o"
        rm seen.tmp
        """
    ).finds(
        "resume",
        "  done:     killed it once * of the 3,690 bytes of its outputs were there, then ran it again",
        "  expected: the same bytes as undisturbed",
        "            when resumed: 'line *",
    )


@pytest.mark.full
def test_kills_a_program_without_checkpoints_at_sizes_of_its_output(stage):
    result = stage.python(SLOW).passes("resume", "-rP")
    result.stdout.fnmatch_lines(["5 of 5 kills landed: by the size of its partial outputs"])


@pytest.mark.full
def test_kills_a_program_at_its_standard_output_only_once_it_has_written_there(stage):
    stage.shell('while read -r line; do echo "$line"; sleep 0.002; done < "$i"', stdout="text")
    result = stage.passes("resume", "-rP")
    result.stdout.fnmatch_lines(["4 of 4 kills landed: by the size of its partial outputs"])


def test_is_not_made_where_the_one_output_is_a_standard_output_that_stays_empty(stage):
    stage.shell('cat "$i" > /dev/null; sleep 0.1', stdout="text")
    result = stage.check("resume")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*it writes nothing to its only output*"])


def test_counts_no_kill_before_the_program_runs(tmp_path):
    """The shim starts a missing program; all that a kill at 0 bytes waits for is there from the start."""
    (tmp_path / "partial").touch()
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"kind": "kill", "after_bytes": 0, "partials": [str(tmp_path / "partial")]}))
    command = [sys.executable, "-I", "-S", shim.__file__, str(tmp_path / "nowhere"), "nowhere"]
    env = {shim.VARIABLE: str(plan)}
    ended = subprocess.run(command, env=env, start_new_session=True, capture_output=True, check=False, timeout=60)
    assert ended.returncode == 1
    assert b"FileNotFoundError" in ended.stderr
    assert not (tmp_path / "plan.json.fired").exists()


@pytest.mark.full
def test_finds_a_stage_that_throws_its_checkpoints_away(stage):
    stage.python(
        """
        import os
        from runner import sdk

        if os.path.exists(os.environ["PIPELINE_PROGRESS"]):
            os.remove(os.environ["PIPELINE_PROGRESS"])
        with sdk.stage() as stage, stage.lines("text", to="text") as job:
            for line in job:
                job.write(line)
        """
    ).finds(
        "resume",
        "it began anew",
        "  done:     killed it at checkpoint 1 of *, after it was recorded, then ran it again",
        "  expected: it goes on from checkpoint 1",
    )


def test_finds_a_stage_that_takes_its_own_death_for_success(stage):
    stage.python(
        """
        from runner import sdk

        with sdk.stage() as stage, stage.lines("text", to="text") as job:
            for line in job:
                job.write(line)
        """
    )
    (stage.pytester.path / "wrapper.sh").write_text("python3 work.py || true\n")
    del stage.stage["processor"]
    stage.stage["command"] = ["sh", "wrapper.sh", "work.py"]
    stage.finds(
        "resume",
        "  done:     killed it at checkpoint 1 of *, after it was recorded, and it ended with 0",
        "            when killed: *(the end)",
    )


@pytest.mark.full
def test_leaves_kills_out_when_time_is_short_and_says_so(stage):
    """Each of the 8 kills takes at least the 1.2 s that the stage sleeps; slow machines have time for three runs."""
    stage.python(SLOW.replace("0.002", "0.006"))
    result = stage.passes("resume", "-rP", "--offpipe-budget=9")
    result.stdout.fnmatch_lines(["* of * kills landed, * left out for lack of time (--offpipe-budget): *"])


def test_is_not_made_where_three_runs_take_longer_than_the_budget(stage):
    stage.shell('cat "$i" > "$o"; sleep 0.1')
    result = stage.check("resume", "--offpipe-budget=0.2")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*do not fit into the 0.2 s of --offpipe-budget*"])


@pytest.mark.full
def test_is_not_made_where_no_kill_lands(stage):
    stage.shell(TOO_FAST)
    result = stage.check("resume")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*it was done before any kill could land, 5 tried; larger inputs*"])


@pytest.mark.parametrize("count", [1, 2, 3, 8, 9, 17, 400])
def test_kills_at_the_first_and_last_checkpoint_and_spread_between(count):
    kills = at_checkpoints(count, random.Random(7))
    numbers = [kill.arguments["at_checkpoint"] for kill in kills]
    assert numbers[:2] == [1, count][: len(numbers)]
    assert len(set(numbers)) == len(numbers) == min(count, KILLS)
    assert {kill.arguments["when"] for kill in kills} == ({"after", "before"} if count > 1 else {"after"})
    gaps = [later - earlier for earlier, later in zip(sorted(numbers), sorted(numbers)[1:], strict=False)]
    assert max(gaps, default=0) <= 2 * (count // (KILLS - 1) + 1)


def test_kills_at_the_same_checkpoints_for_the_same_seed():
    assert at_checkpoints(100, random.Random("5/work")) == at_checkpoints(100, random.Random("5/work"))
    assert at_checkpoints(100, random.Random("5/work")) != at_checkpoints(100, random.Random("6/work"))
