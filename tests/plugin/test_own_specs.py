"""The project's specs are among its tests, and its smaller inputs are inputs of its specs."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from runner.spec.graph import build_graph
from runner.spec.load import load_spec

pytestmark = pytest.mark.full

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["pytest"]["ini_options"]


def test_every_spec_is_among_the_tests_of_the_project():
    given = {path for pattern in SETTINGS["offpipe_specs"] for path in ROOT.glob(pattern)}
    assert given == set((ROOT / "pipelines").glob("*.json"))
    assert len(given) >= 2


def test_each_smaller_input_takes_the_place_of_an_input_of_a_spec(pytestconfig):
    inputs = set()
    for path in (ROOT / "pipelines").glob("*.json"):
        spec = load_spec(str(path))
        assert build_graph(spec).order
        inputs.update(name for stage in spec.stages for name in stage.inputs.values())
    top = ROOT / SETTINGS["offpipe_inputs"]
    assert {str(path.relative_to(top)) for path in top.rglob("*") if path.is_file()} <= inputs
    assert pytestconfig.getini("offpipe_inputs") == SETTINGS["offpipe_inputs"]
