"""The checks `run` and `outputs`: what a stage does undisturbed, in a copy that holds only what is declared."""

from __future__ import annotations

import shlex
import sys

import pytest
from spec_project import COPY, LEFT_OUT, SORT, SpecProject
from suites import full_but

FOUND = "  found:    "


@pytest.fixture
def project(pytester):
    return SpecProject(pytester)


def test_missing_input_and_missing_program_are_reported_together(project):
    project.spec({**COPY, "command": ["nosuchprogram", "{inputs.text}"], "inputs": {"text": "none.txt"}})
    result = project.pytest("it.json", "-k", "run")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            '  found:    it.json#/stages/0/inputs/text: "none.txt": no such file',
            '            error: it.json#/stages/0/command/0: no program "nosuchprogram" on the stage\'s PATH',
        ]
    )


def test_temporary_outputs_stay_in_copies_for_all_stages_that_read_them(project):
    project.spec({**COPY, "temporary": ["text"]}, SORT)
    project.pytest("it.json").assert_outcomes(passed=4)
    project.pytest("it.json", "--offpipe-checks", "repeat", checks=False).assert_outcomes(passed=2)


def test_good_stages_pass_and_the_users_files_stay_as_they_were(project):
    project.spec()
    before = {path: path.stat() for path in project.path.rglob("*")}
    project.pytest("it.json", "-p", "no:cacheprovider").assert_outcomes(passed=4)
    after = {path: path.stat() for path in before}
    assert [(status.st_mtime_ns, status.st_ctime_ns, status.st_ino) for status in after.values()] == [
        (status.st_mtime_ns, status.st_ctime_ns, status.st_ino) for status in before.values()
    ]
    assert not (project.path / "out").exists()
    assert not (project.path / "state").exists()


def test_failed_stage_is_reported_with_its_log_and_where_to_look(project):
    project.spec(project.shell("echo 'one\ntwo' >&2; exit 3"))
    result = project.pytest("it.json")
    result.assert_outcomes(failed=1, skipped=1)
    result.stdout.fnmatch_lines([
        "*exit 3*",
        "  done:     run it in a copy that holds only what the spec declares",
        "  expected: exit 0, and every declared output",
        f"{FOUND}*exit 3*",
        "  log:      one",
        "            two",
        "  kept:     *",
        "  by hand:  pytest 'it.json::work[[]run]' --offpipe-seed *",
        "it.json:5: CheckFailedError",
    ])  # fmt: skip
    kept = next(line for line in result.outlines if line.startswith("  kept:")).partition(":")[2].strip()
    assert (project.path / kept).is_dir()


def test_command_by_hand_makes_the_check_again_where_pytest_was_called(project, monkeypatch):
    project.spec(
        project.shell("exit 3", name="below/work") | {"name": "work", "command": ["sh", "work.sh"]}, to="below/it.json"
    )
    project.write("small/in.txt", "small\n")
    monkeypatch.chdir(project.path / "below")
    result = project.pytest("it.json", "--offpipe-inputs", "../small")
    lines = [
        line for line in result.outlines if line.startswith("  by hand:")
    ]  # where CI is set, the summary has it too
    (command,) = {line.partition(":")[2].strip() for line in lines}
    words = shlex.split(command)
    assert words[:3] == ["pytest", "it.json::work[run]", "--offpipe-seed"]
    assert words[4:] == ["--offpipe-inputs", "../small"]
    again = project.pytest(*words[1:], checks=False)
    again.assert_outcomes(failed=1)
    again.stdout.fnmatch_lines([f"offpipe: *seed {words[3]}"])


def test_checks_behind_a_failed_stage_are_skipped_or_fail_and_name_it(project):
    copy = project.shell("exit 3", name="copy", outputs=COPY["outputs"])
    project.spec(copy, SORT)
    result = project.pytest("it.json", "-rs")
    result.assert_outcomes(failed=1, skipped=3)
    result.stdout.fnmatch_lines(["SKIPPED [[]1] it.json:*: copy[[]run] fails"])
    result = project.pytest("it.json", "-k", "sort")
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(
        [
            "copy failed",
            "  found:    copy failed",
            "*stage copy: failed with exit 3",
            "copy failed",
        ]
    )


