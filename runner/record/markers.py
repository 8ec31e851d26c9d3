"""Completion markers: the outputs of a stage, the key they were made for, and why it ran.

A marker is replaced whole, and checked when it is read.
"""

from __future__ import annotations

import os
from contextlib import suppress
from functools import cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

from runner.canonical import VERSION, canonical, parsed
from runner.hashing import sha256_of
from runner.record import files
from runner.record.state import DAMAGED, MOST_MARKER, decode_object, no_note, read_usable

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping

    from runner.paths import StatePaths
    from runner.record.state import Note

CTIMES = "visibleNs"  # in nanoseconds, by output: when it got its name
_FIELDS = {  # of the file, in the order of those of Marker
    "stage": str,
    "key": str,
    "keyVersion": int,
    "components": dict,
    "outputs": dict,
    "run": str,
    "auditSeq": int,
    "reasons": list,
}
_REASON_LENGTH = 4  # component, what, old, new


class OutputIdentity(NamedTuple):
    """A published output as it was committed, so that `lstat` shows a change; times in nanoseconds.

    `content`: the digest of a directory without the modes in it. `run`: the run that made the output; "" for that of
    the marker, which made all but former and adopted outputs. `ctime_ns`: the ctime of the file at its real path. If it
    is None, it is unknown, and the file is read. Only the rename sets the ctime, so no record has it.
    """

    path: str
    size: int
    sha256: str
    inode: int
    mtime_ns: int
    content: str = ""
    run: str = ""
    ctime_ns: int | None = None

    def matches(self, status: os.stat_result) -> bool:
        """Whether inode, size and mtime are those of the published file."""
        return (self.inode, self.size, self.mtime_ns) == (status.st_ino, status.st_size, status.st_mtime_ns)

    def is_unchanged(self, status: os.stat_result) -> bool:
        """Whether the content is the same, without reading it: ctime shows a write even if mtime was set back."""
        return self.matches(status) and self.ctime_ns == status.st_ctime_ns

    def at(self, path: str) -> os.stat_result | None:
        """Return the status of the file or directory at `path` if it is the committed output itself, else None.

        Compares what a rename keeps: of a file, inode, size and mtime; of a directory, only the inode.
        """
        with suppress(OSError):
            status = os.lstat(path)
            is_output = status.st_ino == self.inode if self.path.endswith("/") else self.matches(status)
            return status if is_output else None
        return None

    def is_itself(self, path: str) -> bool:
        """Whether this is what the stage published, not something with the same content that was made since.

        Another pipeline may have made that. The mtime counts for a directory, too: an inode may be used again.
        """
        status = self.at(path)
        return status is not None and status.st_mtime_ns == self.mtime_ns

    def in_place(self, workspace: str) -> OutputIdentity:
        """Return the identity with the present ctime of the file at its path."""
        status = self.at(os.path.join(workspace, self.path))
        return self.with_ctime(status.st_ctime_ns) if status else self

    def with_ctime(self, ctime_ns: int | None) -> OutputIdentity:
        """Return the identity with this ctime; a directory gets none, because its content is always read."""
        return self if self.path.endswith("/") else self._replace(ctime_ns=ctime_ns)

    def as_json(self) -> dict[str, object]:
        """Return the identity in the form of a marker."""
        return {
            "path": self.path,
            "size": self.size,
            "sha256": self.sha256,
            "inode": self.inode,
            "mtimeNs": self.mtime_ns,
            **({"contentSha256": self.content} if self.content else {}),
            **({"run": self.run} if self.run else {}),
        }

    def as_record(self) -> dict[str, object]:
        """Return the identity in the form of the audit log, whose integers stay below 2^53."""
        return {**self.as_json(), "inode": str(self.inode), "mtimeNs": str(self.mtime_ns)}

    @classmethod
    def from_json(cls, value: Mapping[str, object]) -> OutputIdentity:
        """Return the identity from either form; KeyError or ValueError for anything else."""
        size, inode, mtime_ns = (int(str(value[name])) for name in ("size", "inode", "mtimeNs"))
        content, run = (str(value.get(name, "")) for name in ("contentSha256", "run"))
        return cls(str(value["path"]), size, str(value["sha256"]), inode, mtime_ns, content, run)


