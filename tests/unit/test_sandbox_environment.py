"""A stage's environment, its program, and the limits of both."""

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.sandbox.environment import (
    LARGEST_TOGETHER,
    LARGEST_VALUE,
    contract_variables,
    stage_environment,
    stage_path,
)


def environment(**changes):
    fields = {
        "interpreter": "/venv/bin/python",
        "outer_home": "/home/me",
        "scratch": "/w/state/tmp/r/s.1",
        "sdk_path": None,
        "spec_env": {},
        "cpus": None,
        "contract": {"PIPELINE_NAME": "demo"},
    }
    return stage_environment(**(fields | changes))


def contract(cpus=None, memory_mib=None, io_concurrency=None, **changes):
    content = {
        "pipeline": "demo",
        "runId": "r",
        "name": "s",
        "attempt": 2,
        "key": "ab" * 32,
        "params": {},
        "inputs": {},
        "outputs": {},
        "progress": "/w/state/progress_s.json",
        "resources": {"cpus": cpus, "memoryMiB": memory_mib, "ioConcurrency": io_concurrency},
    }
    return contract_variables("/w/state/tmp/r/s.1.json", content | changes, "none")


def test_a_stage_has_the_path_of_its_interpreter_and_the_system_unless_its_spec_says_another():
    assert stage_path({}, "/venv/bin/python") == "/venv/bin:/usr/local/bin:/usr/bin:/bin"
    assert stage_path({"PATH": "/mine"}, "/venv/bin/python") == "/mine"


def test_nothing_but_what_is_promised_is_in_the_environment():
    assert environment() == {
        "PATH": "/venv/bin:/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "HOME": "/home/me",
        "TMPDIR": "/w/state/tmp/r/s.1",
        "PIPELINE_NAME": "demo",
    }


def test_home_is_the_scratch_directory_if_the_runner_has_none():
    assert environment(outer_home=None)["HOME"] == environment(outer_home="")["HOME"] == "/w/state/tmp/r/s.1"


def test_the_specs_env_wins():
    wanted = {"PATH": "/opt", "LANG": "C", "TZ": "CET", "HOME": "/h", "OMP_NUM_THREADS": "7", "X": ""}
    env = environment(spec_env=wanted, cpus=2)
    assert env.items() >= wanted.items() and env["MKL_NUM_THREADS"] == "2"


@pytest.mark.parametrize(("cpus", "threads"), [(0.25, "1"), (1, "1"), (1.5, "2"), (4.0, "4")])
def test_thread_counts_follow_cpus(cpus, threads):
    env = environment(cpus=cpus)
    names = ("OMP", "OPENBLAS", "MKL", "NUMEXPR")
    assert [env[f"{name}_NUM_THREADS"] for name in names] == [threads] * 4


def test_pythonpath_of_the_spec_comes_before_ours():
    assert environment(sdk_path="/src")["PYTHONPATH"] == "/src"
    assert environment(sdk_path="/src", spec_env={"PYTHONPATH": "/lib"})["PYTHONPATH"] == "/lib:/src"
    assert environment(sdk_path="/src", spec_env={"PYTHONPATH": ""})["PYTHONPATH"] == "/src"
    assert "PYTHONPATH" not in environment()


def test_contract_names_everything_by_variable_and_as_json():
    env = contract(
        params={"a": [1, None]},
        inputs={"text": ["/r/a", "/r/b"], "word-list": ["/r/w"]},
        outputs={"out": "/w/.partial-000000.o"},
        cpus=1.5,
        memory_mib=512,
        io_concurrency=2,
    )
    assert env["PIPELINE_INPUT_TEXT"] == "/r/a\n/r/b" and env["PIPELINE_INPUT_WORD_LIST"] == "/r/w"
    assert env["PIPELINE_OUTPUT_OUT"] == "/w/.partial-000000.o"
    assert json.loads(env["PIPELINE_PARAMS"]) == {"a": [1, None]}
    assert json.loads(env["PIPELINE_INPUTS"]) == {"text": ["/r/a", "/r/b"], "word-list": ["/r/w"]}
    assert json.loads(env["PIPELINE_OUTPUTS"]) == {"out": "/w/.partial-000000.o"}
    assert (env["PIPELINE_ATTEMPT"], env["PIPELINE_OFFLINE"], env["PIPELINE_KEY"]) == ("2", "none", "ab" * 32)
    hints = [env[f"PIPELINE_{name}"] for name in ("CPUS", "MEMORY_MIB", "IO_CONCURRENCY")]
    assert hints == ["1.5", "512", "2"]


def test_hints_that_were_not_given_are_not_there():
    assert not {"PIPELINE_CPUS", "PIPELINE_MEMORY_MIB", "PIPELINE_IO_CONCURRENCY"} & contract().keys()


def test_a_value_over_64_kib_is_left_out_alone():
    fits, too_long = "x" * LARGEST_VALUE, "\u00fc" * (LARGEST_VALUE // 2 + 1)
    env = contract(inputs={"fits": [fits], "long": [too_long]})
    assert env["PIPELINE_INPUT_FITS"] == fits and "PIPELINE_INPUT_LONG" not in env
    assert "PIPELINE_INPUTS" not in env and env["PIPELINE_STAGE_FILE"]


@given(st.lists(st.integers(0, LARGEST_VALUE + 10), max_size=30))
def test_all_together_stay_within_512_kib_and_the_largest_go_first(sizes):
    inputs = {f"i{number}": ["x" * size] for number, size in enumerate(sizes)}
    env = contract(inputs=inputs)
    assert sum(len(name) + len(value) + 2 for name, value in env.items()) <= LARGEST_TOGETHER
    assert "PIPELINE_STAGE_FILE" in env
    values = {f"PIPELINE_INPUT_I{number}": size for number, size in enumerate(sizes) if size <= LARGEST_VALUE}
    left_out = [size for name, size in values.items() if name not in env]
    kept = [size for name, size in values.items() if name in env]
    assert not left_out or min(left_out) >= max(kept, default=0)


def test_any_text_in_params_can_be_an_environment():
    os.fsencode(contract(params={"x": "\ud800\0"})["PIPELINE_PARAMS"])
