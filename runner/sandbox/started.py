"""One launch from its start until its report.

Loaded by the launcher program only.
"""

from __future__ import annotations

import errno
import os
import sys

from runner.sandbox.network_log import Tally

TYPE_CHECKING = False
if TYPE_CHECKING:
    from resource import struct_rusage

    from runner.sandbox.protocol import Report, Request

RSS_UNIT = 1 if sys.platform == "darwin" else 1024  # getrusage(2): bytes on macOS, KiB elsewhere


class Started:
    """A launch that was started. `deadline`: when its time limit, or its grace, is over. `key`: its key in the tree.

    `report`: the descriptor that says why its program never started (see child); None if it certainly started.
    """

    __slots__ = (
        "deadline", "grace", "id", "key", "left", "outcome", "report", "sent", "started", "tally", "timed_out",
    )  # fmt: skip

    def __init__(self, request: Request, key: int, report: int | None, started: float) -> None:
        self.id = request["id"]
        self.key = key
        self.grace = request["grace"]
        self.started = started
        self.deadline = None if request["timeout"] is None else started + request["timeout"]
        self.report = report
        self.sent = False
        self.timed_out = False
        self.left: set[int] = set()
        self.tally = Tally()
        self.outcome: tuple[int | float | str | None, ...] = ()

    def end(self, status: int, usage: struct_rusage, now: float) -> None:
        """Keep how the main process ended, for the report that is sent when nothing of the launch is left."""
        code = os.waitstatus_to_exitcode(status)
        failure = b""
        if self.report is not None:
            failure = os.read(self.report, 4096 + 256)
            os.close(self.report)
        self.outcome = (
            None if failure or code < 0 else code,
            -code if code < 0 and not failure else None,
            self.timed_out,
            self.sent,
            now - self.started,
            usage.ru_utime + usage.ru_stime,
            usage.ru_maxrss * RSS_UNIT,
            failure_text(failure) if failure else None,
        )

    @classmethod
    def never(cls, request: Request, failure: bytes) -> Report:
        """Return the report of a launch for which there was no process."""
        it = cls(request, 0, None, 0.0)
        it.outcome = (None, None, False, False, 0.0, 0.0, 0, failure_text(failure))
        return it.as_report()

    def as_report(self) -> Report:
        """Return the fields of launch.Exit."""
        return (self.id, *self.outcome, len(self.left), self.tally.rest(), self.tally.local_sockets)


def failure_text(failure: bytes) -> str:
    """`b"2 opening x"` -> `ENOENT (No such file or directory) opening x`."""
    number, _, tried = failure.partition(b" ")
    shown = tried.decode("utf-8", "backslashreplace")
    if number == b"0":
        return shown
    return f"{errno.errorcode.get(int(number), number.decode())} ({os.strerror(int(number))}) {shown}".rstrip()
