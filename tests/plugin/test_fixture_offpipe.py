"""`offpipe`: stages alone, whole pipelines, and the program itself, each in a copy of what the spec declares."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixture_project import make_project
from spec_project import LEFT_OUT

if TYPE_CHECKING:
    import pytest

STAGES = r"""
    from pathlib import Path
    import pickle
    import pytest
    from runner.errors import UsageError, InputError, SpecError

    SPEC = "specs/small.json"

    def test_runs_one_stage_alone(offpipe):
        report = offpipe.stage(SPEC, "clean", inputs={"text": b"Ab\nC\n"})
        assert (report.status, report.exit_code, len(report.attempts)) == ("succeeded", 0, 1)
        assert report.outputs["text"] == b"ab\nc\n"
        assert report.outputs["text"].lines == [b"ab", b"c"] and "mode lower attempt 1" in report.log
        assert len(report.key) == 64 and Path(report.workspace, "work").is_dir()
        assert not Path(report.workspace, "data/parts").exists() and not Path("work").exists()

    def test_params_come_on_top_of_the_specs(offpipe):
        report = offpipe.stage(SPEC, "clean", inputs={"text": "aü\n"}, params={"mode": "upper"})
        assert report.outputs["text"].text == "Aü\n"

    def test_an_input_of_the_source_is_taken_where_none_is_given(offpipe, pytestconfig):
        assert len(offpipe.stage(SPEC, "clean").outputs["text"].lines) == 100

    def test_an_input_that_another_stage_makes_is_to_be_given(offpipe):
        with pytest.raises(UsageError) as refused:
            offpipe.stage(SPEC, "sort")
        assert str(refused.value) == (
            "error: specs/small.json#/stages/1/inputs/text: work/clean.txt is made by clean, which a stage alone does "
            'not have\nhint: give it: inputs={"text": b"..."}'
        )
        assert offpipe.stage(SPEC, "sort", inputs={"text": b"b\na\n"}).outputs["text"] == b"a\nb\n"

    @pytest.mark.parametrize("given, expected", [
        (b"one\n", b"one\n"), ("two\n", b"two\n"), ({"x.csv": b"3\n", "y.csv": "4\n"}, b"3\n4\n"),
        (Path("data/parts/b.csv"), b"B\n"), (Path("data/parts"), b"A\nB\n"), (Path("data/in.txt"), None),
    ])
    def test_a_glob_takes_content_names_files_and_directories(offpipe, given, expected):
        report = offpipe.stage(SPEC, "gather", inputs={"parts": given})
        assert report.outputs["all"] == (expected or Path("data/in.txt").read_bytes())

    @pytest.mark.parametrize("given", [{"deep/er.txt": b"x"}, Path("data/tree"), {}])
    def test_a_directory_takes_names_and_directories(offpipe, given):
        report = offpipe.stage(SPEC, "gather", inputs={"tree": given})
        assert report.status == "succeeded"
        tree = Path(report.workspace, "data/tree")
        names = [str(path.relative_to(tree)) for path in tree.rglob("*.txt")]
        assert names == (list(given) if isinstance(given, dict) else ["leaf.txt"])

    @pytest.mark.parametrize("stage, inputs, message", [
        ("clean", {"txt": b""}, 'stage clean has no input "txt"\nhint: did you mean "text"?'),
        ("clean", {"text": {"a": b""}}, "data/in.txt is one file, and takes one content"),
        ("clean", {"text": Path("data")}, "data/in.txt is a file, and 'data' a directory"),
        ("clean", {"text": Path("data/nix")}, "data/nix: no such file"),
        ("gather", {"parts": {"x.txt": b""}}, "data/parts/x.txt does not match data/parts/*.csv"),
        ("gather", {"parts": {"../x.csv": b""}}, '"../x.csv" is not a path below it'),
        ("gather", {"parts": {}}, "no given file matches data/parts/*.csv"),
        ("gather", {"tree": b""}, "data/tree/ is a directory"),
        ("claen", {}, 'specs/small.json: no stage named "claen"\nhint: did you mean "clean"?'),
    ])
    def test_what_no_input_can_take_is_refused(offpipe, stage, inputs, message):
        with pytest.raises(UsageError) as refused:
            offpipe.stage(SPEC, stage, inputs=inputs)
        assert message in str(refused.value)

    def test_a_missing_input_names_the_way_to_give_it(offpipe, offpipe_spec_dict):
        offpipe_spec_dict["stages"][0]["inputs"]["text"] = "data/none.txt"
        with pytest.raises(InputError) as refused:
            offpipe.stage(offpipe_spec_dict, "clean")
        assert str(refused.value).endswith('hint: give it: inputs={"text": b"..."}')

    def test_each_call_is_from_nothing_unless_it_comes_after_another(offpipe):
        first = offpipe.stage(SPEC, "clean", inputs={"text": b"A\n"})
        other = offpipe.stage(SPEC, "clean", inputs={"text": b"A\n"})
        again = offpipe.stage(SPEC, "clean", after=first)
        changed = offpipe.stage(SPEC, "clean", inputs={"text": b"B\n"}, after=first)
        assert [one.status for one in (first, other, again, changed)] == ["succeeded"] * 2 + ["skipped", "succeeded"]
        assert other.workspace != first.workspace == again.workspace and changed.outputs["text"] == b"b\n"
        assert other.outputs["text"] == b"a\n"

    def test_what_a_directory_held_before_is_gone(offpipe):
        first = offpipe.stage(SPEC, "gather", inputs={"tree": {"deep/er.txt": b"x", "copied": Path("data/tree")}})
        again = offpipe.stage(SPEC, "gather", inputs={"tree": {"other.txt": b"x"}}, after=first)
        assert [path.name for path in Path(again.workspace, "data/tree").iterdir()] == ["other.txt"]

    def test_a_failure_is_a_report(offpipe):
        report = offpipe.stage(SPEC, "clean", params={"fail": 3})
        assert (report.status, report.exit_code, "text" in report.outputs) == ("failed", 3, False)
        assert "failed with exit 3" in report.error
        with pytest.raises(KeyError):
            report.outputs["text"]

    def test_code_that_the_guard_refuses_is_a_report_too(offpipe, offpipe_spec_dict):
        Path("stages/bad.py").write_text("import socket\n")
        offpipe_spec_dict["stages"][0]["processor"] = "stages/bad.py"
        report = offpipe.stage(offpipe_spec_dict, "clean")
        assert (report.status, report.exit_code, report.attempts) == ("failed", 4, [])
        assert "socket" in report.error

    def test_reports_survive_pickling(offpipe):
        report = offpipe.stage(SPEC, "clean")
        again = pickle.loads(pickle.dumps(report))
        assert again == report or (again.key, again.attempts) == (report.key, report.attempts)
        assert again.outputs["text"] == report.outputs["text"]
        run = offpipe.run(SPEC)
        assert pickle.loads(pickle.dumps(run)).audit == run.audit
