"""Plans, their reasons, and the explanation of one stage: text for people, JSON for programs."""

from __future__ import annotations

import json
import time
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

from runner.display.summary import fault_json
from runner.display.text import counted, printable
from runner.errors import StateError
from runner.plan.decisions import AGAIN, MODIFIED, NEEDED, Adopt, Blocked, Decision, Depends, Run, Skip
from runner.record.checkpoints import Progress, read_progress
from runner.results import listed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from runner.plan.planner import Opened
    from runner.record.markers import Marker
    from runner.verbs.query import Planned

    Reason = Sequence[object]  # component, what, old, new; from a plan or a marker

_REASONS_SHOWN = 3
_PATHS_SHOWN = 3
_SOURCES_SHOWN = 3
_COUNTED = {Adopt: "to adopt", Run: "to run", Depends: "may run", Blocked: "blocked"}  # instances of a template
_LONGEST_VALUE = 60
_DIGEST = 64


def plan_lines(planned: Planned, *, full: bool, pending: bool = False) -> Iterator[str]:
    """Yield a line for each stage: name, decision, reasons, last failure, and the use of its checkpoint.

    Unless `full`, a line for each template counts its instances. Below it are those that failed or are blocked. With
    `pending`, stages that are up to date are left out.
    """
    decisions, opened, rows = planned.planning.plan.decisions, planned.planning.opened, dict[str, str]()
    groups: dict[str, list[str]] = {}  # by stage or template
    for name in decisions:
        groups.setdefault(_shown(name, full=full), []).append(name)
    for shown, group in groups.items():
        counts = Counter(type(decisions[name]) for name in group)
        if pending and counts.keys() == {Skip}:
            continue
        if shown not in decisions:
            more = [f"{counts[kind]:,} {text}" for kind, text in _COUNTED.items() if counts[kind]]
            rows[shown] = ", ".join([f"{counts[Skip]:,} of {len(group):,} up to date", *more])
        for name in group:
            decision = decisions[name]
            if name == shown or isinstance(decision, Blocked) or name in planned.failures:
                reason = _why(decision, decisions, opened.get(name), full=full)
                why = "; ".join(filter(None, (reason, *_history(planned, name))))
                rows[name] = f"{_word(decision):<7}  {why}".rstrip()
    width = max(map(len, rows), default=0)
    joins = {stage.name: stage.joins for stage in planned.planning.stages} if full else {}
    for name, text in rows.items():
        yield f"{name:<{width}}  {text}\n"
        yield from (f"{'':<{width}}  {join}\n" for join in joins.get(name, ()))
    if removes := planned.planning.plan.removes:
        paths = printable(listed(removes, len(removes) if full else _PATHS_SHOWN))
        yield f"removes {counted(len(removes), 'temporary output')}: {paths}\n"
    if not pending:
        yield from empty_lines(planned)


def empty_lines(planned: Planned) -> Iterator[str]:
    """Yield a line for each selected stage that has no instances: why it has none."""
    yield from (f"{empty.stage.name}: {printable(empty.text)}\n" for empty in planned.empty)


def _shown(stage: str, *, full: bool) -> str:
    """Return the name under which a stage is shown: unless `full`, an instance under that of its template."""
    return stage if full else stage.partition("@")[0]


def plan_json(planned: Planned) -> dict[str, object]:
    """Return the plan as a JSON value."""
    stages: list[dict[str, object]] = []
    plan, opened = planned.planning.plan, planned.planning.opened
    for name, decision in plan.decisions.items():
        stages.append({"stage": name, "decision": _word(decision), **decision._asdict()})
        if isinstance(decision, Depends) and not decision.needed:
            del stages[-1]["needed"]
        if isinstance(decision, Run):
            stages[-1]["reasons"] = [reason._asdict() for reason in decision.reasons]
        if name in opened:
            stages[-1] |= {
                "source": ", ".join(source_names(opened[name].sources)),
                "lastInstances": opened[name].last_instances,
            }
        if name in planned.failures:
            stages[-1]["lastFailure"] = planned.failures[name]._asdict()
    faults = [fault_json(fault) for fault in plan.faults]
    empty = [{"stage": empty.stage.name, "why": empty.why} for empty in planned.empty]
    return {
        "pipeline": planned.planning.spec.name,
        "stages": stages,
        "removes": plan.removes,
        "empty": empty,
        "faults": faults,
    }


