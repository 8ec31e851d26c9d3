"""What a run with nothing to do writes: metrics, a log of two records, a line in the ledger.

Loads built-in modules only, and takes payloads as bytes: such a run is mostly the start of its interpreter.
"""

from __future__ import annotations

import fcntl
import os

from runner.errors import StateError
from runner.hashing import sha256_of
from runner.record import files
from runner.record.again import PAGE, sync_or_take_back, write_again
from runner.record.spelling import END, GENESIS, START, hash_plainly, spell, stamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from runner.paths import StatePaths

NOTHING = sha256_of(b"{}")  # the `outputsSha256` of a run without outputs
_TAIL = 1 << 16
_HEX = 64


def write_log(
    paths: StatePaths, run: str, opening: bytes, pipeline: bytes, stages: int, seconds: float,
    hashed: Callable[[bytes], str] = hash_plainly, *, durable: bool,
) -> str:  # fmt: skip
    """Write metrics and log of a run that skipped `stages` stages; return the hash of the log's record 1.

    `opening` is the payload of record 0, `pipeline` the name, both as canonical JSON. Raises StateError, and leaves
    nothing then; its cause is FileExistsError if the run has a log already.
    """
    log, metrics = paths.audit(run), paths.metrics(run)
    descriptor = files.open_append(log, new=True)
    try:
        skipped = b'"stages":{"skipped":%d}' % stages
        totals = b'"totals":{"seconds":%b,%b}' % (repr(round(seconds, 6)).encode(), skipped)
        measured = b'{"pipeline":%b,"run":"%b","status":"succeeded",%b,"v":1}\n' % (pipeline, run.encode(), totals)
        files.create(metrics, measured)
        if durable:  # before the log names them, and with them the log has a name in the directory
            files.sync_file(metrics)
            files.sync_directory(paths.state_dir)
        sealed = b'"outputs":0,"outputsSha256":"%b","records":2' % NOTHING.encode()
        named = sha256_of(measured).encode()
        end = b'{"metricsSha256":"%b",%b,%b,"status":"succeeded"}' % (named, sealed, skipped)
        first, digest = spell(opening, START, run, 0, stamp(), GENESIS, hashed)
        second, digest = spell(end, END, run, 1, stamp(), digest, hashed)
        files.append(descriptor, first + second, log)
        if durable:  # before the ledger names it
            files.sync_descriptor(descriptor, log)
    except BaseException:
        take_back(paths, run)
        raise
    finally:
        os.close(descriptor)
    return digest


def take_back(paths: StatePaths, run: str) -> None:
    """Remove what `write_log` wrote."""
    files.discard(paths.audit(run))
    files.discard(paths.metrics(run))


class PlainLedger:
    """The ledger, locked for one append, and not parsed as JSON. For the plain case only.

    `head` is the hash of its last record. ValueError if that is not a whole, unkeyed record of `pipeline` (as JSON)
    without open runs, or if another process is appending: a full run is needed then.
    """

    def __init__(self, path: str, pipeline: bytes) -> None:
        self._path = path
        self._pipeline = pipeline
        if not os.path.exists(path):
            raise ValueError(path)
        self._descriptor = files.open_append(path)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._seq, self.head = self._last()
        except (OSError, ValueError, IndexError, StateError):
            os.close(self._descriptor)
            raise ValueError(path) from None

    def close(self) -> None:
        """Let others append."""
        os.close(self._descriptor)

    def append(self, run: str, log_hash: str, *, durable: bool) -> str:
        """Append that a run had nothing to do; return the new head. Raises StateError."""
        payload = b'{"keyId":null,"logHash":"%b","logSeq":1,"open":[],"pipeline":%b}' % (
            log_hash.encode(),
            self._pipeline,
        )
        line, digest = spell(payload, "noop", run, self._seq + 1, stamp(), self.head, hash_plainly)
        before = os.fstat(self._descriptor).st_size
        if durable:  # as `Ledger.append` does
            write_again(self._path, max(0, before - PAGE))
        files.append(self._descriptor, line, self._path)
        if durable:
            sync_or_take_back(self._descriptor, self._path, before)
        return digest

    def _last(self) -> tuple[int, str]:
        with open(files.open_regular(self._path), "rb", buffering=0) as file:
            file.seek(max(0, os.fstat(self._descriptor).st_size - _TAIL))
            tail = file.readall()
        line = tail[tail.rindex(b"\n", 0, len(tail) - 1) + 1 :] if tail.count(b"\n") > 1 else tail
        if not (tail.endswith(b"\n") and line.startswith(b'{"data":{"keyId":null,')):
            raise ValueError
        if b'"open":[],"pipeline":%b},"ev":"' % self._pipeline not in line:
            raise ValueError
        before, mark, after = line.rpartition(b'"hash":"')
        digest = after[:_HEX].decode()
        if not mark or hash_plainly(before + after[_HEX + 2 :].rstrip(b"\n")) != digest:
            raise ValueError
        return int(after.rpartition(b'"seq":')[2].split(b",")[0]), digest
