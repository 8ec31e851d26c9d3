"""The thread that syncs: what it was given has ended when `wakeup` is readable, and every error is told."""

from __future__ import annotations

import errno
import os
import resource
import select
import threading

import pytest

from runner.errors import StateError
from runner.record.syncing import SyncThread


@pytest.fixture
def thread():
    made = SyncThread()
    yield made
    made.close()


def ended(thread):
    """What each call raised, waited for as the loop does."""
    poll = select.poll()
    poll.register(thread.wakeup, select.POLLIN)
    assert poll.poll(30_000)
    return thread.ended()


def refuse():
    raise StateError.from_os(OSError(errno.EIO, "no"), "x", "sync")


def test_calls_are_made_in_order_in_another_thread(thread):
    found = []
    thread.begin([lambda: found.append(threading.get_ident()), lambda: found.append("then")])
    assert ended(thread) == [None, None]
    assert found[0] != threading.get_ident()
    assert found[1] == "then"


def test_one_that_fails_holds_up_none_and_is_told_in_its_place(thread):
    thread.begin([refuse, lambda: None, refuse])
    first, second, third = ended(thread)
    assert isinstance(first, StateError)
    assert second is None
    assert isinstance(third, StateError)


def test_nothing_has_ended_while_it_lasts(thread):
    goes_on = threading.Event()
    thread.begin([goes_on.wait])
    assert thread.ended() is None
    goes_on.set()
    assert ended(thread) == [None]
    assert thread.ended() is None


def test_one_round_follows_another(thread):
    for _ in range(3):
        thread.begin([refuse])
        assert isinstance(ended(thread)[0], StateError)


def test_without_a_thread_to_be_had_the_caller_waits(thread, monkeypatch):
    def none_left(_self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", none_left)
    found = []
    thread.begin([lambda: found.append(threading.get_ident())])
    assert ended(thread) == [None]
    assert found == [threading.get_ident()]


def test_without_a_descriptor_it_says_so():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        with pytest.raises(StateError, match="EMFILE"):
            SyncThread()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
