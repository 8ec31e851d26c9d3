import os

import pytest

from runner.sandbox.script import Script


def looked(script, times):
    for _ in range(times):
        script.look()
    return script


def test_a_program_that_is_found_again_is_compiled_before_the_fork(tmp_path):
    path = tmp_path / "a.py"
    path.write_text("x = 1\n")
    script = looked(Script(str(path)), 2)
    assert script.compiled() is script.compiled()
    assert script.directory() == os.path.realpath(tmp_path)


def test_an_edit_is_seen_whatever_was_compiled(tmp_path):
    path = tmp_path / "a.py"
    path.write_text("x = 1\n")
    script = looked(Script(str(path)), 3)
    path.write_text("x = 2\n")
    script.look()
    namespace: dict[str, object] = {}
    exec(script.compiled(), namespace)
    assert namespace["x"] == 2


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "content",
    [
        "x = 1 is 1\n",
        "x = '\\N{SPACE}'\n",
        "# coding: latin-1\n",
        "\n# vim: set fileencoding=utf-8\n",
        "x = '\u00fc'\n",
    ],
)
def test_what_has_to_be_told_or_loaded_is_left_to_each_stage(tmp_path, content):
    path = tmp_path / "a.py"
    path.write_text(content, encoding="utf-8")
    script = looked(Script(str(path)), 3)
    assert script.compiled() is not script.compiled()


def test_a_link_that_is_moved_between_stages_is_followed_anew(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.py").write_text("x = 1\n")
    link = tmp_path / "a.py"
    link.symlink_to("one/a.py")
    script = looked(Script(str(link)), 2)
    assert script.directory() == os.path.realpath(tmp_path / "one")
    link.unlink()
    link.symlink_to("two/a.py")
    script.look()
    assert script.directory() == os.path.realpath(tmp_path / "two")


def test_what_could_be_waited_for_is_not_opened_to_wait(tmp_path):
    os.mkfifo(tmp_path / "a.py")
    looked(Script(str(tmp_path / "a.py")), 2)
    assert not any(os.path.samestat(os.stat(tmp_path / "a.py"), status) for status in open_files())


def open_files():
    for name in os.listdir("/proc/self/fd"):
        try:
            yield os.fstat(int(name))
        except OSError:
            continue  # the one that listed them
