"""The records of a run: its audit log from record 0 to the last, its metrics, and its records in the ledger.

Also the ledger's record of each invocation, which has no log if it was refused.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from runner.canonical import END, START, canonical, parsed, stamp
from runner.engine.git import commit_of
from runner.engine.session import Session, read_seal, refuse_other_pipeline
from runner.engine.start import make_hooks
from runner.errors import EXIT_OK, Fault, NewerReleaseError, OffpipeError, StateError, judged, note_run
from runner.hashing import sha256_of
from runner.levels import NONE
from runner.paths import upward
from runner.reading import read_small
from runner.record import events, files
from runner.record.invocation import SIGNALLED, invocation_entry, new_run_id, opening_payload
from runner.record.ledger import Ledger, read_head
from runner.record.log import AuditLog
from runner.record.seal import PLAIN
from runner.record.state import read_metrics, write_metrics
from runner.results import FAILED, GOOD, INTERRUPTED, REFUSED, SKIPPED, SUCCEEDED, RunResult, StageResult
from runner.sandbox.guard import gaps
from runner.spec.graph import select_names
from runner.spec.model import Spec, effective_spec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from runner.engine import Options
    from runner.record.markers import OutputIdentity
    from runner.record.recovery import OpenRun

_LONGEST = 500  # characters of a fault in the ledger
_LARGEST_RESULT = 1 << 16  # bytes of a JSON result whose numbers are kept


class Invocation:
    """One call of `run`, `clean` or `prune`: its warnings, and its line in the ledger.

    The line that closes a run, or says that there was nothing to do, has what `ended` returns. Any other end, such as a
    refusal, gets a line of its own when the context ends, if the ledger can be read and written. `run` is the run that
    it works on; a refused invocation has only its name. `part` says how many invocations have worked on that run.
    """

    def __init__(
        self,
        spec: Spec,
        options: Options,
        warn: Callable[[Fault], None],
        began: int,
        plugins: tuple[object, ...] = (),
        verb: str = "run",
    ) -> None:
        """`began`: in nanoseconds since 1970. The hooks of `plugins` are called for a run that raises an error."""
        self.run = options.run_id or ""
        self.part: int | None = None
        self.log: AuditLog | None = None  # of the run, while it is open
        self.warnings: list[Fault] = []
        self.is_recorded = False
        self._spec = spec
        self._verb = verb
        self.began = began
        self._sync = options.is_durable
        self._warn = warn
        self._plugins = plugins

    def warn(self, fault: Fault) -> None:
        """Show a warning, and put it on record."""
        self.warnings.append(fault)
        if self.log:
            self.log.append(*warning_record(fault))
        self._warn(fault)

    def ended(
        self, exit_code: int = EXIT_OK, stages: Mapping[str, int] | None = None, fault: Fault | None = None
    ) -> dict[str, object]:
        """Return what the line of this invocation says about its end; `stages` are counts by status."""
        self.is_recorded = True
        texts = [warning.line[:_LONGEST] for warning in self.warnings]
        cause = fault.line[:_LONGEST] if fault else None
        return invocation_entry(stamp(self.began), exit_code, dict(stages or {}), cause, texts, self._verb)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: TracebackType | None) -> None:
        is_ours = isinstance(error, Exception | None) and not isinstance(error, NewerReleaseError)
        if is_ours and not self.is_recorded:
            self._note_end(error)
        if error is not None:
            note_run(error, self._spec.name, self.run)

    def _note_end(self, error: BaseException | None) -> None:
        code, fault = EXIT_OK, None
        if error is not None:
            code, faults = judged(error)
            fault = next(iter(faults), None)
        head = self._record(code, fault)
        if self._verb == "run" and error is not None:
            status = INTERRUPTED if code > SIGNALLED else REFUSED if self.part is None else FAILED
            seconds = (time.time_ns() - self.began) / 1e9
            result = RunResult(self._spec.name, self.run, status, code, {}, head, seconds, {"level": NONE}, fault=fault)
            make_hooks(self._plugins).offpipe_run_finished(result=result)

    def _record(self, code: int, fault: Fault | None) -> str:
        """Append the line, and return the ledger's head; "" if the ledger cannot be read or written."""
        spec, paths = self._spec, self._spec.paths
        if self.part and not os.path.exists(paths.ledger):
            return ""  # the state directory was removed while the run was at work
        try:
            seal = read_seal(spec.workspace, spec.root, paths.state_dir, signs=True)
            refuse_other_pipeline(spec, read_head(paths.ledger, seal).pipeline)
            files.make_directories(paths.state_dir)
            run = self.run or new_run_id(paths)
            ledger, ending = Ledger(paths.ledger, spec.name, stamp, seal), self.ended(code, fault=fault)
            head = ledger.append(events.ENDED, run, None, sync=self._sync, part=self.part, invocation=ending)
        except OffpipeError:
            return ""  # the error of the invocation matters more
        self.run = run
        return head


