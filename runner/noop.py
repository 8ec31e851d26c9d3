"""A run with nothing to do, which ends without a plan.

While the no-op record holds, a run needs no plan: it writes its audit log, its metrics and its ledger record, and ends.
Most of its time is the start of the interpreter, so this module loads built-in modules only. It leaves every unusual
case and every fault to a full run. What it takes from the no-op record is checked before use; record 0 is made anew.

An accelerator: only `__main__`, and the end of a full run that found nothing to do, import it.
"""

from __future__ import annotations

import fcntl
import os
import time

from runner.canonical import END, GENESIS, KEY_VARIABLE, SIGNED, START, canonical, parsed, spell, stamp
from runner.errors import StateError, UsageError, note_run
from runner.hashing import sha256_of
from runner.reading import NotRegularError, open_regular, read_small
from runner.record import files
from runner.record.invocation import LONGEST_SPEC, SHORT_SPEC, invocation_entry, new_run_id, opening_payload
from runner.record.locks import has_leftovers, is_held
from runner.record.noop_record import LARGEST, NoopRecord, conditions_now, decode, is_plain, record_path
from runner.record.seal import PLAIN, Seal, signing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from runner.paths import StatePaths

_LONGEST_FIRST = 4 * LONGEST_SPEC  # bytes of record 0
_LONG_FIRST = 8 * SHORT_SPEC  # bytes of a record 0 that is not parsed: its spec is not short
_TAIL = 1 << 16  # bytes at the end of the ledger; a longer last record is left to a full run
MALFORMED = (ValueError, LookupError, TypeError, RecursionError)  # raised for a file that no run wrote
_NO_OUTPUTS = sha256_of(b"{}")  # the `outputsSha256` of a run without outputs


def answer(spec: str, words: Sequence[str], given: Mapping[str, Any]) -> int | None:
    """Record and report a run with nothing to do, and return 0; None if a full run is needed.

    `words` are the command line, `given` the options in it. Raises StateError if the disk refuses what the run writes.
    """
    began, began_at, workspace = time.monotonic(), stamp(), given.get("workspace")
    if is_plain() or KEY_VARIABLE in os.environ:
        return None
    try:
        for descriptor in (0, 1, 2):
            os.fstat(descriptor)  # a full run handles streams that are closed
        var_sources = [*given.get("var", ())]
        if "vars" in given:
            var_sources.append(read_small(given["vars"], LARGEST))
        conditions = conditions_now(spec, workspace, var_sources)
        record = decode(read_small(record_path(spec, workspace), LARGEST), conditions)
        if record is None or not _is_current(record) or is_held(record.paths) or has_leftovers(record.paths):
            return None
        try:
            run, head = _write_next_run(record, words, began, began_at, durable=given.get("durability") != "process")
        except StateError as error:
            note_run(error, record.pipeline, "")
            raise
    except (OSError, NotRegularError, UsageError, *MALFORMED):
        return None
    if "quiet" not in given:
        text = f"{record.pipeline}: nothing to do, {record.stages} up to date (run {run})\nledger head: {head}\n"
        try:
            os.write(1, text.encode())
        except OSError:
            pass  # a terminal that is gone fails no run
    return 0


def _is_current(record: NoopRecord) -> bool:
    """Whether no path has changed. Looks from the base of the paths, because short paths take a tenth less time."""
    back = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fchdir(back)  # else there might be no way back
        os.chdir(os.path.dirname(record.paths.state_dir))
        return record.is_current()
    finally:
        os.fchdir(back)
        os.close(back)


# ---- the files of the run --------------------------------------------------------------------------------------------


def write_run(
    paths: StatePaths,
    run: str,
    first: dict[str, object],
    stages: int,
    seconds: float,
    close: Callable[[int, str], str],
    seal: Seal = PLAIN,
    between: Sequence[tuple[str, object]] = (),
    *,
    durable: bool,
) -> str:
    """Write the metrics and the log of a run that skipped `stages` stages, and close it; return the ledger's head.

    `first` is the payload of record 0, `between` are the events and payloads of the records before the last. `close`
    gets number and hash of the last record, and appends to the ledger. If the disk refuses something, this removes what
    it wrote and raises StateError; it does not repeat a failed fsync. The cause is FileExistsError if the run has a log
    already.
    """
    log, metrics = paths.audit(run), paths.metrics(run)
    skipped = {"skipped": stages}
    content = _metrics(first["pipeline"], run, skipped, seconds)
    end = {
        "metricsSha256": sha256_of(content),
        "outputs": 0,
        "outputsSha256": _NO_OUTPUTS,
        "records": 2 + len(between),
        "stages": skipped,
        "status": "succeeded",
    }
    descriptor = files.open_append(log, new=True)
    try:
        files.create(metrics, content)
        if durable:  # before the log names the metrics; the directory then has the name of the log, too
            files.sync_file(metrics)
            files.sync_file(paths.state_dir)
        lines, digest = _chained([(START, first), *between, (END, end)], run, seal)
        files.append(descriptor, b"".join(lines), log)
        if durable:  # before the ledger names the log
            files.sync_descriptor(descriptor, log)
        return close(len(lines) - 1, digest)
    except BaseException:
        files.discard(log)
        files.discard(metrics)
        raise
    finally:
        os.close(descriptor)


