"""What `verify` finds, and the check of completion markers against their commits.

The checksum in a marker only shows a torn file: an edited one can have a checksum that fits. So a marker must be, byte
for byte, what its record in the audit log says.
"""

from __future__ import annotations

import os
from collections import Counter
from json import loads
from typing import TYPE_CHECKING, NamedTuple

from runner.hashing import sha256_of
from runner.record.markers import Marker, is_written_here
from runner.record.state import refuse_newer
from runner.record.unusable import MOST_MARKER, NotRegularError, read_plain

if TYPE_CHECKING:
    from runner.record.events import StageCommit
    from runner.record.markers import OutputIdentity

    Place = tuple[int, int]  # of a commit: the line of the ledger that opened the run, the record in its log

KEPT = 1000  # faults of one file; more are only counted
_NOWHERE = (-1, -1)


class Damage(NamedTuple):
    """One fault. `line` counts from 1 (0: the whole file), `field` may be empty."""

    file: str
    line: int
    field: str
    what: str

    @property
    def place(self) -> str:
        """File, line and field, without those that are empty."""
        line = f":{self.line}" if self.line else ""
        return f"{self.file}{line}: {self.field}" if self.field else f"{self.file}{line}"


class Remark(NamedTuple):
    """Something about one file that is no damage."""

    file: str
    what: str


class Findings:
    """All findings, in order: damage; what the next run repairs; what needs no action."""

    def __init__(self) -> None:
        self.damage: list[Damage] = []
        self.incomplete: list[Remark] = []
        self.notes: list[Remark] = []
        self._counts: Counter[str] = Counter()

    def damaged(self, file: str, line: int, field: str, what: str) -> None:
        """Note damage, at most KEPT times a file: a hostile one can hold any number of wrong lines."""
        self._counts[file] += 1
        if self._counts[file] <= KEPT:
            self.damage.append(Damage(file, line, field, what))

    def unfinished(self, file: str, what: str) -> None:
        self.incomplete.append(Remark(file, what))

    def remark(self, file: str, what: str) -> None:
        self.notes.append(Remark(file, what))

    @property
    def hidden(self) -> int:
        """How much damage was counted but not kept."""
        return sum(max(0, count - KEPT) for count in self._counts.values())


class _OnDisk:
    """A marker on disk: its digest, the record that it names, and what the logs said about it so far.

    `fits`: whether it is what that record says, None if there was no such record; `place` is that of the record.
    `latest` is the newest commit of the stage, with its run, and whether that is closed.
    """

    __slots__ = ("fits", "latest", "place", "run", "seq", "sha256")

    def __init__(self, sha256: str, run: str, seq: int) -> None:
        self.sha256 = sha256
        self.run = run
        self.seq = seq
        self.fits: bool | None = None
        self.place: Place = _NOWHERE
        self.latest: tuple[Place, str, bool] = (_NOWHERE, "", False)

    def fault(self) -> tuple[str, str] | None:
        """Return field and fault of a marker that no run can have left, or None."""
        if self.fits is None:
            return "auditSeq", f"names record {self.seq} of the run {self.run[:100]}, which is no commit of this stage"
        if not self.fits:
            return "", f"is not what record {self.seq} of audit_{self.run}.jsonl says: it was changed"
        place, run, closed = self.latest
        if closed and place > self.place:
            return "auditSeq", f"is older than record {place[1]} of audit_{run}.jsonl, a later commit: it was put back"
        return None


