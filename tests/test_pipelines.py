"""The specs that a newcomer reads first: the demo is short, and every-field.json shows every field."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runner.spec.fields import DEFAULTS, OFFLINE, RESOURCES, RETRY, SPEC, STAGE

ROOT = Path(__file__).resolve().parents[1]
KEPT = {"retry", "params", "checkpoint"}  # the demo shows these whole


def load(name):
    return json.loads((ROOT / "pipelines" / name).read_text("utf-8"))


def test_the_demo_repeats_no_default():
    demo = load("demo.json")
    tables = [(SPEC, demo), *((STAGE, stage) for stage in demo["stages"])]
    repeated = [
        name
        for table, value in tables
        for name in value.keys() - KEPT
        if not table.fields[name].required and value[name] == table.fields[name].default
    ]
    assert repeated == []


@pytest.mark.parametrize(
    ("table", "values"),
    [
        (SPEC, lambda spec: [spec]),
        (OFFLINE, lambda spec: [spec["offline"]]),
        (DEFAULTS, lambda spec: [spec["defaults"]]),
        (STAGE, lambda spec: spec["stages"]),
        (RETRY, lambda spec: [stage["retry"] for stage in spec["stages"] if "retry" in stage]),
        (RESOURCES, lambda spec: [stage["resources"] for stage in spec["stages"] if "resources" in stage]),
    ],
    ids=["spec", "offline", "defaults", "stage", "retry", "resources"],
)
def test_another_spec_shows_every_field(table, values):
    shown = {name for value in values(load("every-field.json")) for name in value}
    assert set(table.fields) - {"$schema"} == shown - {"$schema"}
