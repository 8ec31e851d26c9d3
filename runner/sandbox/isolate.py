"""The layers of a level, in order. The launcher isolates itself, once, so that a stage costs next to nothing extra.

Loaded by the launcher program only. Each level needs a process of its own: what was entered cannot be left.
"""

from __future__ import annotations

import errno
import os

from runner.levels import FILTER, KERNEL, SCAN, RefusedError
from runner.sandbox import syscalls
from runner.sandbox.landlock import Landlock, open_landlock
from runner.sandbox.namespaces import enter_namespaces
from runner.sandbox.privileges import drop_privileges, open_memory
from runner.sandbox.seccomp import AF_NETLINK, SOCK_STREAM, Listener, install

PASSING = (errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOMEM)  # no reason for a lower level
REFUSED, OPENED = 0, 1  # how the probe ends


class Isolation:
    """What was reached: `layers` for the record, the `listener` for the loop, and what each child still has to do."""

    def __init__(
        self, layers: dict[str, str], listener: Listener | None, landlock: Landlock | None, process: int | None = None
    ) -> None:
        self.layers = layers
        self.process = process  # the launcher's number outside its pid namespace, if it has one
        self.listener = listener
        self._landlock = landlock

    def enter(self) -> None:
        """Put this *child*, or a *thread* of the launcher that starts a program, behind the walls of a stage.

        What the launcher holds, such as the listener of the stage's own calls, is closed by exec, or by a fork server.
        """
        if self._landlock is not None:
            self._landlock.enter()

    def become_program(self) -> None:
        """Runs in a *child* that never calls exec, after `enter`: it may read its own memory, as after exec."""
        if self.layers["level"] != SCAN:
            open_memory(is_open=True)


def isolate(level: str, runner: int, descriptors: tuple[int, ...]) -> Isolation:
    """Enter a level; at `kernel` this returns in another process (see namespaces). RefusedError for what is missing.

    `runner` is the process that started this one, `descriptors` are those that only the launcher may keep.
    """
    layers = {"level": level}
    if level == SCAN:
        return Isolation(layers, None, None)
    if not syscalls.machine():
        raise RefusedError("seccomp", f"no filter for {os.uname().machine}", 0)
    try:
        if os.readlink("/proc/self") != str(os.getpid()):
            raise RefusedError("/proc", "/proc is that of another pid namespace", 0)
        process = None
        if level == KERNEL:
            process, namespaces = enter_namespaces(runner, descriptors)
            layers |= namespaces
        witness = _start_witness(descriptors) if level == FILTER else None
        layers["privileges"] = drop_privileges()
        landlock = open_landlock(layers)
        listener, layers["attempts"] = install()
        open_memory(is_open=False)
        layers["seccomp"] = _verified_filter()
        isolation = Isolation(layers, listener, landlock, process)
        if witness is not None:
            layers["memory"] = _verified_memory(isolation, *witness)
    except OSError as error:
        if error.errno in PASSING:
            raise
        raise RefusedError("isolation", f"opening {error.filename}", error.errno or 0) from error
    return isolation


def _verified_filter() -> str:
    """Check in /proc, and by a call, that the filter is there; RefusedError if not."""
    status = syscalls.own_status()
    if status.get("NoNewPrivs") != "1" or status.get("Seccomp") != "2":
        raise RefusedError("seccomp", "/proc/self/status shows no filter", 0)
    try:
        syscalls.call("seccomp", "socket", AF_NETLINK, SOCK_STREAM, 0)
    except RefusedError as error:
        if error.errno == errno.EAFNOSUPPORT:
            return "filter"
    raise RefusedError("seccomp", "socket(AF_NETLINK) is not refused by the filter", 0)


def _start_witness(descriptors: tuple[int, ...]) -> tuple[int, int]:
    """Start a process of the same user outside; return it, and the descriptor whose end is its own."""
    waits, holds = os.pipe()

    def wait() -> int:
        for descriptor in (*descriptors, holds):
            os.close(descriptor)
        os.read(waits, 1)
        return 0

    pid = syscalls.fork_for(wait)
    os.close(waits)
    return pid, holds


def _verified_memory(isolation: Isolation, witness: int, holds: int) -> str:
    """RefusedError if a child that is isolated like a stage can open the witness's memory for writing."""

    def probe() -> int:
        isolation.enter()
        try:
            os.open(f"/proc/{witness}/mem", os.O_RDWR)
        except PermissionError:
            return REFUSED
        return OPENED

    code = os.waitstatus_to_exitcode(os.waitpid(syscalls.fork_for(probe), 0)[1])
    os.close(holds)
    os.waitpid(witness, 0)
    if code == REFUSED:
        return "closed"
    what = "can be opened for writing" if code == OPENED else f"could not be probed: the probe ended with {code}"
    raise RefusedError("memory", f"the memory of a process of the same user {what}", 0)
