"""Partials and checkpoints: which bytes of an attempt that ended are worth keeping for the next one.

A partial outlives its attempt only with a progress file that has the stage's key and gives a length for it, and only
if an attempt at this key is on record for it: a state directory that was moved away, say, leaves partials behind. The
runner, not the stage, cuts it to that length: a program that only appends can then never double its output.
"""

from __future__ import annotations

import os
import stat
from json import loads
from typing import TYPE_CHECKING, Any, NamedTuple

from runner.canonical import LARGEST, digest
from runner.hashing import hasher
from runner.paths import PARTIAL_PREFIX, PARTIAL_TAG_LENGTH, is_partial, partial_path, tag_of
from runner.record import files
from runner.record.state import DAMAGED, MOST_PROGRESS, no_note, read_usable, refuse_newer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runner.record.state import Note

    Tags = Mapping[str, str]  # of the attempts of one stage that are on record: tag -> key
    Partials = dict[str, list[str]]  # output name -> the partials beside its real path, of any attempt

VERSION = 1
_CHUNK = 1 << 20


class Kept(NamedTuple):
    """How much of one partial a checkpoint vouches for; with its digest and inode if the stage gave them."""

    length: int
    sha256: str | None
    inode: int | None = None


class Progress(NamedTuple):
    """A progress file that can be understood; offsets are the program's own. `job` is set by the SDK alone."""

    key: str
    line_offset: int | None
    byte_offset: int | None
    outputs: dict[str, Kept]
    job: int | None = None

    def as_record(self) -> dict[str, object]:
        """Return the offsets as they stand in the record of an attempt that resumes from them."""
        offsets = {"job": self.job, "lineOffset": self.line_offset, "byteOffset": self.byte_offset}
        record: dict[str, object] = {name: value for name, value in offsets.items() if value is not None}
        return {**record, "outputs": {name: kept.length for name, kept in self.outputs.items()}}


class Checkpoint(NamedTuple):
    """What an attempt resumes from: a progress file, and the partial of each output that it vouches for."""

    progress: Progress
    partials: dict[str, str]


def read_progress(path: str, note: Note = no_note, *, left: bool = False) -> Progress | None:
    """Return the checkpoint in a progress file, or None when there is none or `note` is told what is wrong with it.

    The stage wrote it, so nothing odd about it is an error of the state directory. Another `v` is no damage either: it
    is taken for none. But one that was `left` by an earlier run with a newer `v` is a newer release's: StateError.
    """
    content = read_usable(path, MOST_PROGRESS, note)
    if content is None:
        return None
    try:
        value = loads(content)
        if "checksum" in value and value.pop("checksum") != digest(value):
            raise ValueError(path)
        if (version := value.get("v", VERSION)) == VERSION:
            return _progress(value)
        if left:
            refuse_newer(value, path)
        if isinstance(version, int) and _natural(version) is None:
            raise ValueError(version)  # of none of our releases
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, MemoryError):
        note(path, DAMAGED)
    return None


def _progress(value: dict[str, Any]) -> Progress:
    """Return what the object in a progress file says; ValueError, or what any other shape raises."""
    kept: dict[str, Kept] = {}
    for name, entry in value["outputs"].items():
        length, sha256, inode = _natural(entry["length"]), entry.get("sha256"), entry.get("inode")
        if length is None:
            raise ValueError(name)
        # Some file systems use all 64 bits of an inode.
        kept[name] = Kept(length, sha256 if type(sha256) is str else None, inode if type(inode) is int else None)
    line, byte, job = (_natural(value.get(name)) for name in ("lineOffset", "byteOffset", "job"))
    if "job" in value and (job is None or line is None or byte is None or line > byte):  # the SDK gives all three
        raise ValueError(job)
    if type(value["key"]) is not str:
        raise ValueError(value["key"])
    return Progress(value["key"], line, byte, kept, job)


def _natural(value: object) -> int | None:
    return value if type(value) is int and 0 <= value < LARGEST else None


