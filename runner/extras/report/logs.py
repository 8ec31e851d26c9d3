"""The ends of the logs of failed attempts."""

from __future__ import annotations

import os
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from runner.errors import StateError
from runner.extras.report.run_record import DONE, UNENDED
from runner.paths import stdout_path
from runner.reading import open_regular

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from runner.extras.report.run_record import Attempt, RunRecord
    from runner.paths import StatePaths

LINES = 20
_LONGEST, _READ = 500, 1 << 16  # characters of a line, and bytes at the end of a log


class Tail(NamedTuple):
    """The last lines of a log, whose path is below the state directory; or `why` there are none."""

    attempt: Attempt
    path: str
    lines: Sequence[str] = ()
    why: str = ""


def tails_of(record: RunRecord, failed: Collection[str], paths: StatePaths) -> Iterator[Tail]:
    """Yield the ends of the logs of failed attempts, those without an end on record only of `failed` stages.

    Also of what an attempt printed into an output, which is kept beside its log.
    """
    for attempt in chain.from_iterable(record.attempts.values()):
        if attempt.ending == DONE or (attempt.ending == UNENDED and attempt.stage not in failed):
            continue
        log = paths.log(record.run, attempt.stage, attempt.number)
        for path in (log, stdout_path(log)):
            if path == log or os.path.lexists(path):
                tail = Tail(attempt, os.path.relpath(path, paths.state_dir))
                try:
                    lines = _last_lines(path)
                except FileNotFoundError:
                    yield tail._replace(why="It is not there.")
                except (OSError, StateError):
                    yield tail._replace(why="It cannot be read.")
                else:
                    yield tail._replace(lines=lines, why="" if lines else "It is empty.")


def _last_lines(path: str) -> list[str]:
    """Return the last lines of a regular file, as a terminal leaves them. Raises what `open_regular` raises."""
    with open(open_regular(path, follow=False), "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - _READ))
        text = file.read(_READ).decode("utf-8", "backslashreplace")
    lines = (line.rstrip("\r").rpartition("\r")[2] for line in text.removesuffix("\n").split("\n")[-LINES:] if text)
    return [line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…" for line in lines]