def explain_lines(planned: Planned, stage: str) -> Iterator[str]:
    """Yield everything about one stage: its decision, each change in full, and the record of its last run."""
    decisions, opened = planned.planning.plan.decisions, planned.planning.opened
    decision = decisions[stage]
    if isinstance(decision, Run):
        yield f"{stage}: must run\n"
        yield from (f"  {reason_text(reason, full=True)}\n" for reason in decision.reasons)
    elif isinstance(decision, Skip):
        yield f"{stage}: up to date\n"
    else:
        yield f"{stage}: {_word(decision)}, {_why(decision, decisions, opened.get(stage), full=True)}\n"
    yield from (f"  {text}\n" for text in _history(planned, stage))
    if marker := planned.planning.planner.markers.of(stage):
        yield from marker_lines(marker)


def marker_lines(marker: Marker) -> Iterator[str]:
    """Yield the record of a stage's last run: the run, its reasons, the key with its components, and the outputs."""
    yield f"made by run {printable(marker.run)} (record {marker.audit_seq}), because\n"
    yield from (f"  {reason_text(reason, full=True)}\n" for reason in marker.reasons)
    yield f"key {marker.key}\n"
    for component, value in marker.components.items():
        if not isinstance(value, dict):
            yield f"{component} {_value_text(value, full=True)}\n"
        elif component != "outputs" and (lines := list(_parts(component, value))):  # those follow, with digests
            yield f"{component}\n"
            yield from (f"  {printable(line)}\n" for line in lines)
    yield "outputs\n"
    for name, made in marker.outputs.items():
        yield f"  {printable(f'{name}: {made.path}')}  {made.sha256}  {counted(made.size, 'byte')}\n"


def shown_checkpoint(path: str) -> Progress | None:
    """Return a checkpoint, or None. An unreadable one counts as none, because a display must not end a run."""
    try:
        return read_progress(path)
    except StateError:
        return None


def from_text(progress: Progress) -> str:
    """Return the place where a stage resumes: `from line 1,200,000`."""
    return f"from line {progress.line_offset:,}" if progress.line_offset else "from a checkpoint"


def extent_text(progress: Progress) -> str:
    """Return the extent of a checkpoint: `1,200 lines`, or bytes; empty if it has neither."""
    if progress.line_offset is not None:
        return counted(progress.line_offset, "line")
    return "" if progress.byte_offset is None else counted(progress.byte_offset, "byte")


def outgrown_text(progress: Progress) -> str:
    """Return the note on a checkpoint that no longer has its stage's key."""
    extent = extent_text(progress)
    return f"checkpoint{extent and f' of {extent}'} no longer fits: the stage starts anew"


def reasons_line(reasons: Sequence[Reason], *, full: bool) -> str:
    """Return reasons on one line: all if `full`, else the first three and the number of the others."""
    texts = [reason_text(reason, full=False) for reason in reasons]
    return listed(texts, len(texts) if full else _REASONS_SHOWN, "; ")


def reason_text(reason: Reason, *, full: bool) -> str:
    """Return a reason as text: `params.mode: fast -> slow`, `code stages/helper.py: 3f2a91bc.. -> 88bc01d2..`."""
    component, what, old, new = (*reason, None, None)[:4]
    where = printable(str(what))
    if component in {"marker", "forced", "adopted", AGAIN, NEEDED}:
        return where
    if component == "outputs" and _is_digest(old):
        if new is None:
            return f"output {where}: missing, or of another kind"
        changed = f"changed on disk, {_change(old, new, full=full)}" if _is_digest(new) else printable(str(new))
        return f"output {where}: {changed}"
    if component == "inputs":
        where = f"input {where.partition(': ')[2]}"
    elif component in {"code", "key", "program", "tools"}:
        where = f"{component} {where}"
    else:
        where = f"{component}.{where}" if what else str(component)
    if component in {"inputs", "code", "program", "tools"} and None in (old, new):
        return f"{where}: {'new' if old is None else 'gone'}"
    if component == "code" and what == MODIFIED:
        old, new = _time_text(old), _time_text(new)
    return f"{where}: {_change(old, new, full=full)}"


