"""Where a sealed stage sees its inputs and outputs, and which places cannot be."""

import json

import pytest

from runner.errors import SpecError
from runner.spec.load import load_spec


@pytest.fixture
def load(tmp_path):
    """Return a function that loads a spec with a sealed stage that sees its files at other places."""

    def load(seen_as, of=(), **stage):
        stage = {"sealed": True, "inputs": {"in": "in/a", "dir": "in/d/"}, "outputs": {"out": "out/a"}, **stage}
        if "processor" not in stage:
            stage["command"] = ["true"]
        path = tmp_path / "spec.json"
        stages = [{"name": "s", "seenAs": seen_as, **stage}, *of]
        path.write_text(json.dumps({"specVersion": 1, "name": "t", "stages": stages}))
        return load_spec(str(path)).stages

    return load


@pytest.fixture
def faults_of(load):
    """Return a function that does so, and returns the faults, by pointer below `seenAs`."""

    def faults(seen_as, *of, **stage):
        try:
            load(seen_as, of, **stage)
        except SpecError as error:
            return {fault.where.rpartition("seenAs")[2]: f"{fault.what} | {fault.hint}" for fault in error.faults}
        return {}

    return faults


def test_paths_are_normal_and_may_hold_values(load):
    each = {"each": {"n": [1, 2]}, "outputs": {"out": "out/{each.n}"}}
    stages = load({"in": "./x//{each.n}", "dir": "d/."}, **each)
    assert [stage.seen_as for stage in stages] == [{"in": "x/1", "dir": "d/"}, {"in": "x/2", "dir": "d/"}]
