import pytest

from runner.spec.kinds import DEEPEST, Anything, Boolean, Choice, Finding, Number, Text


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Number(0, 5), 3.0),
        (Number(0, 5), 0),
        (Number(1, 5, whole=True), 5),
        (Boolean(), False),
        (Choice("a", "b"), "b"),
        (Choice(1), 1),
        (Text(), "x"),
        (Text(empty=True), ""),
        (Text("[a-z]+"), "abc"),
        (Anything(), {"a": [None]}),
    ],
)
def test_takes(kind, value):
    assert not kind.check(value)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Number(0, 5), True),
        (Number(0, 5), "3"),
        (Number(0, 5), 10**400),
        (Number(0, 5, above=True), 0),
        (Number(1, 5, whole=True), 3.0),
        (Number(1, 5, whole=True), False),
        (Boolean(), 1),
        (Boolean(), "true"),
        (Choice("a", "b"), "c"),
        (Choice(1), True),
        (Choice(1), 1.0),
        (Text(), ""),
        (Text(), None),
        (Text("[a-z]+"), "abc\n"),
        (Text(forbidden="[\\u0000-\\u001f]"), "a\tb"),
        (Text(longest=3), "abcd"),
    ],
)
def test_refuses(kind, value):
    (finding,) = kind.check(value)
    assert finding.at == ()
    assert finding.what


def test_says_how_a_whole_number_is_written():
    assert Number(1, 5, whole=True).check(3.0)[0].hint == "write 3"
    assert Number(0, 31_622_400, above=True, unit=" seconds (a year)").check(-1)[0].hint == (
        "more than 0, at most 31,622,400 seconds (a year)"
    )


def test_depth_is_limited_without_recursion():
    value = []
    for _ in range(DEEPEST - 1):
        value = [value]
    assert not Anything().check(value)
    for _ in range(100_000):
        value = [value]
    assert "levels deep" in Anything().check(value)[0].what
    while value:  # taken apart by hand: an interpreter may recurse when it frees such a thing
        value = value.pop()


def test_findings_grow_towards_the_top():
    assert Finding((1,), "x").below("a").at == ("a", 1)


@pytest.mark.parametrize(("kind", "value", "what", "hint"), [
    (Choice(1), 1.0, "must be 1, not a number (1.0)", "write 1"),
    (Choice(1), "1", 'must be 1, not a string ("1")', "write 1"),
    (Choice(1), True, "must be 1, not true", ""),
    (Choice(*"abcdefghijklmnop"), "75", 'must be a known name, not "75"', ""),
])  # fmt: skip
def test_a_choice_says_what_to_write(kind, value, what, hint):
    (finding,) = kind.check(value)
    assert (finding.what, finding.hint) == (what, hint)