"""
CONFTEST = """
    import json
    import pytest

    @pytest.fixture
    def offpipe_spec_dict():
        with open("specs/small.json") as file:
            return {**json.load(file), "root": "."}  # a dict's paths go by the rootdir
"""


def test_one_stage_alone(pytester: pytest.Pytester) -> None:
    make_project(pytester.path)
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(test_stages=STAGES)
    result = pytester.runpytest_inprocess("-W", "error", *LEFT_OUT)
    result.assert_outcomes(passed=28)


RUNS = r"""
    import json, shutil
    from pathlib import Path
    import pytest
    from runner.errors import UsageError
    from runner.hookspecs import hookimpl

    SPEC = "specs/small.json"

    def test_runs_a_pipeline_in_a_copy(offpipe):
        report = offpipe.run(SPEC)
        assert (report.exit_code, report.status, list(report.stages)) == (0, "succeeded", ["clean", "sort", "gather"])
        assert report.stages["gather"].outputs["all"] == b"A\nB\n"
        assert [one["ev"] for one in report.audit][::len(report.audit) - 1] == ["run.start", "run.end"]
        assert not Path("work").exists() and not Path("state").exists()

    def test_a_second_run_goes_on_in_the_same_workspace(offpipe):
        first, second = offpipe.run(SPEC), offpipe.run(SPEC)
        assert {one.status for one in second.stages.values()} == {"skipped"}
        assert second.workspace == first.workspace and second.run_id != first.run_id

    def test_what_changed_at_the_source_is_seen_and_what_changed_in_the_copy_stays(offpipe, tmp_path):
        shutil.copytree(".", tmp_path / "own", ignore=shutil.ignore_patterns("runpytest*"))  # others use it
        spec, parts = tmp_path / "own" / SPEC, tmp_path / "own/data/parts"
        first = offpipe.run(spec)
        Path(first.workspace, "data/in.txt").write_text("Mine\n")
        assert offpipe.run(spec).stages["clean"].outputs["text"] == b"mine\n"
        (parts / "c.csv").write_text("C\n")
        assert offpipe.run(spec).stages["gather"].outputs["all"] == b"A\nB\nC\n"
        (parts / "c.csv").unlink()
        third = offpipe.run(spec)
        assert third.stages["gather"].outputs["all"] == b"A\nB\n"
        assert [one.status for one in third.stages.values()] == ["skipped", "skipped", "succeeded"]

    def test_inputs_are_a_tree_or_named_contents_and_stay_for_the_next_run(offpipe, tmp_path):
        report = offpipe.run(SPEC, inputs={"data/in.txt": "Own\n", "data/parts/z.csv": b"Z\n"})
        assert report.stages["clean"].outputs["text"] == b"own\n"
        assert report.stages["gather"].outputs["all"] == b"Z\n"
        assert {one.status for one in offpipe.run(SPEC).stages.values()} == {"skipped"}
        (tmp_path / "data").mkdir()
        (tmp_path / "data/in.txt").write_text("Tree\n")
        assert offpipe.run(SPEC, inputs=tmp_path).stages["sort"].outputs["text"] == b"tree\n"

    def test_stages_params_and_options_are_those_of_the_program(offpipe):
        report = offpipe.run(SPEC, stages="clean", params={"clean": {"mode": "upper"}}, run_id="mine", jobs=1)
        assert list(report.stages) == ["clean"] and report.run_id == "mine"
        assert report.stages["clean"].outputs["text"].lines[0] == b"LINE 0"
        again = offpipe.run(SPEC, stages=["clean"], params={"clean": {"mode": "upper"}}, force=True)
        assert again.stages["clean"].status == "succeeded"
        broken = offpipe.run(SPEC, params={"clean": {"fail": 3}}, keep_going=True)
        assert broken.exit_code == 1
        assert [one.status for one in broken.stages.values()] == ["failed", "blocked", "succeeded"]

    def test_hooks_hear_of_a_run(offpipe):
        class Hears:
            heard = []
            @hookimpl
            def offpipe_stage_finished(self, stage):
                self.heard.append(stage.name)
        offpipe.run(SPEC, plugins=[Hears()])
        assert sorted(Hears.heard) == ["clean", "gather", "sort"]

    def test_a_dict_is_a_spec_and_its_paths_go_by_the_rootdir(offpipe):
        spec = {"specVersion": 1, "name": "tiny", "stages": [
            {"name": "one", "processor": "stages/clean.py", "inputs": {"text": "data/in.txt"}, "outputs": ["o.txt"]}]}
        assert offpipe.run(spec).exit_code == 1  # it has no output `text`
        spec["stages"][0]["outputs"] = {"text": "o.txt"}
        assert offpipe.run(spec).exit_code == 0

    def test_what_the_program_would_refuse_is_a_report(offpipe):
        report = offpipe.run({"specVersion": 1, "name": "x", "stages": []})
        assert (report.exit_code, report.run_id) == (2, None) and "#/stages" in report.error
        spec = json.loads(Path(SPEC).read_text()) | {"root": "."}
        spec["stages"][0]["inputs"]["text"] = "data/none.txt"
        assert offpipe.run(spec).exit_code == 5

    def test_what_a_test_gets_wrong_is_raised(offpipe):
        with pytest.raises(UsageError, match='no stage named "claen"'):
            offpipe.run(SPEC, stages="claen")
        with pytest.raises(UsageError, match='no stage named "srot"'):
            offpipe.run(SPEC, params={"srot": {}})
        with pytest.raises(UsageError, match="none.json: no such file in"):
            offpipe.run("specs/none.json")

    def test_the_program_itself(offpipe, offpipe_state_dir):
        seen = offpipe.cli("plan", SPEC)
        assert (seen.exit_code, len(seen.stdout.splitlines())) == (0, 3)
        ran = offpipe.cli("run", SPEC, "--workspace", offpipe_state_dir.parent, "--json")
        assert ran.exit_code == 0 and json.loads(ran.stdout)["status"] == "succeeded"
        assert list(offpipe_state_dir.glob("audit_*.jsonl")) and not Path("state").exists()
        bad = offpipe.cli("run", SPEC, "--nonsense")
        assert bad.exit_code == 2 and "--nonsense" in bad.stderr and bad.stdout == ""

    def test_the_program_in_the_copy(offpipe):
        spec = offpipe.copy(SPEC)
        assert offpipe.cli("run", spec, "-q").exit_code == 0
        assert {one.status for one in offpipe.run(SPEC).stages.values()} == {"skipped"}
        assert not Path("state").exists()

    def test_an_environment_of_its_own(offpipe, monkeypatch):
        monkeypatch.setenv("NO_COLOR", "1")
        assert offpipe.cli("doctor", env={"NO_COLOR": None, "HOME": "/nowhere"}).exit_code == 0
