"""What a run does before it plans anything: finish what a dead run had committed, and remove what it left.

`stage.commit` is the redo record. It is durable before the first partial is renamed, so whatever the instant of the
death, each output is found under its real path (done), or under its partial's name (rename it), told by its inode.
"""

from __future__ import annotations

import os
from json import loads
from typing import TYPE_CHECKING, NamedTuple

from runner.marker import Marker, OutputIdentity
from runner.paths import partial_path
from runner.record import files
from runner.record.audit import Position, cut_torn_line, read_records
from runner.record.checkpoints import keep_or_discard
from runner.record.state import read_marker, write_marker

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runner.paths import StatePaths


class OpenRun(NamedTuple):
    """A run that goes on: the end of its log, the attempts that each stage had, and how many torn bytes were cut."""

    run: str
    last: Position | None
    attempts: dict[str, int]
    torn_bytes: int


def recover(paths: StatePaths, workspace: str, runs: tuple[str, ...]) -> list[OpenRun]:
    """Redo the commits of every open run, oldest first, and sweep what they left; the pipeline lock is held."""
    recovered = [_recover_run(paths, workspace, run) for run in runs]
    files.discard(paths.temporary)
    files.discard(f"{paths.digest_cache}.tmp")  # which a run without work may have been writing
    return recovered


def _recover_run(paths: StatePaths, workspace: str, run: str) -> OpenRun:
    log = paths.audit(run)
    torn = cut_torn_line(log)
    commits: dict[str, tuple[int, dict[str, object]]] = {}
    started: dict[str, dict[str, str]] = {}
    attempts: dict[str, int] = {}
    last: Position | None = None
    for record in read_records(log):
        seq = int(str(record["seq"]))
        last = Position(seq, str(record["hash"]))
        data = record["data"]
        if not isinstance(data, dict):
            continue
        if record["ev"] == "stage.commit":
            commits[data["stage"]] = (seq, data)
        elif record["ev"] == "attempt.started":
            attempts[data["stage"]] = data["attempt"]
            started.setdefault(data["stage"], {}).update(data["outputs"])
    for seq, data in commits.values():
        redo(paths, workspace, run, seq, data)
    listings: dict[str, list[str]] = {}
    for stage, outputs in started.items():
        real = {name: os.path.join(workspace, path) for name, path in outputs.items()}
        keep_or_discard(paths.progress(stage), None, real, listings)
    return OpenRun(run, last, attempts, torn)


def redo(paths: StatePaths, workspace: str, run: str, seq: int, data: Mapping[str, object]) -> bool:
    """Bring one committed stage to its end: rename what is still partial, write the marker that is lost.

    False when an output is neither in place nor under its partial's name: the stage is then not up to date.
    """
    stage, outputs = str(data["stage"]), data["outputs"]
    assert isinstance(outputs, dict)
    identities = {name: OutputIdentity.from_json(value) for name, value in outputs.items()}
    for identity in identities.values():
        real = os.path.join(workspace, identity.path.rstrip("/"))
        if is_identical(real, identity):
            continue
        partial = partial_path(real, str(data["tag"]))
        if not is_identical(partial, identity):
            return False
        files.publish(partial, real)
    marker = read_marker(paths, stage)
    if marker is None or (marker.run, marker.audit_seq) != (run, seq):
        files.make_directories(paths.temporary)
        write_marker(paths, marker_of(run, seq, data, identities))
    files.discard(paths.progress(stage))
    return True


def marker_of(run: str, seq: int, data: Mapping[str, object], outputs: dict[str, OutputIdentity]) -> Marker:
    """Return the marker that a `stage.commit` record stands for."""
    reasons = data["reasons"]
    assert isinstance(reasons, list)
    version = int(str(data["keyVersion"]))
    return Marker(
        str(data["stage"]), str(data["key"]), version, loads(str(data["components"])), outputs, run, seq, reasons
    )


def is_identical(path: str, identity: OutputIdentity) -> bool:
    """Whether the very file (or directory) that was committed is at `path`: inode, size and time; renames keep them."""
    try:
        status = os.lstat(path)
    except OSError:
        return False
    if identity.path.endswith("/"):
        return status.st_ino == identity.inode
    return (status.st_ino, status.st_size, status.st_mtime_ns) == (identity.inode, identity.size, identity.mtime_ns)
