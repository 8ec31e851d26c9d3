"""A launcher that is started before anything else of a run is loaded."""

import _json
import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runner.contain import ahead
from runner.contain.client import Launcher
from runner.contain.guard import start_guarded
from runner.contain.launch import Exit, Launch
from runner.errors import StateError

WARM = {"LANG": "C.UTF-8"}
PROGRAM = """
import os, signal, sys
def heard(event, arguments):
    if event == "open" and "STOPS" in os.environ and str(arguments[0]).endswith("p.json"):
        with open("/proc/thread-self/children") as children:
            for pid in children.read().split():
                os.kill(int(pid), signal.SIGSTOP)
    if event == "os.posix_spawn":
        print("begun", "runner.spec.load" in sys.modules, "warm" in arguments[1], file=sys.stderr)
    if event == "os.kill" and arguments[1] == 9:
        print("killed", file=sys.stderr)
sys.addaudithook(heard)
from runner.__main__ import main
main(ends=True)
"""


@pytest.fixture(autouse=True)
def _nothing_waits():
    yield
    ahead.dismiss()


def is_there(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("warm", [None, WARM])
def test_the_run_is_given_the_launcher_that_waits_and_only_once(warm):
    ahead.begin_ahead(warm)
    ((_, (pid, _, _)),) = ahead._waiting
    with start_guarded(Launcher, dict(warm) if warm else None) as launcher:
        assert launcher.pid == pid
        launcher.await_ready()
        with start_guarded(Launcher, warm) as other:
            assert other.pid != pid


def test_a_warm_one_loads_meanwhile_what_stages_seem_to_import():
    if not getattr(_json, "__file__", None):
        pytest.skip("this interpreter has _json built in, so nothing shows that it was loaded")
    ahead.begin_ahead(WARM, ["json", "no such module"])
    with start_guarded(Launcher, WARM) as launcher:
        launcher.await_ready()
        deadline = time.monotonic() + 30
        while "/_json." not in Path(f"/proc/{launcher.pid}/maps").read_text():
            assert time.monotonic() < deadline, "it has not been loaded"


@pytest.mark.parametrize("preload", [(), ("json",)])
def test_what_was_loaded_for_others_is_not_there_for_a_stage(tmp_path, preload):
    script, log = tmp_path / "asks.py", tmp_path / "log"
    script.write_text("import sys; print('json' in sys.modules)")
    log.touch()
    ahead.begin_ahead(WARM, ["json"])
    with start_guarded(Launcher, WARM) as launcher:
        argv = [sys.executable, "-B", str(script)]
        launcher.submit(
            Launch(
                1, argv, WARM, "/", None, None, str(log), program=sys.executable, script=str(script), preload=preload
            )
        )
        while not any(isinstance(told, Exit) for told in launcher.receive()):
            select.select([launcher], [], [])
    assert log.read_text() == f"{'json' in preload}\n"


def test_one_of_another_kind_is_dismissed():
    descriptors = sorted(os.listdir("/dev/fd"))
    ahead.begin_ahead(None)
    ((_, (pid, _, _)),) = ahead._waiting
    with start_guarded(Launcher, WARM) as launcher:
        assert launcher.pid != pid
        assert not is_there(pid)
    assert sorted(os.listdir("/dev/fd")) == descriptors


def test_what_keeps_one_from_being_started_is_told_by_the_run_alone(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    ahead.begin_ahead(None)
    with pytest.raises(StateError, match="No such file"):
        Launcher.start(interpreter=sys.executable)


def test_where_descriptors_are_few_the_run_comes_first(monkeypatch):
    monkeypatch.setattr(os, "sysconf", {"SC_OPEN_MAX": ahead.FEW - 1}.__getitem__)
    ahead.begin_ahead(None)
    assert not ahead._waiting


def run(directory, *words, **env):
    command = [sys.executable, "-c", PROGRAM, *words]
    done = subprocess.run(
        command, cwd=directory, env={**os.environ, **env}, capture_output=True, text=True, check=False
    )
    return done.stderr.splitlines()


@pytest.fixture
def place(tmp_path):
    stages = [{"name": "a", "command": ["touch", "{outputs.o}"], "outputs": {"o": "a.txt"}}]
    (tmp_path / "p.json").write_text(json.dumps({"specVersion": 1, "name": "p", "stages": stages}))
    stages[0] = {"name": "a", "processor": "a.py", "outputs": {"o": "b.txt"}}
    (tmp_path / "a.py").write_text("import os\nopen(os.environ['PIPELINE_OUTPUT_O'], 'x')\n")
    (tmp_path / "q.json").write_text(
        json.dumps({"specVersion": 1, "name": "q", "stateDir": "state/q", "stages": stages})
    )
    return tmp_path


def test_a_run_with_work_starts_its_launcher_before_anything_else(place):
    assert run(place, "p.json", "-q") == ["begun False False"]
    assert run(place, "q.json", "-q") == ["begun False True"]
    run(place, "p.json", "-q")  # has nothing to do, and leaves the record of that
    assert run(place, "p.json", "-q") == []


def test_only_what_plainly_is_a_run_starts_one_ahead(place):
    assert run(place, "validate", "p.json") == run(place, "-n", "-q", "p.json") == []
    assert run(place, "p.json", "-q", "--offline", "strict") == ["begun True False"]


def test_without_caches_nothing_is_started_ahead(place):
    assert run(place, "p.json", "-q", OFFPIPE_PLAIN="1") == ["begun True False"]


def test_a_launcher_that_no_run_takes_is_ended(place):
    (place / "p.json").write_text('{"stages": []}')
    told = run(place, "p.json", "-q", STOPS="1")  # the launcher, which could end by itself meanwhile
    assert told[0] == "begun False False" and told[-1] == "killed"