def _word(decision: Decision) -> str:
    """Return `run`, `skip`, `adopt`, `blocked` or `depends`."""
    return type(decision).__name__.lower()


def _why(decision: Decision, decisions: Mapping[str, Decision], opened: Opened | None = None, *, full: bool) -> str:
    match decision:
        case Depends() if opened:
            last = f" ({opened.last_instances:,} last time)" if opened.last_instances else ""
            return f"{as_many_as(opened.sources)}{last}"
        case Run(reasons=reasons):
            return reasons_line(reasons, full=full)
        case Adopt(origin=name):
            return f"what {name} made, with the same key"
        case Depends(needed=needed) if needed:
            return printable("; ".join(needed))
        case Depends(upstream=names) | Blocked(by=names) if all(name in decisions for name in names):
            makers = ", ".join(dict.fromkeys(_shown(name, full=full) for name in names))
            return f"by {makers}" if isinstance(decision, Blocked) else f"on what {makers} will make"
        case Blocked(by=faults):
            return printable("; ".join(faults))
    return ""


def as_many_as(sources: Sequence[str]) -> str:
    """Return how many instances an open template will have: `as many as ref will say`."""
    return f"as many as {listed(source_names(sources), _SOURCES_SHOWN)} will say"


def source_names(sources: Sequence[str]) -> list[str]:
    """Return the stages as written that make the values of a template."""
    return [*dict.fromkeys(source.partition("@")[0] for source in sources)]


def _history(planned: Planned, stage: str) -> Iterator[str]:
    """Yield a stage's last failure, if it has one, and whether its checkpoint still fits."""
    if stage in planned.failures:
        run, _, why = planned.failures[stage]
        yield f"failed in run {printable(run)}: {printable(why)}"
    if stage in planned.fits:
        progress = planned.planning.checkpoints[stage]
        yield f"goes on {from_text(progress)}" if planned.fits[stage] else outgrown_text(progress)


def _parts(component: str, value: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each part of a component."""
    for name, part in value.items():
        match component, name:
            case "inputs", _:
                yield from (f"{name}: {path}  {sha256}" for path, sha256 in part)
            case "code", "absent":
                yield from (f"{module}  not found: changes to it are not noticed" for module in part)
            case "code", "files" | "packages":
                prefix = "" if name == "files" else "package "
                yield from (f"{prefix}{source}  {_value_text(state, full=True)}" for source, state in part.items())
            case _ if part or component == "params":
                yield f"{name}: {_value_text(part, full=True)}"


def _change(old: object, new: object, *, full: bool) -> str:
    """Return `old -> new` in the shortest form in which the two differ."""
    for form in (partial(_value_text, full=full), partial(_value_text, full=True), _as_json):  # JSON: 1 and "1"
        if form(old) != form(new):
            break
    return f"{form(old)} -> {form(new)}"


def _value_text(value: object, *, full: bool) -> str:
    """Return a value of a spec or marker as text. Unless `full`, digests have 8 digits and long values are cut."""
    if value is None:
        return "none"
    if _is_digest(value):
        return str(value) if full else f"{str(value)[:8]}.."
    text = printable(value) if isinstance(value, str) else _as_json(value)
    return text if full or len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}..."


def _as_json(value: object) -> str:
    return json.dumps(value, sort_keys=True)


def _is_digest(value: object) -> bool:
    """Whether a value is a SHA-256 in hex."""
    return isinstance(value, str) and len(value) == _DIGEST and not set(value) - set("0123456789abcdef")


def _time_text(value: object) -> object:
    """Return nanoseconds since 1970, which are digits, in ISO 8601 with nanoseconds; any other value unchanged."""
    try:
        whole, fraction = divmod(int(str(value)), 1_000_000_000)
        return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{fraction:09}Z"
    except (ValueError, OverflowError, OSError):
        return value
