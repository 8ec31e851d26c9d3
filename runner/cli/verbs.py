"""What each verb does: asks the api, and has the answer shown. Each returns the exit code."""

from __future__ import annotations

import os
import shlex
import sys
from typing import TYPE_CHECKING

from runner import api
from runner.cli.params import read_params
from runner.display.words import fault_text, near_path, printable, printable_lines, warning_text
from runner.errors import EXIT_INPUT, EXIT_OFFLINE, EXIT_OK, EXIT_PENDING, Fault, UsageError
from runner.levels import STRICT
from runner.record.files import open_regular
from runner.record.seal import warning_about
from runner.record.spelling import KEY_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from runner.api import Options
    from runner.cli.invocation import Invocation
    from runner.display.streams import Stream

_CHUNK = 1 << 16


def run(asked: Invocation, stdout: Stream, stderr: Stream) -> int:
    """Run the pipeline; news on stderr, the summary on stdout."""
    from runner.display.progress import Reporter, live_is_possible
    from runner.display.summary import run_json, summary_text  # before the run: nothing is loaded after it began

    if asked.given.dry_run:
        return plan(asked, stdout, stderr)
    quiet, as_json = asked.flag("quiet"), asked.flag("json")
    live = not quiet and not as_json and live_is_possible(stderr)
    if not quiet:
        _warn_of_key(stderr)
    reporter = Reporter(stderr, _log_command(asked), quiet=quiet, verbose=asked.flag("verbose"), live=live)
    try:
        result = api.run(asked.spec, _options(asked), reporter)
    finally:
        reporter.close()
    if as_json:
        stdout.write(run_json(result))
    elif not quiet:
        stdout.write(summary_text(result))
    return result.exit_code


def plan(asked: Invocation, stdout: Stream, stderr: Stream) -> int:
    """Print the plan, and then what is wrong with inputs."""
    from runner.display.decisions import plan_json, plan_lines
    from runner.display.summary import fault_json, json_text

    planned = api.plan(asked.spec, _options(asked), _warner(asked, stderr))
    decisions, faults = planned.plan.decisions, planned.plan.faults
    if asked.flag("json"):
        shown = {"pipeline": planned.graph.spec.name, "stages": plan_json(decisions, planned.failures)}
        stdout.write(json_text({**shown, "faults": [fault_json(fault) for fault in faults]}))
    elif not asked.flag("quiet"):
        told = decisions, planned.failures, planned.checkpoints, planned.fits
        _write_all(stdout, plan_lines(*told, full=asked.flag("verbose")))
    return _tell(faults, stderr)


def status(asked: Invocation, stdout: Stream, stderr: Stream) -> int:
    """Print what is pending and what earlier runs left."""
    from runner.cli.status import status_json, status_lines
    from runner.display.summary import json_text

    found = api.status(asked.spec, _options(asked), _warner(asked, stderr))
    if asked.flag("json"):
        stdout.write(json_text(status_json(found)))
    else:
        _write_all(stdout, status_lines(found))
        _tell(found.planned.plan.faults, stderr)
    return EXIT_PENDING if asked.flag("exit_code") and found.is_pending else EXIT_OK


def explain(asked: Invocation, stdout: Stream, stderr: Stream) -> int:
    """Print everything about one stage."""
    from runner.display.decisions import explain_lines

    warn = _warner(asked, stderr)
    stage, decision, marker, planned = api.explain(asked.spec, _options(asked), asked.stages[0], warn)
    told = planned.plan.decisions, planned.failures, planned.checkpoints, planned.fits
    _write_all(stdout, explain_lines(stage.name, decision, *told, marker))
    return _tell(planned.plan.faults, stderr)


def validate(asked: Invocation, stdout: Stream, stderr: Stream) -> int:
    """Say that the spec is valid; api raises when it is not."""
    from runner.display.words import counted

    planned = api.validate(asked.spec, _options(asked), _warner(asked, stderr))
    stdout.write(f"{printable(asked.spec)}: valid, {counted(len(planned.stages), 'stage')}\n")
    return EXIT_OK


def graph(asked: Invocation, stdout: Stream, stderr: Stream) -> int:  # noqa: ARG001 - the signature of the others
    """Print the graph."""
    from runner.display.drawings import FORMATS
    from runner.spec.graph import build_graph
    from runner.spec.load import load_spec

    drawn = build_graph(load_spec(asked.spec, workspace=asked.given.workspace))
    _write_all(stdout, FORMATS[asked.given.format](drawn))
    return EXIT_OK


