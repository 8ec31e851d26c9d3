import json
import os

import pytest

from runner.errors import SpecError, UsageError
from runner.spec.load import load_spec


@pytest.fixture
def load(tmp_path):
    def write_and_load(*stages, directory="", workspace=None, params=None, **top):
        path = tmp_path / directory / "spec.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"specVersion": 1, "name": "test", "stages": stages, **top}))
        return load_spec(str(path), workspace=workspace, params=params or {})

    return write_and_load


def stage(name="a", **fields):
    return {"name": name, "command": ["true"], "outputs": {"o": f"out/{name}"}, **fields}


def faults_of(load, *stages, **top):
    with pytest.raises(SpecError) as caught:
        load(*stages, **top)
    return {fault.where.partition("#")[2]: fault for fault in caught.value.faults}


def test_paths_are_relative_to_root_wherever_the_shell_is(load, tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    spec = load(stage(), directory="pipelines", root="..")
    assert spec.root == spec.workspace == str(tmp_path)
    assert spec.path == spec.shown == f"{tmp_path}/pipelines/spec.json"
    assert spec.output_path("out/d/") == f"{tmp_path}/out/d"
    assert spec.source_path("../x") == f"{tmp_path.parent}/x"


def test_a_relative_path_of_the_spec_is_shown_as_given(load, tmp_path, monkeypatch):
    load(stage())
    monkeypatch.chdir(tmp_path)
    spec = load_spec("spec.json")
    assert (spec.path, spec.shown) == (f"{tmp_path}/spec.json", "spec.json")


def test_a_run_writes_below_the_workspace_and_reads_below_root(load, tmp_path):
    spec = load(stage(), workspace=f"{tmp_path}/elsewhere")
    assert spec.output_path("out/a") == f"{tmp_path}/elsewhere/out/a"
    assert spec.source_path("in") == f"{tmp_path}/in"
    assert spec.paths.state_dir == f"{tmp_path}/elsewhere/state"


@pytest.mark.parametrize(
    ("given", "state", "locks"),
    [
        ({}, "state", "locks"),
        ({"stateDir": "s/x/"}, "s/x", "s/x/locks"),
        ({"locksDir": "l"}, "state", "l"),
        ({"stateDir": "s", "locksDir": "l"}, "s", "l"),
    ],
)
def test_locks_go_with_a_state_directory_of_ones_own(load, tmp_path, given, state, locks):
    paths = load(stage(), **given).paths
    assert (paths.state_dir, paths.locks_dir) == (f"{tmp_path}/{state}", f"{tmp_path}/{locks}")


def test_reports_every_fault_at_once_with_those_on_disk(load, tmp_path):
    (tmp_path / "data").mkdir()
    faults = faults_of(
        load,
        stage(colour=1),
        stage("b", needs=["aa"], outputs={"o": "/b"}),
        stage("c", outputs={"o": "data"}),
        processorIdentity="size",
    )
    assert list(faults) == [
        "/processorIdentity",
        "/stages/0/colour",
        "/stages/1/outputs/o",
        "/stages/1/needs/0",
        "/stages/2/outputs/o",
    ]
    assert faults["/stages/1/needs/0"].hint == 'did you mean "a"?'


def test_faults_come_in_the_order_of_the_tables_and_unknown_fields_last(load):
    wrong = {"aa": 1, "env": 5, "retry": 5, "inputs": 5, "stdout": 5, "offline": 5}
    assert [*faults_of(load, stage(**wrong), name=5, offline=5, aa=1, vars=5)] == [
        "/name", "/offline", "/vars",
        "/stages/0/inputs", "/stages/0/stdout", "/stages/0/offline", "/stages/0/retry", "/stages/0/env", "/stages/0/aa",
        "/aa",
    ]  # fmt: skip


def test_a_field_with_a_fault_causes_no_further_faults(load):
    words = ["{inputs.x}", "{outputs.y}", "{params.z}"]
    broken = {
        "name": "a",
        "command": words,
        "stdin": "x",
        "stdout": "y",
        "inputs": {"x": 1},
        "outputs": 2,
        "params": [],
    }
    faults = faults_of(load, broken, stage("b", processor=3, command=4))
    assert set(faults) == {
        "/stages/0/inputs/x",
        "/stages/0/outputs",
        "/stages/0/params",
        "/stages/1/processor",
        "/stages/1/command",
    }


@pytest.mark.parametrize("value", [[], 1, None, "x"])
def test_refuses_a_spec_that_is_no_object(tmp_path, value):
    path = tmp_path / "spec.json"
    path.write_text(json.dumps(value))
    with pytest.raises(SpecError) as caught:
        load_spec(str(path))
    assert caught.value.faults[0].what.startswith("must be an object")


def test_the_hint_names_the_nearest_known_field(load):
    faults = faults_of(load, stage(retry={"max_delay_seconds": 1}, time_out_seconds=3, xyzzy=1))
    assert faults["/stages/0/retry/max_delay_seconds"].hint == 'did you mean "maxDelaySeconds"?'
    assert faults["/stages/0/time_out_seconds"].hint == 'did you mean "timeoutSeconds"?'
    assert "x-" in faults["/stages/0/xyzzy"].hint


def test_overrides_replace_and_add_params(load):
    spec = load(stage(command=["x", "{params.new}"], params={"k": 1, "kept": 2}), params={"a": {"k": 3, "new": [4]}})
    assert spec.stages[0].params == {"k": 3, "kept": 2, "new": [4]}


def test_an_override_of_an_unknown_stage_is_a_usage_error(load):
    with pytest.raises(UsageError) as caught:
        load(stage("upper"), params={"uper": {}})
    assert caught.value.faults[0].hint == 'did you mean "upper"?'


def test_missing_inputs_are_not_looked_for(load):
    assert load(stage(inputs={"x": "nowhere/*.txt", "y": "nowhere"})).stages[0].inputs["y"] == "nowhere"


def test_loading_writes_nothing(load, tmp_path):
    load(stage())
    assert os.listdir(tmp_path) == ["spec.json"]


def test_a_path_that_no_file_can_have_is_a_fault_wherever_it_stands(tmp_path):
    path = tmp_path / "spec.json"
    for text in ('"processor": "\\ud800"', '"command": ["\\ud800"]', '"command": ["x"], "inputs": ["\\udfff.txt"]'):
        path.write_text(
            '{"specVersion": 1, "name": "t", "stages": [{"name": "a", "outputs": {"o": "o"}, ' + text + "}]}"
        )
        with pytest.raises(SpecError) as caught:
            load_spec(str(path))
        assert str(caught.value).isascii()
