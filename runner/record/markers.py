"""Completion markers held against the commits that they stand for.

The checksum in a marker tells a torn file from a whole one; who edits it can compute it anew. So a marker is to be,
byte for byte, what its record in the audit log says.
"""

from __future__ import annotations

import os
from json import loads
from typing import TYPE_CHECKING, Any

from runner.hashing import sha256_of
from runner.marker import OutputIdentity, is_written_here
from runner.record.lines import NotRegularError, read_plain
from runner.record.recovery import marker_of
from runner.record.state import refuse_newer
from runner.record.unusable import MOST_MARKER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runner.record.findings import Findings


class Found:
    """A marker as it is on disk: digest, the record that it names, and what the logs say of it so far.

    `latest` is the newest commit of its stage: (line of the ledger that opened the run, record), run, closed.
    """

    __slots__ = ("fits", "latest", "place", "run", "seq", "sha256")

    def __init__(self, digest: str, run: str, seq: int) -> None:
        self.sha256 = digest
        self.run = run
        self.seq = seq
        self.fits: bool | None = None
        self.place = (-1, -1)
        self.latest: tuple[tuple[int, int], str, bool] = ((-1, -1), "", False)


class Markers:
    """The markers of a state directory, read before its logs, so that none is newer than what they say."""

    def __init__(self, directory: str, findings: Findings, run: str | None) -> None:
        """Read them all; with `run` only those that name it count."""
        self._directory = directory
        self._findings = findings
        self.found: dict[str, Found] = {}
        self._empty: list[str] = []
        self._unread: dict[str, tuple[bytes, bool]] = {}  # by stage; whether it may be its marker, in part
        for entry in os.scandir(directory):
            if entry.name.startswith("stage_") and entry.name.endswith(".json"):
                self._read(entry.name, run)

    def _read(self, name: str, run: str | None) -> None:
        stage, content = name.removeprefix("stage_").removesuffix(".json"), b""
        try:
            content = read_plain(f"{self._directory}/{name}", MOST_MARKER)
            if not content.strip(b"\0"):
                self._empty.append(name)
                return
            value = loads(content)
            if not is_written_here(value):
                refuse_newer(value, f"{self._directory}/{name}")
            named, seq = value["run"], value["auditSeq"]
            if not isinstance(named, str) or type(seq) is not int or value["stage"] != stage or content[-1:] != b"\n":
                raise ValueError(named)
        except FileNotFoundError:
            return
        except NotRegularError as error:
            self._findings.damaged(name, 0, "", str(error))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            self._unread[stage] = (content, False)
        else:
            if run in (None, named):
                self.found[stage] = Found(sha256_of(content), named, seq)

    def take(self, run: str, seq: int, data: Mapping[str, Any], order: int, *, closed: bool) -> None:
        """Hear of a commit, in the part of `run` that line `order` of the ledger opened."""
        marker = self.found.get(data["stage"])
        if marker is None:
            if data["stage"] in self._unread and not closed:
                content, _ = self._unread[data["stage"]]
                self._unread[data["stage"]] = (content, _is_part_of(content, _expected(run, seq, data)))
            return
        if (order, seq) > marker.latest[0]:
            marker.latest = ((order, seq), run, closed)
        if (run, seq) == (marker.run, marker.seq):
            marker.fits = sha256_of(_expected(run, seq, data)) == marker.sha256
            marker.place = (order, seq)

    def excuse(self, run: str, seq: int) -> None:
        """Hear that a record is damaged: whether a marker fits it cannot be known, and the damage is told already."""
        for marker in self.found.values():
            if (run, seq) == (marker.run, marker.seq):
                marker.fits = True

    def judge(self, *, crashed: bool) -> None:
        """Tell what does not fit. `crashed`: a run is open, so that a crash may have left a marker without content."""
        for name in self._empty:
            if crashed:
                self._findings.unfinished(name, "is empty, as a power cut leaves it; the next run writes it anew")
            else:
                self._findings.damaged(name, 0, "", "is empty")
        for stage, (_, torn) in self._unread.items():
            if torn:
                self._findings.unfinished(
                    f"stage_{stage}.json", "is torn, as a power cut leaves it; the next run writes it anew"
                )
            else:
                self._findings.damaged(f"stage_{stage}.json", 0, "", "is not the marker of a stage")
        for stage, marker in self.found.items():
            what = _fault_of(marker)
            if what is not None and self.still_stands(stage):
                self._findings.damaged(f"stage_{stage}.json", 0, *what)

    def content(self, stage: str) -> bytes:
        """Return the marker that was read, or nothing when it is not there any more: a run may replace it meanwhile."""
        try:
            content = read_plain(f"{self._directory}/stage_{stage}.json", MOST_MARKER)
        except (OSError, NotRegularError):
            return b""
        return content if sha256_of(content) == self.found[stage].sha256 else b""

    def still_stands(self, stage: str) -> bool:
        """Whether the marker is still the one that was read."""
        return bool(self.content(stage))


def _expected(run: str, seq: int, data: Mapping[str, Any]) -> bytes:
    """Return the marker that a commit stands for; TypeError and the like when it is none."""
    if not isinstance(data["reasons"], list):
        raise TypeError(data["reasons"])
    outputs = {name: OutputIdentity.from_json(value) for name, value in data["outputs"].items()}
    return marker_of(run, seq, data, outputs).encode()


def _is_part_of(content: bytes, whole: bytes) -> bool:
    """Whether a file that was never synced, and is to hold `whole`, can be left so: cut off, with blocks of zeros."""
    return len(content) <= len(whole) and all(one in (0, other) for one, other in zip(content, whole, strict=False))


def _fault_of(marker: Found) -> tuple[str, str] | None:
    """Return field and fault of a marker that no run can have left."""
    if marker.fits is None:
        return "auditSeq", f"names record {marker.seq} of the run {marker.run[:100]}, which is no commit of this stage"
    if not marker.fits:
        return "", f"is not what record {marker.seq} of audit_{marker.run}.jsonl says: it was changed"
    (order, seq), run, closed = marker.latest
    if closed and (order, seq) > marker.place:
        return "auditSeq", f"is older than record {seq} of audit_{run}.jsonl, a later commit: it was put back"
    return None
