"""When outputs are published (after their sync and that of their commit), and what waits for what."""

from __future__ import annotations

import errno
import os
import resource
import select
import threading
from types import SimpleNamespace

import pytest

from runner.errors import InterruptedRunError, StateError
from runner.executor.publishing import MOST, CommitQueue


class Log:
    def __init__(self):
        self.size = 0
        self.durable = 0  # the size that is on disk
        self.calls = []
        self.error = None
        self.goes_on = threading.Event()
        self.goes_on.set()

    def flush(self):
        self.goes_on.wait()
        if self.error:
            raise self.error

    def flushed(self, size, error):
        self.calls.append(size)
        if error is not None:
            raise error
        self.durable = size


class Attempts:
    """The attempts of a run: `hold` blocks the sync of a job (`held`: it has begun), `refuse` makes it fail."""

    def __init__(self, *, durable=True):
        self.durable = durable
        self.log = Log()
        self.done = []
        self.durable_at = {}  # job -> the size of the log that was on disk when its outputs were put in place
        self.hold = {}
        self.held = threading.Event()
        self.refuse = {}

    def make_durable(self, job):
        if job in self.hold:
            self.held.set()
            self.hold[job].wait()
        if job in self.refuse:
            raise self.refuse[job]

    def commit(self, job):
        self.log.size += 1
        self.done.append(f"commit {job}")

    def put_in_place(self, job):
        self.done.append(f"place {job}")
        self.durable_at[job] = self.log.durable


class Bench:
    def __init__(self, **how):
        self.attempts = Attempts(**how)
        self.published = []
        self.failed = {}
        self.poll = select.poll()
        self.queue = CommitQueue(self.attempts, self._put_in_place, self.poll)

    def _put_in_place(self, job):
        self.attempts.put_in_place(job)
        self.published.append(job)

    def take(self, *jobs):
        for job in jobs:
            self.queue.take(job)

    def step(self):
        """Wait until a sync has ended, then take the steps that this allows."""
        assert self.poll.poll(30_000), "no sync has ended within 30 s"
        for job, step in self.queue.steps():
            try:
                step()
            except (StateError, InterruptedRunError) as error:
                self.failed[job] = error

    def until(self, condition):
        while not condition():
            self.step()

    def until_idle(self):
        self.until(lambda: self.queue.waiting == 0)


@pytest.fixture
def make():
    benches = []

    def bench(**how):
        benches.append(Bench(**how))
        return benches[-1]

    yield bench
    for each in benches:
        for event in (*each.attempts.hold.values(), each.attempts.log.goes_on):
            event.set()
        each.queue.close()


def eio():
    return StateError.from_os(OSError(errno.EIO, "no"), "x", "sync")


def test_without_durability_every_job_is_published_at_once(make):
    bench = make(durable=False)
    bench.take("a", "b")
    assert (bench.published, bench.attempts.log.calls) == (["a", "b"], [])


def test_beside_others_a_job_is_published_when_its_commit_is_durable(make):
    bench = make()
    bench.take("a", "b", "c")
    assert bench.queue.waiting
    bench.until_idle()
    assert sorted(bench.published) == ["a", "b", "c"]
    commits = [event for event in bench.attempts.done if event.startswith("commit")]
    for number, commit in enumerate(commits, 1):
        assert bench.attempts.durable_at[commit.removeprefix("commit ")] >= number


def test_commits_during_a_sync_of_the_log_share_its_next_sync(make):
    bench = make()
    bench.attempts.log.goes_on.clear()
    bench.take("a", "b", "c")
    bench.until(lambda: len(bench.attempts.done) == 3)
    assert bench.published == []
    bench.attempts.log.goes_on.set()
    bench.until_idle()
    assert bench.published == ["a", "b", "c"]
    assert len(bench.attempts.log.calls) <= 2


def test_a_slow_output_holds_up_no_commit_of_those_before_it(make):
    bench = make()
    bench.attempts.hold["slow"] = threading.Event()
    bench.take("a", "slow")
    bench.until(lambda: bench.published == ["a"])
    bench.attempts.hold["slow"].set()
    bench.until_idle()
    assert bench.published == ["a", "slow"]


def test_an_output_that_cannot_be_synced_fails_only_its_own_stage(make):
    bench = make()
    bench.attempts.refuse["bad"] = eio()
    bench.take("a", "bad", "b")
    bench.until_idle()
    assert (sorted(bench.published), list(bench.failed)) == (["a", "b"], ["bad"])
    assert "commit bad" not in bench.attempts.done


def test_when_the_log_cannot_be_synced_nothing_is_published(make):
    bench = make()
    bench.attempts.log.error = eio()
    bench.take("a", "b")
    with pytest.raises(StateError, match="EIO"):
        bench.until_idle()
    assert bench.published == []


def test_only_a_limited_number_of_jobs_wait_at_a_time(make):
    bench = make()
    bench.attempts.hold["0"] = threading.Event()
    bench.take(*map(str, range(MOST - 1)))
    assert bench.queue.has_room
    bench.take("last")
    assert not bench.queue.has_room
    bench.attempts.hold["0"].set()
    bench.until_idle()
    assert bench.queue.has_room


def test_fewer_jobs_wait_if_few_descriptors_may_be_open(make):
    """Each job that waits has its lock open. Running stages and the runner need the other descriptors."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, before[1]))
    try:
        bench = make()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    bench.attempts.hold["0"] = threading.Event()
    bench.take(*map(str, range(24)))
    assert bench.queue.has_room
    bench.take("last")
    assert not bench.queue.has_room
    bench.attempts.hold["0"].set()
    bench.until_idle()


def test_after_a_second_signal_nothing_more_is_synced_but_what_is_committed_is_published(make):
    bench = make()
    bench.attempts.hold["b"] = threading.Event()
    bench.take("a", "b", "c", "d")
    bench.until(lambda: "commit a" in bench.attempts.done)
    assert bench.attempts.held.wait(30)
    bench.queue.hurry(SimpleNamespace(first=2, count=1))
    bench.queue.hurry(SimpleNamespace(first=2, count=2))
    bench.attempts.hold["b"].set()
    bench.until_idle()
    assert sorted(bench.published) == ["a", "b"]
    assert sorted(bench.failed) == ["c", "d"]
    assert all(isinstance(error, InterruptedRunError) for error in bench.failed.values())


def test_closing_waits_for_what_is_being_synced_and_leaves_the_rest():
    bench = Bench()
    begun, ends = threading.Event(), threading.Event()
    calls = []

    def first(job):
        calls.append(job)
        begun.set()
        ends.wait()

    bench.attempts.make_durable = first
    bench.take("a", "b")
    begun.wait()
    closing = threading.Thread(target=bench.queue.close)
    closing.start()
    closing.join(0.05)
    assert closing.is_alive()
    ends.set()
    closing.join()
    assert calls == ["a"]


def test_if_no_thread_can_start_the_loop_waits_for_the_disk(make, monkeypatch):
    def none_left(_self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", none_left)
    bench = make()
    bench.take("a", "b")
    bench.until_idle()
    assert bench.published == ["a", "b"]


def test_a_lack_of_descriptors_is_a_state_error(make):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        with pytest.raises(StateError, match="EMFILE"):
            make()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
