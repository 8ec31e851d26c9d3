"""What a run writes about itself: its audit log from record 0 to its end, its metrics, its lines in the ledger."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING

from runner.canonical import canonical
from runner.hashing import sha256_of
from runner.levels import NONE
from runner.noop import origin, record_path
from runner.paths import upward
from runner.record import files
from runner.record.audit import AuditLog
from runner.record.events import CLOSED, OPENED, RECOVERED, RESUMED, STOPPED, Recovered, RunEnded
from runner.record.ledger import Ledger
from runner.record.seal import PLAIN
from runner.record.spelling import END, START, drawn_run_id, stamp
from runner.record.state import read_metrics, write_metrics
from runner.results import FAILED, INTERRUPTED, SKIPPED, SUCCEEDED

if TYPE_CHECKING:
    from collections.abc import Callable

    from runner.engine.session import Session
    from runner.paths import StatePaths
    from runner.record.recovery import OpenRun
    from runner.record.seal import Seal
    from runner.results import StageResult

_DONE = (SUCCEEDED, SKIPPED)


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

    def __init__(self, session: Session, stages: tuple[str, ...], log: AuditLog, mine: OpenRun) -> None:
        self.run_id = mine.run
        self.log = log
        self.earlier = mine.attempts
        self.tags = mine.tags
        self.resumed = log.last.seq >= 0
        self.durable = session.options.is_durable
        self._spec = session.spec
        self._selected = mine.selected_with(stages)
        self._ledger = Ledger(session.spec.paths.ledger, session.spec.name, stamp, session.seal)
        self.layers: dict[str, str] = {}
        self._before = read_metrics(session.spec.paths, self.run_id) if self.resumed else {}
        before = self._before.get("stages")
        entries = before.items() if isinstance(before, dict) else ()
        self._earlier: dict[str, dict[str, object]] = {
            name: entry for name, entry in entries if isinstance(entry, dict)
        }

    @classmethod
    def begin(
        cls, session: Session, mine: OpenRun, layers: dict[str, str], stages: tuple[str, ...] | None = None
    ) -> Journal:
        """Open a run, or one that has not succeeded yet again, and make that durable before anything starts.

        `layers` are what keeps its stages offline: a level, and a word on each layer. `stages` are those that it is
        limited to, by default as the options have it.
        The log comes first and the ledger then refers to it: a run that the ledger knows has a log.
        """
        run_id, paths, options = mine.run, session.spec.paths, session.options
        stages = options.stages if stages is None else stages
        files.discard(record_path(session.spec.path, options.workspace))  # there is something to do
        for directory in (paths.state_dir, paths.temporary):
            files.make_directories(directory)
        seal = session.seal if mine.last is None else session.seal.of(mine.key_id)
        if seal is None:
            session.seal.refuse_other(mine.key_id, paths.audit(run_id))
        if mine.last is not None and options.is_durable:
            files.write_again(paths.audit(run_id))  # with the first sync all of it is on disk
        log = AuditLog(paths.audit(run_id), run_id, stamp, mine.last, seal=seal or PLAIN, outputs=mine.outputs)
        journal = cls(session, stages, log, mine)
        before = journal._before.get("isolation")
        journal.layers = before if layers["level"] == NONE and isinstance(before, dict) else layers
        record = opening(session, stages, layers, log.seal)
        torn = Recovered(mine.torn_bytes)
        if mine.torn_bytes and journal.resumed:
            log.append(RECOVERED, torn)
        position = log.append(RESUMED if journal.resumed else START, record, sync=journal.durable)
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
        if status == SUCCEEDED and not self._has_done_all(stages):
            failed = self._before.get("status") == FAILED
            status = FAILED if failed else INTERRUPTED
        counts = dict(Counter(result.status for result in stages.values()))
        metrics = {
            "v": 1, "run": self.run_id, "pipeline": self._spec.name, "status": status, "isolation": self.layers,
            "totals": {"seconds": round(seconds, 6), "stages": counts},
        }  # fmt: skip
        sha256 = write_metrics(
            self._spec.paths, self.run_id, metrics, self._stage_metrics(stages), sync=self.durable
        )  # fmt: skip
        files.discard(self._spec.paths.run_temporary(self.run_id))
        if self.durable:
            files.sync_directory(self._spec.paths.state_dir)  # the metrics that the next record names
        event = END if status == SUCCEEDED else STOPPED
        ended = RunEnded(status, counts, sha256, self.log.last.seq + 2, *self.log.outputs.totals())
        position = self.log.append(event, ended, sync=self.durable)
        self.log.close()
        if status != SUCCEEDED:
            return self._ledger.head()
        return self._ledger.append(CLOSED, self.run_id, position, sync=self.durable).position.hash

    def _has_done_all(self, stages: dict[str, StageResult]) -> bool:
        """Whether the run is complete with these stages, as far as the metrics of its earlier parts tell."""
        done = {name for name, before in self._earlier.items() if before.get("status") in _DONE}
        names = [stage.name for stage in self._spec.stages if not self._selected or stage.name in self._selected]
        return all(name in stages or name in done for name in names)

    def _stage_metrics(self, stages: dict[str, StageResult]) -> dict[str, bytes]:
        """Return the metrics of each stage in this part of the run and those before, as they are spelled."""
        merged = {name: canonical(before) for name, before in self._earlier.items()}
        for name, result in stages.items():
            before = self._earlier.get(name, {})
            if (result.status, before.get("status")) == (SKIPPED, SUCCEEDED):
                continue  # in an earlier part of this run
            attempts = before.get("attempts")
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


def opening(
    session: Session, stages: tuple[str, ...], layers: dict[str, str], seal: Seal, *, longest_spec: int = sys.maxsize
) -> dict[str, object]:
    """Return the payload of record 0: who runs what, where, with which versions.

    The effective spec is in it if it is not too long: as canonical text, because it may hold floats and a record may
    not. `runner.noop` makes the same for a run that needs no plan.
    """
    spec = session.spec.canonical
    encoded = spec.encode("utf-8", "backslashreplace")
    return {
        **origin(),
        "pipeline": session.spec.name,
        "specSha256": sha256_of(encoded),
        **({"spec": spec} if len(encoded) <= longest_spec else {}),
        "stages": list(stages),
        "isolation": dict(layers),
        "keyId": seal.id,
        "argv": list(session.options.argv),
        "ledgerHead": session.head.position.hash,
    }
