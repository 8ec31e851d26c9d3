"""A directory is removed with all its content, at any depth, also another user's; no link is followed."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from pipeline_bench import ROOT

from runner.record.removal import remove_tree


def deep(path, levels, name="d"):
    """Make a chain of directories, each with a file in it, that is too deep for a path."""
    path.mkdir()
    here = os.open(path, os.O_RDONLY)
    for _ in range(levels):
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=here))
        os.mkdir(name, dir_fd=here)
        inner = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)


@pytest.fixture(autouse=True)
def removed(tmp_path):
    """Clean up in a process of its own, because pytest recurses once per level."""
    yield
    subprocess.run(["rm", "-rf", *tmp_path.iterdir()], check=True)


@pytest.mark.full_after(3)
@pytest.mark.parametrize(("levels", "name"), [(1100, "ddd"), (5, ".1"), (1, "d"), (3000, "d"), (400, "n" * 200)])
def test_depth_does_not_matter(tmp_path, levels, name):
    deep(tmp_path / "top", levels, name)
    remove_tree(str(tmp_path / "top"))
    assert os.listdir(tmp_path) == []


def test_names_that_are_taken_are_passed_over(tmp_path):
    top = tmp_path / "top"
    for path in (".1", ".2/x/y", "a/.1/b", "a/.2/.3/c", "b/e/f", "b/g/h"):
        (top / path).mkdir(parents=True)
    (top / ".3").write_text("")
    remove_tree(str(top))
    assert os.listdir(tmp_path) == []


def test_no_link_is_followed(tmp_path):
    kept = tmp_path / "kept"
    (kept / "inner").mkdir(parents=True)
    (kept / "file").write_text("kept")
    top = tmp_path / "top"
    (top / "a/b").mkdir(parents=True)
    for place in (top, top / "a", top / "a/b"):
        (place / "to_tree").symlink_to(kept)
        (place / "to_file").symlink_to(kept / "file")
        (place / "to_nothing").symlink_to("nothing")
    remove_tree(str(top))
    assert (kept / "file").read_text() == "kept" and (kept / "inner").is_dir()
    assert [entry.name for entry in tmp_path.iterdir()] == ["kept"]


CLOSED = """
import os, sys
sys.path.insert(0, sys.argv[1])
from runner.record.removal import remove_tree
os.makedirs("top/a/b/c/d")
os.makedirs("top/e/f/g")
open("top/a/b/file", "w").close()
if os.geteuid() == 0:
    for directory, _, _ in os.walk("."):
        os.chown(directory, 65534, 65534)
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
for path in ("top/a/b/c/d", "top/a/b/c", "top/a/b", "top/a", "top/e/f/g", "top/e/f", "top/e", "top"):
    os.chmod(path, int(sys.argv[2], 8))
remove_tree("top")
print(os.listdir("."))
"""


@pytest.mark.parametrize("mode", ["000", "500", "300", "200"])
def test_modes_that_shut_out_the_owner_do_not_save_a_tree(tmp_path, mode):
    tmp_path.chmod(0o777)
    done = subprocess.run(
        [sys.executable, "-c", CLOSED, str(ROOT), mode], cwd=tmp_path, check=False, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_a_file_that_appears_during_the_removal_is_removed_too(tmp_path, monkeypatch):
    top, rmdir, times = tmp_path / "top", os.rmdir, iter(range(3))

    def adds_first(path, **fields):
        if path == str(top) and next(times, None) is not None:
            (top / "late").write_text("")
        rmdir(path, **fields)

    (top / "a").mkdir(parents=True)
    monkeypatch.setattr(os, "rmdir", adds_first)
    remove_tree(str(top))
    assert os.listdir(tmp_path) == []
    remove_tree(str(top))  # as if another process had removed it


def test_the_target_of_a_link_keeps_its_mode(tmp_path):
    kept = tmp_path / "kept"
    kept.mkdir(mode=0o755)
    (tmp_path / "link").symlink_to(kept)
    with pytest.raises(OSError, match=r"Not a directory|symbolic link"):
        remove_tree(str(tmp_path / "link"))
    assert kept.stat().st_mode & 0o777 == 0o755


def test_an_undeletable_tree_is_reported_with_the_systems_error(tmp_path):
    (tmp_path / "top/a").mkdir(parents=True)
    (tmp_path / "top/file").write_text("")
    with pytest.raises(NotADirectoryError):
        remove_tree(str(tmp_path / "top/file"))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")
def test_the_error_names_the_cause_and_not_what_follows_from_it(tmp_path):
    (tmp_path / "top/theirs/empty").mkdir(parents=True)
    for path, mode in ((tmp_path, 0o777), (tmp_path / "top", 0o777), (tmp_path / "top/theirs", 0o755)):
        path.chmod(mode)
    program = CLOSED[: CLOSED.index("os.makedirs")] + "os.setuid(65534)\ntry:\n    remove_tree('top')\n"
    program += "except PermissionError:\n    print('refused')\n"
    done = subprocess.run(
        [sys.executable, "-c", program, str(ROOT)], cwd=tmp_path, check=False, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("refused\n", "")


GROUP = 54321
SHARED = """
import os, sys
sys.path.insert(0, sys.argv[1])
from runner.record.files import discard
from runner.record.removal import remove_tree
os.setgroups([]); os.setgid(int(sys.argv[2])); os.setuid(65533)
discard("top")
print(os.listdir("."))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to make directories of another user")
def test_a_workspace_is_shared_by_a_group(tmp_path):
    """The mode of another user's directories cannot be changed, and need not be where `rm -r` works."""
    for path in ("top/a/b", "top/c"):
        (tmp_path / path).mkdir(parents=True)
    (tmp_path / "top/a/b/file").write_text("")
    (tmp_path / "top/closed").mkdir()
    for path in (tmp_path, *tmp_path.rglob("*")):
        os.chown(path, 65534, GROUP)
        path.chmod(0o2775 if path.is_dir() else 0o664)
    (tmp_path / "top/closed").chmod(0)
    words = [sys.executable, "-c", SHARED, str(ROOT), str(GROUP)]
    done = subprocess.run(words, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")
