"""The check `full`: which faults it finds, and how it reports them."""

import os
from pathlib import Path

import pytest
from checked_stage import CheckedStage

from pytest_offpipe.faults.disks import PAGE, make_room, mount_small
from pytest_offpipe.faults.namespace import Confined
from runner.sandbox.guard import survey


@pytest.fixture
def stage(pytester):
    made = CheckedStage(pytester)
    made.text *= 4  # three pages and a half
    return made


def test_passes_a_stage_that_fails_when_the_disk_is_full(stage):
    stage.shell('sort -r "$i" > "$o"').passes("full")


@pytest.mark.full
def test_passes_a_stage_whose_few_bytes_do_not_fit_at_all(stage):
    stage.text = "one line\n"
    stage.shell('cat "$i" > "$o"').passes("full")


@pytest.mark.full
def test_passes_a_stage_that_renames_what_it_has_made_in_tmpdir(stage):
    stage.python(
        """
        import os
        made = os.path.join(os.environ["TMPDIR"], "made")
        with open(os.environ["PIPELINE_INPUT_TEXT"]) as source, open(made, "w") as to:
            to.writelines(source)
        os.rename(made, os.environ["PIPELINE_OUTPUT_TEXT"])
        """
    ).passes("full")


@pytest.mark.full
def test_passes_a_stage_that_removes_what_it_could_not_finish(stage):
    """It does not say why, so only the disk itself can show that it was full."""
    stage.shell('sort -r "$i" 2> /dev/null > "$o" || { sleep 0.1; rm "$o"; exit 3; }').passes("full")


@pytest.mark.full
def test_passes_a_database_that_rolls_back_at_once_and_says_why(stage):
    """As SQLite does: what did not fit is gone before the check could see that the disk was full."""
    stage.shell(
        """
        case "$o" in
            */workspace/*) [ -e "$HOME/once" ] || { : >"$HOME/once"; echo "database or Disk is full" >&2; exit 1; } ;;
        esac
        cat "$i" > "$o"
        """
    ).passes("full")


@pytest.mark.full
def test_passes_a_stage_that_fills_a_database(stage):
    stage.python(
        """
        import os, sqlite3
        with sqlite3.connect(os.environ["PIPELINE_OUTPUT_TEXT"]) as database, open("in.txt") as source:
            database.execute("CREATE TABLE lines (line TEXT)")
            database.executemany("INSERT INTO lines VALUES (?)", ([line] for line in source))
        """
    ).passes("full")


@pytest.mark.full
def test_is_not_made_of_a_stage_that_links_its_inputs(stage):
    """In this check, inputs are not on the disk of the outputs."""
    stage.shell('ln "$i" "$o"').check("run").assert_outcomes(passed=1)
    result = stage.check("full")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*it links files across disks: *"])


@pytest.mark.full
def test_is_not_made_of_a_stage_that_fails_before_the_disk_is_full(stage):
    stage.shell(
        """
        case "$o" in
            */workspace/*) [ -e "$HOME/once" ] || { touch "$HOME/once"; exit 3; } ;;
        esac
        cat "$i" > "$o"
        """
    )
    result = stage.check("full")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*it failed, although its disk was never seen to be full: *exit 3*"])


def test_finds_a_stage_that_swallows_a_full_disk(stage):
    stage.shell('cat "$i" > "$o" || true').finds(
        "full",
        "it ignored that the disk was full",
        "  done:     ran it on a disk with 8,192 bytes left for its outputs",
        "  expected: an exit code other than 0, or the same bytes as undisturbed",
        "            usual causes: a write that is not checked, a file that is never closed",
        "            text differs at line 446 (14,760 and 8,192 bytes)",
        "            undisturbed:    'line 45 of a text*",
        "            on a full disk: 'line 45 of a'",
        "  log:      *No space left on device*",
        "  kept:     *work.full",
    )
    assert list(stage.pytester.path.parent.glob("**/work.full/full/kept/out.txt"))


@pytest.mark.full
@pytest.mark.parametrize("anew", [False, True])
def test_finds_a_file_that_is_never_closed(stage, anew):
    """Python reports what a file could not flush at the end, and exits with 0."""
    stage.python(
        """
        import os
        output = open(os.environ["PIPELINE_OUTPUT_TEXT"], "w", buffering=1 << 20)
        output.write(open("in.txt").read())
        """,
        freshInterpreter=anew,
    ).finds("full", "it ignored that the disk was full", "*a file that is never closed")


