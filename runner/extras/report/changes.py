"""What changed since the last success: what each stage was made from then and in this run, and its outputs."""

from __future__ import annotations

from functools import cache
from itertools import chain, dropwhile
from typing import TYPE_CHECKING, Any, NamedTuple

from runner.display.plan_text import reason_text
from runner.display.text import size
from runner.extras.report.cost import metrics_of
from runner.extras.report.run_record import find_spec
from runner.extras.report.tables import FOLDS, marker_of, reasons_of
from runner.paths import is_name
from runner.plan.decisions import Reason
from runner.plan.planner import differences
from runner.record.events import StageCommit
from runner.results import SUCCEEDED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from runner.audit.archive import Archive, Past
    from runner.extras.report.run_record import RunRecord
    from runner.extras.report.tables import Group
    from runner.record.markers import Marker, OutputIdentity

    Outputs = tuple[OutputIdentity | None, OutputIdentity | None]  # of one label, then and now

_SHOWN = 3  # outputs in a list
_NEW, _UNKNOWN = "no earlier commit", "not known: the log of its earlier commit was pruned"


class Change(NamedTuple):
    """What changed in a group of stages: reasons as text, and texts on its outputs."""

    group: Group
    reasons: Sequence[str]
    outputs: Sequence[str]


def success_before(past: Sequence[Past], run: str) -> Past | None:
    """Return the last invocation of `run` that succeeded before a run's newest one; `past` has the newest first."""
    earlier = dropwhile(lambda each: each.run != run, past)
    runs = (each for each in earlier if each.run != run and each.verb == "run")
    return next((each for each in runs if each.outcome == SUCCEEDED and each.ended), None)


class Number(NamedTuple):
    """A number in a JSON result of a stage, then and now; None if it was not there."""

    stage: str
    path: str
    name: str
    old: float | None
    new: float | None


class Changes:
    """Compares the commits of a run with those at an earlier success `since`.

    A commit names the one that it replaced, so each is followed back to the newest one that the success had.
    """

    def __init__(self, archive: Archive, record: RunRecord, since: Past, *, is_newest: bool) -> None:
        """`is_newest`: as for `marker_of`."""
        self.since = since
        self._archive = archive
        self._record = record
        self._is_newest = is_newest
        self._metrics = metrics_of(archive.paths)
        self._commits = cache(
            lambda run: {
                record["seq"]: (record["ts"], event)
                for record, event in (archive.events(run) if is_name(run) else ())
                if isinstance(event, StageCommit)
            }
        )

    def of_spec(self, new: Mapping[str, Any]) -> list[str]:
        """Return texts on the vars that changed since, and on stages that are gone, given the spec of this run."""
        opening = next(self._archive.events(self.since.run), None)
        old = find_spec(self._archive, opening[0]["data"], ()) if opening else None
        if old is None:
            return []
        changed = differences({"vars": old.get("vars")}, {"vars": new.get("vars")})
        gone = dict.fromkeys(map(FOLDS[1], (stage["name"] for stage in old["stages"])))
        kept = {FOLDS[1](stage["name"]) for stage in new["stages"]}
        texts = [reason_text(reason, full=False) for reason in changed]
        return texts + [f"stage {name}: gone" for name in gone if name not in kept]

    def of(self, groups: Sequence[Group]) -> Iterator[Change]:
        """Yield what changed in each group in which anything did."""
        for group in groups:
            reasons: dict[str, list[list[object]]] = {}
            outputs: list[Outputs] = []
            for stage in group.stages:
                if marker := marker_of(self._record, stage, self._archive.paths, is_newest=self._is_newest):
                    old, why = self._earlier(marker)
                    reasons[stage] = _reasons(old, marker) if old else [["marker", why]]
                    if old or why == _NEW:
                        before = old.outputs if old else {}
                        labels = dict.fromkeys((*before, *marker.outputs))
                        outputs += ((before.get(label), marker.outputs.get(label)) for label in labels)
                elif stage in self._record.attempts:  # it ran, and nothing came of it
                    reasons[stage] = self._record.reasons.get(stage, [])
            changed = [(old, new) for old, new in outputs if old is None or new is None or old.sha256 != new.sha256]
            if any(reasons.values()) or changed:
                yield Change(group, reasons_of(reasons, group), _output_texts(group, changed, len(outputs)))

    def of_numbers(self, groups: Sequence[Group]) -> Iterator[Number]:
        """Yield the numbers in JSON results that are not what they were, if the metrics of both runs are there."""
        for stage in chain.from_iterable(group.stages for group in groups):
            new = marker_of(self._record, stage, self._archive.paths, is_newest=self._is_newest)
            old = self._earlier(new)[0] if new else None
            for label, output in new.outputs.items() if new and old else ():
                then, now = (self._numbers(marker, label) for marker in (old, new) if marker)
                for name in dict.fromkeys((*then, *now)) if then and now else ():
                    if then.get(name) != now.get(name):
                        yield Number(stage, output.path, name, then.get(name), now.get(name))

    def _numbers(self, marker: Marker, label: str) -> dict[str, float]:
        """Return the numbers in an output as a commit made it, from the metrics of its run."""
        output, results = marker.outputs.get(label), self._metrics(marker.run, marker.stage).get("results")
        numbers = results.get(output.sha256) if output and isinstance(results, dict) else None
        members = numbers.items() if isinstance(numbers, dict) else ()
        return {name: value for name, value in members if type(value) in (int, float)}

    def _earlier(self, marker: Marker) -> tuple[Marker | None, str]:
        """Return the commit that the stage of a marker had at the success, as a marker; or why there is none."""
        place: tuple[Any, ...] = (marker.run, marker.audit_seq)
        passed = set()
        while place and place not in passed:
            passed.add(place)
            time, commit = self._commits(place[0]).get(place[1], ("", None))
            if commit is None:
                return None, _UNKNOWN
            if time <= (self.since.ended or ""):
                return commit.marker(*place), ""
            place = tuple(commit.replaces or (commit.adopts or ())[1:])
        return None, _NEW


def _reasons(old: Marker, new: Marker) -> list[list[object]]:
    """Return the differences in what two commits of a stage were made from, as in records."""
    found = [*differences(old.components, new.components)]
    if old.program_version != new.program_version:
        found.append(Reason("program", "version", old.program_version, new.program_version))
    return [reason.as_json() for reason in found]


def _output_texts(group: Group, changed: Sequence[Outputs], number: int) -> list[str]:
    """Return texts on the outputs that changed, of so many; of several stages only how many."""
    if not changed:
        return ["same bytes"] if number else []
    if group.is_many:
        return [f"{len(changed):,} of {number:,} changed"]
    texts = [_change(old, new) for old, new in changed]
    return texts[:_SHOWN] + ([f"and {len(texts) - _SHOWN:,} more"] if len(texts) > _SHOWN else [])


def _change(old: OutputIdentity | None, new: OutputIdentity | None) -> str:
    if old is None or new is None:
        return f"{new.path}: new, {size(new.size)}" if new else f"{old.path}: gone" if old else ""
    sizes = f"{size(old.size)}, other bytes" if old.size == new.size else f"{size(old.size)} -> {size(new.size)}"
    return f"{new.path}: {sizes}"
