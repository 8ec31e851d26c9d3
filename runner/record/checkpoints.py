"""Partials and checkpoints: which bytes of an attempt that ended are worth keeping for the next one.

A partial outlives its attempt only with a progress file that has the stage's key and gives a length for it, and only
as that of an attempt at this key that is on record: whatever else lies there is of another history, such as one that
went with a state directory that was moved away. The runner, not the stage, cuts it to that length: a program that only
ever appends can then never double its output.
"""

from __future__ import annotations

import os
import stat
from json import loads
from typing import TYPE_CHECKING

from runner.canonical import LARGEST, digest
from runner.hashing import hasher
from runner.paths import PARTIAL_PREFIX, PARTIAL_TAG_LENGTH, is_partial, partial_path, tag_of
from runner.record import files
from runner.record.state import DAMAGED, MOST_PROGRESS, read_usable, refuse_newer, unheard
from runner.values import Value

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from runner.record.state import Note

    Tags = Mapping[str, str]  # of the attempts of one stage that are on record: tag -> key

VERSION = 1
_CHUNK = 1 << 20


class Kept(Value):
    """What a checkpoint vouches for in one partial: so many bytes, of this digest and inode when it gave them."""

    length: int
    sha256: str | None
    inode: int | None = None


class Progress(Value):
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


class Checkpoint(Value):
    """What an attempt resumes from: a progress file, and the partial of each output that it vouches for."""

    progress: Progress
    partials: dict[str, str]


def read_progress(path: str, note: Note = unheard, *, left: bool = False) -> Progress | None:
    """Return the checkpoint in a progress file, or None when there is none or `note` is told what is wrong with it.

    The stage wrote it, so nothing that is odd about it is an error of the state directory. Another `v` is no damage
    either: it is taken for none. But one that was `left` by an earlier run with a newer `v` is a newer release's, and
    would be lost with it: StateError.
    """
    content = read_usable(path, MOST_PROGRESS, note)
    if content is None:
        return None
    try:
        value = loads(content)
        is_sealed = isinstance(value, dict) and "checksum" in value
        if is_sealed and value.pop("checksum") != digest(value):
            value = None
    except (ValueError, RecursionError, MemoryError):
        value = None
    if isinstance(value, dict) and (version := value.get("v", VERSION)) != VERSION:
        if left:
            refuse_newer(value, path)
        if isinstance(version, int) and _natural(version) is None:  # a version of none of our releases
            note(path, DAMAGED)
        return None
    progress = _progress(value) if isinstance(value, dict) else None
    if progress is None:
        note(path, DAMAGED)
    return progress


def _progress(value: dict[str, object]) -> Progress | None:
    outputs = value.get("outputs")
    if not isinstance(value.get("key"), str) or not isinstance(outputs, dict):
        return None
    kept: dict[str, Kept] = {}
    for name, entry in outputs.items():
        if not isinstance(entry, dict) or (length := _natural(entry.get("length"))) is None:
            return None
        digest = entry.get("sha256")
        inode = entry.get("inode")  # of which some file systems use all 64 bits
        kept[name] = Kept(
            length, digest if isinstance(digest, str) else None, inode if isinstance(inode, int) else None
        )
    line, byte, job = (_natural(value.get(name)) for name in ("lineOffset", "byteOffset", "job"))
    if "job" in value and (job is None or line is None or byte is None or line > byte):  # the SDK gives all three
        return None
    return Progress(str(value["key"]), line, byte, kept, job)


def find_checkpoint(progress_path: str, key: str, outputs: Mapping[str, str], tags: Tags) -> Checkpoint | None:
    """Return the checkpoint that an attempt with this key can resume from; `outputs` are the stage's real paths."""
    progress = read_progress(progress_path)
    if progress is None or progress.key != key:
        return None
    chosen = _vouched(progress, find_partials(outputs), tags)
    return Checkpoint(progress, chosen) if chosen else None


def adopt(checkpoint: Checkpoint | None, progress_path: str, outputs: Mapping[str, str], tag: str) -> None:
    """Hand the partials of a checkpoint to the attempt with `tag`, cut to their recorded lengths; remove all others.

    Without a checkpoint the progress file goes too. The attempt with `tag` must be on record by now: after a kill only
    the log says which attempt a renamed partial belongs to.
    """
    found = find_partials(outputs)
    if checkpoint is None:
        discard_attempt(progress_path, [path for paths in found.values() for path in paths])
        return
    for name, paths in found.items():
        for path in paths:
            if path != checkpoint.partials.get(name):
                files.discard(path)
    for name, path in checkpoint.partials.items():
        length = checkpoint.progress.outputs[name].length
        if os.lstat(path).st_size != length:
            files.truncate(path, length)
        if path != (target := partial_path(outputs[name], tag)):
            files.rename(path, target)


def keep_or_discard(
    progress_path: str, key: str | None, outputs: Mapping[str, str], tags: Tags,
    listings: dict[str, list[str]] | None = None,
) -> bool:  # fmt: skip
    """Decide over the partials of an attempt that ended without success; True when they stay for the next one.

    `key` None: whatever key the checkpoint has will do (a dead run's; the next attempt compares it). `listings`: see
    `find_partials`.
    """
    progress = read_progress(progress_path)
    found = find_partials(outputs, listings)
    if progress is not None and key in (None, progress.key) and (chosen := _vouched(progress, found, tags)):
        for name, paths in found.items():
            for path in paths:
                if path != chosen.get(name):
                    files.discard(path)
        return True
    discard_attempt(progress_path, [path for paths in found.values() for path in paths])
    return False


def discard_attempt(progress_path: str, partials: Iterable[str]) -> None:
    """Remove a progress file and partials. The progress file goes first: it must never vouch for what is gone."""
    files.discard(progress_path)
    for path in partials:
        files.discard(path)


def find_partials(outputs: Mapping[str, str], listings: dict[str, list[str]] | None = None) -> dict[str, list[str]]:
    """Return, per output name, the partials beside its real path, of whatever attempt.

    `listings` remembers the partials of each directory between calls: thousands of stages may share one.
    """
    listings = {} if listings is None else listings
    found: dict[str, list[str]] = {}
    for name, path in outputs.items():
        parent, base = os.path.split(path.rstrip("/"))
        if parent not in listings:
            listings[parent] = sorted(_partials_in(parent))
        ending = f".{base}"
        start = len(PARTIAL_PREFIX) + PARTIAL_TAG_LENGTH
        found[name] = [f"{parent}/{entry}" for entry in listings[parent] if entry[start:] == ending]
    return found


def _partials_in(directory: str) -> Iterator[str]:
    with files.naming(directory, "list"):
        try:
            yield from (name for name in os.listdir(directory) if is_partial(name))
        except (FileNotFoundError, NotADirectoryError):
            return


def _vouched(progress: Progress, found: Mapping[str, list[str]], tags: Tags) -> dict[str, str]:
    """Return the partial of each recorded output; nothing when of one there is none, or more than one that would do."""
    chosen: dict[str, str] = {}
    for name, kept in progress.outputs.items():
        ours = [path for path in found.get(name, ()) if tags.get(tag_of(path)) == progress.key]
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
    digest = hasher(more=length)
    with files.naming(path, "read"), open(path, "rb") as partial:
        while length and (chunk := partial.read(min(length, _CHUNK))):
            digest.update(chunk)
            length -= len(chunk)
    return digest.hexdigest()


def _natural(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < LARGEST else None
