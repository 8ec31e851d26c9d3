from __future__ import annotations

import json
import pickle
import subprocess
import sys

import pytest
from stage_bench import ROOT, StageBench

from runner import sdk
from runner.errors import InputError, UsageError

ALLOWED = {"__future__", "runner", "runner.errors", "runner.paths", "runner.record", "runner.record.files"}


@pytest.fixture
def bench(tmp_path):
    return StageBench(tmp_path, {"text": [b"a\n"], "many": [b"b\n", b"c\n"]}, params={"depth": 3})


def python(program, env=None, *options):
    return subprocess.run(
        [sys.executable, *options, "-c", program], env=env, cwd=ROOT, capture_output=True, text=True, check=False
    )


def program(tmp_path, body):
    path = tmp_path / "program.py"
    path.write_text(f"import os, sys\nfrom runner import sdk, errors\nwith sdk.stage() as stage:\n    {body}\n")
    return path


def test_importing_loads_almost_nothing():
    show = "import sys, os; before = set(sys.modules); {}; print(*sorted(set(sys.modules) - before))"
    loaded = set(python(show.format("from runner import sdk"), None, "-E", "-S").stdout.split())
    extra = {name for name in loaded - ALLOWED if not f"{name}.".startswith("runner.sdk.")}
    assert "runner.sdk" in loaded
    assert extra <= {"errno"}  # built in


def test_tells_the_stage_what_it_is(bench):
    content = bench.begin_attempt()
    stage = sdk.Stage(content)
    assert (stage.name, stage.run_id, stage.attempt, stage.key) == ("stage", "run", 1, "key")
    assert stage.params == {"depth": 3}
    assert stage.inputs == {"text": (content["inputs"]["text"][0],), "many": tuple(content["inputs"]["many"])}
    assert stage.outputs == content["outputs"]
    assert stage.scratch == content["scratch"]
    assert stage.input("text") == content["inputs"]["text"][0]


def test_input_wants_exactly_one_file(bench):
    with pytest.raises(InputError, match="has 2 files where one is expected"):
        sdk.Stage(bench.begin_attempt()).input("many")


@pytest.mark.parametrize(("call", "text"), [("input", 'no input "x"'), ("lines", 'no input "x"')])
def test_unknown_names_are_answered_with_the_known(bench, call, text):
    with pytest.raises(UsageError, match=text) as raised:
        getattr(sdk.Stage(bench.begin_attempt()), call)("x")
    assert raised.value.faults[0].hint == "its inputs are: many, text"


def test_sole_names_are_for_stages_of_one_input_and_output(bench):
    stage = sdk.Stage(bench.begin_attempt())
    assert stage.sole_output == "text"
    with pytest.raises(UsageError, match="takes exactly one input"):
        _ = stage.sole_input


def test_params_take_defaults_and_refuse_the_rest(bench):
    stage = sdk.Stage(bench.begin_attempt())
    assert stage.take_params(depth=1, name="x") == {"depth": 3, "name": "x"}
    assert repr(stage.take_params(depth=0.5)) == "{'depth': 3.0}"
    with pytest.raises(UsageError, match=r'param "depth": is not known'):
        stage.take_params(width=1)
    with pytest.raises(UsageError, match=r"is 3, not of type str"):
        stage.take_params(depth="1")
    with pytest.raises(UsageError, match=r"is 3, not of type bool"):
        stage.take_params(depth=False)


@pytest.mark.parametrize("there", ["sys.stdout.close()", "sys.stdout = None", "sys.stderr = None"])
def test_the_exit_code_holds_without_streams(bench, there):
    bench.begin_attempt()
    program = f"import sys\nfrom runner import sdk\nwith sdk.stage():\n    {there}\n    raise sdk.Transient('away')\n"
    assert python(program, bench.environment()).returncode == 75


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"everyLines": 5, "everySeconds": None}, (5, None)),
        ({"everyLines": None, "everySeconds": 2}, (None, 2)),
        ({"everyLines": None, "everySeconds": None}, (10_000, 1.0)),
        (None, (10_000, 1.0)),
    ],
)
def test_checkpoint_intervals(bench, given, expected):
    stage = sdk.Stage(bench.begin_attempt() | {"checkpoint": given})
    assert (stage._checkpoints.every_lines, stage._checkpoints.every_seconds) == expected


def test_outside_a_pipeline_it_says_so():
    ended = python("from runner import sdk; sdk.stage()", {})
    assert ended.returncode == 2
    assert "not started by a pipeline\nhint: run it as a stage of a spec" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_newer_stage_file_is_refused(bench, tmp_path):
    content = bench.begin_attempt()
    bench.stage_file.write_text(json.dumps(content | {"v": 2}))
    ended = python("from runner import sdk; sdk.stage()", bench.environment())
    assert ended.returncode == 74
    assert "is a stage file of version 2, but this SDK reads version 1" in ended.stderr


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"v": 1}', '{"v": 1, "name": 7}'])
def test_a_damaged_stage_file_is_refused(bench, content):
    bench.stage_file.write_text(content)
    ended = python("from runner import sdk; sdk.stage()", bench.environment())
    assert ended.returncode == 74
    assert "Traceback" not in ended.stderr


def test_transient_exits_75_without_a_traceback(bench, tmp_path):
    ended = bench.run(program(tmp_path, 'raise sdk.Transient("mirror is away")'))
    assert (ended.returncode, ended.stderr) == (75, "error: mirror is away\n")


def test_our_errors_exit_with_their_code(bench, tmp_path):
    ended = bench.run(program(tmp_path, 'stage.input("many")'))
    assert ended.returncode == 5
    assert ended.stderr.startswith('error: input "many": has 2 files')


def test_other_errors_keep_their_traceback(bench, tmp_path):
    ended = bench.run(program(tmp_path, "1 / 0"))
    assert ended.returncode == 1
    assert "ZeroDivisionError" in ended.stderr


def test_transient_survives_pickling():
    again = pickle.loads(pickle.dumps(sdk.Transient("why")))
    assert (str(again), again.exit_code) == ("error: why", 75)
