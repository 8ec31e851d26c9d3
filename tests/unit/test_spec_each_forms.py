import pytest

from runner.spec.each.forms import Pattern, Row, row_of


@pytest.mark.parametrize(
    ("pattern", "path", "value"),
    [
        (("in/", ".txt"), "in/a.txt", "a"),
        (("in/", ".txt"), "in/.a.txt", None),
        (("in/x", ".txt"), "in/x.a.txt", ".a"),
        (("in/x", ".txt"), "in/x.txt", ""),
        (("in/x.", ".txt"), "in/x.txt", None),
        (("in/", ".txt"), "in/a/b.txt", None),
        (("in/", "/b.txt"), "in/a/b.txt", "a"),
        (("", ""), "a", "a"),
    ],
)
def test_a_value_is_the_text_that_the_star_matches(pattern, path, value):
    assert Pattern(*pattern).value(path) == value


@pytest.mark.parametrize(("pattern", "glob"), [(("in/", ".txt"), "in/*.txt"), (("a[b]?/", "*"), "a[[]b][?]/*[*]")])
def test_only_the_star_of_a_pattern_is_a_wildcard(pattern, glob):
    assert Pattern(*pattern).glob == glob


def test_a_row_of_two_is_named_after_both_and_errors_are_about_the_table():
    unit, contig = row_of({"s": "a b", "l": 1}, ["s"], (0,), "t.csv:2"), row_of({"c": "x,y"}, ["c"], (1,))
    assert unit.joined(contig) == Row({"s": "a b", "l": 1, "c": "x,y"}, "a%20b,x%2Cy", (0,), "t.csv:2")
    assert contig.joined(unit)[1:] == ("x%2Cy,a%20b", (0,), "t.csv:2")
    assert row_of({}, [], ()).joined(unit) is unit