class Marker(NamedTuple):
    """A complete stage: its key and components, its outputs, its commit, and why it ran.

    `former`: outputs of the markers before it that were still on disk, and that no stage declared any more.
    `program_version`: what its program said, if the spec says how to ask it.
    """

    stage: str
    key: str
    key_version: int
    components: dict[str, object]
    outputs: dict[str, OutputIdentity]
    run: str
    audit_seq: int
    reasons: list[list[object]]
    former: tuple[OutputIdentity, ...] = ()
    program_version: str | None = None

    def all_outputs(self) -> Iterator[OutputIdentity]:
        """Yield the outputs, then the former ones, each with the run that made it."""
        yield from (output._replace(run=output.run or self.run) for output in self.outputs.values())
        yield from self.former

    def in_place(self, workspace: str) -> Marker:
        """Return the marker with the present ctimes of its outputs; call it when they have their names."""
        return self._replace(outputs={name: output.in_place(workspace) for name, output in self.outputs.items()})

    def with_ctime(self, ctime_ns: int | None) -> Marker:
        """Return the marker with one ctime for all of its files."""
        return self._replace(outputs={name: output.with_ctime(ctime_ns) for name, output in self.outputs.items()})

    def encode(self) -> bytes:
        """Return the bytes of the marker file. The ctimes come last; the commit record holds everything before them."""
        outputs = {name: identity.as_json() for name, identity in self.outputs.items()}
        body: dict[str, object] = {"v": VERSION, **dict(zip(_FIELDS, self, strict=False)), "outputs": outputs}
        if self.former:
            body["former"] = [identity.as_json() for identity in self.former]
        if self.program_version is not None:
            body["programVersion"] = self.program_version
        if ctimes := {name: output.ctime_ns for name, output in self.outputs.items() if output.ctime_ns is not None}:
            body[CTIMES] = ctimes
        text = canonical(body)
        return b'%b,"checksum":"%b"}\n' % (text[:-1], _checksum(text).encode())

    @classmethod
    def decode(cls, content: bytes) -> Marker | None:
        """Return the marker in the bytes of its file, or None if they are damaged."""
        text, _, checksum = content.rpartition(b',"checksum":"')
        if checksum != _checksum(text + b"}").encode() + b'"}\n':
            return None
        with suppress(ValueError, KeyError, TypeError, AttributeError, RecursionError):
            body = parsed(text + b"}")
            if body["v"] > VERSION:
                return None
            outputs = {name: OutputIdentity.from_json(value) for name, value in body["outputs"].items()}
            for name, ctime_ns in body.get(CTIMES, {}).items():
                outputs[name] = outputs[name]._replace(ctime_ns=int(ctime_ns))
            former = tuple(map(OutputIdentity.from_json, body.get("former", ())))
            marker = cls._make((*map(body.get, _FIELDS), former, body.get("programVersion")))
            return marker._replace(outputs=outputs) if _is_sound(body) else None
        return None


def write_marker(paths: StatePaths, marker: Marker) -> None:
    """Replace the marker of a stage; the caller makes it durable before the run ends."""
    temporary = f"{paths.temporary}/stage_{marker.stage}.json"
    files.replace(paths.marker(marker.stage), marker.encode(), temporary=temporary)


def read_marker(paths: StatePaths, stage: str, note: Note = no_note) -> Marker | None:
    """Return the marker of a stage; None if it is missing, or unusable: then `note` gets the reason."""
    path = paths.marker(stage)
    content = read_usable(path, MOST_MARKER, note)
    if content is None:
        return None
    marker = Marker.decode(content)
    if marker is None:
        decode_object(content, path)  # refuses the marker of a newer release, which cannot be checked here
        note(path, DAMAGED)
    elif marker.stage != stage:
        note(path, f'is the marker of the stage "{marker.stage}"')
        return None
    return marker


def marked_stages(paths: StatePaths) -> list[str]:
    """Return the stages that have a marker, sorted by name, including those that are no longer declared."""
    names: list[str] = []
    with suppress(OSError):
        names = os.listdir(paths.state_dir)
    ours = (name for name in names if name.startswith("stage_") and name.endswith(".json"))
    return sorted(name[len("stage_") : -len(".json")] for name in ours)


def read_markers(paths: StatePaths) -> Iterator[Marker]:
    """Yield every usable marker in the state directory."""
    return filter(None, (read_marker(paths, stage) for stage in marked_stages(paths)))


class Markers:
    """The markers in a state directory. The marker of each stage of the spec is read once, at the first call."""

    def __init__(self, paths: StatePaths, note: Note = no_note) -> None:
        """`note` gets each marker of a stage of the spec that cannot be used, and why."""
        self._paths = paths
        self._read = cache(partial(read_marker, paths, note=note))
        self._written: dict[str, Marker] = {}

    def of(self, stage: str) -> Marker | None:
        """Return the marker of a stage of the spec; None if it has no usable one."""
        return self._written.get(stage) or self._read(stage)

    def note(self, marker: Marker) -> None:
        """Note a marker that this process has written since."""
        self._written[marker.stage] = marker

    def all(self, declared: Container[str]) -> Iterator[Marker]:
        """Yield every marker, including those of stages that are gone, that is, not `declared`."""
        for stage in marked_stages(self._paths):
            if marker := self.of(stage) if stage in declared else read_marker(self._paths, stage):
                yield marker


def _is_sound(body: dict[str, Any]) -> bool:
    """Whether the fields have the types that readers expect: an edited marker can have the right checksum.

    Checks the components that readers take apart; all others are only compared and shown. Raises TypeError or
    AttributeError if there is another value where an object should be.
    """
    inputs, code = body["components"].get("inputs", {}), body["components"].get("code", {})
    return (
        all(type(body[name]) is kind for name, kind in _FIELDS.items())
        and isinstance(body.get("former", []), list)
        and isinstance(body.get("programVersion", ""), str)
        and all(isinstance(reason, list) and len(reason) == _REASON_LENGTH for reason in body["reasons"])
        and all(isinstance(pairs, list) for pairs in inputs.values())
        and all(_is_texts(pair) and len(pair) == len(("path", "digest")) for pairs in inputs.values() for pair in pairs)
        and all(isinstance(code.get(name, {}), dict) for name in ("files", "packages"))
        and _is_texts(code.get("absent", []))
    )


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def is_written_here(value: Mapping[str, object]) -> bool:
    """Whether the checksum in a marker's JSON value is right, or would be with our `v`: then only `v` was changed."""
    body = {name: member for name, member in value.items() if name != "checksum"} | {"v": VERSION}
    return _checksum(canonical(body)) == value.get("checksum")


def _checksum(text: bytes) -> str:
    return sha256_of(b"offpipe marker v1\n" + text)
