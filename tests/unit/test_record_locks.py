"""Locks are the kernel's: they end with their holder, and the lock file names it."""

import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from runner.errors import EXIT_LOCKED, LockHeldError, StateError
from runner.paths import StatePaths
from runner.record import locks
from runner.record.locks import PipelineLock, describe, has_leftovers, is_held, last_holder, lock, read_holder

HOST = os.uname().nodename
HOLD = """
import sys
from runner.paths import StatePaths
from runner.record.locks import PipelineLock
lock = PipelineLock(StatePaths(*sys.argv[1:]))
lock.take(0, print)
lock.update_holder(run="r", since="s")
print("held", flush=True)
sys.stdin.readline()
"""
SILENT = """
import sys
from runner.paths import StatePaths
from runner.record.locks import PipelineLock
lock = PipelineLock(StatePaths(*sys.argv[1:]))
assert lock.acquire()
print("held", flush=True)
sys.stdin.readline()
lock.update_holder(pid=1, host="h", since="s")
sys.stdin.readline()
"""
LOOK = """
import sys
from runner.paths import StatePaths
from runner.record.locks import is_held
print("looking", flush=True)
while True:
    is_held(StatePaths(*sys.argv[1:]))
"""


@pytest.fixture
def paths(tmp_path):
    return StatePaths(str(tmp_path / "state"), str(tmp_path / "locks"))


@pytest.fixture
def impatient(monkeypatch):
    """Wait only briefly for a holder that does not write its name."""
    monkeypatch.setattr(locks, "_NAMELESS_POLLS", 5)


