"""Partials and checkpoints: the bytes of an ended attempt that the next attempt keeps.

A partial outlives its attempt only if the progress file has the stage's key and a length for it, and the record has an
attempt with that key and the partial's tag. (A state directory that was moved away leaves other partials behind.)
The runner, not the stage, cuts the partial to that length, so a program that only appends never doubles its output.

An attempt on a cluster may go on after the run gave it up, on a worker that cannot be reached. So each attempt there
writes a progress file of its own. When the attempt has ended or was given up, `collect` makes that file the checkpoint
of the stage. What the attempt reports later does not count, and the next attempt gets copies of its partials, because
it may still write to them.

After a kill, recovery calls `keep_checkpoint` with any key. The next attempt calls it with its own key, then `adopt`.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from json import loads
from typing import TYPE_CHECKING, Any, NamedTuple

from runner.canonical import LARGEST, VERSION, canonical, digest
from runner.hashing import hasher
from runner.paths import is_partial, output_of, partial_path, tag_of
from runner.record import files
from runner.record.state import DAMAGED, MOST_PROGRESS, no_note, read_usable, refuse_newer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runner.record.state import Note

    Tags = Mapping[str, str]  # tag -> key, of the recorded attempts of one stage
    Partials = dict[str, list[str]]  # output name -> the partials beside its real path, of any attempt

_CHUNK = 1 << 20


class Kept(NamedTuple):
    """The part of one partial that a checkpoint vouches for, with its digest and inode if the stage gave them."""

    length: int
    sha256: str | None
    inode: int | None = None


class Progress(NamedTuple):
    """The content of a valid progress file; offsets are the program's own. Only the SDK sets `job`.

    `tag`: the tag of the attempt from which `collect` got the file; None if it was written on this machine.
    """

    key: str
    line_offset: int | None
    byte_offset: int | None
    outputs: dict[str, Kept]
    job: int | None = None
    tag: str | None = None

    def as_record(self) -> dict[str, object]:
        """Return the offsets and lengths in the form of the record of an attempt that resumes."""
        offsets = {"job": self.job, "lineOffset": self.line_offset, "byteOffset": self.byte_offset}
        record: dict[str, object] = {name: value for name, value in offsets.items() if value is not None}
        return {**record, "outputs": {name: kept.length for name, kept in self.outputs.items()}}


class Checkpoint(NamedTuple):
    """What an attempt resumes from: a progress file, and the partial of each output in it."""

    progress: Progress
    partials: dict[str, str]


def read_progress(path: str, note: Note = no_note, *, left: bool = False) -> Progress | None:
    """Return the checkpoint in a progress file; None if it is missing, or unusable: then `note` gets the reason.

    Stages write this file, so no fault in it is an error of the state directory. A file with another `v` counts as
    missing, without a note. But if an earlier run `left` it, a newer `v` means that a newer release did: StateError.
    """
    content = read_usable(path, MOST_PROGRESS, note)
    return None if content is None else _decode(content, path, note, left=left)


def _decode(content: bytes, path: str, note: Note, *, left: bool) -> Progress | None:
    try:
        value = loads(content)
        if "checksum" in value and value.pop("checksum") != digest(value):
            raise ValueError(path)
        if (version := value.get("v", VERSION)) == VERSION:
            return _progress(value)
        if left:
            refuse_newer(value, path)
        if isinstance(version, int) and _natural(version) is None:
            raise ValueError(version)  # no release has such a number
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, MemoryError):
        note(path, DAMAGED)
    return None


def progress_files(*directories: str) -> dict[str, str]:
    """Return the progress file of each stage in these directories; if it has several, that in the last one counts."""
    return {
        name.removeprefix("progress_").removesuffix(".json").partition("~")[0]: f"{directory}/{name}"
        for directory in directories
        for name in _names_in(directory)
        if name.startswith("progress_") and name.endswith(".json")
    }


def _progress(value: dict[str, Any]) -> Progress:
    """Return the content of a progress file from its JSON object.

    Raises ValueError, KeyError, TypeError or AttributeError for another shape.
    """
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
    tag = value.get("tag")
    return Progress(value["key"], line, byte, kept, job, tag if type(tag) is str else None)


def _natural(value: object) -> int | None:
    return value if type(value) is int and 0 <= value < LARGEST else None


def keep_checkpoint(
    progress_path: str,
    key: str | None,
    outputs: Mapping[str, str],
    tags: Tags,
    listings: dict[str, list[str]] | None = None,
) -> Checkpoint | None:
    """Return the checkpoint that the next attempt of a stage can resume from, or None; remove all other partials.

    `outputs` are the stage's real paths. `key` None accepts any key: the next attempt compares the key of a dead run's
    checkpoint. `listings`: see `find_partials`.
    """
    progress, partials = read_progress(progress_path), find_partials(outputs, listings)
    chosen = _vouched(progress, partials, tags) if progress and key in (None, progress.key) else {}
    if not chosen:
        files.discard(progress_path)  # first: a progress file must never vouch for bytes that are gone
    for name, paths in partials.items():
        for path in paths:
            if path != chosen.get(name):
                files.discard(path)
    return Checkpoint(progress, chosen) if progress and chosen else None


def collect(reported: str, progress_path: str, tag: str) -> None:
    """Make the file `reported`, if the attempt with `tag` wrote a valid one, the checkpoint of its stage."""
    if reported == progress_path:
        return
    content = read_usable(reported, MOST_PROGRESS, no_note)  # once: the attempt may still write it
    if content is not None and _decode(content, reported, no_note, left=False) is not None:
        _hand_over(content, progress_path, tag)
    files.discard(reported)


def adopt(checkpoint: Checkpoint, outputs: Mapping[str, str], tag: str, progress_path: str, reports_to: str) -> None:
    """Give the partials of a checkpoint to the attempt with `tag`, cut to their recorded lengths.

    That attempt must be on record: after a kill, only the log says to which attempt a renamed partial belongs. The
    attempt finds the checkpoint at `reports_to`.
    """
    progress = checkpoint.progress
    for name, path in checkpoint.partials.items():
        length, target = progress.outputs[name].length, partial_path(outputs[name], tag)
        if progress.tag:
            files.copy_start(path, target, length)
            continue
        if os.lstat(path).st_size != length:
            files.truncate(path, length)
        if path != target:
            files.rename(path, target)
    if progress.tag or reports_to != progress_path:
        _hand_over(read_usable(progress_path, MOST_PROGRESS, no_note) or b"", reports_to, tag)
        for path in checkpoint.partials.values() if progress.tag else ():
            files.discard(path)  # last: until now, the checkpoint was for these


def _hand_over(content: bytes, target: str, tag: str) -> None:
    """Write the content of a valid progress file again, for the partials with `tag`, without inodes."""
    value = loads(content)
    is_sealed = value.pop("checksum", None) is not None
    for entry in value["outputs"].values():
        entry.pop("inode", None)
    value["tag"] = tag
    rewritten = canonical({**value, "checksum": digest(value)} if is_sealed else value)
    files.replace(target, rewritten, temporary=f"{target}~")


def find_partials(outputs: Mapping[str, str], listings: dict[str, list[str]] | None = None) -> Partials:
    """Return, by output name, the partials beside its real path, of any attempt.

    `listings` caches the partials of each directory between calls: thousands of stages may share one.
    """
    listings = {} if listings is None else listings
    partials: Partials = {}
    for name, path in outputs.items():
        parent, base = os.path.split(path.rstrip("/"))
        partials[name] = [f"{parent}/{entry}" for entry in partials_in(parent, listings) if output_of(entry) == base]
    return partials


def partials_in(directory: str, listings: dict[str, list[str]]) -> list[str]:
    """Return the names of the partials in a directory, from `listings` if they are there."""
    if directory not in listings:
        listings[directory] = sorted(filter(is_partial, _names_in(directory)))
    return listings[directory]


def _names_in(directory: str) -> list[str]:
    """Return the names in a directory; none if it is missing, as it may be after the recovery of another run."""
    with files.naming(directory, "list"), suppress(FileNotFoundError, NotADirectoryError):
        return os.listdir(directory)
    return []


def _vouched(progress: Progress, partials: Partials, tags: Tags) -> dict[str, str]:
    """Return the partial of each recorded output; nothing unless each has exactly one that matches."""
    chosen: dict[str, str] = {}
    for name, kept in progress.outputs.items():
        tagged = [path for path in partials.get(name, ()) if progress.tag in (None, tag_of(path))]
        recorded = [path for path in tagged if tags.get(tag_of(path)) == progress.key]
        matching = [path for path in recorded if _matches(path, kept)]
        if len(matching) != 1:
            return {}
        chosen[name] = matching[0]
    return chosen


def _matches(path: str, kept: Kept) -> bool:
    if not os.access(path, os.R_OK | os.W_OK):  # the stage changed the mode, so the next attempt cannot continue it
        return False
    status = os.lstat(path)
    if not stat.S_ISREG(status.st_mode) or status.st_size < kept.length:
        return False
    if status.st_nlink > 1 or kept.inode not in (None, status.st_ino):  # never cut a file that has another name
        return False
    return kept.sha256 is None or _prefix_digest(path, kept.length) == kept.sha256


def _prefix_digest(path: str, length: int) -> str:
    hashed = hasher(more=length)
    with files.naming(path, "read"), open(path, "rb") as partial:
        while length and (chunk := partial.read(min(length, _CHUNK))):
            hashed.update(chunk)
            length -= len(chunk)
    return hashed.hexdigest()
