import json
import os
from pathlib import Path

import pytest

from runner.errors import EXIT_INVALID, SpecError
from runner.paths import StatePaths
from runner.spec.checks import check_names, glob_flaw
from runner.spec.graph import build_graph
from runner.spec.load import load_spec, ready_made_directory
from runner.spec.model import Spec, Stage

INVALID = Path(__file__).parents[2] / "pipelines" / "invalid"
SPECS = sorted(INVALID.glob("*.json"))


@pytest.fixture
def faults_of(tmp_path):
    """Return a function that loads a spec of one stage and returns its faults, by pointer."""

    def load(output="out/a", workspace=None, **stage):
        program = stage or {"command": ["true"]}
        spec = {"specVersion": 1, "name": "t", "stages": [{"name": "a", "outputs": {"o": output}, **program}]}
        path = tmp_path / "root" / "spec.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(spec))
        try:
            load_spec(str(path), workspace=workspace)
        except SpecError as error:
            return {fault.where.rpartition("#/stages/0")[2]: f"{fault.what} | {fault.hint}" for fault in error.faults}
        return {}

    return load


def test_refuses_an_output_through_a_link_that_leads_outside(faults_of, tmp_path):
    assert faults_of("out/a") == {}
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "root" / "out").symlink_to(tmp_path / "elsewhere")
    assert "outside the workspace" in faults_of("out/a")["/outputs/o"]
    assert "outside the workspace" in faults_of("out/deep/below/a")["/outputs/o"]


def test_refuses_an_output_through_a_link_inside_and_names_the_real_path(faults_of, tmp_path):
    (tmp_path / "root" / "real").mkdir(parents=True)
    (tmp_path / "root" / "out").symlink_to("real")
    assert 'it leads to: "real"' in faults_of("out/a")["/outputs/o"]


def test_a_workspace_may_itself_be_a_link(faults_of, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert faults_of("out/a", workspace=str(tmp_path / "link")) == {}


def test_refuses_an_existing_directory_without_a_slash(faults_of, tmp_path):
    (tmp_path / "root" / "out" / "d").mkdir(parents=True)
    assert '"out/d/"' in faults_of("out/d")["/outputs/o"]
    assert faults_of("out/d/") == {}


def test_refuses_a_directory_output_where_a_file_is(faults_of, tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "f").touch()
    assert "is not a directory" in faults_of("f/")["/outputs/o"]
    assert "is not a directory" in faults_of("f/x/y")["/outputs/o"]
    assert faults_of("f") == {}


def test_refuses_an_output_that_is_the_spec_by_another_name(faults_of, tmp_path):
    assert faults_of("other.json") == {}
    os.link(tmp_path / "root" / "spec.json", tmp_path / "root" / "other.json")
    assert "same file as the spec" in faults_of("other.json")["/outputs/o"]


def test_processors_have_to_be_there_and_executable(faults_of, tmp_path):
    (tmp_path / "root" / "bin").mkdir(parents=True)
    program = tmp_path / "root" / "bin" / "clean.sh"
    assert "no such file" in faults_of(processor="bin/clean.sh")["/processor"]
    program.write_text("#!/bin/sh\n")
    assert "is not executable | chmod +x bin/clean.sh" in faults_of(processor="bin/clean.sh")["/processor"]
    for written in ("offpipe:uper", "offpipe:upper.py", "offpipe:stage_uper.py"):
        assert 'did you mean "offpipe:stage_upper.py"?' in faults_of(processor=written)["/processor"]
    assert "known: offpipe:stage_copy.py, offpipe:stage_upper.py" in faults_of(processor="offpipe:xyzzy")["/processor"]
    assert 'a program on PATH is a "command"' in faults_of(processor="xyzzy")["/processor"]
    assert 'did you mean "clean.sh"? (in "bin")' in faults_of(processor="bin/clen.sh")["/processor"]
    assert "is a directory" in faults_of(processor="bin")["/processor"]
    program.chmod(0o755)
    assert faults_of(processor="bin/clean.sh") == {}


def test_a_python_processor_needs_no_mode(faults_of, tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "p.py").touch(0o644)
    assert faults_of(processor="p.py") == {}
    os.mkfifo(tmp_path / "root" / "q.py")
    assert "not a regular file" in faults_of(processor="q.py")["/processor"]


def test_ready_made_stages_are_found_by_name_only(faults_of):
    assert faults_of(processor="offpipe:stage_copy.py") == {}
    assert "stage_copy.py" in faults_of(processor="offpipe:stage_cpy.py")["/processor"]
    assert "not the name of a ready-made stage" in faults_of(processor="offpipe:../conftest.py")["/processor"]
    assert os.path.isfile(os.path.join(ready_made_directory(), "stage_copy.py"))


def test_a_stages_processor_cannot_be_its_output(faults_of):
    assert "is the processor" in faults_of("p.py", processor="p.py")["/outputs/o"]


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


def test_the_names_that_are_known_come_in_the_order_of_the_spec():
    names = ["e", "b", "h", "a", "g", "c", "f", "d"]  # in a set, their order would change from process to process
    stages = [Stage(index, name, {"o": name}) for index, name in enumerate(names)]
    stages.append(Stage(8, "last", {"o": "last"}, needs=("xyzzy",)))
    spec = Spec("", "", "", "", "", StatePaths("", ""), tuple(stages), "")
    (finding,) = (found for found in check_names(spec) if "needs" in found.at)
    assert finding.hint == "known: " + ", ".join(names)


def test_hidden_names_can_never_match_from_the_first_wildcard_on():
    assert glob_flaw("a/.b*")[0] == '".b*" can match nothing'
    assert glob_flaw("*/.git/x")[0] == '".git" can match nothing'
    assert glob_flaw("*/../x")[0] == '".." after a wildcard'
    assert glob_flaw(".cfg/a*") is glob_flaw("./*/./x") is glob_flaw(".hidden") is None


RESULTS = {"command": ["true"], "outputs": {"plot": "out/a.png", "tree": "out/d/"}}


@pytest.mark.parametrize("results", [["plot", "tree"], {"plot": {"title": "A"}, "tree": {"files": "*.png"}}, []])
def test_results_are_labels_of_outputs(results, faults_of):
    assert faults_of(**RESULTS, results=results) == {}


@pytest.mark.parametrize(("results", "at"), [(["tree", "plott"], "1"), ({"plott": {}}, "plott")])
def test_a_result_that_is_no_output_is_refused_with_the_nearest_label(results, at, faults_of):
    assert faults_of(**RESULTS, results=results) == {f"/results/{at}": 'no output named "plott" | did you mean "plot"?'}


def test_files_of_a_file_are_refused(faults_of):
    (fault,) = faults_of(**RESULTS, results={"plot": {"files": "*"}}).items()
    assert fault[0] == "/results/plot/files" and fault[1].startswith('"files" is for a directory, and output "plot"')


def test_says_nothing_of_results_if_the_outputs_are_refused(faults_of):
    assert list(faults_of(command=["true"], outputs={"plot": 3}, results=["plot"])) == ["/outputs/plot"]