@pytest.fixture
def start(paths):
    started = []

    def start(program):
        process = subprocess.Popen(
            [sys.executable, "-c", program, paths.state_dir, paths.locks_dir],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        started.append(process)
        process.stdout.readline()
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def taken(paths):
    held = PipelineLock(paths)
    held.take(0, print)
    return held


# ---- one holder ------------------------------------------------------------------------------------------------------


def test_an_error_names_the_holder_and_since_when(paths, start):
    holder = start(HOLD)
    with pytest.raises(LockHeldError, match=f"pid {holder.pid} on {HOST}, run r, since s") as caught:
        taken(paths)
    assert caught.value.exit_code == EXIT_LOCKED
    assert is_held(paths)
    assert read_holder(paths.pipeline_lock)["run"] == "r"  # the process that failed did not empty the file


def test_a_lock_ends_when_its_holder_is_killed(paths, start):
    holder = start(HOLD)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert not is_held(paths)
    assert read_holder(paths.pipeline_lock)["run"] == "r"  # the file and its content do not mean a held lock
    taken(paths).release()


def test_removing_the_lock_file_does_not_release_the_lock(paths, start, impatient):
    start(HOLD)
    os.unlink(paths.pipeline_lock)
    with pytest.raises(LockHeldError, match="another run works in this state directory") as caught:
        taken(paths)
    assert caught.value.faults[0].where == paths.state_dir
    assert is_held(paths)


def test_two_locks_of_one_state_directory_are_one(paths, start, tmp_path, impatient):
    start(HOLD)
    other = StatePaths(paths.state_dir, str(tmp_path / "other"))
    began = time.monotonic()
    with pytest.raises(LockHeldError, match="another run works in this state directory"):
        PipelineLock(other).take(0.4, lambda holder: None)
    assert time.monotonic() - began >= 0.4
    with open(other.pipeline_lock, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_lock_file_that_is_replaced_while_it_is_taken_is_taken_anew(paths, monkeypatch):
    real, replaced = locks.lock, []

    def take(path, **options):
        descriptor = real(path, **options)
        if not replaced:
            replaced.append(os.unlink(path))
        return descriptor

    monkeypatch.setattr(locks, "lock", take)
    with taken(paths), open(paths.pipeline_lock, "rb") as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_lock_that_was_given_back_is_free_though_a_fork_still_has_its_files(paths):
    held = taken(paths)
    copies = [os.dup(descriptor) for descriptor in held._descriptors]  # as a forked process has them
    held.release()
    taken(paths).release()
    for descriptor in copies:
        os.close(descriptor)


def test_a_check_for_a_holder_turns_no_run_away(paths, start):
    taken(paths).release()
    for _ in range(2):
        start(LOOK)
    for _ in range(100):
        taken(paths).release()


def test_taking_a_lock_loads_no_library(paths):
    program = (
        "import sys, runner.paths as p, runner.record.locks as l\n"
        "assert l.PipelineLock(p.StatePaths(*sys.argv[1:])).acquire()\nprint(*sys.modules)"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program, paths.state_dir, paths.locks_dir], capture_output=True, text=True, check=False
    )
    assert shown.returncode == 0, shown.stderr
    assert not {"filelock", "logging", "dataclasses", "json", "contextlib"} & set(shown.stdout.split())


# ---- waiting ---------------------------------------------------------------------------------------------------------


def test_a_waiting_run_is_notified_once_and_gets_the_lock(paths, start):
    holder = start(HOLD)
    runs = []

    def on_wait(fields):
        runs.append(fields["run"])
        holder.kill()

    waiter = PipelineLock(paths)
    waiter.take(60, on_wait)
    assert (runs, is_held(paths)) == (["r"], True)
    waiter.release()
    assert not is_held(paths)


def test_waiting_goes_on_for_as_long_as_it_takes(paths, start):
    holder = start(HOLD)
    checks = []

    def check():
        checks.append(1)
        if len(checks) == 3:
            holder.kill()

    waiter = PipelineLock(paths)
    waiter.take(60, lambda holder: None, check)
    assert len(checks) >= 3
    waiter.release()


def test_waiting_can_be_ended(paths, start):
    start(HOLD)

    def check():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        PipelineLock(paths).take(float("inf"), lambda holder: None, check)


@pytest.mark.parametrize("ended", [True, False], ids=["ended", "killed"])
def test_an_earlier_holder_is_never_named_to_a_loser(paths, start, ended, impatient):
    """A holder writes its name right after it locks. Until then, the file names an earlier holder."""
    earlier = taken(paths)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    earlier.update_holder(run="earlier", pid=os.getpid() if ended else dead.pid)
    if not ended:
        earlier._holder = {}  # it writes nothing more
    earlier.release()
    start(SILENT)
    with pytest.raises(LockHeldError, match="it has not written its process id yet"):
        taken(paths)


def test_a_run_waits_a_moment_for_the_name_of_the_holder(paths, start):
    nameless = start(SILENT)
    checks = []

    def check():
        if not checks:
            nameless.stdin.write(b"speak\n")
            nameless.stdin.flush()
        checks.append(1)

    with pytest.raises(LockHeldError, match="pid 1 on h, since s"):
        PipelineLock(paths).take(0, lambda holder: None, check)


# ---- what the file says ----------------------------------------------------------------------------------------------


def test_a_holder_replaces_the_content_of_the_file_in_one_write(paths, monkeypatch):
    held, path = taken(paths), paths.pipeline_lock
    held.update_holder(run="a-long-name-of-a-run", launcher=5)
    status, cuts, real = os.stat(path), [], os.open
    monkeypatch.setattr(os, "open", lambda *arguments: cuts.append(arguments[1] & os.O_TRUNC) or real(*arguments))
    held.update_holder(run=None, launcher=None)
    holder = read_holder(path)
    assert holder.pop("since").startswith("20")
    assert holder == {
        "pid": os.getpid(), "host": HOST, "inode": status.st_ino, "run": None, "launcher": None,
        "launcherStarted": None,
    }  # fmt: skip
    assert os.stat(path).st_ino == status.st_ino
    assert os.stat(path).st_size == status.st_size  # so that a kill in between leaves no mixture of two texts
    assert not any(cuts)  # a kill after a cut would leave an empty file
    held.release()


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b'{"launcher": "5"}', b"{" * 100_000])
def test_an_odd_lock_file_harms_no_run(paths, content):
    os.mkdir(paths.locks_dir)
    with open(paths.pipeline_lock, "wb") as file:
        file.write(content)
    assert describe(read_holder(paths.pipeline_lock)) == "it has not written its process id yet"
    taken(paths).release()


def test_the_last_holder_is_known_once_the_lock_is_free(paths):
    with taken(paths):
        assert last_holder(paths) is None
    last = last_holder(paths)
    assert last["pid"] == os.getpid()
    with taken(paths) as held:
        assert held.previous == last


# ---- launchers that outlive their run --------------------------------------------------------------------------------


def leave_launcher(paths, **fields):
    """Leave the lock file of a holder that was killed while its launcher ran."""
    held = taken(paths)
    held.update_holder(launcher=5, launcherStarted=7, **fields)
    held._holder = {}
    held.release()


