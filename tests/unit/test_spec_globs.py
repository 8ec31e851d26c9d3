import pytest

from runner.spec.globs import (
    compile_glob,
    is_glob,
    literal_directory,
    literal_prefix,
    may_match_below,
)


@pytest.mark.parametrize("path", ["*", "a/*.txt", "a?", "a[bc]", "a[!b]", "a[]]", "**/x"])
def test_wildcards_make_a_glob(path):
    assert is_glob(path)


@pytest.mark.parametrize("path", ["a", "a/b.txt", "a[", "a]b", "a[]", "[!]", "[/]", "a[b/c]"])
def test_an_unclosed_bracket_is_an_ordinary_character(path):
    assert not is_glob(path)


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("a/*.txt", "a/b.txt"),
        ("a/**/x", "a/x"),
        ("a/**/x", "a/b/c/x"),
        ("a/**", "a/b/c"),
        ("**/*.py", "x.py"),
        ("a[!b]", "ac"),
        ("a[0-9]", "a7"),
        ("a[]]", "a]"),
        ("a[b", "a[b"),
        ("a.*", "a.b"),
        ("?.txt", "é.txt"),
        (".cfg/*", ".cfg/a"),
        ("a*", "a\nb"),
        ("[[]*", "[x"),
        ("[\\]", "\\"),
        ("*a*b*", "xaxbx"),
        ("*a*a", "aa"),
        ("a***b", "ab"),
    ],
)
def test_matches(pattern, path):
    assert compile_glob(pattern).match(path)


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("a/*", "a/b/c"),
        ("a/?", "a//"),
        ("a[!b]c", "a/c"),
        ("a[+-9]c", "a/c"),
        ("*", ".hidden"),
        ("?hidden", ".hidden"),
        ("[.]hidden", ".hidden"),
        ("**", ".git/config"),
        ("**/config", ".git/config"),
        ("a/**", "a/.b"),
        ("a.txt*", "aXtxt"),
        ("a*", "ba"),
        ("*a", "ab"),
        ("a*a", "a"),
        ("[z-a]", "b"),
    ],
)
def test_does_not_match(pattern, path):
    assert not compile_glob(pattern).match(path)


@pytest.mark.parametrize(
    ("pattern", "directory", "above"),
    [
        ("work/*/x.txt", "work/a/", True),
        ("work/*/x.txt", "work/", True),
        ("work/*/x.txt", "work/a/b/", False),
        ("work/*", "work/a/", False),
        ("work/**", "work/a/b/", True),
        ("**", "a/", True),
        ("a/**/b/*.x", "a/q/b/c/", True),
        ("work/*.x", "w/", False),
        ("*/x", ".hidden/", False),
    ],
)
def test_knows_directories_below_which_files_may_match(pattern, directory, above):
    assert may_match_below(pattern, directory.rstrip("/")) is above


def test_many_stars_do_not_backtrack_for_ever():
    assert not compile_glob("*a" * 40 + "b").match("a" * 250)


def test_literal_parts_end_before_the_first_wildcard():
    assert literal_prefix("a/b/c*.txt") == "a/b/c"
    assert literal_directory("a/b/c*.txt") == "a/b"
    assert literal_directory("*.txt") == ""
    assert literal_prefix("a[/b") == "a[/b"
