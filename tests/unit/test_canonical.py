"""One value has one spelling, and different values have different ones."""

import json
import os

import pytest

from runner.canonical import canonical, digest, parsed, spelled


def test_keys_are_sorted_and_nothing_is_spaced():
    assert canonical({"b": [1, None], "a": {"d": True, "c": "ü"}}) == '{"a":{"c":"ü","d":true},"b":[1,null]}'.encode()


@pytest.mark.parametrize("value", [{}, {"b": [1, None], "a": {"d": 0.5}, '\u00fc"': "x", "B": 1}])
def test_an_object_is_spelled_the_same_by_its_parts(value):
    assert spelled({name: canonical(part) for name, part in value.items()}) == canonical(value)


def test_the_order_of_keys_is_no_difference():
    assert digest({"a": 1, "b": {"c": 2, "d": 3}}) == digest({"b": {"d": 3, "c": 2}, "a": 1})


def test_numbers_texts_and_truths_are_kept_apart():
    values = [1, 1.0, "1", True, None, "None", [1], {"1": 1}, 0, -0.0, 0.0, False, ""]
    assert len({canonical(value) for value in values}) == len(values)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [float("-inf")]])
def test_what_json_has_no_word_for_is_refused(value):
    with pytest.raises(ValueError, match="JSON"):
        canonical(value)


@pytest.mark.parametrize("text", [os.fsdecode(b"caf\xe9"), "\u2028", "\x00\x1f\x7f", "\U0001f600", "\\udce9", '"'])
def test_any_name_has_a_spelling_that_reads_back(text):
    spelled = canonical({text: text})
    assert json.loads(spelled) == {text: text}
    assert canonical(json.loads(spelled)) == spelled


def test_an_escape_written_out_is_not_the_character():
    assert canonical("\udce9") != canonical("\\udce9")


@pytest.mark.parametrize("number", [2**53 + 1, -(10**30), 1e22, 5e-324, 0.1, 1e16])
def test_numbers_survive_being_written_and_read(number):
    assert canonical(json.loads(canonical(number))) == canonical(number)


@pytest.mark.parametrize("value", [None, 1.5, -0.0, 10**30, "\udcff", {"b": [1, {}], "a": "\u2028"}])
def test_what_is_spelled_is_parsed_again(value):
    assert parsed(canonical(value)) == value


@pytest.mark.parametrize("content", [b"NaN", b"[Infinity]", b"-Infinity", b"1e400", b"", b"{", b"\xff", b"1" * 5000])
def test_what_has_no_spelling_is_not_parsed(content):
    with pytest.raises(ValueError):
        parsed(content)