def launcher_lives(monkeypatch, answers):
    checks = []
    monkeypatch.setattr(locks, "is_alive", lambda *words: checks.append(words) or next(answers))
    monkeypatch.setattr(os, "kill", lambda *_: None)
    return checks


def test_the_launcher_of_a_killed_run_is_waited_for(paths, monkeypatch):
    leave_launcher(paths)
    checks = launcher_lives(monkeypatch, iter([True, True, False]))
    taken(paths).release()
    assert checks == [(5, 7)] * 3


def test_a_launcher_that_does_not_end_is_named_and_stays_on_record(paths, monkeypatch):
    leave_launcher(paths)
    monkeypatch.setattr(locks, "_LAUNCHER", 0.05)
    launcher_lives(monkeypatch, iter(lambda: True, None))
    with pytest.raises(StateError, match="kill -9 5"):
        taken(paths)
    assert not is_held(paths)
    assert read_holder(paths.pipeline_lock)["launcher"] == 5


def test_no_run_waits_for_the_launcher_of_a_run_that_ended(paths, monkeypatch):
    with taken(paths) as held:
        held.update_holder(launcher=5, launcherStarted=7)
    checks = launcher_lives(monkeypatch, iter(()))
    taken(paths).release()
    assert checks == []


def test_no_run_waits_for_a_launcher_named_in_a_copied_lock_file(paths, monkeypatch):
    leave_launcher(paths, inode=1)
    checks = launcher_lives(monkeypatch, iter(()))
    taken(paths).release()
    assert checks == []


# ---- what is not a lock ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK, errno.EBADF])
def test_a_file_system_without_kernel_locks_is_refused(paths, monkeypatch, number):
    def flock(descriptor, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    refused = rf"cannot lock: {errno.errorcode[number]} \({os.strerror(number)}\)\nhint: put stateDir and locksDir on"
    with pytest.raises(StateError, match=refused):
        PipelineLock(paths).acquire()


def test_locks_that_exclude_nobody_are_refused(paths, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    with pytest.raises(
        StateError, match="do not keep other processes out\nhint: put stateDir and locksDir on a local file system"
    ):
        PipelineLock(paths).acquire()


def make_socket(path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(path))


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, make_socket, lambda path: os.symlink("elsewhere", path)])
def test_a_lock_path_that_is_no_regular_file_is_refused(paths, make):
    os.mkdir(paths.locks_dir)
    make(paths.pipeline_lock)
    with pytest.raises(StateError, match="not a lock file\nhint: move it away"):
        lock(paths.pipeline_lock)
    assert os.listdir(paths.locks_dir) == ["pipeline.lock"]


# ---- the locks of stages ---------------------------------------------------------------------------------------------


def test_a_stage_lock_keeps_another_out_until_it_is_closed(paths):
    path = paths.stage_lock("a")  # `lock` makes its directory, too
    descriptor = lock(path)
    assert (descriptor is None, lock(path)) == (False, None)
    os.close(descriptor)
    descriptor = lock(path)
    assert descriptor is not None
    os.close(descriptor)


# ---- looking ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["pipeline_lock", "state_dir"])
def test_a_run_is_at_work_while_one_of_its_locks_is_held(paths, name):
    assert not is_held(paths)
    taken(paths).release()
    held = os.open(getattr(paths, name), os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    assert is_held(paths)
    os.close(held)
    assert not is_held(paths)


def test_looking_at_a_lock_makes_no_file(paths):
    assert not is_held(paths)
    assert not os.path.exists(paths.locks_dir)


def test_checks_at_once_do_not_take_each_other_for_a_holder(paths):
    taken(paths).release()
    with open(paths.pipeline_lock, "rb") as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        assert not is_held(paths)


def test_an_unreadable_lock_counts_as_held(tmp_path):
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    assert is_held(StatePaths(str(loop), str(loop)))
    assert has_leftovers(StatePaths(str(loop), ""))


def test_leftovers_are_what_lies_in_the_directory(tmp_path):
    paths, temporary = StatePaths(str(tmp_path), str(tmp_path)), tmp_path / "tmp"
    assert not has_leftovers(paths)
    temporary.mkdir()
    assert not has_leftovers(paths)
    (temporary / "run").mkdir()
    assert has_leftovers(paths)
