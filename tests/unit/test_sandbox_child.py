"""A signal ends a stage that has been forked but does not run its program yet."""

import os
import select
import signal
import sys
from pathlib import Path

import pytest
from pipeline_bench import children, wait_for
from suites import full_but

from runner.levels import KERNEL, SCAN
from runner.sandbox.launcher import Launch, Launcher

ROOT = Path(__file__).resolve().parents[2]
FORK_ENV = {"LANG": "C.UTF-8", "TZ": "UTC", "PYTHONPATH": str(ROOT)}
WAYS = {"forked": (FORK_ENV, True), "command": (None, False), "command beside forked ones": (FORK_ENV, False)}


@pytest.fixture
def waiting(tmp_path):
    """Return a function that starts a stage that waits for its standard input, a FIFO, and returns its pid."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "log").touch()
    (tmp_path / "script.py").write_text("print('has run')\n")

    def started(launcher, *, is_forked):
        launcher.await_ready()
        if launcher.refusal:
            pytest.skip(f"this level cannot be had here: {launcher.refusal}")
        script = str(tmp_path / "script.py")
        argv = [sys.executable, "-B", script] if is_forked else ["/bin/echo", "has run"]
        fifo, log = str(tmp_path / "fifo"), str(tmp_path / "log")
        launcher.submit(
            Launch(1, argv, FORK_ENV, str(tmp_path), fifo, None, log, script=script if is_forked else None, grace=60)
        )
        return wait_for(lambda: children(launcher.pid))[0]

    return started


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE])
@pytest.mark.parametrize("level", full_but([KERNEL, SCAN], [KERNEL]))
@pytest.mark.parametrize("way", WAYS)
def test_a_signal_ends_the_stage_and_is_reported(waiting, tmp_path, way, level, number):
    fork_env, is_forked = WAYS[way]
    with Launcher.start(level, fork_env=fork_env) as launcher:
        os.kill(waiting(launcher, is_forked=is_forked), number)
        ended = []
        while not ended:
            assert select.select([launcher], [], [], 60)[0]
            ended = launcher.receive()
    assert (ended[0].code, ended[0].signal, ended[0].failed_to_start) == (None, number, None)
    assert (tmp_path / "log").read_text() == ""
