"""The output of `status`, `runs`, `verify`, `graph` and `who`: text for people, JSON for programs."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING

from runner.audit.archive import KILLED, Past
from runner.display.plan_text import as_many_as, empty_lines, extent_text, outgrown_text, plan_json, plan_lines
from runner.display.summary import counts_text, fields_json, signature_text
from runner.display.text import attempt_text, counted, printable, seconds, stages_text
from runner.plan.decisions import Skip
from runner.record.events import CLOSED, NOOP
from runner.record.locks import describe
from runner.results import listed
from runner.spec.model import OFF
from runner.verbs.history import calls_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from runner.audit.verification import Verification
    from runner.spec.graph import Graph
    from runner.spec.model import Join
    from runner.verbs.query import Part, Status
    from runner.verbs.roles import Role

_MOST_STAGES = 10  # with one role
_ROLES = {  # kind -> text before the stages
    "output": "made by",
    "partial": "partial output of",
    "orphan": "orphan, made in run {run} by",
    "former": "changed since it was made in run {run} by",
    "input": "read by",
    "code": "code of",
    "each": "gives values to",
    "spec": "the spec",
    "state": "state of the pipeline",
    "locks": "locks of the pipeline",
    "noop": "no-op record",
}
_MOST_LINES = 20  # about failures of the last run
_LANGUAGES = {  # of graphs: head, stage, edge, end
    "dot": ('digraph "{}" {{\n  rankdir=TB;\n  node [shape=box];\n', "  {};\n", "  {} -> {};\n", "}\n"),
    "mermaid": ("flowchart TD\n", '  {}["{}"]\n', "  {} --> {}\n", ""),
}


def status_lines(status: Status, *, full: bool) -> Iterator[str]:
    """Yield the status, most important first. Unless `full`, pending instances of a template have one line."""
    planned = status.planned
    decisions = planned.planning.plan.decisions if planned else {}
    pending = [name for name, decision in decisions.items() if not isinstance(decision, Skip)]
    if planned is None:
        state = "nothing is planned without a spec"
    elif pending:
        known = len(pending) - len(planned.planning.opened)
        state = f"{known} of {stages_text(planned.planning.stages)} pending"
    elif status.open_runs and status.holder is None:
        state = "every stage is up to date, but a run is open; the next run only has to end it"
    else:
        rest = ", but temporary outputs are still there" if planned.planning.plan.removes else ""
        state = f"everything is up to date{rest}"
    yield f"{printable(status.pipeline)}: {state}\n"
    yield from _run_lines(status)
    width = max(map(len, status.incomplete), default=0)
    for stage, progress in status.incomplete.items():
        incomplete = f"incomplete, {extent_text(progress) or 'at a checkpoint'}"
        is_outgrown = planned is not None and planned.fits.get(stage) is False
        yield f"{stage:<{width}}  {outgrown_text(progress) if is_outgrown else incomplete}\n"
    if planned and not planned.planning.plan.is_noop:
        yield "pending:\n"
        shown = planned._replace(fits={})  # without checkpoints, which are listed above
        yield from (f"  {line}" for line in plan_lines(shown, full=full, pending=True))
    if planned:
        yield from empty_lines(planned)


def _run_lines(status: Status) -> Iterator[str]:
    """Yield the last run, the last success, and the run that is at work."""
    last, success, part = status.last, status.last_success, status.part
    if not last:
        yield "last run: none yet\n"
    else:
        level = _level(status)
        guard = f", offline guard: {printable(level)}" if level else ""
        ended = f", ended {part.ended}" if part.ended else ""
        yield f"last run: {printable(last['run'])}, {_ending(status)}, began {part.began or last['ts']}{ended}{guard}\n"
        if (past := status.invocation) and past.fault and not part.failed:
            yield f"  exit {past.exit_code}: {printable(past.fault)}\n"
        yield from (f"  {line}\n" for line in _trouble(part))
        if success is None:
            yield "last success: none yet\n"
        elif success[0] != last["run"]:
            yield f"last success: {success[0]}, ended {success[1]}\n"
    if status.refusals:
        newest = status.refusals[0]
        times = "" if len(status.refusals) == 1 else f", {len(status.refusals):,} times"
        why = f"{newest.began}, exit {newest.exit_code}: {printable(newest.fault or '')}"
        yield f"refused since then{times}, last {why}\n"
    if status.holder is not None:
        who = describe(status.holder) if status.planned else "`status` of the spec says who"
        yield f"running now: {printable(who)}\n"
        yield from (f"  {line}\n" for line in _work(status))
    elif status.open_runs:
        yield f"the next run of all stages goes on under: {printable(status.open_runs[-1])}\n"


def _work(status: Status) -> Iterator[str]:
    """Yield the stages at work, and those that wait for their next attempt."""
    most = {stage.name: stage.retry.attempts for stage in status.planned.planning.stages} if status.planned else {}
    for verb, stages, word in (("", status.working, "since"), ("waits for ", status.waiting, "until")):
        for stage, (_, time) in stages.items():
            attempt = attempt_text(status.part.tried[stage][0] + 1, most.get(stage))
            yield f"{stage}  {verb}{attempt}, {word} {time}"


def _trouble(part: Part) -> Iterator[str]:
    """Yield the failures, interruptions and refused networks of the last run, up to `_MOST_LINES`."""
    lines = [f"{stage}  failed: {printable(why)}" for stage, why in part.failed.items()]
    lines += [f"{stage}  interrupted" for stage in part.interrupted]
    for refused in part.refused:
        then = "which failed the stage" if refused.action == "fail" else "on record"
        lines.append(f"{refused.stage}  was refused a network: {printable(calls_of(refused))}, {then}")
    yield from lines[:_MOST_LINES]
    if len(lines) > _MOST_LINES:
        yield f"and {len(lines) - _MOST_LINES:,} more"
    if part.unstarted:
        yield f"{counted(len(part.unstarted), 'stage')} not started"


def _level(status: Status) -> str | None:
    """Return the guard's level in the last run; None if that started no stage, or was killed."""
    isolation = status.metrics.get("isolation")
    return str(isolation["level"]) if isinstance(isolation, dict) and "level" in isolation else None


