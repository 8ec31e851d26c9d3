"""The hooks of an attempt, their order, and the effect on a run when one raises."""

import json
import os
from pathlib import Path

import pytest
from pipeline_bench import PipelineBench, shell, wait_for

from runner.engine import Options
from runner.engine.run import run
from runner.engine.start import fork_environment
from runner.errors import Fault, UsageError
from runner.hookspecs import hookimpl
from runner.levels import KERNEL
from runner.results import FAILED
from runner.sandbox.launcher import Launcher

TWICE = {"attempts": 2, "delaySeconds": 0.001}
CHECKPOINTS = r"""
printf half > $PIPELINE_OUTPUT_OUT
printf '{"v": 1, "key": "%s", "lineOffset": %d, "outputs": {"out": {"length": 4}}}' \
    $PIPELINE_KEY $((PIPELINE_ATTEMPT * 10)) > $PIPELINE_PROGRESS.new
mv $PIPELINE_PROGRESS.new $PIPELINE_PROGRESS; touch further
test $PIPELINE_ATTEMPT = 2 || exit 75
"""


@pytest.fixture
def bench(tmp_path):
    bench = PipelineBench(tmp_path)
    yield bench
    bench.close()


class Overtaken(Launcher):
    """Starts an attempt, and waits until it has written another checkpoint."""

    further: Path

    def submit(self, launch):
        super().submit(launch)
        wait_for(self.further.exists)
        self.further.unlink()


class LineNotes:
    """Notes from which line each attempt starts."""

    def __init__(self, root):
        self.further = root / "further"
        self.lines = []

    @hookimpl
    def offpipe_make_launcher(self, spec):
        launcher = Overtaken.start(KERNEL, fork_env=fork_environment(spec))
        launcher.further = self.further
        return launcher

    @hookimpl
    def offpipe_attempt_started(self, progress):
        self.lines.append(json.loads(Path(progress).read_bytes())["lineOffset"] if os.path.exists(progress) else None)


def test_a_hook_sees_the_checkpoint_before_the_attempt_moves_it(bench):
    bench.define(shell("a", CHECKPOINTS, retry=TWICE))
    notes = LineNotes(bench.root)
    assert run(str(bench.spec), Options(), plugins=(notes,)).exit_code == 0
    assert notes.lines == [None, 10]


class Refuses:
    """Raises when attempt number `attempt` starts."""

    def __init__(self, attempt):
        self.attempt = attempt

    @hookimpl
    def offpipe_attempt_started(self, attempt):
        if attempt == self.attempt:
            raise UsageError(Fault("a plugin", "does not want this"))


def test_a_plugin_that_raises_at_the_first_attempt_ends_the_run(bench):
    bench.define(shell("a", "exit 75", retry=TWICE))
    with pytest.raises(UsageError, match="does not want this"):
        run(str(bench.spec), Options(), plugins=(Refuses(1),))
    assert bench.run("verify").returncode == 3


def test_a_plugin_that_raises_at_a_later_attempt_fails_the_stage_at_once(bench):
    bench.define(shell("a", "exit 75", retry=TWICE))
    result = run(str(bench.spec), Options(), plugins=(Refuses(2),))
    assert result.stages["a"].status == FAILED
    assert "does not want this" in str(result.stages["a"].fault)
    assert bench.run("verify").returncode == 3


class RefusesEnd:
    @hookimpl
    def offpipe_stage_finished(self):
        raise UsageError(Fault("a plugin", "does not want this"))


def test_a_plugin_that_raises_after_a_stage_has_succeeded_ends_the_run(bench):
    bench.define(shell("a", "echo >$PIPELINE_OUTPUT_OUT"))
    with pytest.raises(UsageError, match="does not want this"):
        run(str(bench.spec), Options(), plugins=(RefusesEnd(),))
    assert "failed" not in bench.run("status").stdout.partition("\nlast run")[2].partition("pending")[2]
    assert "a: started" not in bench.succeed().stderr, "the stage is up to date"
