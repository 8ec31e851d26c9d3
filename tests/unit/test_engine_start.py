"""The launcher of a run starts early if there is certainly work, and always ends with the run."""

import os

import pytest
from pipeline_bench import PipelineBench, children, shell

from runner.engine import Options, run
from runner.engine.preflight import plan_without_lock
from runner.engine.start import early_launcher
from runner.errors import InputError, StateError
from runner.hookspecs import hookimpl
from runner.listener import Listener
from runner.record.locks import PipelineLock
from runner.sandbox.launcher import Launcher

OK = "touch $PIPELINE_OUTPUT_OUT"


@pytest.fixture
def bench(tmp_path):
    bench = PipelineBench(tmp_path)
    bench.define(shell("a", OK), shell("b", OK))
    yield bench
    bench.close()


@pytest.fixture
def started(monkeypatch):
    """The launchers that were started early."""
    started = []

    def start_and_note(*level, **fields):
        started.append(begin(*level, **fields))
        return started[-1]

    monkeypatch.setattr(Launcher, "start", start_and_note)
    return started


def execute(bench, **options):
    return run.run(str(bench.spec), Options(**options))


def test_a_run_with_work_starts_its_launcher_before_it_plans(bench, started, monkeypatch):
    before_plan = []
    monkeypatch.setattr(
        "runner.engine.preflight.plan_without_lock",
        lambda *arguments: (before_plan.extend(started), plan_without_lock(*arguments))[1],
    )
    assert execute(bench).exit_code == 0
    assert len(before_plan) == len(started) == 1


def test_a_run_without_work_starts_no_launcher(bench, started):
    execute(bench)
    del started[:]
    assert execute(bench, paranoid=True).count("skipped") == 2
    assert execute(bench, stages=("a",)).count("skipped") == 1
    assert not started


def test_a_run_whose_stage_is_forced_starts_its_launcher_early(bench, started):
    execute(bench)
    assert execute(bench, force=True).count("succeeded") == 2
    assert len(started) == 2


def test_a_run_that_is_refused_leaves_no_process(bench, started):
    bench.define(shell("a", OK, inputs={"in": "missing"}))
    before = children(os.getpid())
    with pytest.raises(InputError):
        execute(bench)
    assert len(started) == 1
    assert children(os.getpid()) == before


def test_a_run_beside_another_one_starts_no_launcher_early(bench, started):
    spec = Options().load(str(bench.spec))
    lock = PipelineLock(spec.paths)
    assert lock.acquire()
    assert early_launcher(spec, Options()) is None
    lock.release()
    assert not started


def test_a_launcher_that_cannot_be_started_early_is_started_later(bench, monkeypatch):
    starts = [StateError(), None]

    def refuses_once(*level, **fields):
        if error := starts.pop(0):
            raise error
        return begin(*level, **fields)

    monkeypatch.setattr(Launcher, "start", refuses_once)
    assert execute(bench).exit_code == 0
    assert not starts


def test_a_hook_that_chooses_another_launcher_ends_the_early_one(bench, started, monkeypatch):
    class Chooses:
        @hookimpl
        def offpipe_make_launcher(self):
            return Launcher.start("filter")

    chosen = Chooses()
    monkeypatch.setattr("runner.engine.start._may_have_plugins", lambda: False)

    class Shows(Listener):
        def hooks(self):
            return (chosen,)

    ended = []
    monkeypatch.setattr(
        Launcher, "submit", lambda self, launch: ended.append(started[0]._requests) or submit(self, launch)
    )
    result = run.run(str(bench.spec), Options(), Shows())
    assert result.isolation["level"] == "filter"
    assert set(ended) == {-1}


submit, begin = Launcher.submit, Launcher.start
