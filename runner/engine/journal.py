"""The records of a run: its audit log from record 0 to the last, its metrics, and its records in the ledger."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING

from runner import noop
from runner.canonical import END, START, canonical, stamp
from runner.hashing import sha256_of
from runner.levels import NONE
from runner.paths import upward
from runner.record import files
from runner.record.audit import AuditLog
from runner.record.events import CLOSED, OPENED, RECOVERED, RESUMED, STOPPED, Recovered, RunEnded
from runner.record.seal import PLAIN
from runner.record.state import read_metrics, write_metrics
from runner.results import FAILED, INTERRUPTED, SKIPPED, SUCCEEDED

if TYPE_CHECKING:
    from runner.engine.session import Session
    from runner.record.recovery import OpenRun
    from runner.results import StageResult


class Journal:
    """Writes the records of one run with work to do."""

    def __init__(self, session: Session, mine: OpenRun, layers: dict[str, str], stages: tuple[str, ...]) -> None:
        """Open a run, or resume one, and make that durable before anything starts.

        `layers` keep its stages offline: the `level`, and a word on each layer. `stages` are the stages that the run is
        limited to; empty means all. The log comes first, then the ledger: each run in the ledger has a log.
        """
        paths = session.spec.paths
        self.run_id = mine.run
        self.earlier = mine.attempts
        self.tags = mine.tags
        self.resumed = mine.last is not None
        self.durable = session.options.is_durable
        self._spec = session.spec
        self._selected = mine.selected_with(stages)
        self._ledger = session.ledger
        files.discard(session.noop_record)  # there is work to do
        files.make_directories(paths.temporary)
        self.log = self._open_log(session, mine)
        self._before = read_metrics(paths, self.run_id) if self.resumed else {}
        isolation = self._before.get("isolation")
        self.layers = isolation if layers["level"] == NONE and isinstance(isolation, dict) else layers
        record, torn = opening(session, stages, layers, self.log.seal.id), Recovered(mine.torn_bytes)
        if mine.torn_bytes and self.resumed:
            self.log.append(RECOVERED, torn)
        position = self.log.append(RESUMED if self.resumed else START, record, sync=self.durable)
        if self.durable:  # the directories must name the log and the ledger on disk, too
            files.touch(paths.ledger)
            files.sync_files(upward(paths.state_dir, session.spec.workspace))
        self._ledger.append(OPENED, self.run_id, position, sync=self.durable)
        if mine.torn_bytes and not self.resumed:  # record 0 is always `run.start`
            self.log.append(RECOVERED, torn)

    def _open_log(self, session: Session, mine: OpenRun) -> AuditLog:
        path = session.spec.paths.audit(mine.run)
        session.seal.refuse_other(mine.key_id, path)
        seal = PLAIN if self.resumed and mine.key_id is None else session.seal
        if self.resumed and self.durable:
            files.write_again(path)  # the first sync then puts all of it on disk
        return AuditLog(path, mine.run, stamp, mine.last, seal=seal, outputs=mine.outputs)

    def end(self, status: str, stages: dict[str, StageResult], seconds: float) -> str:
        """Write the metrics and the last record, and close the run if it succeeded; return the ledger's head.

        The run stays open if these stages succeeded, but others of the run are still to be done.
        """
        paths, run_id = self._spec.paths, self.run_id
        before = self._before.get("stages")
        entries = before.items() if isinstance(before, dict) else ()
        earlier: dict[str, dict[str, object]] = {name: entry for name, entry in entries if isinstance(entry, dict)}
        if status == SUCCEEDED and not self._has_done_all(stages, earlier):
            status = FAILED if self._before.get("status") == FAILED else INTERRUPTED
        counts = dict(Counter(result.status for result in stages.values()))
        metrics = {
            "v": 1, "run": run_id, "pipeline": self._spec.name, "status": status, "isolation": self.layers,
            "totals": {"seconds": round(seconds, 6), "stages": counts},
        }  # fmt: skip
        sha256 = write_metrics(paths, run_id, metrics, _stage_metrics(stages, earlier), sync=self.durable)
        files.discard(paths.run_temporary(run_id))
        if self.durable:
            files.sync_directory(paths.state_dir)  # before the next record names the metrics
        ended = RunEnded(status, counts, sha256, self.log.last.seq + 2, *self.log.outputs.totals())
        position = self.log.append(END if status == SUCCEEDED else STOPPED, ended, sync=self.durable)
        self.log.close()
        if status != SUCCEEDED:
            return self._ledger.head()
        return self._ledger.append(CLOSED, run_id, position, sync=self.durable)

    def _has_done_all(self, stages: dict[str, StageResult], earlier: dict[str, dict[str, object]]) -> bool:
        """Whether these stages complete the run, according to the metrics of its earlier parts."""
        done = {name for name, before in earlier.items() if before.get("status") in (SUCCEEDED, SKIPPED)}
        names = [stage.name for stage in self._spec.stages if not self._selected or stage.name in self._selected]
        return all(name in stages or name in done for name in names)


def _stage_metrics(stages: dict[str, StageResult], earlier: dict[str, dict[str, object]]) -> dict[str, bytes]:
    """Return the metrics of each stage, from this part of the run and from earlier ones, as canonical JSON."""
    merged = {name: canonical(before) for name, before in earlier.items()}
    for name, result in stages.items():
        before = earlier.get(name, {})
        if (result.status, before.get("status")) == (SKIPPED, SUCCEEDED):
            continue  # it ran in an earlier part of this run
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
    session: Session, stages: tuple[str, ...], layers: dict[str, str], key_id: str | None, longest: int = sys.maxsize
) -> dict[str, object]:
    """Return the payload of record 0: who runs what, where, and with which versions.

    It holds the effective spec, unless that is longer than `longest` bytes. The spec is there as canonical text,
    because it may hold floats, which a record may not.
    """
    spec = session.spec.canonical
    encoded = spec.encode("utf-8", "backslashreplace")
    text = {"spec": spec} if len(encoded) <= longest else {}
    return noop.opening(
        session.spec.name, {"specSha256": sha256_of(encoded), **text}, session.options.argv,
        session.head.position.hash, stages, dict(layers), key_id,
    )  # fmt: skip