"""


def test_whole_pipelines_and_the_program(pytester: pytest.Pytester) -> None:
    make_project(pytester.path)
    pytester.makepyfile(test_runs=RUNS)
    result = pytester.runpytest_inprocess("-W", "error", *LEFT_OUT)
    result.assert_outcomes(passed=12)


KEPT = r"""
    import pytest

    def test_fails(offpipe):
        report = offpipe.run("specs/small.json", params={"clean": {"fail": 3}})
        assert report.exit_code == 0

    def test_passes(offpipe, offpipe_state_dir):
        assert offpipe.run("specs/small.json").exit_code == 0
"""


def test_a_copy_goes_with_a_test_that_passes_and_is_named_by_one_that_fails(pytester: pytest.Pytester) -> None:
    make_project(pytester.path)
    pytester.makepyfile(test_kept=KEPT)
    result = pytester.runpytest_inprocess("-W", "error", *LEFT_OUT, "--basetemp", "base")
    result.assert_outcomes(passed=1, failed=1)
    [kept] = [path for path in (pytester.path / "base").iterdir() if not path.is_symlink()]
    result.stdout.fnmatch_lines(
        [
            "*- offpipe -*",
            f"offpipe {kept}/run-1/files/specs/small.json   (exit 1)",
            "  clean: failed",
            "    error: stage clean: failed with exit 3",
            "    mode lower attempt 1",
            "  sort: blocked",
            "  gather: succeeded",
        ]
    )
