"""A thread that enters the walls once and does one piece of work after the other."""

from __future__ import annotations

import _thread
import os
import signal

import pytest

from runner.sandbox.spawn import WalledThread


def test_it_enters_once_and_does_all_its_work_in_one_thread_that_is_not_ours() -> None:
    entered = []
    thread = WalledThread(lambda: entered.append(_thread.get_native_id()))
    threads = [thread.run(_thread.get_native_id) for _ in range(3)]
    assert set(threads) == set(entered) and len(entered) == 1
    assert entered != [_thread.get_native_id()]


def test_what_entering_raises_is_raised() -> None:
    with pytest.raises(FileNotFoundError):
        WalledThread(lambda: os.stat("/not/there"))


def test_what_work_raises_is_raised_and_the_next_is_done() -> None:
    thread = WalledThread(lambda: None)
    for error in (OSError, SystemExit):
        with pytest.raises(error):
            thread.run(lambda error=error: (_ for _ in ()).throw(error))
        assert thread.run(lambda: 7) == 7


def test_signals_are_for_other_threads() -> None:
    blocked = []
    thread = WalledThread(lambda: None)
    thread.run(lambda: blocked.extend(signal.pthread_sigmask(signal.SIG_BLOCK, ())) or 0)
    assert {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT} <= set(blocked)
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ())
