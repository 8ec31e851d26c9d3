"""One function for each verb, of the same name: it calls the engine, prints the result and returns the exit code."""

from __future__ import annotations

import os
import shlex
import sys
from typing import TYPE_CHECKING

from runner import engine
from runner.display.summary import json_text
from runner.display.text import counted, fault_text, near_path, printable, printable_lines, warning_text
from runner.errors import EXIT_INPUT, EXIT_OFFLINE, EXIT_OK, EXIT_PENDING, Fault, SpecError, UsageError
from runner.record.files import open_regular
from runner.record.seal import warning_about
from runner.record.spelling import KEY_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from runner.arguments import Arguments
    from runner.display.streams import Stream
    from runner.engine import Options

_CHUNK = 1 << 16


def run(arguments: Arguments, stdout: Stream, stderr: Stream) -> int:
    """Run the pipeline; news on stderr, the summary on stdout."""
    from runner.display.reporter import Reporter, live_is_possible
    from runner.display.summary import run_json, summary_text  # before the run: nothing is loaded after it began

    if arguments.dry_run:
        return plan(arguments, stdout, stderr)
    if not arguments.quiet:
        _warn_of_key(stderr)
    live = not arguments.quiet and not arguments.json and live_is_possible(stderr)
    reporter = Reporter(stderr, _log_command(arguments), quiet=arguments.quiet, verbose=arguments.verbose, live=live)
    try:
        result = engine.run(arguments.spec, _options(arguments), reporter)
    finally:
        reporter.close()
    if arguments.json:
        stdout.write(run_json(result))
    elif not arguments.quiet:
        stdout.write(summary_text(result))
    return result.exit_code


def plan(arguments: Arguments, stdout: Stream, stderr: Stream) -> int:
    """Print the plan, then the faults of inputs."""
    from runner.display.plan_text import plan_json, plan_lines

    planned = engine.plan(arguments.spec, _options(arguments), _warner(arguments, stderr))
    if arguments.json:
        stdout.write(json_text(plan_json(planned)))
    elif not arguments.quiet:
        stdout.write("".join(plan_lines(planned, full=arguments.verbose)))
    return _print_faults(planned.plan.faults, stderr)


def status(arguments: Arguments, stdout: Stream, stderr: Stream) -> int:
    """Print what is pending, and what earlier runs left behind."""
    from runner.cli.render import status_json, status_lines

    found = engine.status(arguments.spec, _options(arguments), _warner(arguments, stderr))
    stdout.write(json_text(status_json(found)) if arguments.json else "".join(status_lines(found)))
    if not arguments.json:
        _print_faults(found.planned.plan.faults, stderr)
    return EXIT_PENDING if arguments.exit_code and found.is_pending else EXIT_OK


def explain(arguments: Arguments, stdout: Stream, stderr: Stream) -> int:
    """Print everything about one stage."""
    from runner.display.plan_text import explain_lines

    explained = engine.explain(arguments.spec, _options(arguments), arguments.stages[0], _warner(arguments, stderr))
    stdout.write("".join(explain_lines(explained)))
    return _print_faults(explained.planned.plan.faults, stderr)


def validate(arguments: Arguments, stdout: Stream, stderr: Stream) -> int:
    """Print that the spec is valid; the engine raises if it is not."""
    planned = engine.validate(arguments.spec, _options(arguments), _warner(arguments, stderr))
    stdout.write(f"{printable(arguments.spec)}: valid, {counted(len(planned.stages), 'stage')}\n")
    return EXIT_OK


def graph(arguments: Arguments, stdout: Stream, stderr: Stream) -> int:  # noqa: ARG001 - the signature of the others
    """Print the graph."""
    from runner.cli.render import GRAPHS
    from runner.spec.graph import build_graph
    from runner.spec.load import load_spec

    drawn = build_graph(load_spec(arguments.spec, workspace=arguments.workspace))
    stdout.write("".join(GRAPHS[arguments.format](drawn)))
    return EXIT_OK


