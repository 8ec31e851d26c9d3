import pytest

from runner.spec.each.conditions import Where, is_off
from runner.spec.kinds import Spelled
from runner.spec.values import Inserter

AT = ("stages", 0, "where")


def where(given, **variables):
    return Where(Inserter(variables), AT, given)


@pytest.mark.parametrize(
    ("condition", "value", "keeps"),
    [
        ("1", 1, True), (1, "1", True), (1, Spelled("1.0"), False), (Spelled("1.0"), "1.0", True), (True, "true", True),
        (["a", 2], "2", True), (["a", 2], "3", False), ([], "a", False), ({"not": []}, "a", True),
        ({"not": ["a", 2]}, 2, False), ({"not": "a"}, "A", True), ("{vars.v}", 7, True),
        ({"not": "{vars.v}"}, 7, False), (["x{vars.v}"], "x7", True), ("", "", True), ("", " ", False),
    ],
)  # fmt: skip
def test_a_value_is_compared_as_it_is_spelled(condition, value, keeps):
    assert where({"n": condition}, v=7).keeps({"n": value, "other": 1}) is keeps


def test_all_conditions_must_hold_and_a_name_without_a_value_has_none():
    both = where({"a": 1, "b": {"not": 2}})
    assert both.keeps({"a": 1, "b": 3}) and both.keeps({"a": 1}) and both.keeps({})
    assert not both.keeps({"a": 1, "b": 2}) and not both.keeps({"a": 2, "b": 3})


def test_notes_unknown_names_and_texts_that_no_value_has():
    conditions = where({"sample": {"not": ["s1", "s9"]}, "lane": 1, "smple": "x"})
    for sample in ("s1", "s2"):
        conditions.keeps({"sample": sample, "lane": 2})
    assert [(finding.at, finding.hint) for finding in conditions.unknown(["sample", "lane"])] == [
        ((*AT, "smple"), 'did you mean "sample"?')
    ]
    assert [(finding.at, finding.what) for finding in conditions.unmet()] == [
        ((*AT, "sample"), 'no sample is "s9"'), ((*AT, "lane"), 'no lane is "1"')
    ]  # fmt: skip
    full = where({"mate": ["", "none"]})
    full.keeps({"mate": "x"})
    assert [finding.what for finding in full.unmet()] == ['no mate is "none"'], "all cells may be filled"
    assert not [*conditions.unknown(None)] and not [*where({"a": 1}).unmet()], "nothing is known of them"


@pytest.mark.parametrize("count", [10, 1000])
def test_a_text_that_no_value_has_gets_a_hint_unless_it_takes_long_to_find(count):
    conditions = where({"sample": [f"s{number}x" for number in range(count)]})
    for number in range(count):
        conditions.keeps({"sample": f"s{number}"})
    hints = [finding.hint for finding in conditions.unmet()]
    assert len(hints) == count and all("did you mean" in hint if count == 10 else not hint for hint in hints)


@pytest.mark.parametrize(
    ("value", "off"), [(True, False), (False, True), (1, False), (0, True), (Spelled("0.0"), True), ("", True),
                       ("false", False), ("0", False), ([], True), (["a"], False)]
)  # fmt: skip
def test_a_stage_is_off_while_its_var_is_false_zero_or_empty(value, off):
    inserter = Inserter({"v": value})
    assert is_off(inserter, (), {"if": "{vars.v}"}) is off
    assert is_off(inserter, (), {"if": {"not": "{vars.v}"}}) is not off
    assert not is_off(inserter, (), {}) and inserter.used == {"v"}