def _ending(status: Status) -> str:
    """Return how the last run ended. A run that was killed, or could not write to the disk, left no metrics."""
    endings = {NOOP: "nothing to do", CLOSED: "succeeded"}
    if (event := status.last.get("ev")) in endings:
        return endings[event]
    if status.is_running:
        return "running"
    recorded = status.invocation.outcome if status.invocation else KILLED
    return printable(str(status.metrics.get("status", recorded)))


def status_json(status: Status) -> dict[str, object]:
    """Return the status as a JSON value."""
    part, success = status.part, status.last_success
    nothing: dict[str, object] = {"stages": [], "removes": [], "empty": [], "faults": []}
    plan = plan_json(status.planned) if status.planned else nothing
    fits = status.planned.fits if status.planned else {}
    last = {
        "run": status.last.get("run"),
        "status": _ending(status),
        "time": status.last.get("ts"),
        "isolation": _level(status),
        **fields_json(part, "began", "ended", "failed", "unstarted", "interrupted"),
        "networkRefused": [fields_json(call, "stage", "program", "family", "count", "action") for call in part.refused],
    }
    return {
        "pipeline": status.pipeline,
        "pending": status.is_pending,
        "lastRun": last if status.last else None,
        "lastSuccess": {"run": success[0], "time": success[1]} if success else None,
        "openRuns": status.open_runs,
        "refused": runs_json(status.refusals)["runs"],
        "lock": status.holder,
        "working": [{"stage": stage, "attempt": number, "since": at} for stage, (number, at) in status.working.items()],
        "waiting": [{"stage": stage, "attempt": number, "until": at} for stage, (number, at) in status.waiting.items()],
        "incomplete": [
            {"stage": stage, **fields_json(progress, "line_offset", "byte_offset"), "fits": fits.get(stage)}
            for stage, progress in status.incomplete.items()
        ],
        "stages": plan["stages"],
        "removes": plan["removes"],
        "empty": plan["empty"],
        "undeclared": status.undeclared,
        "faults": plan["faults"],
    }


