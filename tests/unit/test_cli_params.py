"""--param STAGE.KEY=JSON."""

from __future__ import annotations

import json

import pytest

from runner.cli.params import read_params, read_value, split_name
from runner.errors import UsageError


def test_the_longest_stage_name_that_fits_counts() -> None:
    stages = {"a", "a.b", "c.d"}
    assert split_name("a.b.k", stages) == ("a.b", "k")
    assert split_name("a.x.k", stages) == ("a", "x.k")
    assert split_name("c.d.k.l", stages) == ("c.d", "k.l")
    assert split_name("z.k", stages) == ("z", "k")


@pytest.mark.parametrize(("text", "value"), [("true", True), ('"x=y"', "x=y"), ("[1, 2.5]", [1, 2.5]), ("null", None)])
def test_values_are_json(text, value) -> None:
    assert read_value("s.k", text) == value


@pytest.mark.parametrize("text", ["fast", "", "NaN", '{"a": 1, "a": 2}', "1 2", "'x'", "[" * 100_000])
def test_values_are_read_as_strictly_as_a_spec(text) -> None:
    with pytest.raises(UsageError) as caught:
        read_value("s.k", text)
    assert caught.value.faults[0].where == "--param s.k"


def test_text_without_quotes_is_answered_with_the_quotes() -> None:
    with pytest.raises(UsageError) as caught:
        read_value("s.k", "fast")
    assert caught.value.faults[0].hint.endswith("""--param 's.k="fast"'""")


@pytest.fixture
def spec(tmp_path):
    path = tmp_path / "p.json"
    stages = [{"name": name, "command": ["true"], "outputs": {"o": f"o/{name}"}} for name in ("clean", "clean.up")]
    path.write_text(json.dumps({"specVersion": 1, "name": "p", "stages": stages}))
    return str(path)


def test_several_overrides_gather_by_stage(spec) -> None:
    texts = ["clean.up.mode=1", "clean.mode=2", "clean.other=3"]
    assert read_params(texts, spec, None) == {"clean.up": {"mode": 1}, "clean": {"mode": 2, "other": 3}}


def test_an_unknown_stage_is_answered_with_the_nearest(spec) -> None:
    with pytest.raises(UsageError) as caught:
        read_params(["clen.mode=1"], spec, None)
    assert (caught.value.faults[0].what, caught.value.faults[0].hint) == (
        'no stage named "clen"',
        'did you mean "clean"?',
    )


def test_the_names_that_are_known_come_in_the_order_of_the_spec(tmp_path) -> None:
    names = ["e", "b", "h", "a", "g", "c", "f", "d"]  # in a set, their order would change from process to process
    stages = [{"name": name, "command": ["true"], "outputs": {"o": f"o/{name}"}} for name in names]
    (tmp_path / "p.json").write_text(json.dumps({"specVersion": 1, "name": "p", "stages": stages}))
    with pytest.raises(UsageError) as caught:
        read_params(["xyzzy.mode=1"], str(tmp_path / "p.json"), None)
    assert caught.value.faults[0].hint == "known: " + ", ".join(names)


@pytest.mark.parametrize("text", ["clean", "clean=1", "clean.mode", ".mode=1", "clean.=1", ""])
def test_what_is_not_written_so_is_refused(text, spec) -> None:
    with pytest.raises(UsageError):
        read_params([text], spec, None)
