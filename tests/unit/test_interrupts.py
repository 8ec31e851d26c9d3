"""Signals are noted, not acted on, and the handlers are restored afterwards."""

import os
import select
import signal
import threading
import time
from pathlib import Path

import pytest
from pipeline_bench import wait_for

from runner.errors import InterruptedRunError
from runner.interrupts import SIGNALS, Interrupts


@pytest.fixture(autouse=True)
def _default_handlers():
    """Under nohup, and in the background of a shell, the tests begin with ignored signals."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def readable(descriptor):
    return bool(select.select([descriptor], [], [], 0)[0])


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_noted_and_ends_a_wait(number):
    with Interrupts() as interrupts:
        interrupts.check()
        assert not readable(interrupts.wakeup)
        os.kill(os.getpid(), number)
        assert (interrupts.first, interrupts.count, readable(interrupts.wakeup)) == (number, 1, True)
        with pytest.raises(InterruptedRunError) as caught:
            interrupts.check()
        assert caught.value.exit_code == 128 + number


def test_a_signal_that_another_thread_receives_ends_a_wait():
    main = threading.main_thread()

    def receive():
        wait_for(
            lambda: "poll" in Path(f"/proc/self/task/{main.native_id}/wchan").read_text(), "a wait of the main thread"
        )
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)

    with Interrupts() as interrupts:
        thread = threading.Thread(target=receive)
        thread.start()
        began = time.monotonic()
        interrupts.await_signal(20)
        assert time.monotonic() - began < 10
        thread.join()
        assert (interrupts.first, interrupts.count) == (signal.SIGINT, 1)


def test_the_first_of_several_decides_the_exit_code_and_all_are_counted():
    with Interrupts() as interrupts:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(os.getpid(), number)
        assert (interrupts.first, interrupts.count) == (signal.SIGTERM, 3)


def test_more_signals_than_the_pipe_holds_do_not_block():
    with Interrupts() as interrupts:
        for _ in range(70_000):
            os.kill(os.getpid(), signal.SIGINT)
        assert interrupts.count == 70_000
        interrupts.drain()
        assert not readable(interrupts.wakeup)


def test_an_ignored_signal_stays_ignored():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with Interrupts() as interrupts:
        os.kill(os.getpid(), signal.SIGHUP)
        assert interrupts.count == 0


def test_handlers_and_descriptors_are_as_before():
    handler = lambda number, frame: None
    signal.signal(signal.SIGTERM, handler)
    descriptors = len(os.listdir("/proc/self/fd"))
    with Interrupts():
        assert signal.getsignal(signal.SIGTERM) != handler
    assert signal.getsignal(signal.SIGTERM) == handler
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_outside_the_main_thread_no_signal_is_caught():
    counts = []

    def enter():
        with Interrupts() as interrupts:
            counts.append(interrupts.count)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert counts == [0]


def test_waiting_for_a_signal_ends_with_it_or_with_its_time():
    with Interrupts() as interrupts:
        interrupts.await_signal(0.0)
        assert interrupts.count == 0
        os.kill(os.getpid(), signal.SIGTERM)
        interrupts.await_signal(60.0)
        assert interrupts.count == 1
