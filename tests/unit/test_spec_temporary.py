"""Which outputs may be temporary, and which of them no stage reads."""

import json

import pytest

from runner.errors import SpecError
from runner.spec.load import load_spec
from runner.spec.temporary import unread


@pytest.fixture
def load(tmp_path):
    """Return a function that loads a spec of stages."""

    def load(*stages, **fields):
        path = tmp_path / "spec.json"
        stages = [{"command": ["true"], **stage} for stage in stages]
        path.write_text(json.dumps({"specVersion": 1, "name": "t", "stages": stages, **fields}))
        return load_spec(str(path))

    return load


@pytest.fixture
def faults_of(load):
    """Return a function that loads a spec of stages, and returns its faults, by pointer."""

    def faults(*stages, **fields):
        try:
            load(*stages, **fields)
        except SpecError as error:
            return {fault.where.rpartition("#/stages/")[2]: f"{fault.what} | {fault.hint}" for fault in error.faults}
        return {}

    return faults


def maker(path="w/a", *labels, **fields):
    return {"name": "make", "outputs": {"out": path, "other": "w/other"}, "temporary": labels or ["out"], **fields}


def reader(*paths, **fields):
    return {"name": "read", "inputs": {"in": [*paths]}, "outputs": {"o": "out/o"}, **fields}


def test_takes_files_directories_and_globs_of_them(faults_of):
    assert faults_of(maker(), reader("w/a", "w/*", "**/a")) == {}
    assert faults_of(maker("w/d/"), reader("w/d/", "w/*/")) == {}


def test_refuses_labels_that_no_output_has(faults_of):
    assert faults_of(maker("w/a", "outt", "out", "x")) == {
        "0/temporary/0": 'no output named "outt" | did you mean "out"?',
        "0/temporary/2": 'no output named "x" | known: out, other',
    }


@pytest.mark.parametrize("empty", [{"each": {"n": "*.x"}, "mayBeEmpty": True}, {"if": "{vars.off}"}])
def test_refuses_such_labels_also_in_a_stage_without_instances(empty, faults_of):
    each = "{each.n}" if "each" in empty else ""
    fields = {**empty, "outputs": {"out": f"w/a{each}", "other": f"w/other{each}"}}
    assert faults_of(maker("w/a", "outt", "out", **fields), reader("w/", optional=["in"]), vars={"off": 0}) == {
        "0/temporary/0": 'no output named "outt" | did you mean "out"?',
    }


def test_says_nothing_of_labels_if_the_outputs_are_refused(faults_of):
    assert list(faults_of({"name": "make", "outputs": {"out": 3}, "temporary": ["out"]})) == ["0/outputs/out"]


@pytest.mark.parametrize("directory", ["w/", "./", "*/", "w*/"])
def test_refuses_one_in_a_directory_that_a_stage_reads_as_a_whole(directory, faults_of):
    faults = faults_of(maker(), reader(directory))
    assert f'"{directory}" holds "w/a", which is temporary | write that output elsewhere' in faults.values() or (
        directory == "./"
    )


@pytest.mark.parametrize("path", ["w/d/x", "w/d/*", "w/**"])
def test_refuses_an_input_inside_a_temporary_directory(path, faults_of):
    faults = faults_of(maker("w/d/"), reader(path))
    assert faults == {
        "1/inputs/in/0": f'"{path}" lies in "w/d/", which is temporary | read the whole directory: "w/d/"'
    }


def test_refuses_one_that_gives_values_to_an_each(faults_of):
    faults = faults_of(maker("w/a.x"), reader("in", each={"s": "w/*.x"}, outputs={"o": "out/{each.s}"}))
    assert faults["0/temporary/0"].startswith('"w/a.x" gives values to stage "read" | what an each reads must stay')


def test_warns_of_one_that_no_stage_reads_once_for_all_instances(load):
    each = {"each": {"n": [1, 2]}, "outputs": {"out": "w/{each.n}", "other": "w/o{each.n}"}}
    spec = load(maker("w/a", "out", "other", **each), reader("w/1"))
    (fault,) = unread(spec, spec.stages)
    assert fault.where.endswith("#/stages/0/temporary/1")
    assert fault.what == 'no stage reads "w/o1", so it is removed as soon as it is made'
    off = reader("w/o{each.n}", each={"n": "*.x"}, mayBeEmpty=True, outputs={"o": "out/{each.n}"})
    spec = load(maker("w/a", "out", "other", **each), reader("w/1", name="other"), off)
    assert [*unread(spec, spec.stages)] == []  # a stage that has no instances today


@pytest.mark.parametrize("each", [{}, {"each": {"n": [1, 2]}, "outputs": {"out": "w/{each.n}", "other": "o/{each.n}"}}])
def test_warns_of_none_that_a_stage_refers_to_which_has_no_instances_today(each, load):
    nothing = {"each": {"n": [1]}, "where": {"n": "2"}, "mayBeEmpty": True, "outputs": {"o": "out/{each.n}"}}
    spec = load(maker(**each), reader("{outputs.make.out}", **nothing))
    assert [*unread(spec, spec.stages)] == []
