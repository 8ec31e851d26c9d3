"""The rows of the report's tables. The instances of a template share a row, and one digest."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from runner.canonical import digest
from runner.display.plan_text import reason_text
from runner.extras.report.run_record import UNENDED, Attempt, RunRecord
from runner.record.markers import read_marker
from runner.results import ADOPTED, BLOCKED, FAILED, INTERRUPTED, SKIPPED, SUCCEEDED

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from runner.paths import StatePaths
    from runner.record.markers import Marker
    from runner.spec.graph import Graph

NOT_STARTED = "not started"
WORDS = {  # of a status, and a class in the templates; the most important status first
    FAILED: ("failed", "bad"),
    INTERRUPTED: ("interrupted", "bad"),
    UNENDED: (UNENDED, "open"),
    BLOCKED: ("blocked", "bad"),
    NOT_STARTED: (NOT_STARTED, "idle"),
    SUCCEEDED: ("succeeded", "good"),
    ADOPTED: ("adopted", "good"),
    SKIPPED: ("up to date", "idle"),
}
FOLDS: tuple[Callable[[str], str], ...] = (  # name groups of stages; each makes fewer groups than the one before
    str,
    lambda stage: stage.partition("@")[0],
    lambda stage: re.sub(r"\d+(?=\D*$)", "#", stage.partition("@")[0]),
    lambda stage: re.sub(r"\d+", "#", stage.partition("@")[0]),
    lambda _: "all stages",
)
_REASONS, _FILES, _LONGEST = 3, 20, 140  # most reasons and files in a list, and characters of a reason

FileRow = tuple[str, str, str, "int | None", str]  # kind, path, digest, size, and the run that made it


class Group(NamedTuple):
    """A stage, or a template with its instances. `counts`: status -> number of stages."""

    name: str
    stages: Sequence[str]
    counts: Counter[str]
    needs: Sequence[str]
    attempts: Sequence[Attempt]

    @property
    def is_many(self) -> bool:
        return len(self.stages) > 1 or self.name != self.stages[0]

    @property
    def kind(self) -> str:
        """The class of the status that a reader must see first."""
        return next((kind for status, (_, kind) in WORDS.items() if self.counts[status]), "idle")

    @property
    def outcome(self) -> str:
        """The status in words, with numbers if it is of many."""
        known = [(self.counts[status], word) for status, (word, _) in WORDS.items() if self.counts[status]]
        return ", ".join(f"{number:,} {word}" if self.is_many else word for number, word in known)


def group_stages(
    record: RunRecord, graph: Graph | None, default: str, fold: Callable[[str], str] = FOLDS[1]
) -> list[Group]:
    """Return the stages of a run in groups, in the order of the graph. `default` is the status of unnamed stages.

    The log may name stages that are no longer in the graph. A group does not need itself.
    """
    members: dict[str, list[str]] = {}
    needs: dict[str, dict[str, None]] = {}
    for stage in dict.fromkeys((*(each.name for each in graph.order), *record.status) if graph else record.status):
        name = fold(stage)
        members.setdefault(name, []).append(stage)
        upstream = graph.upstream.get(stage, ()) if graph else ()
        needs.setdefault(name, {}).update(dict.fromkeys(needed for needed in map(fold, upstream) if needed != name))
    return [
        Group(
            name,
            stages,
            Counter(record.status.get(stage, default) for stage in stages),
            [*needs[name]],
            [attempt for stage in stages for attempt in record.attempts.get(stage, ())],
        )
        for name, stages in members.items()
    ]


def reasons_of(reasons: Mapping[str, Sequence[Sequence[object]]], group: Group) -> list[str]:
    """Return the most frequent reasons of a group's stages; of many only the components that changed, counted."""
    each = (dict.fromkeys(_reason_texts(reasons.get(stage) or (), group)) for stage in group.stages)
    texts = Counter(chain.from_iterable(each))
    shown = [f"{text} ({number:,})" if group.is_many else text for text, number in texts.most_common(_REASONS)]
    return shown + ([f"and {len(texts) - _REASONS:,} more"] if len(texts) > _REASONS else [])


def _reason_texts(reasons: Sequence[Sequence[object]], group: Group) -> Iterator[str]:
    for reason in reasons:
        is_change = group.is_many and reason[2:] not in ([], [None, None])
        text = f"{reason[0]} changed" if is_change else reason_text(reason, full=False)
        yield text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def marker_of(record: RunRecord, stage: str, paths: StatePaths, *, is_newest: bool) -> Marker | None:
    """Return the marker of a stage as this run left it; None if that is not known.

    A stage without a commit in this log may have a marker, which counts if it has the key in the log. A run with
    nothing to do logs no keys: if it `is_newest`, all markers count.
    """
    if commit := record.commits.get(stage):
        return commit.marker(record.run, record.committed[stage])
    marker = read_marker(paths, stage)
    is_known = marker and (marker.key == record.keys.get(stage) or (is_newest and record.has_no_work))
    return marker if is_known else None


def files_of(
    record: RunRecord, group: Group, paths: StatePaths, removed: Collection[str], *, is_newest: bool
) -> list[FileRow]:
    """Return what a group was made from, and what it made. Many files share a row, with a digest of their digests.

    `is_newest`: as for `marker_of`. `removed`: paths of removed temporary outputs.
    """
    kinds = ("version", "input", "code", "output")  # in this order
    known: dict[str, dict[str, tuple[str, int | None, str]]] = defaultdict(dict, {kind: {} for kind in kinds})
    for stage in group.stages:
        if (marker := marker_of(record, stage, paths, is_newest=is_newest)) is None:
            continue
        parts: Mapping[str, Any] = marker.components
        code = parts.get("code", {}).get("files", {}) | parts.get("code", {}).get("packages", {})
        for kind, files in (("input", chain.from_iterable(parts.get("inputs", {}).values())), ("code", code.items())):
            known[kind].update((path, (sha256, None, record.run)) for path, sha256 in files)
        if marker.program_version is not None:
            known["version"][marker.program_version] = "", None, record.run
        for made in marker.outputs.values():
            kind = "output, removed by the run" if made.path in removed else "output"
            known[kind][made.path] = made.sha256, made.size, made.run or marker.run
    rows: list[FileRow] = []
    for kind, files in known.items():
        if len(files) > _FILES:
            sizes = [size for _, size, _ in files.values() if size is not None]
            digests = digest({path: sha256 for path, (sha256, _, _) in files.items()})
            rows.append((kind, f"{len(files):,} files", digests, sum(sizes) if sizes else None, record.run))
        else:
            rows += ((kind, path, *rest) for path, rest in files.items())
    return rows
