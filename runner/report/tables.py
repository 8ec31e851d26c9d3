"""The rows of the report's tables. The instances of a template share a row, and one digest."""

from __future__ import annotations

import re
from collections import Counter
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from runner.canonical import digest
from runner.display.plan_text import reason_text
from runner.record.markers import read_marker
from runner.report.run_record import UNENDED
from runner.results import ADOPTED, BLOCKED, FAILED, INTERRUPTED, SKIPPED, SUCCEEDED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from runner.paths import StatePaths
    from runner.report.run_record import RunRecord
    from runner.spec.graph import Graph

NOT_STARTED = "not started"
WORDS = {  # of a status, and a class in the templates; the most important status first
    FAILED: ("failed", "bad"), INTERRUPTED: ("interrupted", "bad"), UNENDED: (UNENDED, "open"),
    BLOCKED: ("blocked", "bad"), NOT_STARTED: (NOT_STARTED, "idle"), SUCCEEDED: ("succeeded", "good"),
    ADOPTED: ("adopted", "good"), SKIPPED: ("up to date", "idle"),
}  # fmt: skip
FOLDS: tuple[Callable[[str], str], ...] = (  # name groups of stages; each makes fewer groups than the one before
    str,
    lambda stage: stage.partition("@")[0],
    lambda stage: re.sub(r"\d+(?=\D*$)", "#", stage.partition("@")[0]),
    lambda stage: re.sub(r"\d+", "#", stage.partition("@")[0]),
    lambda _: "all stages",
)
_REASONS, _FILES, _LONGEST = 3, 20, 140  # most reasons and files that are listed, and characters of a reason


class Group(NamedTuple):
    """A stage, or a template with its instances. `counts`: status -> number of stages."""

    name: str
    stages: Sequence[str]
    counts: Counter[str]
    needs: Sequence[str]

    @property
    def is_many(self) -> bool:
        return "@" in self.stages[0] or len(self.stages) > 1

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

    The log may name stages that are in the graph no more. A group does not need itself.
    """
    members: dict[str, list[str]] = {}
    needs: dict[str, dict[str, None]] = {}
    for stage in dict.fromkeys((*(each.name for each in graph.order), *record.status) if graph else record.status):
        name = fold(stage)
        members.setdefault(name, []).append(stage)
        upstream = graph.upstream.get(stage, ()) if graph else ()
        needs.setdefault(name, {}).update(dict.fromkeys(needed for needed in map(fold, upstream) if needed != name))
    return [
        Group(name, stages, Counter(record.status.get(stage, default) for stage in stages), [*needs[name]])
        for name, stages in members.items()
    ]


def reasons_of(record: RunRecord, group: Group) -> list[str]:
    """Return why a group ran: the most frequent reasons; of many stages only the components that changed, counted."""
    each = (dict.fromkeys(_texts(record.reasons.get(stage), group)) for stage in group.stages)
    texts = Counter(chain.from_iterable(each))
    shown = [f"{text} ({number:,})" if group.is_many else text for text, number in texts.most_common(_REASONS)]
    return shown + ([f"and {len(texts) - _REASONS:,} more"] if len(texts) > _REASONS else [])


def _texts(reasons: object, group: Group) -> list[str]:
    texts = []
    for reason in reasons if isinstance(reasons, list) else ():
        try:
            is_change = group.is_many and reason[2:] not in ([], [None, None])
            texts.append(f"{reason[0]} changed" if is_change else reason_text(reason, full=False))
        except (TypeError, ValueError, AttributeError, IndexError):  # no run wrote it
            texts.append(str(reason))
    return [text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…" for text in texts]


def files_of(record: RunRecord, group: Group, paths: StatePaths, *, is_newest: bool) -> list[tuple[Any, ...]]:
    """Return what a group was made from, and what it made: kind, path, digest, size, and the run that made it.

    Many files share a row, with the digest of {path: sha256} in canonical JSON. A stage without a commit in this log
    may have a marker, which counts if it has the key in the log. A run with nothing to do logs no keys: if it
    `is_newest`, all markers count.
    """
    digests: dict[str, dict[str, str]] = {"input": {}, "code": {}, "output": {}}
    made: dict[str, tuple[int, str]] = {}
    for stage in group.stages:
        commit, key = record.commits.get(stage), record.keys.get(stage)
        marker = commit.marker(record.run, 0) if commit else read_marker(paths, stage)
        if marker is None or not (commit or marker.key == key or (is_newest and record.has_no_work)):
            continue
        inputs, code = (marker.components.get(name, {}) for name in ("inputs", "code"))
        try:
            digests["input"].update(chain.from_iterable(inputs.values()))  # type: ignore[attr-defined] # unchecked
            digests["code"].update(code.get("files", {}) | code.get("packages", {}))  # type: ignore[attr-defined]
        except (TypeError, ValueError, AttributeError):
            continue  # no run wrote it
        for output in marker.outputs.values():
            digests["output"][output.path] = output.sha256
            made[output.path] = output.size, output.run or marker.run
    rows: list[tuple[Any, ...]] = []
    for kind, known in digests.items():
        if len(known) > (1 if group.is_many else _FILES):
            total = sum(size for size, _ in made.values()) if kind == "output" else None
            rows.append((kind, f"{len(known):,} files", digest(known), total, record.run))
        else:
            of_kind = made if kind == "output" else {}
            rows += ((kind, path, sha256, *of_kind.get(path, (None, record.run))) for path, sha256 in known.items())
    return rows
