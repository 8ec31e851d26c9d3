"""A run with nothing to do, and the no-op record, which lets it end without a plan.

The no-op record lists every path that a plan depended on. While no path has changed, a run needs no plan: it writes its
audit log, its metrics and its ledger record, and ends. Most of its time is the start of the interpreter, so this module
loads built-in modules only. It leaves every unusual case and every fault to a full run.

Stages can write to the workspace, so they can forge the record. It therefore holds only paths, digests and ids. Each is
checked before use, and record 0 of the log is made anew. Losing the record only costs time.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time
import zlib
from _operator import attrgetter
from itertools import accumulate, pairwise, repeat

from runner import __version__
from runner.canonical import END, GENESIS, KEY_VARIABLE, SIGNED, START, canonical, parsed, spell, stamp
from runner.errors import UsageError
from runner.hashing import sha256_of
from runner.paths import OWN_DIRECTORY, StatePaths, is_name
from runner.reading import NotRegularError, is_settled, open_regular, read_small
from runner.record import files
from runner.record.locks import has_leftovers, is_held
from runner.record.seal import PLAIN, SIGNING_VARIABLE, signing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any

    from runner.plan.fingerprint import Dependencies
    from runner.record.seal import Seal
    from runner.spec.model import Spec

    Stat = Callable[[Any], os.stat_result]
    Signature = Callable[[os.stat_result], tuple[int, ...]]

MAGIC = b"offpipe noop 5\n"
SHORT_SPEC = 1 << 12  # characters: record 0 repeats a spec up to this length, else it names the run that has the spec
LONGEST_SPEC = 1 << 20  # bytes: in no run with nothing to do does record 0 hold a longer spec
LARGEST = 1 << 29  # bytes of a no-op record
_FAMILY = b"offpipe noop "
_O_PATH = getattr(os, "O_PATH", 0)  # of Linux: for a working directory that cannot be read
_HEX = 64
_BODY = len(MAGIC) + _HEX + 8  # where the body begins: after a digest of the conditions, and a checksum
_FIXED = 13  # fields before the paths
_LONGEST_NAME = 200  # bytes of a spec's name; a longer one does not fit into the record's file name
_LONGEST_FIRST = 4 * LONGEST_SPEC  # bytes of record 0
_LONG_FIRST = 8 * SHORT_SPEC  # bytes of a record 0 that is not parsed: its spec is not short
_TAIL = 1 << 16  # bytes at the end of the ledger; a full run reads a last record that is longer
MALFORMED = (ValueError, LookupError, TypeError, RecursionError)  # raised for a file that no run wrote
_NO_OUTPUTS = sha256_of(b"{}")  # the `outputsSha256` of a run without outputs
_signature: Signature = attrgetter("st_ctime_ns", "st_mtime_ns", "st_size", "st_ino")
_kind: Signature = attrgetter("st_mode", "st_ino")
_READINGS: tuple[tuple[Stat, Signature], ...] = ((os.stat, _signature), (os.lstat, _signature), (os.lstat, _kind))


def is_plain() -> bool:
    """Whether caches and no-op records are off (`OFFPIPE_PLAIN=1`). Results must be the same with and without them."""
    return os.environ.get("OFFPIPE_PLAIN") == "1"


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
        run, head = _write_next_run(record, words, began, began_at, durable=given.get("durability") != "process")
    except (OSError, NotRegularError, UsageError, *MALFORMED):
        return None
    if "quiet" not in given:
        text = f"{record.pipeline}: nothing to do, {record.stages} up to date (run {run})\nledger head: {head}\n"
        try:
            os.write(1, text.encode())
        except OSError:
            pass  # a terminal that is gone fails no run
    return 0


def _is_current(record: Record) -> bool:
    """Whether no path has changed. Looks from the base of the paths, since short ones take a tenth less time."""
    back = os.open(".", _O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fchdir(back)  # else there might be no way back
        os.chdir(os.path.dirname(record.paths.state_dir))
        return record.is_current()
    finally:
        os.fchdir(back)
        os.close(back)


# ---- the record ------------------------------------------------------------------------------------------------------


class Record:
    """The no-op record: what a plan that found everything up to date depended on, and what the next run writes.

    `groups` are lists of paths: one for each of `_READINGS`, and last the paths that must be absent. They are relative
    to the directory of the state directory, if they are below it. `states` has a hash over the state of each list but
    the last. Record 0 of the run `spec_run` has the spec of digest `spec_sha256`.
    """

    def __init__(
        self, paths: StatePaths, pipeline: str, stages: int, spec_sha256: str, spec_run: str,
        groups: list[list[bytes]], states: list[bytes],
    ) -> None:  # fmt: skip
        self.paths = paths
        self.pipeline = pipeline
        self.stages = stages
        self.spec_sha256 = spec_sha256
        self.spec_run = spec_run
        self.groups = groups
        self.states = states

    def is_current(self) -> bool:
        """Whether no path has changed; relative ones are looked at from the working directory."""
        if any(map(os.access, self.groups[-1], repeat(os.F_OK))):
            return False
        try:
            return list(map(_state, _signatures(self.groups))) == self.states
        except (OSError, ValueError):
            return False

    def encode(self, conditions: bytes) -> bytes:
        """Return the bytes of the file, for `conditions_now`."""
        body = b"\0".join([
            os.fsencode(self.paths.state_dir), os.fsencode(self.paths.locks_dir), self.pipeline.encode(),
            b"%d" % self.stages, self.spec_sha256.encode(), self.spec_run.encode(), *self.states,
            *(b"%d" % len(paths) for paths in self.groups), *(path for paths in self.groups for path in paths),
        ])  # fmt: skip
        return MAGIC + conditions + _checksum(body) + body


def decode(content: bytes, conditions: bytes) -> Record | None:
    """Return the record in the bytes of a file; None if it is damaged, or was made in other conditions."""
    body = content[_BODY:]
    if content[:_BODY] != MAGIC + conditions + _checksum(body):
        return None
    fields = body.split(b"\0")
    state, locks, pipeline, stages, sha256, spec_run, *rest = fields[:_FIXED]
    states, counts = rest[: len(_READINGS)], map(_count, rest[len(_READINGS) :])
    ends = list(accumulate(counts, initial=_FIXED))
    names = pipeline.decode(), spec_run.decode()
    is_digest = len(sha256) == _HEX and sha256.isalnum()
    if not (ends[-1] == len(fields) and state[:1] == locks[:1] == b"/" and is_digest and all(map(is_name, names))):
        return None
    paths = StatePaths(os.fsdecode(state), os.fsdecode(locks))
    groups = [fields[start:end] for start, end in pairwise(ends)]
    return Record(paths, names[0], _count(stages), sha256.decode(), names[1], groups, states)


def is_damaged(content: bytes) -> bool:
    """Whether the bytes of a file are no record of any release or interpreter."""
    if content.startswith(MAGIC):
        return content[_BODY - 8 : _BODY] != _checksum(content[_BODY:])
    return not content.startswith(_FAMILY)


def record_of(dependencies: Dependencies, spec: Spec, spec_sha256: str, spec_run: str, began: int) -> Record | None:
    """Return the record of a plan that began at `began` (time.time_ns), after reading the state of its `dependencies`.

    None if a path has changed since then, or so shortly before that its time stamps might not show a later change
    (racily clean). Of absent paths, the directory shows whether the plan has found them absent, too.
    """
    try:
        groups = [sorted(map(os.fsencode, chosen)) for chosen in dependencies.groups()]
        files_read, entries, kinds = _signatures(groups)
        around = [_signature(os.stat(path)) for path in {_directory_above(path) for path in groups[-1]}]
    except (OSError, ValueError):
        return None
    if not all(is_settled(modified, changed, began) for changed, modified, *_ in (*files_read, *entries, *around)):
        return None
    states = list(map(_state, (files_read, entries, kinds)))
    record = Record(spec.paths, spec.name, len(spec.stages), spec_sha256, spec_run, groups, states)
    if not record.is_current():
        return None
    base = os.fsencode(os.path.dirname(spec.paths.state_dir)).rstrip(b"/") + b"/"
    record.groups = [[path.removeprefix(base) or path for path in group] for group in groups]
    return record


def record_path(spec: str, workspace: str | None) -> str:
    """Return the path of a spec's no-op record: beside the spec, or below the workspace."""
    directory, name = os.path.split(os.path.abspath(spec))
    if len(os.fsencode(name)) > _LONGEST_NAME:
        name = f"{zlib.crc32(os.fsencode(name)):08x}"
    return os.path.join(os.path.abspath(workspace) if workspace else directory, OWN_DIRECTORY, f"noop-{name}")


