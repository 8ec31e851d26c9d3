"""Every spec in pipelines/invalid is refused for exactly the pointers that it names itself."""

import json
from pathlib import Path

import pytest

from runner.errors import EXIT_INVALID, SpecError
from runner.spec.graph import build_graph
from runner.spec.load import load_spec

INVALID = Path(__file__).parents[2] / "pipelines" / "invalid"
SPECS = sorted(INVALID.glob("*.json"))


def test_there_are_invalid_specs():
    assert len(SPECS) > 40


@pytest.mark.parametrize("path", SPECS, ids=[path.stem for path in SPECS])
def test_is_refused_for_each_pointer_it_names(path):
    with pytest.raises(SpecError) as caught:
        build_graph(load_spec(str(path)))
    expected = [f"{path}{pointer}" for pointer in json.loads(path.read_text())["x-refused"]]
    assert sorted(fault.where for fault in caught.value.faults) == sorted(expected), str(caught.value)
    assert caught.value.exit_code == EXIT_INVALID
    assert all(fault.what for fault in caught.value.faults)
