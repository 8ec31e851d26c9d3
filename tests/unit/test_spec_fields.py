import json
from pathlib import Path

import jsonschema
import pytest

from runner.spec.fields import EACH, VARS, schema_text
from runner.spec.kinds import pointer
from runner.spec.load import load_spec

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads(schema_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
# The field table is enough to refuse these. The other invalid specs need names, paths or the disk.
BY_SCHEMA = {
    "bad-names", "control-characters", "empty-command", "env", "long-name", "missing-fields", "newer-version",
    "no-stages", "no-outputs", "not-numbers", "processor-and-command", "out-of-range",
    "seen-as", "snake-case", "unknown-key", "wrong-types", "all-at-once",
}  # fmt: skip


def test_is_a_schema_of_draft_2020_12():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_the_committed_schema_is_the_generated_one():
    committed = ROOT / "docs" / "spec-v1.schema.json"
    assert committed.read_text() == schema_text(), "run: python -m runner schema > docs/spec-v1.schema.json"


@pytest.mark.parametrize("path", sorted((ROOT / "pipelines").glob("*.json")), ids=lambda path: path.stem)
def test_accepts_valid_specs(path):
    assert load_spec(str(path)).stages
    VALIDATOR.validate(json.loads(path.read_text()))


@pytest.mark.parametrize("path", sorted((ROOT / "pipelines" / "invalid").glob("*.json")), ids=lambda path: path.stem)
def test_refuses_exactly_the_specs_that_the_field_table_refuses(path):
    assert VALIDATOR.is_valid(json.loads(path.read_text())) is (path.stem not in BY_SCHEMA)


def test_every_field_has_a_meaning_and_is_in_the_reference():
    reference = (ROOT / "docs" / "spec.md").read_text()
    pending = [SCHEMA]
    while pending:
        for name, field in pending.pop().get("properties", {}).items():
            assert field["description"]
            assert f"`{name}`" in reference, name
            pending += [field, field.get("items", {})]


EACHES = [
    ("a", ()), ("a/b", ("",)), (1, ("",)), ({}, ("",)),
    ({"s": "in/*"}, ()), ({"s": [1, "a", 2.5], "t": "*"}, ()), ({"s": []}, ("/s",)), ({"s": [True]}, ("/s/0",)),
    ({"s": 1}, ("/s",)), ({"a b": [1]}, ("/a b",)), ({"s": [1], "x": None}, ("/x",)),
    ({"rows": "t.csv"}, ()), ({"rows": "t.csv", "key": "a"}, ()), ({"rows": "t.json", "key": ["a", "b"]}, ()),
    ({"rows": 1}, ("/rows",)), ({"key": "a"}, ("",)), ({"rows": "t.csv", "key": []}, ("/key",)),
    ({"rows": "t.csv", "s": [1]}, ("/s",)), ({"rows": "t.csv", "key": [1]}, ("/key/0",)),
]  # fmt: skip


@pytest.mark.parametrize(("each", "faults"), EACHES, ids=str)
def test_table_and_schema_agree_about_the_forms_of_each(each, faults):
    assert tuple(pointer("", at).removeprefix("#") for at, _, _ in EACH.check(each)) == faults
    stage = {"name": "a", "command": ["x"], "outputs": ["o"], "each": each}
    assert VALIDATOR.is_valid({"specVersion": 1, "name": "p", "stages": [stage]}) is (not faults)


@pytest.mark.parametrize(
    ("values", "faults"),
    [
        ({}, ()),
        ({"a": "", "b-c": 1.5, "d": False}, ()),
        ({"a": None}, ("/a",)),
        ({"a": [1, "x", 2.5], "b": []}, ()),
        ({"a": [True], "b": [[1]]}, ("/a/0", "/b/0")),
        ({"1": 1}, ("/1",)),
    ],
)
def test_table_and_schema_agree_about_vars(values, faults):
    assert tuple(pointer("", at).removeprefix("#") for at, _, _ in VARS.check(values)) == faults
    stage = {"name": "a", "command": ["x"], "outputs": ["o"]}
    assert VALIDATOR.is_valid({"specVersion": 1, "name": "p", "vars": values, "stages": [stage]}) is (not faults)