def conditions_now(spec: str, workspace: str | None, var_sources: Sequence[str | bytes] = ()) -> bytes:
    """Return a digest of the rest that a plan depends on: release, interpreter, `sys.path`, three variables, the spec.

    `var_sources`: see Options.
    """
    env, archive = os.environ, f"python{sys.version_info[0]}{sys.version_info[1]}.zip"
    names = [entry.rpartition("/")[2] for entry in sys.path]
    installed = sys.path[names.index(archive) :] if archive in names else sys.path  # without what the start put first
    around = (__version__, sys.version, sys.executable, installed, env.get("PATH"), env.get("HOME"))
    key = env.get(SIGNING_VARIABLE)
    places = [path and os.path.abspath(path) for path in (spec, workspace, key)] + [key and os.path.realpath(key)]
    return sha256_of(repr((around, places, *var_sources)).encode("utf-8", "backslashreplace")).encode()


def _directory_above(path: bytes) -> bytes:
    """Return the nearest directory above a path that exists."""
    while not os.path.exists(path := os.path.dirname(path)):
        pass
    return path


def _signatures(groups: list[list[bytes]]) -> Iterator[list[tuple[int, ...]]]:
    for (read, signature), paths in zip(_READINGS, groups, strict=False):
        yield list(map(signature, map(read, paths)))


