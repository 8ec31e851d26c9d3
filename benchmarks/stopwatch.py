"""Runs the runner with a stopwatch at its joints: `stopwatch.py RESULT WORDS...` writes what each part took, as JSON.

A part's time is its own: what another part takes inside of it is that one's. All of them together are the whole run.
"""

from __future__ import annotations

import functools
import json
import sys
import threading
import time
from pathlib import Path

from runner.cli.main import main as run
from runner.executor.attempts import Attempts
from runner.executor.loop import Executor
from runner.executor.publishing import Publisher
from runner.record import files
from runner.record.audit import AuditLog
from runner.sandbox.client import Launcher

REST = "start and end of the run"
PARTS = {
    "deciding once more": [(Attempts, "decide")],
    "the stage's lock": [(Attempts, "lock"), (Attempts, "release")],
    "log, stage file, environment": [(Attempts, "prepare")],
    "records in the audit log": [(AuditLog, "append")],
    "asking the launcher": [(Launcher, "submit"), (Launcher, "receive")],
    "waiting for stage and disk": [(Executor, "_wait")],
    "its end: scratch, checkpoint": [(Attempts, "finish")],
    "looking at inputs and outputs": [(Attempts, "changed_input"), (Publisher, "fault_of")],
    "waiting for the disk": [(files, "sync_file"), (files, "sync_descriptor"), (Publisher, "sync")],
    "digest, rename, marker": [(Publisher, "commit"), (Publisher, "put_in_place")],
    "the loop": [(Executor, "execute")],
}


class Stopwatch:
    """Seconds on the wall and of this thread, by part; one runs at a time. What another thread does is not told."""

    def __init__(self) -> None:
        self.taken = {name: [0.0, 0.0] for name in (REST, *PARTS)}
        self._running = [REST]
        self._thread = threading.get_ident()
        self._since = self._now()

    def put_on(self) -> None:
        for name, places in PARTS.items():
            for owner, attribute in places:
                setattr(owner, attribute, self._timed(name, getattr(owner, attribute)))

    def stop(self) -> None:
        self._switch()

    def _timed(self, name, called):
        @functools.wraps(called)
        def timed(*arguments, **named):
            if threading.get_ident() != self._thread:
                return called(*arguments, **named)
            self._switch()
            self._running.append(name)
            try:
                return called(*arguments, **named)
            finally:
                self._switch()
                self._running.pop()

        return timed

    def _switch(self) -> None:
        """Give what passed since the last switch to the part that ran."""
        now, taken = self._now(), self.taken[self._running[-1]]
        for at in (0, 1):
            taken[at] += now[at] - self._since[at]
        self._since = now

    @staticmethod
    def _now() -> tuple[float, float]:
        return time.perf_counter(), time.thread_time()


def main() -> int:
    stopwatch = Stopwatch()
    stopwatch.put_on()
    code = run(sys.argv[2:])
    stopwatch.stop()
    Path(sys.argv[1]).write_text(json.dumps(stopwatch.taken), "utf-8")
    return code


if __name__ == "__main__":
    sys.exit(main())