def runs_lines(past: Sequence[Past]) -> Iterator[str]:
    """Yield a line for each invocation, in columns."""
    rows = [_run_row(each) for each in past]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() + "\n"
    if not rows:
        yield "no such run on record\n"


def _run_row(past: Past) -> tuple[str, ...]:
    words = past.outcome if past.verb == "run" else f"{past.verb} {past.outcome}"
    notes = (
        f"superseded by {past.by}" if past.by else "",
        "pruned" if past.pruned else "",
        counted(past.warning_count, "warning") if past.warning_count else "",
        past.fault or "",
    )
    return (
        f"{printable(past.began[:19])}Z",
        "" if past.seconds is None else seconds(past.seconds),
        past.name,
        printable(words),
        "" if past.exit_code is None else str(past.exit_code),
        counts_text(past.stages),
        printable("; ".join(filter(None, notes))),
    )


def runs_json(past: Sequence[Past]) -> dict[str, object]:
    """Return invocations as a JSON value."""
    names = ("run", "part", "verb", "outcome", "exit_code", "began", "ended", "stages", "fault", "warnings")
    runs = [
        {**fields_json(each, *names), "seconds": each.seconds, "supersededBy": each.by, "pruned": bool(each.pruned)}
        for each in past
    ]
    return {"runs": runs}


def verified_lines(verified: Verification) -> Iterator[str]:
    """Yield a line for each damage, `FILE:LINE: FIELD: WHAT`, then one for each incomplete file, then the verdict."""
    for damage in verified.damage:
        yield f"{printable(damage.place)}: {printable(damage.what)}\n"
    if verified.findings.hidden:
        yield f"and {counted(verified.findings.hidden, 'more fault')}, in files with very many\n"
    for words, remarks in (("incomplete", verified.incomplete), ("note", verified.notes)):
        for remark in remarks:
            yield f"{words}: {printable(remark.file)}: {printable(remark.what)}\n"
    yield f"{printable(verified.pipeline or verified.directory)}: {_verdict(verified)}\n"
    if verified.head:
        yield f"ledger head: {verified.head}\n"


def _verdict(verified: Verification) -> str:
    if verified.head is None and not verified.damage:
        return "no run yet"
    checked = f"{counted(verified.runs, 'run')}, {counted(verified.records, 'record')}"
    if verified.outputs is not None:
        checked += f", {counted(verified.outputs, 'output')}"
    if verified.keyed_from is not None:
        since = "" if verified.keyed_from == 1 else f" from line {verified.keyed_from} of the ledger on"
        checked += f", keyed with {printable(verified.key_id)}{since}" if verified.key_id else ", its end not keyed"
    checked += f", {signed}" if (signed := signature_text(verified)) else ""
    if verified.pruned:
        checked += f", {counted(verified.pruned, 'run')} pruned"
    faults = len(verified.damage) + verified.findings.hidden
    verdict = f"damaged, {counted(faults, 'fault')}" if faults else verified.verdict
    verdict = "signed with a key that was not given" if verified.lacks_public_key else verdict
    return f"{verdict} ({checked})"


def verified_json(verified: Verification) -> dict[str, object]:
    """Return the result of `verify` as a JSON value."""
    return {
        "status": verified.verdict,
        **fields_json(verified, "exit_code", "directory", "pipeline"),
        "ledgerHead": verified.head,
        "expectedHeadLine": verified.expected_line,
        **fields_json(verified, "key_id", "keyed_from", "signer", "signatures"),
        **fields_json(verified, "runs", "records", "outputs", "pruned"),
        "damage": [damage._asdict() for damage in verified.damage],
        "moreDamage": verified.findings.hidden,
        "incomplete": [remark._asdict() for remark in verified.incomplete],
        "notes": [remark._asdict() for remark in verified.notes],
    }


