"""State files: completion markers, progress files, metrics. Each is replaced whole, and checked when read."""

from __future__ import annotations

from json import loads
from typing import TYPE_CHECKING, NamedTuple

from runner.canonical import canonical
from runner.errors import Fault, StateError
from runner.record import files

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runner.paths import StatePaths

VERSION = 1


class OutputIdentity(NamedTuple):
    """What a published output was, so that a change can be told by `lstat`; times in nanoseconds."""

    path: str
    size: int
    sha256: str
    inode: int
    mtime_ns: int

    def as_json(self) -> dict[str, object]:
        """Return the identity as it stands in a marker."""
        return {
            "path": self.path, "size": self.size, "sha256": self.sha256, "inode": self.inode, "mtimeNs": self.mtime_ns,
        }  # fmt: skip

    def as_record(self) -> dict[str, object]:
        """Return the identity as it stands in the audit log, whose integers stay below 2^53."""
        return {**self.as_json(), "inode": str(self.inode), "mtimeNs": str(self.mtime_ns)}

    @classmethod
    def from_json(cls, value: Mapping[str, object]) -> OutputIdentity:
        """Return the identity that either of the two spelled; KeyError or ValueError for anything else."""
        size, inode, mtime_ns = (int(str(value[name])) for name in ("size", "inode", "mtimeNs"))
        return cls(str(value["path"]), size, str(value["sha256"]), inode, mtime_ns)


class Marker(NamedTuple):
    """That a stage is complete: for which key, made of what, with which outputs, recorded where, and why it ran."""

    stage: str
    key: str
    key_version: int
    components: dict[str, object]
    outputs: dict[str, OutputIdentity]
    run: str
    audit_seq: int
    reasons: list[list[object]]

    def encode(self) -> bytes:
        """Return the bytes of the marker file."""
        body: dict[str, object] = {
            "v": VERSION,
            "stage": self.stage,
            "key": self.key,
            "keyVersion": self.key_version,
            "components": self.components,
            "outputs": {name: identity.as_json() for name, identity in self.outputs.items()},
            "run": self.run,
            "auditSeq": self.audit_seq,
            "reasons": self.reasons,
        }
        text = canonical(body)
        return b'%b,"checksum":"%b"}\n' % (text[:-1], _checksum(text).encode())


def write_marker(paths: StatePaths, marker: Marker) -> None:
    """Replace the marker of a stage; the caller makes it durable before the run ends."""
    temporary = f"{paths.temporary}/stage_{marker.stage}.json"
    files.replace(paths.marker(marker.stage), marker.encode(), temporary=temporary)


def read_marker(paths: StatePaths, stage: str) -> Marker | None:
    """Return the marker of a stage, or None when there is none or it is damaged (its stage then runs again)."""
    path = paths.marker(stage)
    content = read_bytes(path)
    if content is None:
        return None
    text, _, checksum = content.rpartition(b',"checksum":"')
    if checksum != _checksum(text + b"}").encode() + b'"}\n':
        refuse_newer_bytes(content, path)
        return None
    try:
        body = loads(text + b"}")
        refuse_newer(body, path)
        outputs = {name: OutputIdentity.from_json(value) for name, value in body["outputs"].items()}
        if body["stage"] != stage:
            return None
        return Marker(
            stage, body["key"], body["keyVersion"], body["components"], outputs, body["run"], body["auditSeq"], body["reasons"]
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def write_metrics(paths: StatePaths, run: str, metrics: dict[str, object], *, sync: bool) -> str:
    """Replace the metrics file of a run and return the hex SHA-256 of its bytes."""
    content = canonical(metrics) + b"\n"
    files.replace(paths.metrics(run), content, temporary=f"{paths.temporary}/metrics_{run}.json", sync=sync)
    from hashlib import sha256

    return sha256(content).hexdigest()


def read_metrics(paths: StatePaths, run: str) -> dict[str, object]:
    """Return the metrics of a run that goes on; empty when there are none that can be read."""
    return read_object(paths.metrics(run)) or {}


def read_object(path: str) -> dict[str, object] | None:
    """Return the JSON object in a state file, or None when it is missing or damaged; StateError for a newer `v`."""
    content = read_bytes(path)
    if content is None:
        return None
    try:
        value = loads(content)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    refuse_newer(value, path)
    return value


def read_bytes(path: str) -> bytes | None:
    """Return what a state file holds, or None when there is no such file; StateError when it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StateError.from_os(error, path, "read") from error


def refuse_newer(value: Mapping[str, object], path: str) -> None:
    """Raise StateError when a state file has a `v` that this release does not know."""
    version = value.get("v")
    if isinstance(version, int) and version > VERSION:
        hint = "use the release that wrote it, or a newer one; nothing was changed"
        raise StateError(Fault(path, f"was written by a newer release (v {version}, this one knows {VERSION})", hint))


def refuse_newer_bytes(content: bytes, path: str) -> None:
    """Raise StateError when `content`, which this release cannot check, says that a newer one wrote it."""
    try:
        value = loads(content)
    except (ValueError, RecursionError):
        return
    if isinstance(value, dict):
        refuse_newer(value, path)


def _checksum(text: bytes) -> str:
    from hashlib import sha256

    return sha256(b"offpipe marker v1\n" + text).hexdigest()