def test_check_run_that_the_spec_spares_hides_no_failure(project):
    copy = project.shell("exit 3", name="copy", outputs=COPY["outputs"])
    project.spec({**copy, "x-offpipe": {"skipChecks": {"run": "no"}}}, SORT)
    project.pytest("it.json").assert_outcomes(failed=3, skipped=1)


def test_missing_output_and_output_written_past_its_partial(project):
    project.spec(project.shell(": nothing"))
    result = project.pytest("it.json::work[run]")
    result.stdout.fnmatch_lines([f'{FOUND}stage work, output text: exit 0, but the stage did not write "out/work.txt"'])
    project.spec(project.shell("cp $i out/work.txt"))
    result = project.pytest("it.json::work[run]")
    result.stdout.fnmatch_lines(
        [
            f'{FOUND}*the stage wrote "out/work.txt" itself, not the temporary file it was given',
            "*hint: write to $PIPELINE_*",
        ]
    )


def test_missing_input_fails_only_stages_that_read_it(project):
    project.spec(COPY, {**COPY, "name": "other", "inputs": {"text": "no.txt"}, "outputs": {"text": "out/other.txt"}})
    result = project.pytest("it.json")
    result.assert_outcomes(passed=2, failed=1, skipped=1)
    result.stdout.fnmatch_lines(
        ["it.json#/stages/1/inputs/text: *no such file", "*hint: make it, or declare the stage *"]
    )


def test_code_that_cannot_be_parsed_fails_only_its_stage(project):
    project.write("broken.py", "import (\n")
    broken = {"name": "broken", "processor": "broken.py", "outputs": {"text": "out/broken.txt"}}
    project.spec(COPY, broken)
    result = project.pytest("it.json")
    result.assert_outcomes(passed=2, failed=1, skipped=1)
    result.stdout.fnmatch_lines(["*broken.py*"])


def test_undeclared_relative_read_finds_nothing_and_the_log_says_so(project):
    project.write("rules.txt", "rules\n")
    project.spec(project.shell("cat $i rules.txt >$o"))
    result = project.pytest("it.json::work[run]")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["  log:      cat: rules.txt: No such file or directory"])


def test_undeclared_read_of_another_stages_input_is_found_where_the_stage_runs_alone(project):
    project.write("rules.txt", "rules\n")
    other = {**COPY, "inputs": {"text": "rules.txt"}}
    project.spec(other, project.shell("cat $i rules.txt >$o"))
    project.checks = "run,retry"
    result = project.pytest("it.json", "-k", "work")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        ["  log:      cat: rules.txt: No such file or directory", "FAILED it.json::work[[]retry]*"]
    )


@pytest.mark.parametrize("workers", [(), ("-n", "2")])
def test_stage_that_hangs_is_ended_and_fails_with_its_log(project, workers):
    if workers:
        pytest.importorskip("xdist")
    project.ini("offpipe_timeout = 1\n")
    project.spec(project.shell("echo at work >&2; sleep 600", retryOnTimeout=True, retry={"attempts": 9}))
    result = project.pytest_process("it.json", *workers)
    result.assert_outcomes(failed=1, skipped=1)
    result.stdout.fnmatch_lines([f"{FOUND}stage work: ended at its time limit of 1 s", "  log:      at work"])


def test_leftovers_in_tmpdir_are_no_finding(project):
    project.spec(project.shell("cp $i $o; mkdir $TMPDIR/left; echo x >$TMPDIR/left/over; chmod 0 $TMPDIR/left"))
    project.pytest("it.json").assert_outcomes(passed=2)


def test_stage_may_succeed_at_a_retry(project):
    project.spec(project.shell(
        'test "$PIPELINE_ATTEMPT" = 2 || exit 75; cp $i $o', retry={"attempts": 2, "delaySeconds": 0}
    ))  # fmt: skip
    project.pytest("it.json").assert_outcomes(passed=2)