def graph_lines(graph: Graph, language: str, *, expand: bool) -> Iterator[str]:
    """Yield the graph as text (a line for each stage, with what it needs), a Mermaid flowchart or a DOT digraph.

    Unless `expand`, the instances of a template are one box, with their number, also of one without instances.
    """
    count = Counter(stage.template for stage in graph.order if stage.values)
    shown = {  # by stage
        stage.name: f"{stage.template} ({count[stage.template]})" if stage.template and not expand else stage.name
        for stage in graph.order
    }
    shown.update((stage.name, f"{stage.name} ({as_many_as(stage.sources)})") for stage in graph.order if stage.is_open)
    needs: dict[str, dict[str, None]] = {}
    for name, box in shown.items():
        others = (shown[needed] for needed in graph.upstream[name])
        needs.setdefault(box, {}).update((other, None) for other in others if other != box)
    none = [f"{each.stage.name} ({OFF if each.why == OFF else 0})" for each in graph.spec.empty if not expand]
    needs |= {box: {} for box in none}
    if language == "text":
        width = max((len(box) for box, needed in needs.items() if needed), default=0)
        joins: dict[str, list[Join]] = {}
        for stage in graph.order:
            joins.setdefault(shown[stage.name], []).extend(stage.joins)
        temporary = {shown[stage.name]: stage.temporary for stage in graph.order}
        for box, needed in needs.items():
            yield f"{box:<{width}}  <- {', '.join(needed)}\n" if needed else f"{box}\n"
            yield from (f"  {text}\n" for text in _join_texts(joins.get(box, ())))
            yield from [f"  temporary: {', '.join(temporary[box])}\n"] if temporary.get(box) else ()
        return
    head, node, edge, end = _LANGUAGES[language]
    # Mermaid gets numbers, because names such as `end` are its keywords.
    boxes = [*(shown[stage.name] for stage in graph.spec.stages), *none]
    first = {box: number for number, box in reversed([*enumerate(boxes)])}
    ids = {box: f'"{box}"' if language == "dot" else f"s{first[box]}" for box in needs}
    yield head.format(graph.spec.name)
    yield from (node.format(id_, box) for box, id_ in ids.items())
    yield from (edge.format(ids[needed], id_) for box, id_ in ids.items() for needed in needs[box])
    yield end


def _join_texts(joins: Sequence[Join]) -> Iterator[str]:
    """Yield what the references of one box mean, once for all of its instances: `reads: 1 to 4 of 96 of trim`."""
    found: dict[Join, list[int]] = {}
    for join in joins:
        found.setdefault(join._replace(found=0), []).append(join.found)
    for join, counts in found.items():
        least, most = min(counts), max(counts)
        text = str(join._replace(found=most))
        yield text if least == most else text.replace(": ", f": {least:,} to ", 1)


def who_lines(path: str, roles: Sequence[Role]) -> Iterator[str]:
    """Yield one line on what a path is to the pipeline."""
    stages: dict[str, list[str]] = {}
    for role in dict.fromkeys(roles):
        stages.setdefault(_ROLES[role.kind].format(run=role.run), []).append(_stage_text(role, path))
    texts = [f"{words} {listed(named, _MOST_STAGES)}".rstrip() for words, named in stages.items()]
    yield printable(f"{path}: {'; '.join(texts) or 'no stage makes or reads it'}") + "\n"


def _stage_text(role: Role, path: str) -> str:
    """Return the stage, and in brackets its template, and the path that it declares if that is not `path` itself."""
    is_same = f"/{os.path.abspath(path)}".endswith(f"/{role.path.rstrip('/')}")
    notes = [f"instance of {role.template}"] if role.template else []
    notes += [] if is_same or not role.path else [role.path]
    return f"{role.stage} ({', '.join(notes)})" if notes else role.stage


def who_json(path: str, roles: Sequence[Role]) -> dict[str, object]:
    """Return what a path is to the pipeline as a JSON value."""
    members = ("stage", "template", "path", "run")
    return {
        "path": path,
        "roles": [{"role": role.kind, **{name: getattr(role, name) or None for name in members}} for role in roles],
    }