def warning_record(fault: Fault) -> tuple[str, events.RunWarning]:
    """Return event and payload of a warning."""
    return events.WARNING, events.RunWarning(fault.where, fault.what, fault.hint)


class Journal:
    """Writes the records of one run with work to do."""

    def __init__(
        self, session: Session, spec: Spec, mine: OpenRun, layers: dict[str, str], invocation: Invocation
    ) -> None:
        """Open a run, or resume one, and make that durable before anything starts.

        `layers` say what keeps its stages offline: the `level`, and each layer. The log comes first, then the ledger:
        each run in the ledger has a log.
        """
        paths = spec.paths
        self.run_id = mine.run
        self.resumed = mine.last is not None
        self.durable = session.options.is_durable
        self._invocation = invocation
        self.spec = spec
        self._selected = mine.selected_with(session.options.stages)
        self._ledger = session.ledger
        files.discard(session.noop_record)  # there is work to do
        files.make_directories(paths.temporary)
        self.log = self._open_log(session, mine)
        self._before = read_metrics(paths, self.run_id) if self.resumed else {}
        self.layers = layers
        record, torn = opening(session, spec, layers, self.log.seal.id), {"tornBytes": mine.torn_bytes}
        if commit := commit_of(spec.root):
            record["gitCommit"] = commit
        if mine.torn_bytes and self.resumed:
            self.log.append(events.RECOVERED, torn)
        position = self.log.append(events.RESUMED if self.resumed else START, record, sync=self.durable)
        if self.durable:  # the directories must name the log and the ledger on disk, too
            files.touch(paths.ledger)
            files.sync_files(upward(paths.state_dir, spec.workspace))
        part = len(mine.beginnings) + 1
        self._ledger.append(events.OPENED, self.run_id, position, sync=self.durable, part=part)
        invocation.run, invocation.part = self.run_id, part  # until here, it counts as refused
        if mine.torn_bytes and not self.resumed:  # record 0 is always `run.start`
            self.log.append(events.RECOVERED, torn)
        for fault in invocation.warnings:
            self.log.append(*warning_record(fault))
        invocation.log = self.log
        for gap in gaps(layers):
            invocation.warn(gap)

    def _open_log(self, session: Session, mine: OpenRun) -> AuditLog:
        path = session.spec.paths.audit(mine.run)
        session.seal.refuse_other(path, mine.key_id)
        seal = PLAIN if self.resumed and mine.key_id is None else session.seal
        if self.resumed and self.durable:
            files.write_again(path)  # the first sync then puts all of it on disk
        return AuditLog(path, mine.run, stamp, mine.last, seal=seal, outputs=mine.outputs, events=session.events)

    def end(self, status: str, exit_code: int, stages: dict[str, StageResult], seconds: float) -> str:
        """Write the metrics and the last record, and close the run if it succeeded; return the ledger's new head.

        The run stays open if these stages succeeded, but others of the run are still to be done.
        """
        paths, run_id = self.spec.paths, self.run_id
        before = self._before.get("stages")
        entries = before.items() if isinstance(before, dict) else ()
        earlier: dict[str, dict[str, object]] = {name: entry for name, entry in entries if isinstance(entry, dict)}
        done = [name for name, entry in earlier.items() if entry.get("status") in GOOD]
        if status == SUCCEEDED and not {*stages, *done}.issuperset(select_names(self.spec.names, self._selected)):
            status = FAILED if self._before.get("status") == FAILED else INTERRUPTED
        counts = dict(Counter(result.status for result in stages.values()))
        metrics = {
            "v": 1,
            "run": run_id,
            "pipeline": self.spec.name,
            "status": status,
            "isolation": self.layers,
            "totals": {"seconds": round(seconds, 6), "stages": counts},
            "stages": _stage_metrics(stages, earlier, self.spec),
        }
        sha256 = write_metrics(paths, run_id, metrics, sync=self.durable)
        files.discard(paths.run_temporary(run_id))
        if self.durable:
            files.sync_file(paths.state_dir)  # before the next record names the metrics
        ended = events.RunEnded(status, counts, sha256, self.log.last.seq + 2, *self.log.outputs.totals())
        position = self.log.append(END if status == SUCCEEDED else events.STOPPED, ended, sync=self.durable)
        self.log.close()
        self._invocation.log = None
        faulty = (stage for stage in stages.values() if stage.exit_code)
        cause = min(faulty, key=lambda stage: stage.exit_code != exit_code, default=None)  # of the exit code, if known
        ending = self._invocation.ended(exit_code, counts, cause and cause.fault)
        event, part = events.CLOSED if status == SUCCEEDED else events.ENDED, self._invocation.part
        return self._ledger.append(event, run_id, position, sync=self.durable, part=part, invocation=ending)


