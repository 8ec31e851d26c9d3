"""Where programs are found, how a missing one is reported, and how the operator's own runs."""

from __future__ import annotations

import os

import pytest
from pipeline_bench import is_running, kill, wait_for

from runner.sandbox.programs import find_program, may_be_made, missing_program, notify


def test_programs_are_found_as_execvp_would(tmp_path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    program = tmp_path / "second" / "tool"
    program.touch(0o755)
    (tmp_path / "first" / "tool").touch(0o644)
    (tmp_path / "first" / "folder").mkdir()
    path = f"{tmp_path}/first:{tmp_path}/second"
    assert find_program("tool", path, "/") == str(program)
    assert find_program("folder", path, "/") is None and find_program("absent", path, "/") is None
    assert find_program("second/tool", "", str(tmp_path)) == str(program)
    assert find_program("tool", "", str(tmp_path / "second")) == str(program)
    assert find_program(str(program), "", "/nowhere") == str(program)
    assert find_program("a\0b", path, "/") is None


@pytest.mark.parametrize("word", ["sort in > out", "a|b", "cat *.txt", "echo $HOME"])
def test_a_whole_command_line_in_one_word_gets_the_hint_that_no_shell_is_involved(word) -> None:
    fault = missing_program(word, "/bin", "/bin", "/", "p.json#/stages/0/command/0")
    assert "no shell is involved" in fault.hint and '["sh", "-c", ...]' in fault.hint


def test_a_program_on_the_callers_path_is_reported_with_the_line_to_add(tmp_path) -> None:
    (tmp_path / "tool").write_text("#!/bin/sh\n")
    (tmp_path / "tool").chmod(0o755)
    fault = missing_program("tool", "/bin", str(tmp_path), "/", "here")
    assert fault.where == "here" and f'"env": {{"PATH": "{tmp_path}:/bin"}}' in fault.hint


def test_other_missing_programs_are_reported_with_the_places_searched() -> None:
    assert missing_program("tool", "/bin", "/bin", "/", "").hint == "PATH is /bin"
    assert missing_program("bin/tool", "/bin", "/bin", "/", "").hint == "it is relative to root, and must be executable"


def test_a_program_that_an_output_is_or_holds_may_still_be_made() -> None:
    assert may_be_made("bin/tool", "/bin", "/pipeline", {"/pipeline/bin/tool"})
    assert may_be_made("tool", "bin:/bin", "/pipeline", {"/pipeline/bin"})
    assert not may_be_made("tool", "bin:/bin", "/pipeline", {"/pipeline/bi", "/pipeline/bin/other"})


# ---- the program of --on-failure ----


def script(tmp_path, text):
    path = tmp_path / "tell"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_the_operators_program_reads_all_of_a_long_summary_or_nothing(tmp_path) -> None:
    summary = b"x" * (8 << 20)
    assert notify(script(tmp_path, f"cat > {tmp_path}/told"), summary, os.environ) is None
    assert (tmp_path / "told").read_bytes() == summary
    assert notify(script(tmp_path, "exit 0"), summary, os.environ) is None


def test_the_operators_program_is_ended_in_time_with_all_that_it_started(tmp_path) -> None:
    program = script(tmp_path, f"sleep 1000 &\necho $! > {tmp_path}/below\ntrap '' TERM INT HUP\nwait")
    fault = notify(program, b"", os.environ, 0.5)
    assert (fault.where, fault.what) == (f"--on-failure {program}", "killed after 0.5 s")
    below = int((tmp_path / "below").read_text())
    try:
        wait_for(lambda: not is_running(below))
    finally:
        kill(below)


def test_the_operators_program_is_found_along_path_and_has_a_group_of_its_own(tmp_path, monkeypatch) -> None:
    script(tmp_path, f"cut -d ' ' -f 1,5 /proc/self/stat > {tmp_path}/stat; echo $$ >> {tmp_path}/stat")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert notify("tell", b"", os.environ) is None
    _, group, process = (tmp_path / "stat").read_text().split()
    assert group == process != str(os.getpgid(0))