SPAWNS = """
    import multiprocessing, os
    if __name__ == "__main__":
        with multiprocessing.get_context("spawn").Pool(2) as pool:
            lines = pool.map(str.upper, open(os.environ["PIPELINE_INPUT_TEXT"]))
        open(os.environ["PIPELINE_OUTPUT_TEXT"], "w").writelines(lines)
"""


def test_resource_tracker_of_multiprocessing_is_no_finding(project):
    project.write("spawns.py", SPAWNS)
    stage = {"name": "spawns", "processor": "spawns.py", "inputs": {"text": "in.txt"}, "outputs": {"text": "out.txt"}}
    project.spec(stage)
    project.pytest("it.json").assert_outcomes(passed=2)


UNDECLARED = {
    "cp $i $o; echo x >cache.txt": "written: cache.txt",
    "cp $i $o; echo x >out/more.txt": "written: out/more.txt",
    "cp $i $o; mkdir cache": "written: cache",
    "cp $i $o; echo x >../beside.txt": "written: ../beside.txt",
    "cp $i $o; echo x >$HOME/.rc": "written: $HOME/.rc",
    "cp $i $o; touch in.txt": "changed: in.txt",
    "cp $i $o; cp $i in.2; mv in.2 in.txt": "changed: in.txt",
    "cp $i $o; chmod 600 in.txt": "re-moded from 0644 to 0600: in.txt",
    "cp $i $o; chmod 700 .": "re-moded from 0755 to 0700: .",
    "cp $i $o; cp -p $i $TMPDIR/old; echo a >in.txt; echo b >>in.txt; touch -r $TMPDIR/old in.txt": "changed: in.txt",
    "cp $i $o; echo '# x' >>work.sh": "changed: work.sh",
    "cp $i $o; ln -s in.txt link": "written: link",
    "cp $i $o; (sleep 60 &)": "1 process left running, and killed",
    "cp $i $o; (sleep 60 & sleep 60 &)": "2 processes left running, and killed",
    "cp $i $o; chmod 0 $o": "output text: work.txt cannot be read (mode 0000)",
}
KINDS = {  # kind of finding -> its first script; findings below HOME are kinds of their own
    (finding.split()[0], "$HOME" in finding): script for script, finding in reversed(UNDECLARED.items())
}


@pytest.mark.parametrize("script", full_but(UNDECLARED, KINDS.values()))
def test_what_is_not_declared_is_found(project, script):
    project.spec(project.shell(script), to="specs/it.json", root="..")
    result = project.pytest("--offpipe-spec", "specs/it.json", "-k", "outputs")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([
        "  done:     looked at its files, HOME and TMPDIR before and after it ran",
        "  expected: its declared outputs are new, and nothing else is left",
        f"*{UNDECLARED[script]}",
    ])  # fmt: skip


@pytest.mark.full_after(1)
@pytest.mark.parametrize(
    ("script", "found"),
    [
        (
            "cp $i $o; echo x >>in.txt",
            ['*stage work: "in.txt" changed while the stage ran, 3 times', "*the stage itself has changed: in.txt"],
        ),
        (
            "cp $i $o; rm in.txt",
            [
                "*the stage itself has removed: in.txt",
                '*specs/it.json#/stages/0/inputs/text: "in.txt": no such file',
            ],
        ),
        (
            "chmod 600 in.txt; exit 3",
            ["*stage work: failed with exit 3", "*the stage itself has re-moded from 0644 to 0600: in.txt"],
        ),
    ],
)
def test_what_a_failed_stage_did_to_its_inputs_is_reported(project, script, found):
    project.spec(project.shell(script), to="specs/it.json", root="..")
    result = project.pytest("--offpipe-spec", "specs/it.json")
    result.assert_outcomes(failed=1, skipped=1)
    result.stdout.fnmatch_lines(["  expected: exit 0, and every declared output", *found])


def test_many_findings_are_cut(project):
    project.spec(project.shell("cp $i $o; for n in $(seq 100 130); do echo x >$n; done"))
    result = project.pytest("it.json::work[outputs]")
    result.stdout.fnmatch_lines([f"{FOUND}written: 100", "            and 21 more"])


