import pytest

from runner.spec.placeholders import expand, list_inputs, references

GIVEN = {
    "inputs": {"one": ["/in/a"], "many": ["/in/a", "/in/b"]},
    "lists": {"many": "/tmp/many.list"},
    "outputs": {"o": "/out/.partial-012345.o"},
    "params": {"s": "a b", "n": 1.5, "t": True, "obj": {"b": [1, None], "a": "é"}},
    "python": "/usr/bin/python3",
}


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("{inputs.one}", ["/in/a"]),
        ("{inputs.many}", ["/in/a", "/in/b"]),
        ("--in={inputs.one}", ["--in=/in/a"]),
        ("@{list.many}", ["@/tmp/many.list"]),
        ("{outputs.o}", ["/out/.partial-012345.o"]),
        ("{params.s}", ["a b"]),
        ("{params.n},{params.t}", ["1.5,true"]),
        ("{params.obj}", ['{"a":"é","b":[1,null]}']),
        ("{python}", ["/usr/bin/python3"]),
        ("", [""]),
    ],
)
def test_fills_in(word, words):
    assert expand([word], **GIVEN) == words


@pytest.mark.parametrize(
    "word",
    ["{print $1}", "{}", "{{inputs.one}", "{input.one}", "{inputs}", "{inputs.1}", "{ python }", "{Python}", "{python"],
)
def test_every_other_brace_is_literal(word):
    assert expand([word], **GIVEN) == [word.replace("{inputs.one}", "/in/a")]


def test_filled_in_text_is_not_expanded_again():
    assert expand(["{params.p}"], **{**GIVEN, "params": {"p": "{python}"}}) == ["{python}"]


def test_returns_the_names_that_words_refer_to():
    assert references("{inputs.a}-{params.b}{python}{x}") == (("inputs", "a"), ("params", "b"))
    assert list_inputs(["{list.b}", "{inputs.c}", "{list.a}{list.b}"]) == ("b", "a")
