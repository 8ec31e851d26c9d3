"""The findings of `verify`, and its check of completion markers against their commits.

The checksum of a marker shows only a torn file: an edited marker can have the right checksum. So a marker must equal,
byte for byte, the one in its audit record.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from runner.canonical import parsed
from runner.hashing import sha256_of
from runner.paths import StatePaths
from runner.reading import NotRegularError, read_small
from runner.record.markers import Marker, OutputIdentity, is_written_here, marked_stages
from runner.record.state import MOST_MARKER, refuse_newer

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Sequence

    from runner.record.events import StageCommit

    Place = tuple[int, int]  # of a commit: the line of the ledger that opened the run, the record in its log

KEPT = 1000  # faults of one file; any more are only counted
_NOWHERE = (-1, -1)
_CHECKSUM = b',"checksum":"'
_WITHOUT_DIGITS = bytes.maketrans(b"0123456789abcdef", b"0" * 16)


class Damage(NamedTuple):
    """A fault. `line` counts from 1 (0: the whole file); `field` may be empty."""

    file: str
    line: int
    field: str
    what: str

    @property
    def place(self) -> str:
        """File, line and field, without the empty ones."""
        line = f":{self.line}" if self.line else ""
        return f"{self.file}{line}: {self.field}" if self.field else f"{self.file}{line}"


class Remark(NamedTuple):
    """A remark about one file that is not damaged."""

    file: str
    what: str


class Findings:
    """All findings, in the order found: damage; `incomplete`, which the next run repairs; notes, which need no action.

    File names are shown below `directory`.
    """

    def __init__(self, directory: str = "") -> None:
        self.damage: list[Damage] = []
        self.incomplete: list[Remark] = []
        self.notes: list[Remark] = []
        self._below = f"{directory.rstrip('/')}/" if directory else ""
        self._counts: Counter[str] = Counter()

    def damaged(self, file: str, line: int, field: str, what: str) -> None:
        self._counts[file] += 1
        if self._counts[file] <= KEPT:
            self.damage.append(Damage(self._below + file, line, field, what))

    def unfinished(self, file: str, what: str) -> None:
        self.incomplete.append(Remark(self._below + file, what))

    def remark(self, file: str, what: str) -> None:
        self.notes.append(Remark(self._below + file, what))

    def has(self, file: str) -> bool:
        """Whether damage was found in a file."""
        return file in self._counts

    @property
    def hidden(self) -> int:
        """The number of faults that `damage` leaves out."""
        return sum(max(0, count - KEPT) for count in self._counts.values())


class _OnDisk:
    """A file at the path of a marker, and the commits of its stage so far.

    `commit`: the run and record that the marker names; None if the file is not a marker. Then `content` is that of the
    file, and `is_torn` says whether a power cut can have left it. `committed`: the digest of the marker without ctimes,
    as its commit record has it. `fits`: whether that record has the same digest, None if there was no such record.
    `place`: the place of that record. `latest`: the place of the stage's newest commit, its run, and whether that run
    is closed.
    """

    __slots__ = ("commit", "committed", "content", "fits", "is_torn", "latest", "place", "sha256")

    def __init__(self, content: bytes, commit: tuple[str, int] | None) -> None:
        self.content = content if commit is None else b""
        self.sha256 = self.committed = sha256_of(content)
        if (marker := Marker.decode(content)) and marker.encode() == content:
            self.committed = sha256_of(marker.with_ctime(None).encode())
        self.commit = commit
        self.is_torn = False
        self.fits: bool | None = None
        self.place: Place = _NOWHERE
        self.latest: tuple[Place, str, bool] = (_NOWHERE, "", False)

    def fault(self) -> tuple[str, str] | None:
        """Return the field and the fault of a marker that no run can have left, or None."""
        if self.commit is None:
            return None if self.is_torn else ("", "is not the marker of a stage")
        run, seq = self.commit
        if self.fits is None:
            return "auditSeq", f"names record {seq} of the run {run[:100]}, which is not a commit of this stage"
        if not self.fits:
            return "", f"differs from record {seq} of audit_{run}.jsonl: it was changed"
        place, latest, closed = self.latest
        if closed and place > self.place:
            return "auditSeq", f"is older than record {place[1]} of audit_{latest}.jsonl: it was put back"
        return None


class Markers:
    """The markers of a state directory, read before its logs, so that no marker is newer than the logs."""

    def __init__(self, directory: str, findings: Findings, run: str | None) -> None:
        """Read all markers; with `run`, keep only those of that run."""
        self.removed: dict[str, str] = {}  # temporary outputs of these markers, by path: the run that removed them
        self._paths = StatePaths(directory, directory)
        self._findings = findings
        self._markers: dict[str, _OnDisk] = {}
        for stage in marked_stages(self._paths):
            self._read(stage, run)

    def _read(self, stage: str, run: str | None) -> None:
        try:
            content = read_small(self._paths.marker(stage), MOST_MARKER)
        except FileNotFoundError:
            return
        except NotRegularError as error:
            self._findings.damaged(f"stage_{stage}.json", 0, "", error.what)
            return
        commit = _commit_of(content, stage, self._paths.marker(stage))
        if commit is None or run in (None, commit[0]):
            self._markers[stage] = _OnDisk(content, commit)

    def note(self, run: str, seq: int, commit: StageCommit, order: int, *, closed: bool) -> None:
        """Note a commit in the part of `run` that line `order` of the ledger opened."""
        marker = self._markers.get(commit.stage)
        if marker is None:
            return
        if marker.commit is None and not closed:
            marker.is_torn = _is_torn(marker.content, commit.marker(run, seq))
        digest = sha256_of(commit.marker(run, seq).encode()) if (run, seq) == marker.commit else ""
        self.note_digest(commit.stage, run, seq, digest, order, closed=closed)

    def note_digest(self, stage: str, run: str, seq: int, digest: str, order: int, *, closed: bool = True) -> None:
        """Note a commit by the `digest` of its marker, as the ledger has it for a log that was pruned."""
        marker, place = self._markers.get(stage), (order, seq)
        if marker is None:
            return
        if place > marker.latest[0]:
            marker.latest = (place, run, closed)
        if (run, seq) == marker.commit:
            marker.fits, marker.place = digest == marker.committed, place

    def note_removed(self, stage: str, commit: Sequence[Any], paths: Iterable[str], run: str) -> None:
        """Note the removal of temporary outputs of a `commit`: [run, record]."""
        marker = self._markers.get(stage)
        if marker and marker.commit == tuple(commit):
            self.removed.update(dict.fromkeys(paths, run))

    def removals_by(self, runs: Container[str]) -> dict[str, list[object]]:
        """Return the removals in the logs of `runs`, as the ledger keeps them: path -> stage, run, record, remover."""
        return {
            path: [marker.stage, marker.run, marker.audit_seq, self.removed[path]]
            for path, (marker, _) in self.outputs().items()
            if self.removed.get(path) in runs
        }

    def commits_of(self, runs: Container[str]) -> dict[str, list[object]]:
        """Return the commits in `runs` that markers refer to: stage -> run, record, digest of the marker."""
        return {
            stage: [*marker.commit, marker.committed]
            for stage, marker in self._markers.items()
            if marker.commit and marker.fits and marker.commit[0] in runs
        }

    def note_damaged(self, run: str, seq: int) -> None:
        """Note a damaged record, which is already reported, so a marker that names it is not compared."""
        for marker in self._markers.values():
            if (run, seq) == marker.commit:
                marker.fits = True

    def report(self) -> None:
        """Report every marker that differs from its commit."""
        for stage, marker in self._markers.items():
            name, fault = f"stage_{stage}.json", marker.fault()
            if marker.is_torn:
                self._findings.unfinished(name, "is torn, as after a power cut; the next run writes it again")
            elif fault is not None and self.still_stands(stage):
                self._findings.damaged(name, 0, *fault)

    def outputs(self) -> dict[str, tuple[Marker, OutputIdentity]]:
        """Return, by path, the outputs of the valid markers, each with the marker of the stage that made it last.

        An output without a marker may still have the name of its partial; the next run publishes it.
        """
        made: dict[str, tuple[Marker, OutputIdentity]] = {}
        for stage, on_disk in sorted(self._markers.items(), key=lambda item: item[1].place):  # the newest last
            is_newest = on_disk.fits and on_disk.latest[0] == on_disk.place
            marker = Marker.decode(self._content(stage)) if is_newest and self.still_stands(stage) else None
            if marker:
                made.update({identity.path: (marker, identity) for identity in marker.outputs.values()})
        return made

    def still_stands(self, stage: str) -> bool:
        """Whether the marker is the same as when it was read; a run may have replaced it."""
        return sha256_of(self._content(stage)) == self._markers[stage].sha256

    def _content(self, stage: str) -> bytes:
        try:
            return read_small(self._paths.marker(stage), MOST_MARKER)
        except (OSError, NotRegularError):
            return b""


def _commit_of(content: bytes, stage: str, path: str) -> tuple[str, int] | None:
    """Return the run and the record that a marker of `stage` names; None for any other file.

    StateError for the marker of a newer release, but not if only `v` was changed.
    """
    try:
        value: dict[str, Any] = parsed(content)
        if not is_written_here(value):
            refuse_newer(value, path)
        run, seq = value["run"], value["auditSeq"]
        is_marker = isinstance(run, str) and type(seq) is int and value["stage"] == stage and content[-1:] == b"\n"
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return (run, seq) if is_marker else None


def _is_torn(content: bytes, marker: Marker) -> bool:
    """Whether a power cut can turn the file of `marker` into `content`, with any ctimes and the checksum of those."""
    plain, stamped = marker.encode(), marker.with_ctime(10**18).encode()
    at = plain.rindex(_CHECKSUM)
    return _is_part_of(content, plain) or (
        _is_part_of(content[:at], plain[:at])
        and _is_part_of(content[at:].translate(_WITHOUT_DIGITS), stamped[at:].translate(_WITHOUT_DIGITS))
    )


def _is_part_of(content: bytes, whole: bytes) -> bool:
    """Whether a power cut can turn a file of `whole` into `content`: cut off, or with blocks of zeros."""
    return len(content) <= len(whole) and all(byte in (0, right) for byte, right in zip(content, whole, strict=False))
