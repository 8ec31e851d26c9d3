import copy
import json
import pickle

import pytest

from runner.spec.kinds import (
    ANYTHING,
    BOOLEAN,
    DEEPEST,
    SCALAR,
    Field,
    Spelled,
    choice,
    list_of,
    map_of,
    number,
    one_of,
    record,
    text,
)

RECORD = record(on=Field(BOOLEAN, "whether", default=False), size=Field(number(0, 9), "how big", required=True))


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (number(0, 5), 3.0),
        (number(0, 5), 0),
        (number(1, 5, whole=True), 5),
        (BOOLEAN, False),
        (choice("a", "b"), "b"),
        (choice(1), 1),
        (text(), "x"),
        (text(empty=True), ""),
        (text("[a-z]+"), "abc"),
        (ANYTHING, {"a": [None]}),
    ],
)
def test_takes(kind, value):
    assert not kind.check(value)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (number(0, 5), True),
        (number(0, 5), "3"),
        (number(0, 5), 10**400),
        (number(0, 5, above=True), 0),
        (number(1, 5, whole=True), 3.0),
        (number(1, 5, whole=True), False),
        (BOOLEAN, 1),
        (BOOLEAN, "true"),
        (choice("a", "b"), "c"),
        (choice(1), True),
        (choice(1), 1.0),
        (text(), ""),
        (text(), None),
        (text("[a-z]+"), "abc\n"),
        (text(forbidden="[\\u0000-\\u001f]"), "a\tb"),
        (text(longest=3), "abcd"),
    ],
)
def test_refuses(kind, value):
    (finding,) = kind.check(value)
    assert finding.at == ()
    assert finding.what


def test_says_how_a_whole_number_is_written():
    assert number(1, 5, whole=True).check(3.0)[0].hint == "write 3"
    assert number(0, 31_622_400, above=True, unit=" seconds (a year)").check(-1)[0].hint == (
        "more than 0, at most 31,622,400 seconds (a year)"
    )


def test_depth_is_limited_without_recursion():
    value = []
    for _ in range(DEEPEST - 1):
        value = [value]
    assert not ANYTHING.check(value)
    for _ in range(100_000):
        value = [value]
    assert "levels deep" in ANYTHING.check(value)[0].what
    while value:  # taken apart by hand: an interpreter may recurse when it frees such a thing
        value = value.pop()


@pytest.mark.parametrize(("kind", "value", "what", "hint"), [
    (choice(1), 1.0, "must be 1, not 1.0", "write 1"),
    (choice(1), "1", 'must be 1, not "1"', "write 1"),
    (choice(1), True, "must be 1, not true", ""),
    (choice(*"abcdefghijklmnop"), "75", 'must be a known name, not "75"', ""),
])  # fmt: skip
def test_the_hint_of_a_choice_is_the_value_to_write(kind, value, what, hint):
    (finding,) = kind.check(value)
    assert (finding.what, finding.hint) == (what, hint)


def places(kind, value):
    return [finding.at for finding in kind.check(value)]


def test_finds_every_member_at_fault():
    assert places(list_of(number(0, 9)), [1, "x", 10]) == [(1,), (2,)]
    assert places(map_of(text("[a-z]+"), BOOLEAN), {"a": 1, "B": True, "c": True}) == [("a",), ("B",)]
    assert places(list_of(RECORD), [{"size": 1}, {"on": 1, "syze": 1}]) == [(1, "on"), (1, "syze"), (1,)]


def test_empty_lists_and_maps_may_be_refused():
    assert places(list_of(BOOLEAN, least=1), []) == [()]
    assert places(map_of(text(), BOOLEAN, least=1), {}) == [()]


def test_one_of_several_kinds_is_chosen_by_json_type():
    kind = one_of(number(0, 9), list_of(number(0, 9)))
    assert places(kind, [1, 10]) == [(1,)]
    assert places(kind, 10) == [()]
    assert "a number or an array" in kind.check("x")[0].what


def test_keys_of_the_users_own_may_hold_anything():
    assert not RECORD.check({"size": 1, "x-mine": [{}]})


def test_defaults_hold_only_fields_that_have_one():
    assert RECORD.defaults == {"on": False}
    assert RECORD.schema["required"] == ["size"]


@pytest.mark.parametrize(("kinds", "hint"), [
    ((number(1, 255), choice("A", "B")), "a number has no quotes"), ((BOOLEAN, choice("A", "B")), "known: A, B"),
])  # fmt: skip
def test_the_hint_for_a_number_in_quotes_is_to_drop_them(kinds, hint):
    (finding,) = one_of(*kinds).check("75")
    assert (finding.what, finding.hint) == ('must be one of "A", "B", not "75"', hint)


def test_fields_are_named_in_python_by_their_words():
    kind = record(**dict.fromkeys(("env", "everyLines", "memoryMiB", "maxDelaySeconds"), Field(BOOLEAN, "")))
    assert list(kind.names) == ["env", "every_lines", "memory_mib", "max_delay_seconds"]


def test_a_number_keeps_its_spelling_and_is_a_number():
    spelled = Spelled("12.50")
    assert str(spelled) == f"{spelled}" == "12.50" and spelled == 12.5 and json.dumps(spelled) == "12.5"
    assert pickle.loads(pickle.dumps(spelled)) == copy.deepcopy(spelled) == spelled
    assert str(copy.deepcopy(spelled)) == "12.50"
    assert not number(0, 100).check(spelled) and number(0, 100, whole=True).check(spelled)


def test_a_scalar_is_a_string_or_a_number():
    assert not any(SCALAR.check(value) for value in ("", 1, 1.5, Spelled("1e5")))
    assert all(SCALAR.check(value) for value in (True, None, [], {}))