def log(arguments: Arguments, stdout: Stream, stderr: Stream) -> int:
    """Print a stage's log as it is, escaped only on a terminal; without a stage the events of the run."""
    options = _options(arguments)
    if not arguments.stages:
        if arguments.attempt is not None:
            raise UsageError(Fault("", "--attempt: no stage given", "an attempt is one of a stage"))
        events = engine.read_events(arguments.spec, options, arguments.run)
        stdout.write("".join(f"{printable(event)}\n" for event in events))
        return EXIT_OK
    path = engine.find_log(arguments.spec, options, arguments.stages[0], arguments.run, arguments.attempt)
    escape = stdout.isatty()
    with open(open_regular(path), "rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            stderr.write(f"note: {near_path(path)} is empty\n")
        while (chunk := file.read(_CHUNK)) and stdout.failure is None:
            if escape:
                chunk += file.readline()
                stdout.write(printable_lines(chunk.decode("utf-8", "backslashreplace")))
            else:
                stdout.pass_through(chunk)
    return EXIT_OK


def verify(arguments: Arguments, stdout: Stream, stderr: Stream) -> int:
    """Print what is damaged and incomplete, then a summary with the head."""
    from runner.cli.render import verified_json, verified_lines
    from runner.engine.verify import verify as check

    _warn_of_key(stderr)
    found = check(
        arguments.spec, _options(arguments), arguments.run, outputs=arguments.outputs, expect_head=arguments.expect_head
    )
    stdout.write(json_text(verified_json(found)) if arguments.json else "".join(verified_lines(found)))
    _print_faults([fault] if (fault := found.fault()) else [], stderr)
    return found.exit_code


def clean(arguments: Arguments, stdout: Stream, stderr: Stream) -> int:  # noqa: ARG001 - the signature of the others
    """Remove what the stages made, and list it."""
    removed = engine.clean(arguments.spec, _options(arguments), dry_run=arguments.dry_run, state=arguments.state)
    verb = "would remove" if arguments.dry_run else "removed"
    stdout.write("".join(f"{verb} {printable(path)}\n" for path in removed) or "nothing to remove\n")
    return EXIT_OK


def doctor(arguments: Arguments, stdout: Stream, stderr: Stream) -> int:  # noqa: ARG001 - the signature of the others
    """Print which levels of the offline guard work on this machine, and why the others do not."""
    from runner.display.offline import doctor_json, doctor_lines
    from runner.sandbox.guard import survey

    found = survey()
    refuses = sys.platform == "linux"
    stdout.write(json_text(doctor_json(found)) if arguments.json else "".join(doctor_lines(found, refuses=refuses)))
    return EXIT_OFFLINE if refuses and not any(isinstance(level, dict) for level in found.values()) else EXIT_OK


def schema(arguments: Arguments, stdout: Stream, stderr: Stream) -> int:  # noqa: ARG001 - the signature of the others
    """Print the JSON Schema."""
    from runner.spec.fields import schema_text

    stdout.write(schema_text())
    return EXIT_OK


def read_params(texts: Sequence[str], spec_path: str, workspace: str | None) -> dict[str, dict[str, object]]:
    """Return the values of `--param STAGE.KEY=JSON` by stage and key; raises UsageError.

    Names and keys may hold dots: the longest stage name that fits counts.
    """
    if not texts:
        return {}
    from runner.spec.load import load_spec

    stages = [stage.name for stage in load_spec(spec_path, workspace=workspace).stages]
    params: dict[str, dict[str, object]] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        fitting = [stage for stage in stages if name.startswith(f"{stage}.") and name != f"{stage}."]
        stage = max(fitting, key=len, default=name.partition(".")[0])
        key = name[len(stage) + 1 :]
        if not (stage and key and equals):
            hint = "for example --param upper.simulateTransient=true"
            raise UsageError(Fault("--param", f'"{text}" is not STAGE.KEY=JSON', hint))
        if not fitting:
            from runner.spec.words import did_you_mean

            raise UsageError(Fault("--param", f'no stage named "{stage}"', did_you_mean(stage, stages)))
        params.setdefault(stage, {})[key] = _param_value(name, value)
    return params


def _param_value(name: str, text: str) -> object:
    """Return the JSON value of a parameter, read as strictly as a spec."""
    from runner.spec.source import parse_source

    try:
        value, findings = parse_source(f"--param {name}", text.encode("utf-8", "surrogateescape"))
    except SpecError as error:
        from json import dumps

        hint = f"text needs quotes of its own: --param '{name}={dumps(text)}'"
        raise UsageError(Fault(f"--param {name}", f'"{text}" is not JSON', hint)) from error
    if findings:
        raise UsageError(*(Fault(f"--param {name}", finding.what, finding.hint) for finding in findings))
    return value


def _options(arguments: Arguments) -> Options:
    """Return the arguments as the engine takes them."""
    return engine.Options(
        stages=arguments.stages if arguments.verb in {"run", "plan"} else (),
        jobs=arguments.jobs,
        keep_going=arguments.keep_going,
        force=arguments.force,
        workspace=arguments.workspace,
        run_id=arguments.run_id,
        params=read_params(arguments.param, arguments.spec, arguments.workspace),
        wait=arguments.wait,
        durability=arguments.durability,
        paranoid=arguments.paranoid,
        offline=arguments.offline,
        final=arguments.verb == "run",
        argv=tuple(
            word.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
            for word in ("offpipe", *arguments.words)
        ),
    )


def _warn_of_key(stderr: Stream) -> None:
    path = os.environ.get(KEY_VARIABLE)
    if path and (fault := warning_about(path)):
        stderr.write(f"{warning_text(fault)}\n")


def _warner(arguments: Arguments, stderr: Stream) -> Callable[[Fault], None]:
    """Return what prints the faults that stop nothing; `run -n -q` prints none."""

    def warn(fault: Fault) -> None:
        if not arguments.quiet:
            stderr.write(f"{warning_text(fault)}\n")

    return warn


def _log_command(arguments: Arguments) -> str:
    place = ["--workspace", arguments.workspace] if arguments.workspace else []
    return printable(shlex.join(["offpipe", "log", *place, arguments.spec]))


def _print_faults(faults: Sequence[Fault], stderr: Stream) -> int:
    stderr.write("".join(f"{fault_text(fault)}\n" for fault in faults))
    return EXIT_INPUT if faults else EXIT_OK
