import pytest

from runner.spec.globs import bare, from_root, is_below, normal


@pytest.mark.parametrize(
    ("written", "spelled"),
    [
        ("a/b.txt", "a/b.txt"),
        ("./a//b", "a/b"),
        ("a/../b/", "b/"),
        ("a/.", "a/"),
        ("a/..", "./"),
        (".", "./"),
        ("..", "../"),
        ("../a", "../a"),
        ("/a//b", "/a/b"),
        ("//a", "/a"),
        (".a/.b", ".a/.b"),
        ("a/...", "a/..."),
        ("/", "/"),
    ],
)
def test_every_path_has_one_normal_form(written, spelled):
    assert normal(written) == spelled
    assert normal(spelled) == spelled


def test_absolute_paths_become_relative_to_root():
    assert from_root("/r/a", "/r") == "a"
    assert from_root("/r/d/", "/r") == "d/"
    assert from_root("/x/y", "/r/s") == "../../x/y"
    assert from_root("../s/a", "/r/s") == "a"
    assert from_root("..", "/r/s") == "../"


@pytest.mark.parametrize("path", ["../a", "/a", "./", "../"])
def test_paths_that_are_not_strictly_below(path):
    assert not is_below(path)


def test_bare_paths_end_in_no_slash():
    assert (bare("a/"), bare("a")) == ("a", "a")
    assert is_below("..a")