class Markers:
    """The markers of a state directory, read before its logs, so that none is newer than the logs."""

    def __init__(self, directory: str, findings: Findings, run: str | None) -> None:
        """Read all markers; with `run`, only those that name it count."""
        self._directory = directory
        self._findings = findings
        self._markers: dict[str, _OnDisk] = {}
        self._empty: list[str] = []
        self._unread: dict[str, bytes] = {}  # by stage: what is no marker
        self._torn: set[str] = set()  # those of `_unread` that a power cut can have left
        for entry in os.scandir(directory):
            if entry.name.startswith("stage_") and entry.name.endswith(".json"):
                self._read(entry.name, run)

    def _read(self, name: str, run: str | None) -> None:
        stage, path, content = name.removeprefix("stage_").removesuffix(".json"), f"{self._directory}/{name}", b""
        try:
            content = read_plain(path, MOST_MARKER)
            if not content.strip(b"\0"):
                self._empty.append(name)
                return
            value = loads(content)
            if not is_written_here(value):
                refuse_newer(value, path)
            named, seq = value["run"], value["auditSeq"]
            if not isinstance(named, str) or type(seq) is not int or value["stage"] != stage or content[-1:] != b"\n":
                raise ValueError(named)
        except FileNotFoundError:
            return
        except NotRegularError as error:
            self._findings.damaged(name, 0, "", str(error))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            self._unread[stage] = content
        else:
            if run in (None, named):
                self._markers[stage] = _OnDisk(sha256_of(content), named, seq)

    def take(self, run: str, seq: int, commit: StageCommit, order: int, *, closed: bool) -> None:
        """Take note of a commit, in the part of `run` that line `order` of the ledger opened."""
        stage = commit.stage
        if stage in self._unread and not closed:
            is_part = _is_part_of(self._unread[stage], commit.marker(run, seq).encode())
            (self._torn.add if is_part else self._torn.discard)(stage)
        marker = self._markers.get(stage)
        if marker is None:
            return
        if (order, seq) > marker.latest[0]:
            marker.latest = ((order, seq), run, closed)
        if (run, seq) == (marker.run, marker.seq):
            marker.fits = sha256_of(commit.marker(run, seq).encode()) == marker.sha256
            marker.place = (order, seq)

    def excuse(self, run: str, seq: int) -> None:
        """Note a damaged record: whether a marker fits it is unknown, and the damage is reported already."""
        for marker in self._markers.values():
            if (run, seq) == (marker.run, marker.seq):
                marker.fits = True

    def judge(self, *, crashed: bool) -> None:
        """Report what does not fit. `crashed`: a run is open, so a crash may have left a marker without content."""
        for name in self._empty:
            if crashed:
                self._findings.unfinished(name, "is empty, as a power cut leaves it; the next run writes it anew")
            else:
                self._findings.damaged(name, 0, "", "is empty")
        for stage in self._unread:
            name = f"stage_{stage}.json"
            if stage in self._torn:
                self._findings.unfinished(name, "is torn, as a power cut leaves it; the next run writes it anew")
            else:
                self._findings.damaged(name, 0, "", "is not the marker of a stage")
        for stage, marker in self._markers.items():
            fault = marker.fault()
            if fault is not None and self.still_stands(stage):
                self._findings.damaged(f"stage_{stage}.json", 0, *fault)

    def outputs(self) -> dict[str, tuple[str, OutputIdentity]]:
        """Return, by path, the outputs of the markers that stand, each with the stage that made it last.

        Outputs of an open run may still have the names of partials, so they are left to the next run.
        """
        newest: dict[str, tuple[Place, str, OutputIdentity]] = {}
        for stage, found in self._markers.items():
            marker = Marker.decode(self._content(stage)) if found.fits and found.latest[0] == found.place else None
            for identity in marker.outputs.values() if marker else ():
                made = (found.place, stage, identity)
                newest[identity.path] = max(newest.get(identity.path, made), made)
        return {path: (stage, identity) for path, (_, stage, identity) in newest.items()}

    def still_stands(self, stage: str) -> bool:
        """Whether the marker is still the one that was read; a run may have replaced it."""
        return bool(self._content(stage))

    def _content(self, stage: str) -> bytes:
        try:
            content = read_plain(f"{self._directory}/stage_{stage}.json", MOST_MARKER)
        except (OSError, NotRegularError):
            return b""
        return content if sha256_of(content) == self._markers[stage].sha256 else b""


def _is_part_of(content: bytes, whole: bytes) -> bool:
    """Whether a power cut can leave this of a file that was to hold `whole`: cut off, or with blocks of zeros."""
    return len(content) <= len(whole) and all(one in (0, other) for one, other in zip(content, whole, strict=False))
