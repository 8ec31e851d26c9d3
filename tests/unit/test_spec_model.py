import json
import shutil
from pathlib import Path

import pytest

from runner.canonical import canonical
from runner.spec.load import load_spec
from runner.spec.model import effective_spec

DEMO = Path(__file__).parents[2] / "pipelines" / "demo.json"


@pytest.fixture
def rewrite(tmp_path):
    """Return a function that loads the demo as changed by a function on its JSON value."""
    shutil.copytree(DEMO.parents[1] / "stages", tmp_path / "stages")
    (tmp_path / "pipelines").mkdir()

    def load(change):
        value = json.loads(DEMO.read_text())
        change(value)
        path = tmp_path / "pipelines" / "demo.json"
        path.write_text(json.dumps(value))
        return load_spec(str(path))

    return load


def text_of(spec):
    """Return the effective spec as records hold it."""
    return canonical(effective_spec(spec)).decode()


def test_the_effective_spec_is_a_spec_with_the_same_meaning(rewrite):
    spec = load_spec(str(DEMO))

    def become_effective(value):
        value.clear()
        value.update(effective_spec(spec))

    again = rewrite(become_effective)
    assert again.stages == spec.stages
    assert effective_spec(again) == effective_spec(spec)
    assert text_of(again) == text_of(spec)


def test_the_canonical_text_does_not_depend_on_the_machine_or_on_key_order(rewrite):
    def turn_around(value):
        for key in list(value):
            value[key] = value.pop(key)

    def leave(value):
        pass

    expected = text_of(load_spec(str(DEMO)))
    assert text_of(rewrite(leave)) == expected
    assert text_of(rewrite(turn_around)) == expected


def test_the_canonical_text_keeps_how_numbers_are_written(rewrite):
    spellings = {text_of(rewrite(lambda value, n=n: value["stages"][1]["params"].update(n=n))) for n in (1, 1.0, "1")}
    assert len(spellings) == 3


def test_no_path_of_the_machine_is_in_the_canonical_text(rewrite, tmp_path):
    assert str(tmp_path) not in text_of(rewrite(lambda value: value))


def test_the_canonical_text_has_letters_of_any_language_as_they_are(rewrite):
    assert "\u00fc" in text_of(rewrite(lambda value: value.update(description="\u00fc")))


def test_the_effective_spec_leaves_out_fields_without_a_value(rewrite):
    spec = rewrite(lambda value: value["stages"][0].update({"x-none": None, "x-some": 0}))
    (stage, *_) = effective_spec(spec)["stages"]
    assert "x-none" not in stage and stage["x-some"] == 0
    assert not {"command", "description", "stdin"} & stage.keys()