def log(asked: Invocation, stdout: Stream, stderr: Stream) -> int:
    """Print a stage's log as it is, escaped only on a terminal; without a stage the events of the run."""
    if not asked.stages:
        if asked.given.attempt is not None:
            raise UsageError(Fault("", "--attempt: no stage given", "an attempt is one of a stage"))
        events = api.read_events(asked.spec, _options(asked), asked.given.run)
        _write_all(stdout, (f"{printable(event)}\n" for event in events))
        return EXIT_OK
    path = api.find_log(asked.spec, _options(asked), asked.stages[0], asked.given.run, asked.given.attempt)
    escape = stdout.isatty()
    with open(open_regular(path), "rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            stderr.write(f"note: {near_path(path)} is empty\n")
        while (chunk := file.read(_CHUNK)) and stdout.failure is None:
            if escape:
                chunk += file.readline()
                stdout.write(printable_lines(chunk.decode("utf-8", "backslashreplace")))
            else:
                stdout.pass_on(chunk)
    return EXIT_OK


def verify(asked: Invocation, stdout: Stream, stderr: Stream) -> int:
    """Print what is damaged and incomplete, then a summary with the head."""
    from runner.api.verifying import verify as check
    from runner.cli.verify import verified_json, verified_lines
    from runner.display.summary import json_text

    given = asked.given
    _warn_of_key(stderr)
    found = check(asked.spec, _options(asked), given.run, outputs=asked.flag("outputs"), expect_head=given.expect_head)
    if asked.flag("json"):
        stdout.write(json_text(verified_json(found)))
    else:
        _write_all(stdout, verified_lines(found))
    _tell([fault] if (fault := found.fault()) else [], stderr)
    return found.exit_code


def clean(asked: Invocation, stdout: Stream, stderr: Stream) -> int:  # noqa: ARG001 - the signature of the others
    """Remove what the stages made, and list it."""
    dry = asked.flag("dry_run")
    found = api.clean(asked.spec, _options(asked), dry_run=dry, state=asked.flag("state"))
    verb = "would remove" if dry else "removed"
    _write_all(stdout, (f"{verb} {printable(path)}\n" for path in found))
    if not found:
        stdout.write("nothing to remove\n")
    return EXIT_OK


def doctor(asked: Invocation, stdout: Stream, stderr: Stream) -> int:  # noqa: ARG001 - the signature of the others
    """Print which levels of the offline guard can be had here, and why not those that cannot."""
    from runner.display.offline import doctor_json, doctor_lines
    from runner.display.summary import json_text

    found = api.doctor()
    refuses = sys.platform == "linux"
    if asked.flag("json"):
        stdout.write(json_text(doctor_json(found)))
    else:
        _write_all(stdout, doctor_lines(found, refuses=refuses))
    return EXIT_OFFLINE if refuses and not any(isinstance(one, dict) for one in found.values()) else EXIT_OK


def schema(asked: Invocation, stdout: Stream, stderr: Stream) -> int:  # noqa: ARG001 - the signature of the others
    """Print the JSON Schema."""
    from runner.spec.fields import schema_text

    stdout.write(schema_text())
    return EXIT_OK


def _options(asked: Invocation) -> Options:
    """Return what was asked for as the api takes it; an option that the verb has not keeps its default."""
    given = asked.given
    return api.Options(
        stages=asked.stages if asked.verb in {"run", "plan"} else (),
        jobs=getattr(given, "jobs", None),
        keep_going=asked.flag("keep_going"),
        force=asked.flag("force"),
        workspace=given.workspace,
        run_id=getattr(given, "run_id", None),
        params=read_params(getattr(given, "param", ()), asked.spec, given.workspace),
        wait=getattr(given, "wait", 0.0),
        durability=getattr(given, "durability", "full"),
        paranoid=asked.flag("paranoid"),
        offline=getattr(given, "offline", STRICT),
        final=asked.verb == "run",
        argv=tuple(word.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace") for word in asked.words),
    )


def _warn_of_key(stderr: Stream) -> None:
    path = os.environ.get(KEY_VARIABLE)
    if path and (fault := warning_about(path)):
        stderr.write(f"{warning_text(fault)}\n")


def _warner(asked: Invocation, stderr: Stream) -> Callable[[Fault], None]:
    """Return what tells of what stops nothing; nobody is told by `run -n -q`."""

    def warn(fault: Fault) -> None:
        if not asked.flag("quiet"):
            stderr.write(f"{warning_text(fault)}\n")

    return warn


def _log_command(asked: Invocation) -> str:
    place = ["--workspace", asked.given.workspace] if asked.given.workspace else []
    return printable(shlex.join(["offpipe", "log", *place, asked.spec]))


def _write_all(stdout: Stream, lines: Iterable[str]) -> None:
    """Write lines, many at a time, until there are no more or nobody reads on."""
    kept: list[str] = []
    length = 0
    for line in lines:
        kept.append(line)
        length += len(line)
        if length > _CHUNK:
            stdout.write("".join(kept))
            kept, length = [], 0
            if stdout.failure is not None:
                return
    stdout.write("".join(kept))


def _tell(faults: Sequence[Fault], stderr: Stream) -> int:
    stderr.write("".join(f"{fault_text(fault)}\n" for fault in faults))
    return EXIT_INPUT if faults else EXIT_OK