@pytest.mark.full
def test_finds_a_stage_that_waits_for_room_for_ever(stage):
    stage.shell(
        """
        until cat "$i" > "$o"; do sleep 0.05; done
        """,
        timeoutSeconds=1,
    ).finds(
        "full",
        "it still ran after 1 s",
        "  expected: it ends, with an exit code other than 0",
        "  log:      *",
        "*No space left on device",
    )


def test_finds_what_a_full_disk_left_for_the_next_run(stage):
    stage.shell(
        """
        mkdir -p "$HOME/once"
        cat "$i" >> "$HOME/once/all"
        cat "$HOME/once/all" > "$o"
        """
    ).finds("full", "  done:     ran it on a disk with 8,192 bytes left for its outputs, then ran it again with room")


@pytest.mark.full
def test_goes_on_from_a_checkpoint_when_there_is_room_again(stage):
    stage.python(
        """
        from runner import sdk

        with sdk.stage() as stage, stage.lines("text", to="text") as job:
            for line in job:
                job.write(line)
        """,
        checkpoint={"everyLines": 10},
    ).passes("full")


@pytest.mark.full
def test_fills_the_disk_of_directories_too(stage):
    stage.shell('mkdir "$o"; cp "$i" "$o/a"; cp "$i" "$o/b"', outputs={"text": "out/"}).passes("full")


def test_is_not_made_of_outputs_that_are_empty(stage):
    stage.shell(': > "$o"')
    result = stage.check("full")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*its outputs are empty*"])


@pytest.mark.full
def test_is_not_made_of_outputs_with_holes_that_fit_anyway(stage):
    stage.shell('truncate -s 100000 "$o"')
    result = stage.check("full")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*all of its outputs fit into half of their size*"])


@pytest.mark.full
def test_is_not_made_where_the_bytes_of_a_success_cannot_be_told_from_others(stage):
    stage.shell('cat "$i" > "$o" || true')
    stage.stage["x-offpipe"] = {"volatile": "stamps the time"}
    result = stage.check("full")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*volatile bytes do not show whether all of it was written*"])


def test_is_not_made_where_two_runs_take_longer_than_the_budget(stage):
    stage.shell('cat "$i" > "$o"; sleep 0.1')
    result = stage.check("full", "--offpipe-budget=0.15")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*do not fit into the 0.15 s of --offpipe-budget*"])


@pytest.mark.full
@pytest.mark.parametrize("strict", [False, True])
def test_says_plainly_that_a_disk_was_never_full(stage, strict):
    stage.shell('test "$(stat -f -c %b "$(dirname "$o")")" != 3 || exit 5; cat "$i" > "$o"')
    result = stage.check("full", *(["--offpipe-strict"] if strict else []))
    result.assert_outcomes(failed=int(strict), skipped=int(not strict))
    result.stdout.fnmatch_lines(["*it failed, although its disk was never seen to be full: *"])
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*Error: *")


@pytest.mark.full
def test_is_not_made_without_a_namespace(stage):
    stage.shell('cat "$i" > "$o"')
    result = stage.check_denied("full")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*no disk of its own can be mounted for it here: unshare(*) failed: EPERM *"])


def test_runs_as_isolated_on_its_small_disk_as_elsewhere(tmp_path):
    with Confined() as confined:
        layers = confined.call(survey)
        confined.call(mount_small, str(tmp_path), 3, ())
        assert confined.call(os.listdir, str(tmp_path)) == [".ballast"]
        assert not os.listdir(tmp_path)
        with pytest.raises(OSError, match="No space left"):
            confined.call(Path.write_bytes, tmp_path / "file", bytes(4 * PAGE))
        confined.call(make_room, str(tmp_path))
        assert confined.call(Path.write_bytes, tmp_path / "file", bytes(400 * PAGE)) == 400 * PAGE
    here = survey()
    assert {level: type(layer) for level, layer in layers.items()} == {
        level: type(layer) for level, layer in here.items()
    }
    assert layers["kernel"].keys() == here["kernel"].keys()
