"""The threads that sync: what was asked for has ended when `wakeup` is readable, and every error is told."""

from __future__ import annotations

import errno
import os
import resource
import select
import threading

import pytest

from runner.errors import StateError
from runner.record.syncing import Syncs


@pytest.fixture
def syncs():
    made = Syncs()
    yield made
    made.close()


def ended(syncs, count):
    """So many that have ended, waited for as the loop does."""
    poll = select.poll()
    poll.register(syncs.wakeup, select.POLLIN)
    found = []
    while len(found) < count:
        assert poll.poll(30_000)
        found += syncs.ended()
    return found


def refuse():
    raise StateError.from_os(OSError(errno.EIO, "no"), "x", "sync")


def test_a_line_makes_its_calls_in_order_in_a_thread_of_its_own(syncs):
    threads = []
    for token in range(5):
        syncs.ask("one", token, lambda: threads.append(threading.get_ident()))
    assert ended(syncs, 5) == [(token, None) for token in range(5)]
    assert len(set(threads)) == 1
    assert threading.get_ident() not in threads


def test_one_line_does_not_wait_for_another(syncs):
    goes_on = threading.Event()
    syncs.ask("slow", "a", goes_on.wait)
    syncs.ask("other", "b", lambda: None)
    assert ended(syncs, 1) == [("b", None)]
    assert syncs.ended() == []
    goes_on.set()
    assert ended(syncs, 1) == [("a", None)]


def test_one_that_fails_holds_up_none_and_is_told_by_its_token(syncs):
    syncs.ask("one", "a", refuse)
    syncs.ask("one", "b", lambda: None)
    (first, error), second = ended(syncs, 2)
    assert first == "a"
    assert isinstance(error, StateError)
    assert second == ("b", None)


def test_what_is_cancelled_is_not_called(syncs):
    begun, goes_on, called = threading.Event(), threading.Event(), []
    syncs.ask("one", "a", lambda: (begun.set(), goes_on.wait()))
    syncs.ask("one", "b", lambda: called.append("b"))
    begun.wait()
    error = InterruptedError()
    syncs.cancel("one", error)
    goes_on.set()
    assert ended(syncs, 2) == [("a", None), ("b", error)]
    assert called == []


def test_without_a_thread_to_be_had_the_caller_waits(syncs, monkeypatch):
    def none_left(_self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", none_left)
    found = []
    syncs.ask("one", "a", lambda: found.append(threading.get_ident()))
    assert found == [threading.get_ident()]
    assert ended(syncs, 1) == [("a", None)]


def test_without_a_descriptor_it_says_so():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        with pytest.raises(StateError, match="EMFILE"):
            Syncs()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