@pytest.mark.parametrize("script", ["ln $i $o", "cp $i $o; ln in.txt $TMPDIR/same; rm $TMPDIR/same"])
def test_hard_link_to_an_input_is_no_finding(project, script):
    project.spec(project.shell(script))
    project.pytest("it.json").assert_outcomes(passed=2)


UNUSABLE = {
    "mkdir $o; ln -s /etc/passwd $o/x": "x is a link that leads out of it, to /etc/passwd",
    "mkdir $o; cp $i $o/a; chmod 0 $o/a": "a cannot be read (mode 0000)",
    "mkdir $o; ln -s ../../in.txt $o/x": "x is a link that leads out of it, to ../../in.txt",
    "mkdir $o; mkdir $o/d; chmod 300 $o/d": "d cannot be read (mode 0300)",
}


@pytest.mark.full_after(2)
@pytest.mark.parametrize("script", UNUSABLE)
def test_unusable_entry_of_an_output_directory_is_found(project, script):
    project.spec(project.shell(script, outputs={"text": "out/tree/"}))
    result = project.pytest("it.json::work[outputs]")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"{FOUND}output text: tree/{UNUSABLE[script]}"])


def test_links_within_a_directory_bytecode_and_what_was_removed_again_are_fine(project):
    project.spec(project.shell(
        "mkdir -p $o/d; cp $i $o/a; ln -s a $o/b; ln -s ../a $o/d/c; ln -s . $o/self; mkdir __pycache__;"
        " echo x >__pycache__/x.pyc; echo x >gone; rm gone",
        outputs={"text": "out/tree/"},
    ))  # fmt: skip
    project.pytest("it.json").assert_outcomes(passed=2)


@pytest.mark.full
def test_names_and_logs_of_any_bytes_are_reported_in_text_that_workers_can_send_and_terminals_show(project):
    script = r"""
        cp $i $o
        touch "$(printf 'a\377')" "$(printf 'b\nc\033[2J')"
        printf '\033]0;title\007'
    """
    project.spec(project.shell(script))
    result = project.pytest("it.json::work[outputs]", "-n1", "--junitxml=report.xml")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([
        f"{FOUND}written: a\\udcff",
        "            written: b\\nc\\x1b[[]2J",
        "  log:      \\x1b[]]0;title\\x07",
    ])  # fmt: skip


def test_what_a_stage_keeps_beside_the_runners_own_state_is_found(project):
    keeps = project.shell("cp $i $o; echo x >>state/seen.db; echo x >>state/audit.txt", name="keeps")
    follows = project.shell("cp $i $o; echo x >>state/seen.db", name="follows")
    project.spec(keeps, follows)
    result = project.pytest("it.json")
    result.assert_outcomes(passed=2, failed=2)
    result.stdout.fnmatch_lines([
        f"{FOUND}written: state/audit.txt",
        "            written: state/seen.db",
        f"{FOUND}changed: state/seen.db",
    ])  # fmt: skip


@pytest.mark.full
def test_a_disk_without_room_for_copies_is_reported_in_one_line_without_our_code(project):
    own = ["unshare", "--user", "--map-root-user", "--mount"]
    if project.pytester.run(*own, "true").ret:
        pytest.skip("no mount of its own can be had here")
    project.spec()
    project.path.joinpath("small").mkdir()
    mounted = 'mount -t tmpfs -o size=40k,nr_inodes=9 none small && exec "$@"'
    made = [sys.executable, "-m", "pytest", *LEFT_OUT, "it.json", "--basetemp=small/base", "-k", "copy and run"]
    result = project.pytester.run(*own, "sh", "-c", mounted, "sh", *made, timeout=120)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([
        "error: *No space left on device*",
        "hint: checks are made below pytest's temporary directory: free some of it, or name another one (--basetemp)",
        "FAILED it.json::copy[[]run] - error: *",
    ])  # fmt: skip
    result.stdout.no_fnmatch_line("*.py:*")
