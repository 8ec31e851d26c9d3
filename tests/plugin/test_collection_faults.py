"""Faults of specs and of options: reported in the runner's words, with pytest's exit codes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from spec_project import COPY, SpecProject, ids

from runner.cli.main import main

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def project(pytester):
    return SpecProject(pytester)


def errors(result):
    """Return the text of each collection error, by the spec's name."""
    texts, name = {}, None
    for line in result.outlines[: next(i for i, text in enumerate(result.outlines) if "short test summary" in text)]:
        if line.startswith("_") and "ERROR collecting" in line:
            name = line.strip("_ ").removeprefix("ERROR collecting ")
            texts[name] = []
        elif name and not line.startswith("==="):
            texts[name].append(line)
    return {name: "\n".join(lines) for name, lines in texts.items()}


@pytest.mark.full
def test_each_invalid_spec_is_one_error_in_the_words_of_validate(project, capsys, monkeypatch):
    shutil.copytree(ROOT / "pipelines" / "invalid", project.path / "invalid")
    for directory in ("stages", "data"):
        shutil.copytree(ROOT / directory, project.path / directory, ignore=shutil.ignore_patterns("work", "output"))
    monkeypatch.setenv("COLUMNS", "200")
    specs = sorted(str(path.relative_to(project.path)) for path in (project.path / "invalid").glob("*.json"))
    result = project.pytest(*(word for spec in specs for word in ("--offpipe-spec", spec)))
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.assert_outcomes(errors=len(specs))
    texts = errors(result)
    assert sorted(texts) == specs
    capsys.readouterr()
    for spec in specs:
        assert main(["validate", spec]) == 2
        assert texts[spec].strip() == capsys.readouterr().err.strip(), spec


def test_valid_specs_are_collected_beside_an_invalid_one(project):
    project.spec()
    project.spec({**COPY, "outputs": {}}, to="bad.json")
    result = project.pytest("it.json", "bad.json", "--continue-on-collection-errors")
    result.assert_outcomes(passed=4, errors=1)
    result.stdout.fnmatch_lines(["error: bad.json#/stages/0/outputs: *"])


@pytest.mark.full_after(1)
@pytest.mark.parametrize(
    ("text", "expected"),
    [("{", "error: it.json*"), ("[]", "error: it.json*"), ("\xff\xfe", "error: it.json*")],
    ids=["cut off", "no object", "no UTF-8"],
)
def test_file_that_is_no_spec_is_an_error(project, text, expected):
    (project.path / "it.json").write_bytes(text.encode("latin-1"))
    result = project.pytest("--offpipe-spec", "it.json")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([expected])
    result.stdout.no_fnmatch_line("*Traceback*")


@pytest.mark.full_after(3)
@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ({"skipChecks": {"resume": ""}}, ["/skipChecks/resume: is empty"]),
        ({"skipChecks": ["resume"]}, ["/skipChecks: must be an object, not an array"]),
        (
            {"skipChecks": {"resum": "no"}},
            ['/skipChecks/resum: the name must be one of "run", *', 'hint: did you mean "resume"?'],
        ),
        ({"skipcheks": {}}, ['/skipcheks: no field is called "skipcheks"', 'hint: did you mean "skipChecks"?']),
        ({"volatile": True}, ["/volatile: must be a string, not true"]),
        ({"volatile": ""}, ["/volatile: is empty"]),
        ("resume", [': must be an object, not "resume"']),
    ],
)
def test_faults_of_x_offpipe_are_found_at_collection(project, field, expected):
    project.spec({**COPY, "x-offpipe": field})
    result = project.pytest("it.json")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"error: it.json#/stages/0/x-offpipe{expected[0]}", *expected[1:]], consecutive=True)


def test_fields_of_x_offpipe_in_the_spec_hold_for_stages_that_lack_them(project):
    of_spec = {"skipChecks": {"outputs": "of all"}, "volatile": "stamps"}
    kept, own = {**COPY, "name": "kept"}, {**COPY, "name": "own", "outputs": {"text": "own.txt"}}
    project.spec(kept, {**own, "x-offpipe": {"skipChecks": {"outputs": "of one"}}}, **{"x-offpipe": of_spec})
    result = project.pytest("it.json", "-rs", "--offpipe-checks", "outputs")
    result.assert_outcomes(skipped=2)
    result.stdout.fnmatch_lines_random(["SKIPPED*the spec skips it: of all", "SKIPPED*the spec skips it: of one"])
    project.spec(COPY, **{"x-offpipe": {"volatile": 1}})
    result = project.pytest("it.json")
    result.stdout.fnmatch_lines(["error: it.json#/x-offpipe/volatile: must be a string, not 1"])


