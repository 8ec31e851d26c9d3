"""Where programs are found, and what is said of one that is not there."""

from __future__ import annotations

import pytest

from runner.sandbox.programs import find_program, may_be_made, missing_program


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
def test_a_whole_command_line_in_one_word_is_told_that_there_is_no_shell(word) -> None:
    fault = missing_program(word, "/bin", "/bin", "/", "p.json#/stages/0/command/0")
    assert "no shell is involved" in fault.hint and '["sh", "-c", ...]' in fault.hint


def test_a_program_on_the_callers_path_is_told_with_the_line_to_add(tmp_path) -> None:
    (tmp_path / "tool").write_text("#!/bin/sh\n")
    (tmp_path / "tool").chmod(0o755)
    fault = missing_program("tool", "/bin", str(tmp_path), "/", "here")
    assert fault.where == "here" and f'"env": {{"PATH": "{tmp_path}:/bin"}}' in fault.hint


def test_other_missing_programs_are_told_with_where_they_were_looked_for() -> None:
    assert missing_program("tool", "/bin", "/bin", "/", "").hint == "PATH is /bin"
    assert missing_program("bin/tool", "/bin", "/bin", "/", "").hint == "it is relative to root, and must be executable"


def test_a_program_that_an_output_is_or_holds_may_still_be_made() -> None:
    assert may_be_made("bin/tool", "/bin", "/pipeline", {"/pipeline/bin/tool"})
    assert may_be_made("tool", "bin:/bin", "/pipeline", {"/pipeline/bin"})
    assert not may_be_made("tool", "bin:/bin", "/pipeline", {"/pipeline/bi", "/pipeline/bin/other"})
