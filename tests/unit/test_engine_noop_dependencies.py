"""Which paths a plan depends on, grouped by how each must be checked."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from runner.engine.noop import groups


@pytest.fixture
def dependencies():
    return SimpleNamespace(files=set(), entries=set(), trees=set(), kinds=set())


def names(dependencies, top):
    return [{path.removeprefix(f"{top}/") for path in paths} for paths in groups(**vars(dependencies))]


def test_a_file_or_directory_that_is_not_there_is_absent(dependencies, tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "directory").mkdir()
    for name in ("file", "gone", "directory", "nowhere"):
        dependencies.files.add(str(tmp_path / name))
    assert names(dependencies, tmp_path) == [{"file", "directory"}, set(), set(), {"gone", "nowhere"}]


def test_a_tree_includes_everything_below_it_and_no_link_is_followed(dependencies, tmp_path):
    (tmp_path / "tree/below").mkdir(parents=True)
    (tmp_path / "tree/below/one").write_text("x")
    (tmp_path / "tree/link").symlink_to("below")
    dependencies.trees.add(str(tmp_path / "tree"))
    assert names(dependencies, tmp_path) == [{"tree", "tree/below"}, {"tree/below/one", "tree/link"}, set(), set()]


def test_an_entry_that_is_no_link_is_looked_at_once(dependencies, tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to("file")
    for name in ("file", "link"):
        dependencies.entries.add(str(tmp_path / name))
        dependencies.files.add(str(tmp_path / name))
    assert names(dependencies, tmp_path) == [{"link"}, {"file", "link"}, set(), set()]