def test_check_that_the_spec_spares_a_stage_is_skipped_with_its_reason(project):
    project.spec({**COPY, "x-offpipe": {"skipChecks": {"outputs": "writes a cache"}, "volatile": "stamps"}})
    result = project.pytest("it.json", "-rs")
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED [[]1] it.json:5: the spec skips it: writes a cache"])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--offpipe-spec", "no.json"], "ERROR: --offpipe-spec: no.json: no such file"),
        (["--offpipe-spec", "."], "ERROR: --offpipe-spec: .: is a directory"),
        (["--offpipe-spec", ""], 'ERROR: --offpipe-spec: "" names no spec'),
        (["--offpipe-spec", "x.py"], "ERROR: --offpipe-spec: x.py: is Python, and a spec is JSON"),
        (["--offpipe-spec", "pipe"], "ERROR: --offpipe-spec: pipe: is not a regular file"),
        (["--offpipe-spec", "it.json::copy[run]"], "ERROR: --offpipe-spec: it.json::copy[[]run]: no such file"),
        (["--offpipe-spec", "it.json", "--offpipe-checks", ""], 'ERROR: --offpipe-checks: no check named ""'),
        (["--offpipe-spec", "it.json", "--offpipe-inputs", ""], 'ERROR: --offpipe-inputs: "": no such directory'),
        (["--offpipe-spec", "it.json", "--offpipe-seed", ""], 'ERROR: --offpipe-seed: "" is not a positive whole *'),
        (["--offpipe-spec", "it.json", "--offpipe-checks", "rum"], 'ERROR: --offpipe-checks: no check named "rum"'),
        (["--offpipe-spec", "it.json", "--offpipe-checks", ","], "ERROR: --offpipe-checks: no check named *"),
        (["--offpipe-spec", "it.json", "--offpipe-inputs", "no"], "ERROR: --offpipe-inputs: *no: no such directory"),
        (["--offpipe-spec", "it.json", "--offpipe-seed", "x"], 'ERROR: --offpipe-seed: "x" is not a positive whole *'),
        (["--offpipe-spec", "it.json", "--offpipe-seed", "0"], 'ERROR: --offpipe-seed: "0" is not a positive *number'),
        (["--offpipe-spec", "it.json", "--offpipe-seed", "1.5"], 'ERROR: --offpipe-seed: "1.5" is not a pos*number'),
        (["--offpipe-spec", "it.json", "--offpipe-budget", "-1"], 'ERROR: --offpipe-budget: "-1" is not a *number'),
        (["--offpipe-spec", "it.json", "--offpipe-budget", "nan"], 'ERROR: --offpipe-budget: "nan" is not a *number'),
    ],
)  # fmt: skip
def test_invalid_option_is_a_usage_error(project, arguments, expected):
    project.spec()
    project.write("x.py", "raise SystemError\n")
    os.mkfifo(project.path / "pipe")
    result = project.pytest(*arguments, checks=False)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([expected])


def test_path_that_pytest_cannot_take_works_in_its_own_directory(project, monkeypatch):
    project.spec(to="a[1]/it.json")
    project.write("a[1]/in.txt", "x\n")
    result = project.pytest("--offpipe-spec", "a[1]/it.json")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ['ERROR: a[[]1]/it.json: a path with "[[]" cannot be given to pytest', "hint: call it in *"]
    )
    monkeypatch.chdir(project.path / "a[1]")
    project.pytest("--offpipe-spec", "it.json").assert_outcomes(passed=4)


def test_pattern_of_the_ini_that_matches_nothing_is_a_usage_error(project):
    project.ini("offpipe_specs = specs/*.json\n")
    result = project.pytest()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: offpipe_specs: specs/[*].json: no such file"])


@pytest.mark.parametrize(
    ("ini", "expected"),
    [
        ("offpipe_specs = conftest.py", "ERROR: offpipe_specs: conftest.py: is Python, and a spec is JSON"),
        ("offpipe_checks = rum", 'ERROR: offpipe_checks: no check named "rum"'),
        ("offpipe_inputs = no", "ERROR: offpipe_inputs: *no: no such directory"),
        ("offpipe_seed = x", 'ERROR: offpipe_seed: "x" is not a positive whole number'),
        ("offpipe_budget = x", 'ERROR: offpipe_budget: "x" is not a positive number'),
        ("offpipe_strict = maybe", "ERROR: offpipe_strict: *'maybe'"),
    ],
)
def test_error_of_an_ini_value_names_the_ini(project, ini, expected):
    project.spec()
    project.write("conftest.py", "")
    project.ini(f"{ini}\n")
    result = project.pytest(*([] if "specs" in ini else ["it.json"]), checks=False)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([expected])


