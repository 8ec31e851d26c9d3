"""The edge of the program: calls the method of a verb, and turns every error into a message and an exit code."""

from __future__ import annotations

import errno
import os
import sys

from runner.cli.parser import HELP, ON_FAILURE, Arguments, read
from runner.display.streams import STDERR, STDOUT, Stream, hold_descriptors
from runner.errors import EXIT_INTERNAL, EXIT_OK, StateError, UsageError, judged, run_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def main(argv: Sequence[str] | None = None, arguments: Arguments | None = None) -> int:
    """Carry out the command line and return the exit code.

    `argv` is the command line without the program's name. `arguments` is the same, parsed, if it has been parsed.
    """
    hold_descriptors()
    arguments = arguments or read(sys.argv[1:] if argv is None else argv)
    stdout, stderr = Stream(STDOUT), Stream(STDERR)
    try:
        code, summary = _perform(arguments, stdout, stderr)
        if code and (program := arguments.failure_program):
            from runner.display.text import fault_text
            from runner.sandbox.programs import notify  # already loaded if a stage was started

            stderr.settle()
            stdout.settle()
            env = {name: value for name, value in os.environ.items() if name != ON_FAILURE}
            if fault := notify(program, summary().encode(), env):
                stderr.write(f"{fault_text(fault, 'warning')}\n")
    finally:
        stderr.close()
        stdout.close()
    return code


def _perform(arguments: Arguments, stdout: Stream, stderr: Stream) -> tuple[int, Callable[[], str]]:
    """Carry out the command line; return the exit code, and a function for the result as `--json` prints it."""
    code, commands = EXIT_OK, None
    try:
        if arguments.failure:
            raise arguments.failure
        if arguments.verb == HELP:
            from runner.cli.help import help_text

            stdout.write(help_text(*arguments.stages))
        else:
            from runner.cli.commands import Commands  # here, because `--version` and `--help` need no verbs

            stderr.defers = stdout.defers = arguments.verb == "run"  # no reader may stop a run
            commands = Commands(arguments, stdout, stderr)
            code = getattr(commands, arguments.verb)()
        if stdout.failure and not stdout.defers and stdout.failure != errno.EPIPE:  # a reader may close its pipe
            refused = OSError(stdout.failure, os.strerror(stdout.failure))
            raise StateError.from_os(refused, "standard output", "write the results")
        return code, commands.summary if commands else str
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the edge: nothing below may end in a traceback
        subject = commands.subject if commands else arguments.spec
        is_parsed = not isinstance(arguments.failure, UsageError)
        is_dated = "quiet" in arguments.given or (is_parsed and not stderr.isatty())
        return _report(error, arguments, subject if is_dated else "", stdout, stderr)


def _report(
    error: BaseException, arguments: Arguments, subject: str, stdout: Stream, stderr: Stream
) -> tuple[int, Callable[[], str]]:
    """Write an error to stderr, with `--json` also to stdout. Return its exit code, and a function for the JSON.

    With a `subject`, the error of a run begins with a line that says what ended, when and where.
    """
    from runner.display.text import ending_text, faults_text, next_text

    code, faults = judged(error)
    is_run = arguments.verb == "run"
    if is_run and subject:
        stderr.write(ending_text(subject, code))
    stderr.write(faults_text(faults))
    if code == EXIT_INTERNAL and "verbose" in arguments.given:
        import traceback

        stderr.write("".join(traceback.format_exception(error)))
    if is_run and "quiet" in arguments.given:
        stderr.write(next_text(arguments.words))

    def as_json() -> str:
        from runner.display.summary import error_json

        return error_json(code, faults, run_of(error))

    if "json" in arguments.given:
        stdout.write(as_json())
    return code, as_json
