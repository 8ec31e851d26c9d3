import pytest

from runner.spec.kinds import Boolean, Choice, Number, Text
from runner.spec.shapes import Field, ListOf, MapOf, OneOf, Record

RECORD = Record(
    {"on": Field(Boolean(), "whether", default=False), "size": Field(Number(0, 9), "how big", required=True)}
)


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
    assert RECORD.schema()["required"] == ["size"]


@pytest.mark.parametrize(("kinds", "hint"), [
    ((Number(1, 255), Choice("A", "B")), "a number has no quotes"), ((Boolean(), Choice("A", "B")), "known: A, B"),
])  # fmt: skip
def test_where_a_number_may_stand_one_in_quotes_is_told(kinds, hint):
    (finding,) = OneOf(*kinds).check("75")
    assert (finding.what, finding.hint) == ('must be one of "A", "B", not "75"', hint)
