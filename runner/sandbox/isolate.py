"""The layers of a level, in order. The launcher enters them once, and stages inherit them at almost no cost.

Loaded by the launcher program only. Each level needs a process of its own: no process can leave a layer again.
"""

from __future__ import annotations

import errno
import os

from runner.levels import FILTER, KERNEL, SCAN, RefusedError
from runner.sandbox import syscalls
from runner.sandbox.landlock import Landlock, open_landlock
from runner.sandbox.namespaces import Maps, enter_namespaces
from runner.sandbox.privileges import drop_privileges, open_memory
from runner.sandbox.seccomp import AF_NETLINK, SOCK_STREAM, Listener, install

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runner.sandbox.view import Step

PASSING = (errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOMEM)  # not a reason for a lower level
REFUSED, OPENED = 0, 1  # how the probe ends


class Isolation:
    """The isolation reached: `layers` for the record, the `listener` for the loop, and the rest for each child."""

    def __init__(
        self, layers: dict[str, str], listener: Listener | None, landlock: Landlock | None, process: int | None = None
    ) -> None:
        self.layers = layers
        self.process = process  # the launcher's number outside its pid namespace, if it has one
        self.listener = listener
        self._landlock = landlock

    def enter(
        self, view: tuple[bytes, list[Step]] | None = None, kept: tuple[int, ...] = (), maps: Maps | None = None
    ) -> None:
        """Put this *child*, or a *thread* of the launcher that starts a program, behind the walls of a stage.

        A child with a `view` keeps only the descriptors `kept`, and the launcher writes its `maps`. Others still hold
        the launcher's, such as the listener; exec or the fork server closes them.
        """
        if view is not None and maps is not None:
            from runner.sandbox.view import enter_view  # here, because few stages are sealed

            point, steps = view
            enter_view(point, steps, kept if self._landlock is None else (*kept, self._landlock.ruleset), maps)
        if self._landlock is not None:
            self._landlock.enter()

    def become_program(self) -> None:
        """Runs in a *child* that never calls exec, after `enter`: let it read its own memory, as after an exec."""
        if self.layers["level"] != SCAN:
            open_memory(is_open=True)


def isolate(level: str, runner: int, descriptors: tuple[int, ...], *, views: bool = False) -> Isolation:
    """Enter a level; at `kernel` this returns in another process (see namespaces). RefusedError names a missing layer.

    `runner` is the process that started this one; only the launcher may keep these `descriptors`. `views`: find out
    whether sealed stages get views.
    """
    layers = {"level": level}
    if level == SCAN:
        return Isolation(layers, None, None)
    if not syscalls.machine():
        raise RefusedError(f"no filter for {os.uname().machine}", 0)
    try:
        if os.readlink("/proc/self") != str(os.getpid()):
            raise RefusedError("/proc is that of another pid namespace", 0)
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
        if views and level == KERNEL:
            from runner.sandbox.view import views_layer

            layers["views"] = views_layer()
        isolation = Isolation(layers, listener, landlock, process)
        if witness is not None:
            layers["memory"] = _verified_memory(isolation, *witness)
    except OSError as error:
        if error.errno in PASSING:
            raise
        raise RefusedError(f"opening {error.filename}", error.errno or 0) from error
    return isolation


def _verified_filter() -> str:
    """Check in /proc, and by a call, that the filter works; RefusedError if not."""
    status = syscalls.own_status()
    if status.get("NoNewPrivs") != "1" or status.get("Seccomp") != "2":
        raise RefusedError("/proc/self/status shows no filter", 0)
    try:
        syscalls.call("socket", AF_NETLINK, SOCK_STREAM, 0)
    except RefusedError as error:
        if error.errno == errno.EAFNOSUPPORT:
            return "filter"
    raise RefusedError("socket(AF_NETLINK) is not refused by the filter", 0)


def _start_witness(descriptors: tuple[int, ...]) -> tuple[int, int]:
    """Start a process of the same user outside the filter; return it, and a descriptor that ends it when closed."""
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
    """Check that an isolated child cannot open the witness's memory for writing; RefusedError if it can."""

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
    raise RefusedError(f"the memory of a process of the same user {what}", 0)