def _state(signatures: list[tuple[int, ...]]) -> bytes:
    """Return Python's own 64-bit hash over the signatures. For integers it has no seed, and takes 15 ns a path."""
    return b"%d" % hash(tuple(signatures))


def _checksum(body: bytes) -> bytes:
    return b"%08x" % zlib.crc32(body)


def _count(text: bytes) -> int:
    if len(text) > 9 or not text.isdigit():
        raise ValueError(text[:20])
    return int(text)


# ---- the files of the run --------------------------------------------------------------------------------------------


def write_run(
    paths: StatePaths, run: str, first: dict[str, object], stages: int, seconds: float,
    close: Callable[[int, str], str], seal: Seal = PLAIN, between: Sequence[tuple[str, object]] = (), *, durable: bool,
) -> str:  # fmt: skip
    """Write the metrics and the log of a run that skipped `stages` stages, and close it; return the ledger's head.

    `first` is the payload of record 0, `between` are the events and payloads of the records before the last. `close`
    gets number and hash of the last record, and appends to the ledger. If the disk refuses something, this removes what
    it wrote and raises StateError; it does not repeat a failed fsync. The cause is FileExistsError if the run has a log
    already.
    """
    log, metrics = paths.audit(run), paths.metrics(run)
    skipped = {"skipped": stages}
    totals = {"seconds": round(seconds, 6), "stages": skipped}
    measured = {"pipeline": first["pipeline"], "run": run, "status": "succeeded", "totals": totals, "v": 1}
    content = canonical(measured) + b"\n"
    end = {
        "metricsSha256": sha256_of(content), "outputs": 0, "outputsSha256": _NO_OUTPUTS,
        "records": 2 + len(between),
        "stages": skipped, "status": "succeeded",
    }  # fmt: skip
    descriptor = files.open_append(log, new=True)
    try:
        files.create(metrics, content)
        if durable:  # before the log names the metrics; the directory then has the name of the log, too
            files.sync_file(metrics)
            files.sync_file(paths.state_dir)
        lines, seq, digest = [], 0, GENESIS
        for seq, (event, payload) in enumerate(((START, first), *between, (END, end))):
            line, digest = spell(payload, event, run, seq, stamp(), digest, seal.hash)
            lines.append(line)
        files.append(descriptor, b"".join(lines), log)
        if durable:  # before the ledger names the log
            files.sync_descriptor(descriptor, log)
        return close(seq, digest)
    except BaseException:
        files.discard(log)
        files.discard(metrics)
        raise
    finally:
        os.close(descriptor)