def _chained(records: Sequence[tuple[str, object]], run: str, seal: Seal) -> tuple[list[bytes], str]:
    """Return the lines of a whole log, given the events and payloads of its records, and the hash of the last."""
    lines, digest = [], GENESIS
    for seq, (event, payload) in enumerate(records):
        line, digest = spell(payload, event, run, seq, stamp(), digest, seal.hash)
        lines.append(line)
    return lines, digest


def _metrics(pipeline: object, run: str, skipped: dict[str, int], seconds: float) -> bytes:
    totals = {"seconds": round(seconds, 6), "stages": skipped}
    return canonical({"pipeline": pipeline, "run": run, "status": "succeeded", "totals": totals, "v": 1}) + b"\n"


def _write_next_run(
    record: NoopRecord, words: Sequence[str], began: float, began_at: str, *, durable: bool
) -> tuple[str, str]:
    """Write a run that the no-op record covers; return its id and the ledger's new head.

    Raises OSError or one of MALFORMED if a full run is needed.
    """
    paths, pipeline = record.paths, record.pipeline
    if not os.path.exists(paths.ledger):
        raise ValueError(paths.ledger)
    seal = signing(PLAIN, (paths.state_dir,))  # a full run has checked its place, which is one of the conditions
    ledger = files.open_append(paths.ledger)
    try:
        fcntl.flock(ledger, fcntl.LOCK_EX | fcntl.LOCK_NB)
        seq, head = ledger_end(paths.ledger, pipeline, record.spec_run, signs=seal.signer is not None)
        first = opening_payload(pipeline, _spec_of(record), ("offpipe", *words), head)
        run = new_run_id(paths)

        def close(last: int, digest: str) -> str:
            entry: dict[str, object] = {
                "invocation": invocation_entry(began_at, 0, {"skipped": record.stages}),
                "keyId": None,
                "logHash": digest,
                "logSeq": last,
                "open": [],
                "pipeline": pipeline,
            }
            lines, new_head = seal.entry(entry, "noop", run, seq + 1, stamp(), head)
            files.append_line(ledger, lines, paths.ledger, sync=durable)
            return new_head

        seconds = time.monotonic() - began
        return run, write_run(paths, run, first, record.stages, seconds, close, durable=durable)
    finally:
        os.close(ledger)


def ledger_end(path: str, pipeline: str, spec_run: str, *, signs: bool = False) -> tuple[int, str]:
    """Return the number and the hash of the ledger's last record.

    Raises one of MALFORMED unless it is a whole, unkeyed record of `pipeline` without open runs; if it is signed and
    nothing `signs` the next one; and if a `prune` is about to remove the log of `spec_run`.
    """
    with open(open_regular(path), "rb", buffering=0) as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL))
        tail = file.readall()
    before, line = [b"", *tail.splitlines(keepends=True)][-2:]
    record = parsed(line)
    data, seq = record["data"], record["seq"]
    expected, head = spell(data, record["ev"], record["run"], seq, record["ts"], record["prev"], PLAIN.hash)
    is_usual = (data["keyId"], data["open"], data["pipeline"]) == (None, [], pipeline)
    entry = parsed(before)["data"] if (is_signed := record["ev"] == SIGNED) else data
    is_usual = is_usual and ("signer" not in data or (signs and is_signed))
    if expected != line or not is_usual or spec_run in entry.get("runs", ()):
        raise ValueError(path)
    return seq, head


def _spec_of(record: NoopRecord) -> dict[str, str]:
    """Return the fields of record 0 on the spec: its digest, and its text, or the run that has the text of a long spec.

    They come from that run's record 0. Raises one of MALFORMED if it has another spec.
    """
    with open(open_regular(record.paths.audit(record.spec_run)), "rb") as file:
        line = file.readline(_LONGEST_FIRST)
    named = {"specSha256": record.spec_sha256}
    if line[-1:] != b"\n" or b'"specSha256":"%b"' % record.spec_sha256.encode() not in line:
        raise ValueError(record.spec_run)
    if b'"spec":"' not in line:  # not even in another text, where quotes are escaped
        return named  # the spec is longer than LONGEST_SPEC
    if len(line) > _LONG_FIRST:
        return {"specIn": record.spec_run, **named}
    text = parsed(line)["data"]["spec"]
    if len(text) > SHORT_SPEC:
        return {"specIn": record.spec_run, **named}
    if sha256_of(text.encode("utf-8", "backslashreplace")) != record.spec_sha256:
        raise ValueError(record.spec_run)
    return {"spec": text, **named}
