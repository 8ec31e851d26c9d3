"""The directories of a sealed attempt: where they are, and what comes back from them."""

from __future__ import annotations

import itertools
import os
from types import SimpleNamespace

import pytest
from small_disks import small_disk

from runner.paths import StatePaths, is_view, partial_path
from runner.record.views import View, views_in

TAG = "0123ab"


@pytest.fixture
def paths(tmp_path):
    state = tmp_path / "state"
    state.mkdir()
    return StatePaths(str(state), str(tmp_path / "locks"))


@pytest.fixture
def made(tmp_path, paths):
    """Return a function that makes the directories for outputs, label -> path."""

    def make(outputs, seen_as=()):
        view = View(str(tmp_path), paths, "s", outputs, dict(seen_as), TAG)
        view.make()
        return view

    return make


def test_outputs_are_below_one_directory_that_is_called_like_no_partial_of_an_output(made, tmp_path):
    view = made({"a": "a.txt", "b": "out/b/"})
    assert view.root.startswith(f"{tmp_path}/.partial-{TAG}..partial-") and is_view(os.path.basename(view.root))
    assert view.outputs == {"a": f"{view.root}/a.txt", "b": f"{view.root}/out/b"}
    assert os.listdir(f"{view.root}/out") == [] and view.others == {}


def test_two_attempts_with_the_same_tag_have_directories_of_their_own(tmp_path, paths):
    views = [View(str(tmp_path), paths, stage, {"a": "a.txt"}, {}, TAG) for stage in ("s", "t")]
    for view in views:
        view.make()
    assert sorted(os.listdir(tmp_path)) == sorted(["state", *(os.path.basename(view.root) for view in views)])


def test_the_directories_of_other_pipelines_are_not_ours(made, tmp_path, paths):
    ours = made({"a": "a.txt"})
    others = StatePaths(f"{paths.state_dir}/nested", paths.locks_dir)
    theirs = View(str(tmp_path), others, "s", {"a": "b.txt"}, {}, TAG)
    theirs.make()
    assert views_in(str(tmp_path), paths) == [ours.root]
    assert views_in(str(tmp_path), others) == [theirs.root]


def test_outputs_come_back_as_partials_and_the_directories_go(made, tmp_path):
    view = made({"a": "out/a.txt", "b": "out/b/"}, {"a": "top_hits"})
    (tmp_path / "out").mkdir()
    for path in ("top_hits", "out/b/x", "stray"):
        os.makedirs(os.path.dirname(f"{view.root}/{path}"), exist_ok=True)
        with open(f"{view.root}/{path}", "w") as file:
            file.write(path)
    view.end()
    view.end()
    partials = [partial_path(f"{tmp_path}/out/{name}", TAG) for name in ("a.txt", "b")]
    assert sorted(os.listdir(tmp_path / "out")) == sorted(map(os.path.basename, partials))
    assert not os.path.exists(view.root) and os.listdir(partials[1]) == ["x"]


def test_begin_is_undone_by_end(made, tmp_path):
    view = made({"a": "a.txt"})
    partial = tmp_path / os.path.basename(partial_path("a.txt", TAG))
    partial.write_text("kept")
    view.begin()
    assert not partial.exists()
    with open(view.outputs["a"]) as file:
        assert file.read() == "kept"
    view.end()
    assert partial.read_text() == "kept"


@pytest.mark.parametrize("place", ["out", "out/deep"])
def test_nothing_comes_back_through_a_link(made, tmp_path, place):
    (tmp_path / "outside/deep").mkdir(parents=True)
    (tmp_path / "out/deep").mkdir(parents=True)
    for directory in ("outside", "outside/deep"):
        (tmp_path / directory / "a.txt").write_text("theirs")
    view = made({"a": "out/deep/a.txt"})
    os.rmdir(f"{view.root}/out/deep")
    if place == "out":
        os.rmdir(f"{view.root}/out")
    os.symlink(tmp_path / "outside", f"{view.root}/{place}")
    view.end()
    assert (tmp_path / "outside/a.txt").read_text() == (tmp_path / "outside/deep/a.txt").read_text() == "theirs"
    assert os.listdir(tmp_path / "out/deep") == [] and not os.path.exists(view.root)


OUTPUTS = {"a": "mnt/a", "b": "b", "c": "mnt/deep/c", "d": "out/d"}


@pytest.mark.parametrize("labels", ["ab", "ac", "ad", "abcd"])
def test_the_order_of_outputs_does_not_matter(tmp_path, paths, labels):
    bench = SimpleNamespace(root=tmp_path, close=lambda: None)
    with small_disk(bench, "size=1m"):
        found = []
        for order in itertools.permutations(labels):
            view = View(str(tmp_path), paths, "s", {label: OUTPUTS[label] for label in order}, {}, TAG)
            found.append((view.root, view.outputs, view.others))
        assert all(each == found[0] for each in found)


def test_progress_is_where_the_view_has_the_state_directory_on_another_disk(tmp_path):
    bench = SimpleNamespace(root=tmp_path, close=lambda: None)
    with small_disk(bench, "size=1m"):
        paths = StatePaths(f"{tmp_path}/mnt/deep/state", f"{tmp_path}/locks")
        view = View(str(tmp_path), paths, "s", {"a": "mnt/a", "b": "out/b"}, {}, TAG)
        assert view.progress == f"{view.others['mnt']}/deep/state/progress_s.json"
