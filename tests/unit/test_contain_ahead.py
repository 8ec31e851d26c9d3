"""A launcher that is started before anything else of a run is loaded."""

import json
import os
import subprocess
import sys

import pytest

from runner.contain import ahead
from runner.contain.client import Launcher
from runner.contain.guard import start_guarded
from runner.errors import StateError

WARM = {"LANG": "C.UTF-8"}
PROGRAM = """
import sys
def heard(event, arguments):
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
    told = run(place, "p.json", "-q")
    assert told[0] == "begun False False" and told[-1] == "killed"
