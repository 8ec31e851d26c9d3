"""The edge of the program: calls the method of a verb, and turns every error into a message and an exit code."""

from __future__ import annotations

import errno
import os
import sys

from runner.cli.parser import HelpRequested, parse
from runner.display.streams import STDERR, STDOUT, Stream, hold_descriptors
from runner.errors import EXIT_INTERNAL, EXIT_OK, EXIT_STATE, Fault, OffpipeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from runner.cli.parser import Arguments

_INTERRUPTED = 130
_NO_ROOM = "failed to map segment from shared object"  # the wording of the system's loader
_REPORT = "this is a bug: please report it to the project's issue tracker, with the output of -v"


def main(argv: Sequence[str] | None = None, arguments: Arguments | None = None) -> int:
    """Carry out the command line and return the exit code.

    `argv` is the command line without the program's name, `arguments` the parsed one if there is one already.
    """
    hold_descriptors()
    words = list(sys.argv[1:] if argv is None else argv)
    stdout, stderr = Stream(STDOUT), Stream(STDERR)
    try:
        arguments = arguments or parse(words)
        from runner.cli.commands import Commands  # here, because `--version` and `--help` need no verbs

        stderr.defers = stdout.defers = arguments.verb == "run"  # no reader may stop a run
        code: int = getattr(Commands(arguments, stdout, stderr), arguments.verb)()
    except HelpRequested as requested:
        code = EXIT_OK
        stdout.write(str(requested))
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the edge: nothing below may end in a traceback
        given = arguments.given if arguments else {"json": True} if "--json" in words else {}
        return report(error, stdout if "json" in given else None, stderr, trace="verbose" in given)
    finally:
        stderr.close()
        stdout.close()
    if arguments and arguments.verb == "run":
        return code  # whether its results could be printed does not matter
    return _check_results(stdout, stderr, code)


def report(
    error: BaseException, stdout: Stream | None = None, stderr: Stream | None = None, *, trace: bool = False
) -> int:
    """Write an error to stderr, and as JSON to `stdout` if given. Return its exit code."""
    from runner.display.text import faults_text

    stderr = stderr or Stream(STDERR)
    code, faults = _judge(error)
    stderr.write(faults_text(faults))
    if code == EXIT_INTERNAL and trace:
        import traceback

        stderr.write("".join(traceback.format_exception(error)))
    if stdout is not None:
        from runner.display.summary import error_json

        stdout.write(error_json(code, faults))
    return code


def _check_results(stdout: Stream, stderr: Stream, code: int) -> int:
    """Return `code`, or EXIT_STATE if the results could not be written. A reader that closed its pipe is no error."""
    if stdout.failure in {None, errno.EPIPE}:
        return code
    reason = _errno_text(OSError(stdout.failure, None))
    stderr.write(f"{Fault('standard output', f'cannot write the results: {reason}')}\n")
    return EXIT_STATE


def _judge(error: BaseException) -> tuple[int, tuple[Fault, ...]]:
    """Return the exit code of an error, and its faults."""
    if isinstance(error, OffpipeError):
        return error.exit_code, error.faults
    if isinstance(error, KeyboardInterrupt):
        return _INTERRUPTED, (Fault("", "interrupted"),)
    if isinstance(error, OSError):
        if isinstance(error, FileNotFoundError) and not error.filename:  # from os.getcwd, which names no path
            return EXIT_STATE, (Fault("", "the working directory no longer exists", "cd to a directory that exists"),)
        return EXIT_STATE, (Fault(str(error.filename or ""), _errno_text(error)),)
    if isinstance(error, MemoryError):
        return EXIT_STATE, (Fault("", "out of memory"),)
    if isinstance(error, ImportError) and _NO_ROOM in str(error):
        return EXIT_STATE, (Fault("", str(error), "memory ran out, or the file system is mounted noexec"),)
    if isinstance(error, RuntimeError) and str(error) == "can't start new thread":  # Python's words for EAGAIN
        return EXIT_STATE, (Fault("", f"cannot start a thread: {_errno_text(OSError(errno.EAGAIN, None))}"),)
    text = f"{type(error).__name__}: {error}".removesuffix(": ")
    return EXIT_INTERNAL, (Fault("", f"internal error: {text}", _REPORT),)


def _errno_text(error: OSError) -> str:
    if error.errno is None:
        return str(error)
    return f"{errno.errorcode.get(error.errno, 'error')} ({os.strerror(error.errno)})"
