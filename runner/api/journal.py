"""What a run writes about itself: its audit log from record 0 to its end, its metrics, its lines in the ledger."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

import runner
from runner import results
from runner.canonical import canonical
from runner.errors import StateError
from runner.hashing import sha256_of
from runner.levels import NONE
from runner.noop import LONGEST_SPEC, record_path
from runner.paths import upward
from runner.record import files
from runner.record.again import sync_again, write_again
from runner.record.audit import AuditLog, Position, last_record, position_of
from runner.record.events import CLOSED, NOOP, OPENED, RECOVERED, RESUMED, STOPPED, Recovered, RunEnded
from runner.record.ledger import Ledger
from runner.record.noop import take_back, write_log
from runner.record.seal import PLAIN
from runner.record.spelling import END, START, drawn_run_id, stamp
from runner.record.state import read_metrics, write_metrics

if TYPE_CHECKING:
    from collections.abc import Callable

    from runner.api.options import Options
    from runner.api.session import Session
    from runner.paths import StatePaths
    from runner.record.ledger import OpenRun
    from runner.record.seal import Seal
    from runner.results import StageResult
    from runner.spec.model import Spec

_DONE = (results.SUCCEEDED, results.SKIPPED)


def new_run_id(
    paths: StatePaths, clock: Callable[[], float] = time.time, random: Callable[[int], bytes] = os.urandom
) -> str:
    """Return a default run id that no run has."""
    while True:
        drawn = drawn_run_id(clock(), random)
        if not os.path.lexists(paths.audit(drawn)):
            return drawn


class Journal:
    """The records of one run with work to do, from its opening to its end."""

    def __init__(self, session: Session, options: Options, run_id: str, log: AuditLog, mine: OpenRun) -> None:
        self.run_id = run_id
        self.log = log
        self.earlier = mine.attempts
        self.tags = mine.tags
        self.resumed = log.last.seq >= 0
        self.durable = options.durability == "full"
        self._spec = session.spec
        self._selected = mine.selected_with(options.stages)
        self._ledger = Ledger(session.spec.paths.ledger, session.spec.name, stamp, session.seal)
        self._layers: dict[str, str] = {}
        self._before = read_metrics(session.spec.paths, run_id) if self.resumed else {}

    @classmethod
    def begin(cls, session: Session, options: Options, mine: OpenRun, layers: dict[str, str]) -> Journal:
        """Open a run, or one that has not succeeded yet again, and make that durable before anything starts.

        `layers` are what keeps its stages offline: a level, and a word on each layer.
        The log comes first and the ledger then refers to it: a run that the ledger knows has a log.
        """
        run_id, paths = mine.run, session.spec.paths
        files.discard(record_path(session.spec.path, options.workspace))  # there is something to do
        for directory in (paths.state_dir, paths.temporary):
            files.make_directories(directory)
        seal = session.seal if mine.last is None else session.seal.of(mine.key_id)
        if seal is None:
            session.seal.refuse_other(mine.key_id, paths.audit(run_id))
        if mine.last is not None and options.durability == "full":
            write_again(paths.audit(run_id))  # with the first sync all of it is on disk
        log = AuditLog(paths.audit(run_id), run_id, stamp, mine.last, seal=seal or PLAIN, outputs=mine.outputs)
        journal = cls(session, options, run_id, log, mine)
        before = journal._before.get("isolation")
        journal._layers = before if layers["level"] == NONE and isinstance(before, dict) else layers
        opening = _opening(session, options, layers, log.seal)
        torn = Recovered(mine.torn_bytes)
        if mine.torn_bytes and journal.resumed:
            log.append(RECOVERED, torn)
        position = log.append(RESUMED if journal.resumed else START, opening, sync=journal.durable)
        if journal.durable:  # a log of which the directory knows nothing is none, and nor is a ledger
            files.touch(paths.ledger)
            files.sync_files(upward(paths.state_dir, session.spec.workspace))
        journal._ledger.append(OPENED, run_id, position, sync=journal.durable)
        if mine.torn_bytes and not journal.resumed:  # record 0 is always `run.start`
            log.append(RECOVERED, torn)
        return journal

    def end(self, status: str, stages: dict[str, StageResult], seconds: float) -> str:
        """Write the metrics and the last record, and close the run if it succeeded; return the ledger's head.

        A part of some stages may succeed, and others of the run be still to be done: then it stays open.
        """
        if status == results.SUCCEEDED and not self._has_done_all(stages):
            failed = self._before.get("status") == results.FAILED
            status = results.FAILED if failed else results.INTERRUPTED
        metrics = {
            "v": 1, "run": self.run_id, "pipeline": self._spec.name, "status": status, "isolation": self._layers,
            "totals": {"seconds": round(seconds, 6), "stages": _counts(stages)},
        }  # fmt: skip
        sha256 = write_metrics(
            self._spec.paths, self.run_id, metrics, self._stage_metrics(stages), sync=self.durable
        )  # fmt: skip
        files.discard(self._spec.paths.run_temporary(self.run_id))
        if self.durable:
            files.sync_directory(self._spec.paths.state_dir)  # the metrics that the next record names
        counts = _counts(stages)
        event = END if status == results.SUCCEEDED else STOPPED
        ended = RunEnded(status, counts, sha256, self.log.last.seq + 2, *self.log.outputs.totals())
        position = self.log.append(event, ended, sync=self.durable)
        self.log.close()
        if status != results.SUCCEEDED:
            return self._ledger.head()
        return self._ledger.append(CLOSED, self.run_id, position, sync=self.durable).position.hash

    def _has_done_all(self, stages: dict[str, StageResult]) -> bool:
        """Whether the run is complete with these stages, as far as the metrics of its earlier parts tell."""
        done = {name for name, one in self._earlier.items() if isinstance(one, dict) and one.get("status") in _DONE}
        names = [one.name for one in self._spec.stages if not self._selected or one.name in self._selected]
        return all(name in stages or name in done for name in names)

    @property
    def _earlier(self) -> dict[str, object]:
        """The metrics of each stage in earlier parts, if there are any."""
        told = self._before.get("stages")
        return told if isinstance(told, dict) else {}

    def _stage_metrics(self, stages: dict[str, StageResult]) -> dict[str, bytes]:
        """Return the metrics of each stage in this part of the run and those before, as they are spelled."""
        merged = {name: canonical(before) for name, before in self._earlier.items()}
        for name, result in stages.items():
            before = self._earlier.get(name)
            status_before = before.get("status") if isinstance(before, dict) else None
            if (result.status, status_before) == (results.SKIPPED, results.SUCCEEDED):
                continue  # in an earlier part of this run
            attempts = before.get("attempts") if isinstance(before, dict) else None
            merged[name] = canonical(
                {
                    "status": result.status,
                    "seconds": round(result.seconds, 6),
                    "inputBytes": result.input_bytes,
                    "enforced": result.enforced,
                    "outputBytes": sum(output.size for output in result.outputs.values()),
                    "attempts": [
                        *(attempts if isinstance(attempts, list) else ()),
                        *(attempt.as_metrics() for attempt in result.attempts),
                    ],
                }
            )
        return merged

    @staticmethod
    def is_unfinished(session: Session, run_id: str | None) -> bool:
        """Whether a run of this id has begun its log and not sealed it: it is going on, or died."""
        if run_id is None or not os.path.exists(session.spec.paths.audit(run_id)):
            return False
        return not Journal.is_closed(session, run_id)

    @staticmethod
    def is_closed(session: Session, run_id: str) -> bool:
        """Whether a run of this id has succeeded."""
        record = last_record(session.spec.paths.audit(run_id), session.seal)
        return record is not None and record["ev"] == END


def close_ended(session: Session, *, durable: bool) -> None:
    """Tell the ledger of runs that sealed their log and were killed before they could: their work is all done."""
    paths = session.spec.paths
    for run in session.head.open_runs:
        record = last_record(paths.audit(run), session.seal)
        if record is not None and record["ev"] == END:
            if durable:
                sync_again(paths.audit(run))  # the run may have been killed before it could
            ledger = Ledger(paths.ledger, session.spec.name, stamp, session.seal)
            ledger.append(CLOSED, run, position_of(record), sync=durable)
    session.head = session.read_head()


def record_noop(session: Session, options: Options, stages: int, seconds: float) -> tuple[str, str]:
    """Record a run that found everything up to date: log, metrics, one line in the ledger. Returns its id and the head.

    Writes nothing for an id that was asked for and has a log: that run has ended, or another process is at it.
    """
    paths, durable = session.spec.paths, options.durability == "full"
    files.make_directories(paths.state_dir)
    opening = canonical(_opening(session, options, {"level": NONE}, session.seal, longest_spec=LONGEST_SPEC))
    name, hashed = canonical(session.spec.name), session.seal.hash
    run_id = options.run_id or new_run_id(paths)
    try:
        digest = write_log(paths, run_id, opening, name, stages, seconds, hashed, durable=durable)
    except StateError as error:
        if not isinstance(error.__cause__, FileExistsError):
            raise
        if options.run_id:
            return run_id, session.head.position.hash
        return record_noop(session, options, stages, seconds)  # another process drew the same id
    ledger = Ledger(paths.ledger, session.spec.name, stamp, session.seal)
    try:
        return run_id, ledger.append(NOOP, run_id, Position(1, digest), sync=durable).position.hash
    except BaseException:
        take_back(paths, run_id)  # which the ledger does not name
        raise


def _spec_part(spec: Spec, longest: int) -> dict[str, object]:
    """Return what record 0 says of the spec: the effective one, if it is not too long, and its digest.

    It is kept as canonical text, because it may hold floats and a record may not.
    """
    text = spec.canonical
    encoded = text.encode("utf-8", "backslashreplace")
    part: dict[str, object] = {"pipeline": spec.name, "specSha256": sha256_of(encoded)}
    return part if len(encoded) > longest else {**part, "spec": text}


def _opening(
    session: Session, options: Options, layers: dict[str, str], seal: Seal, *, longest_spec: int = sys.maxsize
) -> dict[str, object]:
    """Return the payload of record 0: who runs what, where, with which versions.

    `runner.noop` makes the same for a run that needs no plan.
    """
    from pwd import getpwuid

    try:
        user = getpwuid(os.getuid()).pw_name
    except KeyError:
        user = ""
    position: Position = session.head.position
    return {
        **_spec_part(session.spec, longest_spec),
        "stages": list(options.stages),
        "isolation": dict(layers),
        "keyId": seal.id,
        "interpreter": os.path.basename(sys.executable),
        "user": user,
        "uid": os.getuid(),
        "host": os.uname().nodename,
        "bootId": _boot_id(),
        "argv": list(options.argv),
        "versions": {
            "offpipe": runner.__version__,
            "python": sys.version.partition(" ")[0],
            "system": os.uname().release,
        },
        "ledgerHead": position.hash,
    }


def _boot_id() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def _counts(stages: dict[str, StageResult]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for result in stages.values():
        counts[result.status] = counts.get(result.status, 0) + 1
    return counts
