import sys

import pytest

from runner.errors import Fault, UsageError
from runner.spec.kinds import Spelled
from runner.spec.placeholders import expand
from runner.spec.values import Inserter, Var, chosen_vars, references, spelled


def filled(stage, each=None, **variables):
    inserter = Inserter(variables)
    return inserter.fill(("stages", 0), stage, each or {}), inserter


def words_of(stage):
    return expand(stage["command"], {"inputs": {"x": ["x.txt"]}})


@pytest.mark.parametrize(
    ("value", "text"),
    [("a", "a"), (2, "2"), (True, "true"), (False, "false"), (2.5, "2.5"), (Spelled("1e5"), "1e5"), ("True", "True")],
)
def test_a_value_is_spelled_as_in_the_json(value, text):
    assert spelled(value) == text


def test_names_the_placeholders_at_any_depth():
    value = {"a": ["{each.x}{vars.y}", {"b": "{inputs.x} {vars.y"}], "c": 3}
    assert (references(value, "each"), references(value, "vars")) == (["x"], ["y"])


def test_a_stage_without_placeholders_is_left_alone():
    stage = {"command": ["{inputs.x}", "{vars}"], "name": "{vars.x}", "needs": ["{vars.x}"]}
    assert filled(stage)[0] == stage


def test_the_wildcards_of_a_value_match_themselves_in_an_input_and_stay_in_an_output():
    made, _ = filled({"inputs": {"x": "{vars.v}/*"}, "outputs": ["{vars.v}"], "processor": "{vars.v}"}, v="a*[b]?")
    assert made == {"inputs": {"x": "a[*][[]b][?]/*"}, "outputs": ["a*[b]?"], "processor": "a*[b]?"}


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("{vars.v}", "{inputs.x}"), ("{inputs.{vars.v}}", "x"), ("{{vars.v}}", "python"), ("a{vars.v}.x}", "{inputs"),
        ("{vars.v}{inputs.x}", "{"), ("{vars.v}{python}{vars.v}", "{python}"),
    ],
)  # fmt: skip
def test_no_value_becomes_part_of_a_placeholder(word, value):
    made, _ = filled({"command": [word]}, v=value)
    (expanded,) = words_of(made)
    plain = (
        word.replace("{vars.v}", "\1")
        .replace("{inputs.x}", "x.txt")
        .replace("{python}", sys.executable)
        .replace("\1", value)
    )
    assert expanded == plain


def test_braces_that_make_no_placeholder_stay_as_they_are():
    made, _ = filled({"command": ["awk", "{vars.v} {inputs.x}"]}, v="{print}")
    assert made["command"] == ["awk", "{print} {inputs.x}"]


def test_a_param_that_is_one_placeholder_keeps_its_type():
    made, _ = filled({"params": {"a": "{each.n}", "b": ["{each.n}", " {each.n}"]}}, {"n": 3})
    assert made["params"] == {"a": 3, "b": [3, " 3"]}


@pytest.mark.parametrize(
    ("stage", "at"),
    [
        ({"inputs": {"x": ["a", "{vars.v}"]}}, ("inputs", "x", 1)), ({"outputs": {"o": "{vars.v}"}}, ("outputs", "o")),
        ({"command": ["{vars.v}"]}, ("command", 0)), ({"env": {"A": "{vars.v}"}}, ("env", "A")),
    ],
)  # fmt: skip
def test_a_value_that_no_path_or_word_may_hold_is_a_fault_at_its_place(stage, at):
    _, inserter = filled(stage, v="\0")
    assert [(finding.at, finding.what) for finding in inserter.findings] == [
        (("stages", 0, *at), '"\\u0000" holds a control character')
    ]


def test_unknown_values_are_stars_and_no_fault():
    inserter = Inserter({})
    made = inserter.fill((), {"outputs": {"o": "out/{each.x}.txt"}}, None)
    assert made == {"outputs": {"o": "out/*.txt"}} and not inserter.findings


DECLARED = {"text": "a", "number": 1, "flag": True}


def test_given_vars_have_the_types_of_the_declared_vars():
    typed = {"text": "01", "number": "2.50", "flag": "false"}
    given = {name: Var(name, text, is_typed=True) for name, text in typed.items()}
    assert chosen_vars(DECLARED, given) == {"text": "01", "number": 2.5, "flag": False}
    from_file = {"text": "1", "number": 2.0, "flag": False}
    assert chosen_vars(DECLARED, {name: Var(name, value) for name, value in from_file.items()}) == from_file


@pytest.mark.parametrize(
    ("name", "value", "is_typed", "what", "hint"),
    [
        ("number", "true", True, "must be a number, not true", "the spec has 1"),
        ("number", '"1"', True, 'must be a number, not "1"', "the spec has 1"),
        ("number", "NaN", True, "must be a number, not something else", "the spec has 1"),
        ("flag", "1", True, "must be true or false, not 1", "the spec has true"),
        ("flag", "null", True, "must be true or false, not null", "the spec has true"),
        ("flag", "True", True, 'must be true or false, not "True"', "the spec has true"),
        ("number", "1", False, 'must be a number, not "1"', "the spec has 1"),
        ("number", [1], False, "must be a number, not an array", "the spec has 1"),
        ("text", 1, False, "must be a string, not 1", 'write "1"'),
        ("text", {}, False, "must be a string, not an object", "the spec has a"),
        ("flag", None, False, "must be true or false, not null", "the spec has true"),
        ("txt", 1, False, "the spec declares no such var", 'did you mean "text"?'),
    ],
)
def test_a_var_of_another_type_or_name_is_refused(name, value, is_typed, what, hint):
    with pytest.raises(UsageError) as caught:
        chosen_vars(DECLARED, {name: Var("file#/x", value, is_typed)})
    assert caught.value.faults == (Fault("file#/x", what, hint),)


@pytest.mark.parametrize("text", ["{each.}", "{each.1 a}", "{vars.a b}"])
def test_a_placeholder_with_an_odd_name_is_a_fault(text):
    _, inserter = filled({"command": [text]}, {"s": 1})
    assert [finding.at for finding in inserter.findings] == [("stages", 0, "command", 0)]


def test_values_stand_in_the_prose_of_a_stage_as_they_are_spelled():
    results = {"plot": {"title": "PCA of {each.sample}", "caption": "{vars.count} genes", "group": "{vars.none}"}}
    stage = {"results": results, "description": "Of {each.sample}"}
    made, inserter = filled(stage, {"sample": "a*"}, count=1.50)
    assert made["results"]["plot"]["title"] == "PCA of a*" and made["description"] == "Of a*"
    assert made["results"]["plot"]["caption"] == "1.5 genes"
    assert [finding.at for finding in inserter.findings] == [("stages", 0, "results", "plot", "group")]
