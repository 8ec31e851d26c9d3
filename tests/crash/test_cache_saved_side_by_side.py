"""Runs without work can save the digest cache at the same time, also during a recovery, without harm."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys

import pytest
from pipeline_bench import shell, wait_for

from runner.paths import StatePaths
from runner.record.recovery import recover

pytestmark = pytest.mark.full

SAVES = """
import sys
from runner.engine import Options
from runner.engine.session import Session
session = Session(sys.argv[1], Options(workspace=sys.argv[2]))
session.plan()
session.cache.dump = lambda: b'{"v": 1, "files": {%b}}' % b", ".join(
    b'"%s%d": [1]' % (sys.argv[3].encode(), number) for number in range(int(sys.argv[4]))
)
session.cache.dirty = True
session.save_cache()
print("ready", flush=True)
sys.stdin.readline()
for _ in range(150):
    session.save_cache()
"""


@contextlib.contextmanager
def savers(bench, *sizes):
    """Hold processes that save caches of these sizes (in entries) again and again, once all of them are ready."""
    bench.define(shell("a", "touch $PIPELINE_OUTPUT_OUT"))
    bench.succeed()
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SAVES, str(bench.spec), str(bench.root), str(size), str(size)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for size in sizes
    ]  # fmt: skip
    try:
        for process in processes:
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            process.stdin.write("\n")
            process.stdin.flush()
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def have_ended(processes):
    return all(process.poll() is not None for process in processes)


def assert_unhurt(processes):
    assert [process.returncode for process in processes] == [0] * len(processes)


def test_a_half_written_cache_never_takes_the_place_of_a_whole_one(bench):
    sizes = set()

    def look():
        sizes.add(len(json.loads(bench.read("state/files.json"))["files"]))
        return have_ended(processes)

    with savers(bench, 3000, 5000, 8000) as processes:
        wait_for(look, "the end")
        assert_unhurt(processes)
    assert sizes <= {3000, 5000, 8000}


def test_recovery_and_concurrent_saves_do_not_disturb_each_other(bench):
    paths = StatePaths(str(bench.root / "state"), str(bench.root / "locks"))

    def run_recovery():
        recover(paths, str(bench.root), (), {}, durable=False)
        return have_ended(processes)

    with savers(bench, 2000, 3000) as processes:
        wait_for(run_recovery, "the end")
        assert_unhurt(processes)
    recover(paths, str(bench.root), (), {}, durable=False)
    assert not bench.exists("state/tmp")


def test_the_next_run_with_work_removes_what_a_killed_save_or_recovery_left(bench):
    bench.define(shell("a", "touch $PIPELINE_OUTPUT_OUT"))
    bench.succeed()
    bench.write("state/tmp/files.0a1b2c3d.json", '{"half')
    bench.write("state/tmp/run/a.1.json", "{}")
    bench.succeed("-f")
    assert bench.leftovers() == []
