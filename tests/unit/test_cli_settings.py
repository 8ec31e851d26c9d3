"""`--param STAGE.KEY=JSON`: which stage and key a name means, and which values are refused."""

from __future__ import annotations

import json

import pytest

from runner.cli.settings import read_params
from runner.engine import Options
from runner.errors import UsageError
from runner.spec.load import load_spec

NAMES = ("a", "a.b", "clean", "clean.up")


@pytest.fixture
def spec(tmp_path):
    path = tmp_path / "p.json"
    stages = [{"name": name, "processor": "offpipe:stage_copy.py", "outputs": {"o": f"o/{name}"}} for name in NAMES]
    path.write_text(json.dumps({"specVersion": 1, "name": "p", "stages": stages}))
    return str(path)


@pytest.mark.parametrize(
    ("name", "stage", "key"),
    [("a.b.k", "a.b", "k"), ("a.x.k", "a", "x.k"), ("a.b", "a", "b"), ("a.b.k.l", "a.b", "k.l")],
)
def test_the_longest_stage_name_that_fits_counts(name, stage, key, spec) -> None:
    assert read_params([f"{name}=1"], spec, Options()) == {stage: {key: 1}}


@pytest.mark.parametrize(("text", "value"), [("true", True), ('"x=y"', "x=y"), ("[1, 2.5]", [1, 2.5]), ("null", None)])
def test_values_are_json(text, value, spec) -> None:
    assert read_params([f"a.k={text}"], spec, Options()) == {"a": {"k": value}}


@pytest.mark.parametrize("text", ["fast", "", "NaN", '{"a": 1, "a": 2}', "1 2", "'x'", "[" * 100_000])
def test_values_are_read_as_strictly_as_a_spec(text, spec) -> None:
    with pytest.raises(UsageError) as caught:
        read_params([f"a.k={text}"], spec, Options())
    assert caught.value.faults[0].where == "--param a.k"


def test_the_hint_for_text_without_quotes_has_the_quotes(spec) -> None:
    with pytest.raises(UsageError) as caught:
        read_params(["a.k=fast"], spec, Options())
    assert caught.value.faults[0].hint.endswith("""--param 'a.k="fast"'""")


def test_several_overrides_gather_by_stage(spec) -> None:
    texts = ["clean.up.mode=1", "clean.mode=2", "clean.other=3"]
    assert read_params(texts, spec, Options()) == {"clean.up": {"mode": 1}, "clean": {"mode": 2, "other": 3}}


def test_the_hint_for_an_unknown_stage_is_the_most_similar_name(spec) -> None:
    with pytest.raises(UsageError) as caught:
        load_spec(spec, params=read_params(["clen.mode=1"], spec, Options()))
    assert (caught.value.faults[0].what, caught.value.faults[0].hint) == (
        'no stage named "clen"',
        'did you mean "clean"?',
    )


def test_known_stages_are_listed_in_the_order_of_the_spec(tmp_path) -> None:
    names = ["e", "b", "h", "a", "g", "c", "f", "d"]  # in a set, their order would change from process to process
    stages = [{"name": name, "command": ["true"], "outputs": {"o": f"o/{name}"}} for name in names]
    (tmp_path / "p.json").write_text(json.dumps({"specVersion": 1, "name": "p", "stages": stages}))
    with pytest.raises(UsageError) as caught:
        load_spec(str(tmp_path / "p.json"), params={"xyzzy": {"mode": 1}})
    assert caught.value.faults[0].hint == "known: " + ", ".join(names)


@pytest.mark.parametrize("text", ["clean", "clean=1", "clean.mode", ".mode=1", "clean.=1", ""])
def test_refuses_params_of_another_form(text, spec) -> None:
    with pytest.raises(UsageError, match=r"is not STAGE\.KEY=JSON"):
        read_params([text], spec, Options())
