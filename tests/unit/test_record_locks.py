"""Locks are the kernel's: they end with their holder, and the file says who that is."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import time

import pytest

from runner.errors import EXIT_LOCKED, LockHeldError, StateError
from runner.record import locks
from runner.record.locks import KernelLock, PipelineLock, StageLock, describe, read_holder
from runner.record.others import is_held

HOLD = """
import sys
from runner.record.locks import PipelineLock
lock = PipelineLock(*sys.argv[1:])
lock.take(0, print)
lock.write_holder({"pid": 1, "host": "h", "run": "r", "since": "s"})
print("held", flush=True)
sys.stdin.readline()
"""
SILENT = """
import sys
from runner.record.locks import PipelineLock
lock = PipelineLock(*sys.argv[1:])
lock.take(0, print)
print("held", flush=True)
sys.stdin.readline()
lock.write_holder({"pid": 1, "host": "h", "run": None, "since": "s"})
sys.stdin.readline()
"""
GLANCE = """
import sys
from runner.record.others import is_held
print("looking", flush=True)
while True:
    is_held(*sys.argv[1:])
"""


def state_of(path):
    return os.path.join(os.path.dirname(os.path.dirname(path)), "state")


def lock_at(path):
    return PipelineLock(path, state_of(path))


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "locks" / "pipeline.lock")


@pytest.fixture
def start(path):
    started = []

    def start(program):
        process = subprocess.Popen(
            [sys.executable, "-c", program, path, state_of(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )  # fmt: skip
        started.append(process)
        process.stdout.readline()
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_loser_is_told_who_holds_it_since_when(path, start):
    start(HOLD)
    with pytest.raises(LockHeldError, match="pid 1 on h, run r, since s") as caught:
        lock_at(path).take(0, lambda holder: None)
    assert caught.value.exit_code == EXIT_LOCKED
    assert is_held(path)
    assert read_holder(path)["run"] == "r"  # the loser has not emptied the file


def test_what_a_holder_says_takes_the_place_of_what_was_said_in_one_write(path, monkeypatch):
    lock = lock_at(path)
    assert lock.acquire()
    lock.write_holder({"pid": 1, "host": "h", "run": "a-long-name-of-a-run", "since": "s", "launcher": 5})
    inode, cuts = os.stat(path).st_ino, []
    real = os.open
    monkeypatch.setattr(os, "open", lambda *given: cuts.append(given[1] & os.O_TRUNC) or real(*given))
    size = os.stat(path).st_size
    lock.write_holder({"pid": 1})
    assert read_holder(path) == {"pid": 1, "inode": inode}
    assert os.stat(path).st_ino == inode
    assert os.stat(path).st_size == size  # so that a kill in the middle leaves no text of two halves
    assert not any(cuts)  # which would leave nothing at all
    lock.release()


def test_what_a_copy_of_a_lock_file_says_is_not_said_in_it(path, tmp_path):
    lock, copy = lock_at(path), PipelineLock(str(tmp_path / "copy"), str(tmp_path / "other"))
    lock.take(0, print)
    lock.write_holder({"pid": 1})
    said = read_holder(path)
    copy.take(0, print)
    assert (lock.is_of_here(said), copy.is_of_here(said)) == (True, False)
    assert lock.is_of_here({"pid": 1}), "as an earlier release said it"
    copy.release()
    lock.release()


def test_it_ends_with_its_holder_however_that_ends(path, start):
    holder = start(HOLD)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert not is_held(path)
    assert read_holder(path)["run"] == "r"  # that the file exists, and what it says, means nothing
    lock_at(path).take(0, lambda holder: None)


def test_whoever_removes_the_lock_file_has_not_got_the_lock(path, start):
    start(HOLD)
    os.unlink(path)
    with pytest.raises(LockHeldError, match="another run works in this state directory") as caught:
        lock_at(path).take(0, lambda holder: None)
    assert caught.value.faults[0].where == state_of(path)
    assert is_held(path, state_of(path))


def test_two_locks_of_one_state_directory_are_one(path, start, tmp_path):
    start(HOLD)
    other = str(tmp_path / "other" / "pipeline.lock")
    began = time.monotonic()
    with pytest.raises(LockHeldError, match="another run works in this state directory"):
        PipelineLock(other, state_of(path)).take(0.3, lambda holder: None)
    assert time.monotonic() - began >= 0.3
    assert not is_held(other)


def test_a_lock_file_that_is_replaced_while_it_is_taken_is_taken_anew(path, monkeypatch):
    lock, real = lock_at(path), KernelLock.acquire
    replaced = []

    def acquire(self, wait=0.0, poll=0.0):
        got = real(self, wait, poll)
        if not replaced:
            replaced.append(os.unlink(path))
        return got

    monkeypatch.setattr(KernelLock, "acquire", acquire)
    assert lock.acquire()
    assert is_held(path)
    lock.release()


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_kernel_locks_is_refused(path, monkeypatch, number):
    def flock(descriptor, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(StateError, match="no kernel locks"):
        KernelLock(path).acquire()


def test_a_lock_file_that_is_a_link_is_refused(path, tmp_path):
    lock = KernelLock(path)
    os.symlink(tmp_path / "elsewhere", path)
    with pytest.raises(StateError, match="is a link"):
        lock.acquire()
    assert not (tmp_path / "elsewhere").exists()


def test_a_lock_that_was_given_back_is_free_though_a_fork_still_has_its_file(path):
    lock, other = KernelLock(path), KernelLock(path)
    assert lock.acquire() and not other.acquire()
    copy = os.dup(lock._file)  # as a fork has it
    lock.release()
    assert other.acquire()
    other.release()
    os.close(copy)


def test_taking_a_lock_loads_no_library(path):
    program = (
        "import sys, runner.record.locks as l\nassert l.PipelineLock(*sys.argv[1:]).acquire()\nprint(*sys.modules)"
    )
    said = subprocess.run(
        [sys.executable, "-c", program, path, state_of(path)], capture_output=True, text=True, check=False
    )
    assert said.returncode == 0, said.stderr
    assert not {"filelock", "logging", "dataclasses"} & set(said.stdout.split())


def test_who_waits_is_told_once_and_gets_it(path, start):
    holder = start(HOLD)
    heard = []

    def on_wait(told):
        heard.append(told["run"])
        holder.kill()

    lock = lock_at(path)
    lock.take(60, on_wait)
    assert (heard, is_held(path)) == (["r"], True)
    lock.release()
    assert not is_held(path)


def test_waiting_goes_on_for_as_long_as_it_takes(path, start):
    holder = start(HOLD)
    slices = []

    def check():
        slices.append(1)
        if len(slices) == 3:
            holder.kill()

    lock = lock_at(path)
    lock.take(60, lambda holder: None, check)
    assert len(slices) >= 3
    lock.release()


def test_waiting_can_be_ended(path, start):
    start(HOLD)

    def check():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lock_at(path).take(float("inf"), lambda holder: None, check)


@pytest.mark.parametrize("ended", [True, False], ids=["ended", "killed"])
def test_a_loser_is_never_told_of_an_earlier_holder(path, start, ended):
    """Who locks says who it is right afterwards: until then the file tells of another."""
    earlier = lock_at(path)
    earlier.take(0, print)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    pid = os.getpid() if ended else dead.pid
    earlier.write_holder({"pid": pid, "host": os.uname().nodename, "run": "earlier", "since": "s"})
    if not ended:
        earlier._said = None  # it says nothing more
    earlier.release()
    start(SILENT)
    with pytest.raises(LockHeldError, match="it has not said yet who it is"):
        lock_at(path).take(0, lambda holder: None)


def test_a_loser_waits_a_moment_for_the_holder_to_say_who_it_is(path, start):
    speaking = start(SILENT)
    asked = []

    def check():
        if not asked:
            speaking.stdin.write(b"speak\n")
            speaking.stdin.flush()
        asked.append(1)

    with pytest.raises(LockHeldError, match="pid 1 on h, since s"):
        lock_at(path).take(0, lambda holder: None, check)


def test_a_holder_that_ends_while_it_is_named_has_been_named(path, start, monkeypatch):
    start(SILENT)
    holder = {"pid": os.getpid(), "host": os.uname().nodename, "since": "s"}
    told = iter([holder])
    monkeypatch.setattr(locks, "read_holder", lambda _: next(told, {**holder, "ended": True}))
    with pytest.raises(LockHeldError, match=f"pid {os.getpid()} on "):
        lock_at(path).take(0, lambda holder: None)


def test_those_who_only_look_turn_no_run_away(path, start):
    lock = lock_at(path)
    lock.take(0, print)
    lock.release()
    for _ in range(2):
        start(GLANCE)
    for _ in range(300):
        lock.take(0, print)
        lock.release()


def test_a_launcher_that_outlived_its_run_is_waited_for_and_then_named(path):
    lock = lock_at(path)
    lock.take(0, print)
    lock.write_holder({"launcher": 5, "launcherStarted": 7})
    answers = iter([True, True, False])
    asked = []

    def still_there(*words):
        asked.append(words)
        return next(answers)

    lock.await_launcher(still_there)
    assert asked == [(5, 7)] * 3
    with pytest.raises(StateError, match="kill -9 5"):
        lock.await_launcher(lambda pid, started: True, clock=iter([0.0, 1e6]).__next__)
    lock.release()


@pytest.mark.parametrize("forgotten", [False, True])
def test_a_launcher_that_has_nothing_left_of_its_run_is_waited_for_by_nobody(path, forgotten):
    lock, asked = lock_at(path), []
    lock.take(0, print)
    lock.write_holder({"pid": 1, "launcher": 5, "launcherStarted": 7})
    if forgotten:
        lock.forget_launcher()
    lock.release()
    lock_at(path).await_launcher(lambda *words: asked.append(words))
    assert bool(asked) != forgotten


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b'{"launcher": "5"}', b"{" * 100_000])
def test_an_odd_holder_file_is_nobodys_trouble(path, content):
    lock = lock_at(path)
    with open(path, "wb") as file:
        file.write(content)
    lock.take(0, print)
    lock.await_launcher(lambda pid, started: True)
    lock.release()
    assert describe(read_holder(path)) == "it has not said yet who it is"


def test_a_stage_lock_keeps_another_process_out_until_it_is_given_back(tmp_path):
    one, other = StageLock(str(tmp_path / "a.lock")), StageLock(str(tmp_path / "a.lock"))
    assert (one.acquire(), other.acquire()) == (True, False)
    one.release()
    assert other.acquire()
    other.release()


def test_a_stage_lock_whose_directory_was_removed_is_made_again(tmp_path):
    lock = StageLock(str(tmp_path / "locks" / "a.lock"))
    assert lock.acquire()
    lock.release()
    assert os.listdir(tmp_path / "locks") == ["a.lock"]


def test_looking_at_a_lock_makes_no_file(path):
    assert not is_held(path)
    assert not os.path.exists(path)
