"""What the record says of an invocation, and of a run that it begins: the run's id, record 0, and the ledger's entry.

Loads built-in modules only, because a run with nothing to do writes these, too.
"""

from __future__ import annotations

import os
import sys
import time

from runner import __version__
from runner.processes import proc_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from runner.paths import StatePaths

SHORT_SPEC = 1 << 12  # characters: record 0 repeats a spec up to this length, else it names the run that has the spec
LONGEST_SPEC = 1 << 20  # bytes: a run with nothing to do does not put a longer spec into record 0
MOST_WARNINGS = 20  # of an invocation that the ledger keeps; the log of a run has all
SIGNALLED = 128  # a higher exit code is that of an end by a signal


def invocation_entry(
    began: str,
    exit_code: int,
    stages: dict[str, int],
    fault: str | None = None,
    warnings: Sequence[str] = (),
    verb: str = "run",
) -> dict[str, object]:
    """Return what the ledger says of an invocation: its begin, exit code, stages by status, first fault, and warnings.

    Of the warnings it keeps the first MOST_WARNINGS, and how many more there were.
    """
    more = len(warnings) - MOST_WARNINGS
    kept = [*warnings[:MOST_WARNINGS], *([f"and {more:,} more"] if more > 0 else [])]
    return {"began": began, "exitCode": exit_code, "fault": fault, "stages": stages, "verb": verb, "warnings": kept}


def new_run_id(
    paths: StatePaths, clock: Callable[[], float] = time.time, random: Callable[[int], bytes] = os.urandom
) -> str:
    """Return a new run id: the time in UTC, and 4 random hex digits."""
    while True:
        drawn = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(clock()))}-{random(2).hex()}"
        if not os.path.lexists(paths.audit(drawn)):
            return drawn


def opening_payload(
    pipeline: str,
    spec: dict[str, str],
    argv: Sequence[str],
    head: str,
    stages: Sequence[str] = (),
    isolation: dict[str, str] | None = None,
    key_id: str | None = None,
) -> dict[str, object]:
    """Return the payload of record 0: who runs what, where, with which versions. `spec`: its fields about the spec."""
    from pwd import getpwuid

    uid, system = os.getuid(), os.uname()
    try:
        user = getpwuid(uid).pw_name
    except KeyError:
        user = ""
    boot_id = (proc_file("sys/kernel/random/boot_id") or b"").strip().decode()
    versions = {"offpipe": __version__, "python": sys.version.partition(" ")[0], "system": system.release}
    around = {"bootId": boot_id, "host": system.nodename, "uid": uid, "user": user, "versions": versions}
    given = {"pipeline": pipeline, "argv": list(argv), "stages": list(stages), **spec}
    guarded = {"isolation": isolation or {"level": "none"}, "keyId": key_id, "ledgerHead": head}
    return {**around, **given, **guarded, "interpreter": os.path.basename(sys.executable)}
