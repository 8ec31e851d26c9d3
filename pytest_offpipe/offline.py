"""Sockets of this process are refused by an audit hook, and each attempt is noted, swallowed or not.

What Python cannot see is out of reach: programs that are started, C libraries (also by ctypes), and what is sent over a
connection that was there before.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import sys
import sysconfig
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import FrameType

    from pytest_offpipe.reports import StageReport

    Counts = dict[tuple[str, str, str], int]

_ADDRESSED = ("socket.connect", "socket.bind", "socket.sendto", "socket.sendmsg")  # connect_ex tells of connect
_LOOKUPS = ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.getnameinfo")
# Of these the other end is on this machine; -1 is that of a descriptor that becomes a socket object, as in socketpair.
_LOCAL = frozenset(
    int(getattr(socket, name)) for name in ("AF_UNIX", "AF_UNSPEC", "AF_NETLINK", "AF_ALG") if hasattr(socket, name)
) | {-1}
_LIBRARIES = tuple(f"{sysconfig.get_path(name)}{os.sep}" for name in ("stdlib", "platstdlib", "purelib", "platlib"))
_HINT = (
    "hint: to have it happen on purpose: `with offpipe_offline.expect():`, or look at `offpipe_offline.attempts`; what "
    "asks without need: socket.getfqdn (by email.utils.make_msgid), and urllib3 when it is imported"
)


class NetworkRefusedError(OSError):
    """A socket was refused, with ENETUNREACH: what a machine without a network answers."""


class LookupRefusedError(NetworkRefusedError, socket.gaierror):
    """A look-up of a name was refused, with EAI_AGAIN: callers of those expect a gaierror."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """So many equal attempts to reach a network: `call` as in `connect`, `target` what for, `where` by whom."""

    call: str
    target: str
    where: str
    calls: int = 1

    def __str__(self) -> str:
        often = f", {self.calls:,} times" if self.calls > 1 else ""
        return f"{self.where}: {self.call} {self.target}{often}"


class OffpipeOffline:
    """Refuses networks to this process and its threads while the test runs, and tells who asked.

    In stages that `offpipe` runs the launcher refuses them, as it always does; who asks there is told here too.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a destructor may open a socket while we note another
        self._all: Counts = {}
        self._unseen: Counts = {}
        self._expected: list[Counts] = []

    @property
    def attempts(self) -> list[Attempt]:
        """All attempts of this test so far, in this process and in stages. Who reads them has looked at them."""
        with self._lock:
            self._unseen.clear()
            return _listed(self._all)

    @contextlib.contextmanager
    def expect(self) -> Iterator[list[Attempt]]:
        """Take what is attempted inside for intended, and fail when nothing is. Its list is filled at the end."""
        __tracebackhide__ = True
        mine: Counts = {}
        found: list[Attempt] = []
        with self._lock:
            self._expected.append(mine)
        try:
            yield found
        finally:
            with self._lock:
                self._expected.remove(mine)
                found.extend(_listed(mine))
        if not found:
            pytest.fail("an attempt to reach a network was expected, and there was none")

    def note(self, call: str, target: str, where: str, calls: int = 1) -> None:
        """Count attempts: those of an `expect` are everybody's who expects some."""
        key = (call, target, where)
        with self._lock:
            for counts in (self._all, *(self._expected or [self._unseen])):
                counts[key] = counts.get(key, 0) + calls

    def note_stages(self, stages: Mapping[str, StageReport]) -> None:
        """Count what the stages of a run asked for; not what a JVM probes for without meaning to reach anybody."""
        for name, report in stages.items():
            for calls in (one for attempt in report.attempts for one in attempt.network if not one.is_probe):
                self.note("socket", calls.family, f"stage {name} ({calls.program})", calls.calls)

    def complaint(self) -> str:
        """Return what to say of attempts that nobody expected or looked at; nothing if there are none."""
        with self._lock:
            found = _listed(self._unseen)
        if not found:
            return ""
        return "\n".join(["asked for a network, which nobody expected:", *(f"  {one}" for one in found), _HINT])


_live: list[OffpipeOffline] = []
_installed = False


@contextlib.contextmanager
def refusing(guard: OffpipeOffline) -> Iterator[None]:
    """Refuse networks to this process. An audit hook cannot be removed again: between tests it looks at nothing."""
    global _installed
    if not _installed:
        sys.addaudithook(_hook)
        _installed = True
    _live.append(guard)
    try:
        yield
    finally:
        _live.remove(guard)


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if not _live or not event.startswith("socket."):
        return
    __tracebackhide__ = True
    call = event.removeprefix("socket.")
    if event in _LOOKUPS:
        error: type[NetworkRefusedError] = LookupRefusedError
        code, target = socket.EAI_AGAIN, _shown(arguments[0])
    elif event == "socket.__new__" and arguments[1] not in _LOCAL:
        error, call = NetworkRefusedError, "socket"
        code, target = errno.ENETUNREACH, _family(arguments[1])
    elif event in _ADDRESSED and arguments[0].family not in _LOCAL:
        error = NetworkRefusedError
        code, target = errno.ENETUNREACH, _shown(arguments[1])
    else:
        return
    _live[-1].note(call, target, _caller())
    raise error(code, f"offpipe_offline refused {call} {target}")


def _family(number: int) -> str:
    try:
        return socket.AddressFamily(number).name
    except ValueError:
        return f"family {number}"


def _shown(target: object) -> str:
    """Return `host:port`, or whatever it is that was asked for."""
    if isinstance(target, tuple) and len(target) >= 2:
        return f"{target[0]}:{target[1]}"
    if isinstance(target, bytes):
        return target.decode("utf-8", "backslashreplace")
    return "to where it is connected" if target is None else str(target)


def _caller() -> str:
    """Return file and line of the innermost code that is neither Python's nor an installed package's; the thread."""
    innermost: FrameType = sys._getframe(2)  # noqa: SLF001 - documented, and the only way
    outer: FrameType | None = innermost
    while outer is not None and outer.f_code.co_filename.startswith((*_LIBRARIES, "<")):
        outer = outer.f_back
    frame = innermost if outer is None else outer
    thread = threading.current_thread()
    among = "" if thread is threading.main_thread() else f" (thread {thread.name})"
    return f"{_relative(frame.f_code.co_filename)}:{frame.f_lineno}{among}"


def _relative(path: str) -> str:
    try:
        return path.removeprefix(f"{os.getcwd()}{os.sep}")
    except OSError:  # the test removed it
        return path


def _listed(counts: Counts) -> list[Attempt]:
    return [Attempt(*key, calls) for key, calls in counts.items()]
