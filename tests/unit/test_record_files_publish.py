"""A published output is the new one or, if publishing fails, still the old one; it is never missing."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from runner.errors import StateError
from runner.paths import aside_path, is_partial
from runner.record.files import publish

MOUNTS = os.geteuid() == 0 and shutil.which("mount") is not None and shutil.which("umount") is not None


@pytest.fixture
def immovable():
    """Make a path a mount point, which the kernel refuses to rename (EBUSY)."""
    if not MOUNTS:
        pytest.skip("needs root, to make a mount point that cannot be renamed")
    mounted = []

    def mount(path):
        done = subprocess.run(["mount", "--bind", path, path], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"cannot mount: {done.stderr.strip()}")
        mounted.append(path)

    yield mount
    for path in mounted:
        subprocess.run(["umount", "-l", path], check=True)


def write(path, content):
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)


@pytest.mark.parametrize("new", ["file", "tree"])
@pytest.mark.parametrize("old", ["file", "tree", "empty", "none"])
def test_a_file_or_tree_takes_the_place_of_whatever_is_there(tmp_path, new, old):
    partial, real = tmp_path / ".partial-00000a.x", tmp_path / "x"
    write(partial / "a" if new == "tree" else partial, "new")
    if old == "empty":
        real.mkdir()
    elif old != "none":
        write(real / "b" if old == "tree" else real, "old")
    publish(str(partial), str(real))
    assert os.listdir(tmp_path) == ["x"]
    assert (os.listdir(real) == ["a"]) if new == "tree" else (real.read_text() == "new")


@pytest.mark.parametrize("tree", [True, False], ids=["tree over file", "file over file"])
def test_the_old_output_stays_when_the_new_one_cannot_be_put_in_its_place(tmp_path, immovable, tree):
    partial, real = tmp_path / ".partial-00000a.x", tmp_path / "x"
    write(real, "old")
    write(partial / "a" if tree else partial, "new")
    immovable(str(partial))
    with pytest.raises(StateError, match=r"/x: cannot publish: EBUSY"):
        publish(str(partial), str(real))
    assert real.read_text() == "old"
    assert sorted(os.listdir(tmp_path)) == [partial.name, "x"]


def test_what_is_moved_aside_has_the_name_of_a_partial_of_the_same_output_and_another_attempt():
    aside = aside_path("/out/.partial-00000a.x.tar")
    assert aside == "/out/.partial-fffff5.x.tar"
    assert is_partial(os.path.basename(aside))
