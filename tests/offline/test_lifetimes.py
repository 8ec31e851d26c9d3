"""Nothing that was started lives on after kill -9 or SIGSTOP of the runner or of the launcher's processes."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from harmless_lives import KINDS, KINDS_COUNT, LEVELS, MANY, MANY_COUNT, at, bench_as_user, crowded, holders, namespaces
from pipeline_bench import children, kill, wait_for
from suites import full_but

KERNEL = [each for each in LEVELS if each[0] == "kernel"]
FILTER = [each for each in LEVELS if each[0] == "filter"]


@pytest.fixture
def bench(level, user):
    with bench_as_user(level, user) as made:
        yield made


@at(LEVELS)
def test_nothing_lives_on_after_a_kill_while_the_launcher_gets_ready(bench):
    bench.define(crowded("a", "./sleeper 1000 &\n"))
    for step in range(4):
        process = bench.start()
        wait_for(lambda process=process: children(process.pid) or process.poll() is not None, "the launcher")
        time.sleep(step * 0.012)  # a spread of moments, not a wait for a fact
        process.kill()
        process.communicate()
        bench.wait_until_all_are_gone()
    bench.assert_next_run_succeeds()


@pytest.mark.full
@at(FILTER)
def test_nothing_lives_on_after_a_kill_of_the_runner_alone(bench):
    bench.define(crowded("a"))
    process = bench.start_crowd()
    process.kill()
    process.communicate()
    bench.wait_until_all_are_gone()
    bench.assert_next_run_succeeds()


@pytest.mark.full
@at(KERNEL)
@pytest.mark.parametrize("how", full_but(["at once", "with the launcher stopped"], ["at once"]))
def test_nothing_of_several_stages_with_hundreds_of_processes_lives_on(bench, how):
    bench.define(*(crowded(name, MANY + KINDS if name == "a" else KINDS) for name in "abcd"))
    process = bench.start_crowd("-j", "4", stages=4)
    wait_for(lambda: bench.sleepers() == 4 * KINDS_COUNT + MANY_COUNT, "all of them")
    for pid in bench.launcher(process) if how != "at once" else ():
        os.kill(pid, signal.SIGSTOP)
    process.kill()
    process.communicate()
    bench.wait_until_all_are_gone()
    bench.assert_next_run_succeeds()


@pytest.mark.full
@at(KERNEL)
def test_a_kill_leaves_no_mount_and_no_namespace(bench):
    mounts = Path("/proc/self/mounts").read_text()
    bench.define(crowded("a"))
    process = bench.start_crowd()
    entered = namespaces(bench.launcher(process)[1])
    assert len(entered) == 4
    assert len(holders(entered)) > KINDS_COUNT
    process.kill()
    process.communicate()
    bench.wait_until_all_are_gone()
    wait_for(lambda: not holders(entered), "empty namespaces")
    assert Path("/proc/self/mounts").read_text() == mounts
    bench.assert_next_run_succeeds()


@at(KERNEL)
@pytest.mark.parametrize("which", full_but(["outer", "inner", "inner of a stopped outer"], ["outer"]))
def test_a_run_whose_launcher_is_killed_says_so_and_leaves_nothing(bench, which):
    bench.define(crowded("a"))
    process = bench.start_crowd()
    outer, inner = bench.launcher(process)
    if which == "inner of a stopped outer":
        os.kill(outer, signal.SIGSTOP)
    os.kill(outer if which == "outer" else inner, signal.SIGKILL)
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == 70
    assert "was killed by SIGKILL while it was needed" in stderr
    assert "hint: run again to go on" in stderr
    assert "Traceback" not in stderr
    bench.wait_until_all_are_gone()
    bench.assert_next_run_succeeds()


@at(FILTER)
def test_at_filter_a_killed_launcher_takes_the_main_process_along_and_the_next_run_goes_on(bench):
    bench.define(crowded("a"))
    process = bench.start_crowd()
    (launcher,) = bench.launcher(process)
    mains = children(launcher)
    os.kill(launcher, signal.SIGKILL)
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == 70
    assert "was killed by SIGKILL while it was needed" in stderr
    wait_for(lambda: not set(mains) & bench.alive(), "the main process's end")
    for pid in bench.alive():  # docs/known-limits.md: what it had started may live on
        kill(pid)
    bench.assert_next_run_succeeds()


@at(FILTER)
def test_at_filter_the_next_run_ends_a_stopped_launcher_that_outlived_its_runner(bench):
    bench.define(crowded("a"))
    process = bench.start_crowd()
    os.kill(*bench.launcher(process), signal.SIGSTOP)
    process.kill()
    process.communicate()
    bench.assert_next_run_succeeds()


@pytest.mark.full
@at(LEVELS)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_an_interrupt_ends_a_run_whose_launcher_was_stopped(bench, number):
    bench.define(crowded("a", "./sleeper 1000 & setsid ./sleeper 1000 &\n"))
    for which in range(2 if bench.level == "kernel" else 1):
        process = bench.start_crowd(sleepers=2)
        os.kill(bench.launcher(process)[which], signal.SIGSTOP)
        began = time.monotonic()
        os.kill(process.pid, number)
        _, stderr = process.communicate(timeout=20)
        assert process.returncode == 128 + number, stderr
        assert time.monotonic() - began < 4
        bench.wait_until_all_are_gone()
        (bench.root / "there-a").unlink()
    bench.assert_next_run_succeeds()


@at(LEVELS)
def test_an_interrupt_ends_every_kind_of_process(bench):
    bench.define(crowded("a"))
    process = bench.start_crowd()
    os.kill(process.pid, signal.SIGTERM)
    os.kill(process.pid, signal.SIGTERM)
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == 143, stderr
    assert not bench.alive()
    bench.assert_next_run_succeeds()
