import sys

import pytest

from runner.spec.placeholders import expand, list_inputs, references, relative_path

GIVEN = {
    "inputs": {"one": ["/in/a"], "many": ["/in/a", "/in/b"]},
    "list": {"many": "/tmp/many.list"},
    "outputs": {"o": "/out/.partial-012345.o"},
    "params": {"s": "a b", "n": 1.5, "t": True, "obj": {"b": [1, None], "a": "é"}},
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
        ("{python}", [sys.executable]),
        ("", [""]),
    ],
)
def test_fills_in(word, words):
    assert expand([word], GIVEN) == words


@pytest.mark.parametrize(
    "word",
    ["{print $1}", "{}", "{{inputs.one}", "{input.one}", "{inputs}", "{inputs.1}", "{ python }", "{Python}", "{python"],
)
def test_every_other_brace_is_literal(word):
    assert expand([word], GIVEN) == [word.replace("{inputs.one}", "/in/a")]


def test_filled_in_text_is_not_expanded_again():
    assert expand(["{params.p}"], {"params": {"p": "{python}"}}) == ["{python}"]


def test_returns_the_names_that_words_refer_to():
    assert references("{inputs.a}-{params.b}{python}{x}") == (("inputs", "a"), ("params", "b"))
    assert list_inputs(["{list.b}", "{inputs.c}", "{list.a}{list.b}"]) == ("b", "a")


@pytest.mark.parametrize(
    ("path", "root", "given"),
    [
        ("/work/in/a b.txt", "/work", "in/a b.txt"),
        ("/work/tree/", "/work", "tree/"),
        ("/work-2/a", "/work", "/work-2/a"),
        ("/etc/a:b", "/work", "/etc/a:b"),
        ("/a", "/", "a"),
        ("/work/-n.txt", "/work", "./-n.txt"),
        ("/work/-n/a", "/work", "./-n/a"),
        ("/work/@a", "/work", "./@a"),
        ("/work/a=b.txt", "/work", "./a=b.txt"),
        ("/work/in/a=b.txt", "/work", "in/a=b.txt"),
        ("/work/a:b.tar", "/work", "./a:b.tar"),
    ],
)
def test_a_path_below_root_is_relative_and_no_option(path, root, given):
    assert relative_path(path, root) == given
