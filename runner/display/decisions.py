"""Plans, and the explanation of one stage, for people and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.decide.plan import Blocked, Depends, Run
from runner.display.extent import from_text, outgrown_text
from runner.display.reasons import reason_text, reasons_line
from runner.display.words import counted, printable, value_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from runner.decide.plan import Decision
    from runner.record.checkpoints import Progress
    from runner.record.markers import Marker

    Failures = Mapping[str, tuple[str, str, str]]  # stage -> the run in which it failed last, when, and why

_NAME_COLUMN = 40


def word_of(decision: Decision) -> str:
    """Return `run`, `skip`, `blocked` or `depends`."""
    return type(decision).__name__.lower()


def plan_lines(
    decisions: Mapping[str, Decision], failures: Failures, checkpoints: Mapping[str, Progress],
    fits: Mapping[str, bool], *, full: bool,
) -> Iterator[str]:  # fmt: skip
    """Yield a line a stage: its name, the decision, why, how it failed last, and what becomes of its checkpoint."""
    width = min(_NAME_COLUMN, max((len(name) for name in decisions), default=0))
    for name, decision in decisions.items():
        more = (*failure_texts(failures, name), *_checkpoint_texts(checkpoints, fits, name))
        why = "; ".join(filter(None, (_why(decision, decisions, full=full), *more)))
        yield f"{name:<{width}}  {word_of(decision):<7}  {why}".rstrip() + "\n"


def failure_texts(failures: Failures, stage: str) -> Iterator[str]:
    """Yield how a stage failed last, if it did."""
    if stage in failures:
        run, _, why = failures[stage]
        yield f"failed in run {printable(run)}: {printable(why)}"


def _checkpoint_texts(checkpoints: Mapping[str, Progress], fits: Mapping[str, bool], stage: str) -> Iterator[str]:
    if stage in fits:
        lines, read = checkpoints[stage].line_offset, checkpoints[stage].byte_offset
        yield f"goes on {from_text(lines)}" if fits[stage] else outgrown_text(lines, read)


def plan_json(decisions: Mapping[str, Decision], failures: Failures) -> list[dict[str, object]]:
    """Return the decisions as JSON values, in order."""
    return [
        {"stage": name, "decision": word_of(decision), **_details(decision), **_failure_json(failures, name)}
        for name, decision in decisions.items()
    ]


def explain_lines(
    name: str, decision: Decision, decisions: Mapping[str, Decision], failures: Failures,
    checkpoints: Mapping[str, Progress], fits: Mapping[str, bool], marker: Marker | None,
) -> Iterator[str]:  # fmt: skip
    """Yield everything about one stage: the decision, each change in full, and what its last run recorded."""
    if isinstance(decision, Run):
        yield f"{name}: must run\n"
        yield from (f"  {reason_text(reason, full=True)}\n" for reason in decision.reasons)
    elif isinstance(decision, Depends | Blocked):
        yield f"{name}: {word_of(decision)}, {_why(decision, decisions, full=True)}\n"
    else:
        yield f"{name}: up to date\n"
    yield from (f"  {text}\n" for text in (*failure_texts(failures, name), *_checkpoint_texts(checkpoints, fits, name)))
    if marker is None:
        return
    yield f"made by run {printable(marker.run)} (record {marker.audit_seq}), because\n"
    yield from (f"  {reason_text(reason, full=True)}\n" for reason in marker.reasons)
    yield f"key {marker.key}\n"
    yield from _recorded(marker)


def _recorded(marker: Marker) -> Iterator[str]:
    """Yield what a stage was made of, as its marker has it."""
    parts = dict(marker.components)
    inputs = parts.pop("inputs", None)
    if isinstance(inputs, dict) and inputs:
        yield "inputs\n"
        for name, files in inputs.items():
            yield from (f"  {printable(f'{name}: {path}')}  {sha256}\n" for path, sha256 in files)
    parts.pop("outputs", None)
    for component, value in parts.items():
        if isinstance(value, dict):
            yield from _mapping(component, value)
        else:
            yield f"{component} {value_text(value, full=True)}\n"
    yield "outputs\n"
    for name, made in marker.outputs.items():
        yield f"  {printable(f'{name}: {made.path}')}  {made.sha256}  {counted(made.size, 'byte')}\n"


def _mapping(component: str, value: Mapping[str, object]) -> Iterator[str]:
    lines = []
    for name, part in value.items():
        if name == "absent" and isinstance(part, list):
            lines += [f"  {printable(str(module))}  found nowhere: changes of it are not noticed\n" for module in part]
        elif isinstance(part, dict) and component == "code":
            prefix = "" if name == "files" else "package "
            lines += [f"  {prefix}{printable(path)}  {value_text(one, full=True)}\n" for path, one in part.items()]
        elif part not in (None, [], {}, "") or component == "params":
            lines.append(f"  {printable(name)}: {value_text(part, full=True)}\n")
    if lines:
        yield f"{component}\n"
        yield from lines


def _why(decision: Decision, decisions: Mapping[str, Decision], *, full: bool) -> str:
    if isinstance(decision, Run):
        return reasons_line(decision.reasons, full=full)
    if isinstance(decision, Depends):
        return f"on what {', '.join(decision.upstream)} will make"
    if isinstance(decision, Blocked):
        needed = all(one in decisions for one in decision.by)
        return f"by {', '.join(decision.by)}" if needed else printable("; ".join(decision.by))
    return ""


def _failure_json(failures: Failures, stage: str) -> dict[str, object]:
    if stage not in failures:
        return {}
    return {"lastFailure": dict(zip(("run", "time", "why"), failures[stage], strict=True))}


def _details(decision: Decision) -> dict[str, object]:
    if isinstance(decision, Run):
        names = ("component", "what", "old", "new")
        return {"reasons": [dict(zip(names, reason, strict=True)) for reason in decision.reasons]}
    if isinstance(decision, Depends):
        return {"upstream": list(decision.upstream)}
    return {"by": list(decision.by)} if isinstance(decision, Blocked) else {"key": decision.key}
