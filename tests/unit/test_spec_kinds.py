import pytest

from runner.spec.kinds import (
    DEEPEST,
    Anything,
    Boolean,
    Choice,
    Field,
    ListOf,
    MapOf,
    Number,
    OneOf,
    Record,
    Text,
)

RECORD = Record(
    {"on": Field(Boolean(), "whether", default=False), "size": Field(Number(0, 9), "how big", required=True)}
)


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


@pytest.mark.parametrize(("kind", "value", "what", "hint"), [
    (Choice(1), 1.0, "must be 1, not a number (1.0)", "write 1"),
    (Choice(1), "1", 'must be 1, not a string ("1")', "write 1"),
    (Choice(1), True, "must be 1, not true", ""),
    (Choice(*"abcdefghijklmnop"), "75", 'must be a known name, not "75"', ""),
])  # fmt: skip
def test_a_choice_says_what_to_write(kind, value, what, hint):
    (finding,) = kind.check(value)
    assert (finding.what, finding.hint) == (what, hint)


def places(kind, value):
    return [finding.at for finding in kind.check(value)]


def test_finds_every_member_at_fault():
    assert places(ListOf(Number(0, 9)), [1, "x", 10]) == [(1,), (2,)]
    assert places(MapOf(Text("[a-z]+"), Boolean()), {"a": 1, "B": True, "c": True}) == [("a",), ("B",)]
    assert places(ListOf(RECORD), [{"size": 1}, {"on": 1, "syze": 1}]) == [(1, "on"), (1, "syze"), (1,)]


def test_empty_ones_may_be_refused():
    assert places(ListOf(Boolean(), least=1), []) == [()]
    assert places(MapOf(Text(), Boolean(), least=1), {}) == [()]


def test_one_of_several_is_told_by_its_json_type():
    kind = OneOf(Number(0, 9), ListOf(Number(0, 9)))
    assert places(kind, [1, 10]) == [(1,)]
    assert places(kind, 10) == [()]
    assert "a number or an array" in kind.check("x")[0].what


def test_keys_of_the_users_own_may_hold_anything():
    assert not RECORD.check({"size": 1, "x-mine": [{}]})


def test_only_what_has_a_default_is_among_the_defaults():
    assert RECORD.defaults == {"on": False}
    assert RECORD.schema["required"] == ["size"]


@pytest.mark.parametrize(("kinds", "hint"), [
    ((Number(1, 255), Choice("A", "B")), "a number has no quotes"), ((Boolean(), Choice("A", "B")), "known: A, B"),
])  # fmt: skip
def test_where_a_number_may_stand_one_in_quotes_is_told(kinds, hint):
    (finding,) = OneOf(*kinds).check("75")
    assert (finding.what, finding.hint) == ('must be one of "A", "B", not "75"', hint)


def test_fields_are_named_in_python_by_their_words():
    record = Record(dict.fromkeys(("env", "everyLines", "memoryMiB", "maxDelaySeconds"), Field(Boolean(), "")))
    assert list(record.names) == ["env", "every_lines", "memory_mib", "max_delay_seconds"]
