"""A process in namespaces of its own that calls what it is asked to: runs on a small disk, or under another host name.

Started as a program by confined.Confined, of one thread and with nothing mounted anywhere else, so that the runner, its
launcher and the stages all see what this process sees. Requests and answers are pickles: a function by its name and its
arguments; whether it returned, and what it returned or raised.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import signal
import sys
import threading
import traceback
from typing import TYPE_CHECKING, Any

from pytest_offpipe.running import run_sandbox
from pytest_offpipe.tmpfs import mount_disk, resize_disk
from runner.levels import RefusedError
from runner.sandbox import syscalls
from runner.sandbox.namespaces import CLONE_NEWNS, CLONE_NEWUSER, unshare
from runner.sandbox.syscalls import MS_REC, MS_SLAVE, mount

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import BinaryIO

    from pytest_offpipe.reports import RunReport
    from pytest_offpipe.running import Around
    from pytest_offpipe.sandbox import Sandbox
    from runner.api import Options

CLONE_NEWUTS = 0x4000000  # linux/sched.h
BALLAST = ".ballast"
BETWEEN_LOOKS = 0.0005  # seconds
PAGE = os.sysconf("SC_PAGE_SIZE")


def main(host_name: str) -> None:
    """Enter the namespaces, say so, and serve until there are no more requests, or whoever started this is gone."""
    answers = os.fdopen(os.dup(1), "wb")  # which is nobody else's then
    os.dup2(2, 1)
    try:
        syscalls.prctl("driver", "prctl(PR_SET_PDEATHSIG)", syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
        _enter(host_name)
    except RefusedError as error:
        _answer(answers, (False, error))
        return
    _answer(answers, (True, None))
    while True:
        try:
            function, arguments = pickle.load(sys.stdin.buffer)  # noqa: S301 - written by Confined
        except EOFError:
            return
        try:
            result = (True, function(*arguments))
        except Exception as error:  # noqa: BLE001 - told to who asked
            error.add_note(f"in a process of its own:\n{traceback.format_exc()}")
            result = (False, error)
        _answer(answers, result)


def _answer(answers: BinaryIO, result: tuple[bool, Any]) -> None:
    answers.write(pickle.dumps(result))
    answers.flush()


def _enter(host_name: str) -> None:
    unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWUTS, "unshare(user, mount, host name)")
    mount("making / a slave mount", b"none", b"/", None, MS_REC | MS_SLAVE)
    if host_name:
        name = host_name.encode()
        syscalls.function("host name", f"sethostname({host_name})", "sethostname", name, ctypes.c_size_t(len(name)))


# ---- what it is asked to call ----


def mount_small(path: str, pages: int, roomy: Sequence[str]) -> None:
    """Mount a disk at `path` with so many pages free for files, and others on top of it, with room, at `roomy`."""
    mount_disk(path, (pages + 1) * PAGE)
    for directory in roomy:
        os.makedirs(directory, exist_ok=True)
        mount_disk(directory)
    with open(os.path.join(path, BALLAST), "wb") as ballast:
        os.posix_fallocate(ballast.fileno(), 0, PAGE)  # tmpfs takes a size of nothing for one without bounds


class Watch:
    """Looks at a disk until it ends, for whether it is full.

    A stage may remove at once what it could not finish, so that looking when it has ended is too late. On a busy
    machine this thread may be too late as well: `look` is called when an attempt has ended, and its partials are there.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._was_full = False
        self._is_over = threading.Event()
        self._watcher = threading.Thread(target=self._watch)
        self._watcher.start()

    def look(self) -> None:
        """Look now."""
        self._was_full = self._was_full or self._is_full()

    def end(self) -> bool:
        """Look no more; return whether the disk was seen to be full."""
        self._is_over.set()
        self._watcher.join()
        return self._was_full or self._is_full()

    def _watch(self) -> None:
        while not (self._was_full or self._is_over.wait(BETWEEN_LOOKS)):
            self.look()

    def _is_full(self) -> bool:
        return not os.statvfs(self._path).f_bfree


def run_watched(path: str, sandbox: Sandbox, around: Around, options: Options) -> tuple[RunReport, bool]:
    """Return the report of a run, and whether the disk at `path` was seen to be full meanwhile."""
    watch, was_full = Watch(path), False
    around.ended = watch.look
    try:
        report = run_sandbox(sandbox, around, options)
    finally:
        was_full = watch.end()
    return report, was_full


def make_room(path: str) -> None:
    """Remove the ballast, and the bound of the disk at `path`."""
    os.unlink(os.path.join(path, BALLAST))
    resize_disk(path, 0)