@pytest.mark.parametrize(
    "checks", ["run,outputs", "run, outputs", "\n    run\n    outputs", "\n    run,\n    outputs,"]
)
def test_checks_in_the_ini_may_stand_on_lines_of_their_own(project, checks):
    project.spec()
    project.write("pytest.ini", f"[pytest]\noffpipe_checks = {checks}\n")
    assert project.collected("it.json", checks=False) == ids()


def test_each_option_has_its_ini(project):
    project.spec({**COPY, "x-offpipe": {"skipChecks": {"repeat": "spared"}}})
    project.write("small/in.txt", "small\n")
    project.ini("""
        offpipe_specs = it.json
        offpipe_checks = run
        offpipe_each = all
        offpipe_inputs = small
        offpipe_seed = 77
        offpipe_budget = 3.5
        offpipe_strict = true
    """)
    project.pytester.makeconftest("""
        from pytest_offpipe.settings import SETTINGS, given

        def pytest_collection_finish(session):
            print(session.config.stash[SETTINGS], *given(session.config, "offpipe_each"))
    """)
    result = project.pytest("-s", checks=False)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        [
            "offpipe: *seed 77",
            "Settings(checks=('run',), inputs='*/small', seed=77, budget=3.5, strict=True, *) all offpipe_each",
        ]
    )
    result = project.pytest("-s", "--offpipe-checks", "outputs", "--offpipe-seed", "5", checks=False)
    result.stdout.fnmatch_lines(["Settings(checks=('outputs',), inputs='*/small', seed=5, budget=3.5, strict=True, *"])


@pytest.mark.full
def test_tree_of_inputs_that_no_spec_reads_is_an_error(project):
    project.spec()
    project.spec({**COPY, "inputs": {"text": "small.txt"}}, to="other.json")
    project.write("small.txt", "x\n")
    project.write("tree/in.txt", "x\n")
    (project.path / "empty").mkdir()
    assert project.collected("it.json", "other.json", "--offpipe-inputs", "tree") == [
        *ids(), *ids("other.json", stages=["copy"])
    ]  # fmt: skip
    result = project.pytest("it.json", "--offpipe-inputs", "empty")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        [
            "error: --offpipe-inputs: */empty: it holds no input of it.json",
            "hint: lay it out as below the spec's root: in.txt",
        ]
    )
    project.ini("offpipe_inputs = tree\n")  # the tree of an ini may be for other specs
    assert project.collected("other.json") == ids("other.json", stages=["copy"])
    project.ini("offpipe_inputs = tree\noffpipe_specs = other.json\n")
    result = project.pytest()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["error: offpipe_inputs: */tree: it holds no input of other.json"])


def test_exit_codes_are_those_of_pytest(project):
    project.spec()
    assert project.pytest("it.json").ret == pytest.ExitCode.OK
    assert project.pytest("it.json", "-k", "nothing").ret == pytest.ExitCode.NO_TESTS_COLLECTED
    project.spec(project.shell("exit 3"))
    assert project.pytest("it.json").ret == pytest.ExitCode.TESTS_FAILED


@pytest.mark.full_after(1)
@pytest.mark.parametrize("spec", ["it.json", "bad.json"])
def test_collection_starts_no_process_and_writes_nothing(project, spec):
    project.spec()
    project.spec({**COPY, "needs": ["it"]}, to="bad.json")
    before = sorted(project.path.rglob("*"))
    project.write("watch/watch.py", """
        import os, sys

        STARTS = {"os.fork", "os.forkpty", "os.posix_spawn", "os.exec", "os.system", "os.spawn", "subprocess.Popen"}
        WRITES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod"}

        def note(event, arguments):
            if event in STARTS or event in WRITES:
                found.append((event, arguments))
            elif event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR) and arguments[0] != os.devnull:
                found.append((event, arguments))

        def pytest_collection_finish():
            print("seen", found)

        found = []
        sys.addaudithook(note)
    """)  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(project.path / "watch"))
        patch.setenv("PYTHONDONTWRITEBYTECODE", "1")
        arguments = ["--offpipe-spec", spec, "--collect-only", "-p", "no:cacheprovider", "-s", "-p", "watch"]
        result = project.pytest_process(*arguments, checks=False)
    shutil.rmtree(project.path / "watch")
    assert [line for line in result.outlines if line.startswith("seen")] == ["seen []"]
    after = sorted(project.path.rglob("*"))  # pytester writes stdout and stderr of the process
    assert [
        entry for entry in after if entry.name not in {"stdout", "stderr"} and "runpytest" not in entry.name
    ] == before
    assert any("offpipe: seed" in line for line in result.outlines)
    assert any("copy[run]" in line for line in result.outlines) == (spec == "it.json")