def _write_next_run(
    record: Record, words: Sequence[str], began: float, began_at: str, *, durable: bool
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
        first = opening(pipeline, _spec_of(record), ("offpipe", *words), head)
        run = new_run_id(paths)

        def close(last: int, digest: str) -> str:
            entry: dict[str, object] = {
                "invocation": invocation(began_at, 0, {"skipped": record.stages}), "keyId": None, "logHash": digest,
                "logSeq": last, "open": [], "pipeline": pipeline,
            }  # fmt: skip
            lines, new_head = seal.entry(entry, "noop", run, seq + 1, stamp(), head)
            files.append_line(ledger, lines, paths.ledger, sync=durable)
            return new_head

        seconds = time.monotonic() - began
        return run, write_run(paths, run, first, record.stages, seconds, close, durable=durable)
    finally:
        os.close(ledger)


def invocation(
    began: str, exit_code: int, stages: dict[str, int], fault: str | None = None, warnings: Sequence[str] = (),
    verb: str = "run",
) -> dict[str, object]:  # fmt: skip
    """Return what the ledger says of an invocation: its begin, exit code, stages by status, first fault, warnings."""
    return {"began": began, "exitCode": exit_code, "fault": fault, "stages": stages, "verb": verb, "warnings": warnings}


def new_run_id(
    paths: StatePaths, clock: Callable[[], float] = time.time, random: Callable[[int], bytes] = os.urandom
) -> str:
    """Return a run id that no run has: the time in UTC, and 4 random hex digits."""
    while True:
        drawn = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(clock()))}-{random(2).hex()}"
        if not os.path.lexists(paths.audit(drawn)):
            return drawn


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


def opening(
    pipeline: str, spec: dict[str, str], argv: Sequence[str], head: str, stages: Sequence[str] = (),
    isolation: dict[str, str] | None = None, key_id: str | None = None,
) -> dict[str, object]:  # fmt: skip
    """Return the payload of record 0: who runs what, where, with which versions. `spec` are its fields on the spec."""
    from pwd import getpwuid

    uid, system = os.getuid(), os.uname()
    try:
        user = getpwuid(uid).pw_name
    except KeyError:
        user = ""
    try:
        with open("/proc/sys/kernel/random/boot_id", "rb", buffering=0) as file:
            boot_id = file.read().strip().decode()
    except OSError:
        boot_id = ""
    versions = {"offpipe": __version__, "python": sys.version.partition(" ")[0], "system": system.release}
    around = {"bootId": boot_id, "host": system.nodename, "uid": uid, "user": user, "versions": versions}
    given = {"pipeline": pipeline, "argv": list(argv), "stages": list(stages), **spec}
    guarded = {"isolation": isolation or {"level": "none"}, "keyId": key_id, "ledgerHead": head}
    return {**around, **given, **guarded, "interpreter": os.path.basename(sys.executable)}


def _spec_of(record: Record) -> dict[str, str]:
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
