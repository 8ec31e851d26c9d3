"""The steps that make a view, and their order."""

from __future__ import annotations

import os

import pytest

from runner.sandbox.contents import Contents


@pytest.fixture
def root(tmp_path):
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


def steps_of(contents, *outputs):
    return [*contents.steps("/writable", outputs)]


def paths_of(steps):
    return [path for _, _, path in steps]


def test_a_directory_comes_before_what_is_shown_in_it(root):
    contents = Contents(str(root), str(root))
    contents.hide("/home/nobody-here", "/scratch")
    contents.show(f"{root.parent}/elsewhere")
    contents.ours |= {"b/c": ("read", "/b/c"), "b": ("read", "/b"), "a-b": ("read", "/a-b"), "a/b": ("read", "/a/b")}
    paths = paths_of(steps_of(contents))
    above = {path: [other for other in paths if path.startswith(f"{other}/")] for path in paths}
    assert all(paths.index(other) < paths.index(path) for path, others in above.items() for other in others)
    assert len(paths) == len(set(paths))


def test_what_is_in_a_directory_that_is_shown_whole_has_no_step_of_its_own(root):
    contents = Contents(str(root), str(root))
    contents.ours |= {"tree": ("read", "/tree"), "tree/leaf": ("read", "/tree/leaf"), "tree-2": ("read", "/tree-2")}
    assert steps_of(contents) == [
        ("write", "/writable", str(root)),
        ("read", "/tree", f"{root}/tree"),
        ("read", "/tree-2", f"{root}/tree-2"),
    ]


def test_what_would_be_seen_anyway_has_no_step(root):
    contents = Contents(str(root), str(root))
    contents.hide("/", "/scratch")
    before = steps_of(contents)
    contents.show("/etc/passwd")
    contents.show_program("/usr/bin/env")
    assert steps_of(contents) == before


def test_a_link_in_the_way_of_an_output_is_left_out(root):
    (root / "real").mkdir()
    (root / "link").symlink_to("real")
    (root / "real/module.py").touch()
    contents = Contents(str(root), str(root))
    contents.show(f"{root}/link/module.py")
    assert ("link", "real", f"{root}/link") in steps_of(contents)
    assert ("link", "real", f"{root}/link") not in steps_of(contents, "link/out.txt")


def test_links_are_shown_one_by_one_and_a_circle_ends(root):
    (root / "one").symlink_to("two")
    (root / "two").symlink_to(f"{root}/three")
    (root / "three").touch()
    (root / "circle").symlink_to("circle")
    contents = Contents(str(root), str(root))
    contents.show(f"{root}/one")
    contents.show(f"{root}/circle")
    links = {(source, os.path.basename(path)) for kind, source, path in steps_of(contents) if kind == "link"}
    assert links == {("two", "one"), (f"{root}/three", "two"), ("circle", "circle")}


@pytest.mark.parametrize(("workspace", "outer"), [("root/w", "root"), (".", "."), ("w", "w")])
def test_root_and_workspace_show_one_directory_the_outer_one_first(root, workspace, outer):
    place = (root.parent / workspace).resolve()
    place.mkdir(exist_ok=True)
    steps = steps_of(Contents(str(root), str(place)))
    (kind, source, first), (again, shown, second) = steps
    assert (kind, source, again, shown) == ("write", "/writable", "again", first)
    assert {first, second} == {str(root), str(place)}
    if workspace != "w":
        assert first == str((root.parent / outer).resolve())