def keep_checkpoint(
    progress_path: str, key: str | None, outputs: Mapping[str, str], tags: Tags,
    listings: dict[str, list[str]] | None = None,
) -> Checkpoint | None:  # fmt: skip
    """Return what the next attempt of a stage can resume from, and remove all other partials; None if it is nothing.

    `outputs` are the stage's real paths. `key` None: any key will do (of a dead run's checkpoint; the next attempt
    compares it). `listings`: see `find_partials`.
    """
    progress, partials = read_progress(progress_path), find_partials(outputs, listings)
    chosen = _vouched(progress, partials, tags) if progress and key in (None, progress.key) else {}
    if not chosen:
        files.discard(progress_path)  # first: it must never vouch for what is gone
    for name, paths in partials.items():
        for path in paths:
            if path != chosen.get(name):
                files.discard(path)
    return Checkpoint(progress, chosen) if progress and chosen else None


def discard_checkpoint(progress_path: str, outputs: Mapping[str, str]) -> None:
    """Remove the progress file of a stage, and all of its partials."""
    keep_checkpoint(progress_path, "", outputs, {})


def adopt(checkpoint: Checkpoint, outputs: Mapping[str, str], tag: str) -> None:
    """Hand the partials of a checkpoint to the attempt with `tag`, cut to their recorded lengths.

    That attempt must be on record: after a kill only the log says which attempt a renamed partial belongs to.
    """
    for name, path in checkpoint.partials.items():
        length = checkpoint.progress.outputs[name].length
        if os.lstat(path).st_size != length:
            files.truncate(path, length)
        if path != (target := partial_path(outputs[name], tag)):
            files.rename(path, target)


def find_partials(outputs: Mapping[str, str], listings: dict[str, list[str]] | None = None) -> Partials:
    """Return, per output name, the partials beside its real path, of any attempt.

    `listings` remembers the partials of each directory between calls: thousands of stages may share one.
    """
    listings = {} if listings is None else listings
    partials: Partials = {}
    start = len(PARTIAL_PREFIX) + PARTIAL_TAG_LENGTH
    for name, path in outputs.items():
        parent, base = os.path.split(path.rstrip("/"))
        if parent not in listings:
            with files.naming(parent, "list"):
                try:
                    listings[parent] = sorted(filter(is_partial, os.listdir(parent)))
                except (FileNotFoundError, NotADirectoryError):
                    listings[parent] = []
        partials[name] = [f"{parent}/{entry}" for entry in listings[parent] if entry[start:] == f".{base}"]
    return partials


def _vouched(progress: Progress, partials: Partials, tags: Tags) -> dict[str, str]:
    """Return the partial of each recorded output; nothing if one has none, or more than one that would do."""
    chosen: dict[str, str] = {}
    for name, kept in progress.outputs.items():
        ours = [path for path in partials.get(name, ()) if tags.get(tag_of(path)) == progress.key]
        fitting = [path for path in ours if _matches(path, kept)]
        if len(fitting) != 1:
            return {}
        chosen[name] = fitting[0]
    return chosen


def _matches(path: str, kept: Kept) -> bool:
    if not os.access(path, os.R_OK | os.W_OK):  # the stage took the right to go on with it away, also from itself
        return False
    status = os.lstat(path)
    if not stat.S_ISREG(status.st_mode) or status.st_size < kept.length:
        return False
    if status.st_nlink > 1 or kept.inode not in (None, status.st_ino):  # what has another name is not ours to cut
        return False
    return kept.sha256 is None or _prefix_digest(path, kept.length) == kept.sha256


def _prefix_digest(path: str, length: int) -> str:
    hashed = hasher(more=length)
    with files.naming(path, "read"), open(path, "rb") as partial:
        while length and (chunk := partial.read(min(length, _CHUNK))):
            hashed.update(chunk)
            length -= len(chunk)
    return hashed.hexdigest()