def _stage_metrics(
    stages: dict[str, StageResult], earlier: dict[str, dict[str, object]], spec: Spec
) -> dict[str, dict[str, object]]:
    """Return the metrics of each stage, from this part of the run and from earlier ones."""
    merged = {**earlier}
    for name, result in stages.items():
        before = earlier.get(name, {})
        if (result.status, before.get("status")) == (SKIPPED, SUCCEEDED):
            continue  # it ran in an earlier part of this run
        attempts = before.get("attempts")
        all_attempts = [*attempts] if isinstance(attempts, list) else []
        all_attempts += [attempt.as_metrics() for attempt in result.attempts]
        merged[name] = {
            "status": result.status,
            "seconds": round(result.seconds, 6),
            "inputBytes": result.input_bytes,
            "enforced": result.enforced,
            "outputBytes": sum(output.size for output in result.outputs.values()),
            "attempts": all_attempts,
        }
    for stage in spec.stages:
        made = stages[stage.name].outputs if stage.results and stage.name in stages else {}
        outputs = (made[label] for label in stage.results or () if label in made)
        if found := {output.sha256: numbers for output in outputs if (numbers := _numbers(spec.workspace, output))}:
            merged[stage.name]["results"] = found
    return merged


def _numbers(workspace: str, output: OutputIdentity) -> dict[str, float]:
    """Return the numbers in a small result that is a JSON object, so that a later report can compare them."""
    if not output.path.endswith(".json") or output.size > _LARGEST_RESULT:
        return {}
    with suppress(OSError, StateError, ValueError, RecursionError):  # it may be anything, and gone by now
        content = read_small(os.path.join(workspace, output.path), _LARGEST_RESULT)
        value = parsed(content)
        if isinstance(value, dict) and sha256_of(content) == output.sha256:
            return {name: member for name, member in value.items() if type(member) in (int, float)}
    return {}


def opening(
    session: Session, spec: Spec, layers: dict[str, str], key_id: str | None, longest: int = sys.maxsize
) -> dict[str, object]:
    """Return the payload of record 0: who runs what, where, and with which versions.

    It holds the effective spec, unless that is longer than `longest` bytes. The spec is there as canonical text,
    because it may hold floats, which a record may not.
    """
    options = session.options
    encoded = canonical(effective_spec(spec))
    text = {"spec": encoded.decode()} if len(encoded) <= longest else {}
    return opening_payload(
        spec.name,
        {"specSha256": sha256_of(encoded), **text},
        options.argv,
        session.head.position.hash,
        options.stages,
        dict(layers),
        key_id,
    )
