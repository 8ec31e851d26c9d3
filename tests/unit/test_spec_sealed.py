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


def test_is_for_sealed_stages(faults_of):
    assert faults_of({"in": "x"}, sealed=False) == {"": 'the stage is not sealed | add "sealed": true'}
    assert faults_of({}, sealed=False) == {}


def test_labels_are_those_of_one_input_or_output(faults_of):
    assert faults_of({"inn": "x", "out": "y"}) == {
        "/inn": 'no input or output named "inn" | did you mean "in"?',
    }
    assert faults_of({"in": "x"}, outputs={"in": "out/a"})["/in"].startswith('"in" is an input and an output')


@pytest.mark.parametrize("each", [{"n": "*.x"}, {"rows": "{outputs.table.o}", "columns": ["n"]}])
def test_labels_are_refused_also_in_a_stage_without_known_instances(each, faults_of):
    table = {"name": "table", "command": ["true"], "outputs": {"o": "table.csv"}}
    fields = {"each": each, "mayBeEmpty": True, "outputs": {"out": "out/{each.n}"}}
    assert list(faults_of({"in": "x", "outt": "out"}, table, **fields)) == ["/outt"]
    assert faults_of({"in": "out", "out": "{each.n}"}, table, **fields) == {}


@pytest.mark.parametrize("path", ["/x/", "../x/", "x/../..", "./", ".partial-0123ab.x/", f"{'n' * 236}/"])
def test_paths_are_below_root_and_have_names_that_an_output_may_have(path, faults_of):
    assert list(faults_of({"dir": path})) == ["/dir"]


def test_a_path_is_of_the_kind_of_what_it_stands_for(faults_of):
    assert faults_of({"in": "x/", "dir": "y", "out": "z/"}) == {
        "/in": '"in/a" is a file | write "x"',
        "/dir": '"in/d/" is a directory | write "y/"',
        "/out": '"out/a" is a file | write "z"',
    }


def test_a_list_stands_for_one_path(faults_of):
    assert list(faults_of({"in": "x"}, inputs={"in": ["a", "b"]})) == ["/in"]
    assert faults_of({"in": "x"}, inputs={"in": ["a", "./a"]}) == faults_of({"in": "x"}, inputs={"in": ["*"]}) == {}


OVERLAPS = {
    "in/d/x": 'input "dir"', "in/d": 'input "dir"', "out/a": 'output "out"', "out/a/x": 'output "out"',
    "out": 'output "out"', "g/1.txt": 'input "glob"', "g": 'input "glob"', "any": None, "g/1.c": None,
    "bin/run.sh": "the processor", "bin": "the processor", "state/x": "the state directory",
    "locks": "the locks directory", ".offpipe/x": "offpipe's own directory",
    "in/a": None, "in/a/x": None,
}  # fmt: skip


@pytest.mark.parametrize("path", OVERLAPS)
def test_a_path_overlaps_with_no_other_path_of_the_stage(path, faults_of, tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/run.sh").touch(0o755)
    inputs = {"in": "in/a", "dir": "in/d/", "glob": "g/*.txt", "deep": "**/*.csv"}
    faults = faults_of({"in": path}, processor="bin/run.sh", inputs=inputs)
    other = OVERLAPS[path]
    assert [text.partition(" | ")[0] for text in faults.values()] == (
        [f'"{path}" overlaps with {other}'] if other else []
    )


def test_two_labels_have_places_apart(faults_of):
    assert list(faults_of({"in": "x", "dir": "d/", "out": "x"})) == ["/out"]
    assert list(faults_of({"dir": "d/", "in": "d/x"})) == list(faults_of({"dir": "d/x/", "in": "d"})) == ["/in"]
    assert faults_of({"dir": "d/", "in": "dx"}) == {}


def test_one_instance_is_enough_for_a_fault_which_names_it(faults_of):
    each = {"each": {"n": ["x", "in/d"]}, "outputs": {"out": "o/{each.n}"}}
    assert faults_of({"in": "{each.n}"}, **each)["/in"].startswith('s@in%2Fd: "in/d" overlaps with input "dir"')


def test_the_places_of_other_stages_are_free(faults_of):
    other = {"name": "other", "command": ["true"], "inputs": {"x": "x"}, "outputs": {"o": "top_hits"}}
    assert faults_of({"in": "x", "out": "top_hits"}, other) == {}
