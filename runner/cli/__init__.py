"""The verbs. `main` is the console script `offpipe` and `python -m runner`; every error ends in it.

What a verb needs is imported once it is known which: `--version` and `--help` load nothing else.
"""

from __future__ import annotations

import errno
import sys

from runner.display.streams import STDERR, STDOUT, Stream, flushed, hold_descriptors
from runner.errors import EXIT_INTERNAL, EXIT_OK, EXIT_STATE, Fault, OffpipeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from runner.cli.invocation import Invocation

__all__ = ["flushed", "main", "report"]

_INTERRUPTED = 130
_NO_ROOM = "failed to map segment from shared object"  # as the loader of the system says it
_REPORT = "this is a bug: please report it to the project's issue tracker, with what -v prints"


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line asks for and return the exit code; `argv` is without the program's name."""
    hold_descriptors()
    words = list(sys.argv[1:] if argv is None else argv)
    stdout, stderr = Stream(STDOUT), Stream(STDERR)
    if words[:1] in (["-h"], ["--help"], ["--version"]):
        stdout.write(_about(words[0]))
        return _check_results(stdout, stderr, EXIT_OK)
    return _perform(words, stdout, stderr)


def _about(word: str) -> str:
    if word == "--version":
        from runner import __version__

        return f"offpipe {__version__}\n"
    from runner.cli.help import top_help

    return top_help()


def report(error: OffpipeError) -> int:
    """Say what went wrong before a verb was known, and return the exit code."""
    return _report(error, None, Stream(STDERR), trace=False)


def _perform(words: list[str], stdout: Stream, stderr: Stream) -> int:
    """Read the words and do what they ask for; whatever goes wrong ends here."""
    from runner.cli.invocation import plain_invocation

    invocation = None
    try:
        invocation = plain_invocation(words) or _parsed(words, stdout)
        if invocation is None:
            return _check_results(stdout, stderr, EXIT_OK)
        code = _done(invocation, stdout, stderr)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the edge: nothing below may end in a traceback
        as_json = "--json" in words if invocation is None else invocation.flag("json")
        return _report(
            error, stdout if as_json else None, stderr, trace=invocation is not None and invocation.flag("verbose")
        )
    if invocation.verb == "run":
        return code  # results that nobody could read change nothing about what was done
    return _check_results(stdout, stderr, code)


def _parsed(words: list[str], stdout: Stream) -> Invocation | None:
    """Return what the words ask for; None when they are answered already, by help."""
    from runner.cli.parser import HelpShown, parse

    try:
        return parse(words, stdout)
    except HelpShown:
        return None


def _done(invocation: Invocation, stdout: Stream, stderr: Stream) -> int:
    from runner.cli import verbs
    from runner.cli.table import VERBS

    perform = getattr(verbs, VERBS[invocation.verb].function)
    code: int = perform(invocation, stdout, stderr)
    return code


def _check_results(stdout: Stream, stderr: Stream, code: int) -> int:
    """Return the exit code of a verb whose results are all it was asked for; a reader that has enough is no error."""
    if stdout.failure in {None, errno.EPIPE}:
        return code
    reason = OSError(stdout.failure, None)
    stderr.write(f"{Fault('standard output', f'cannot write the results: {_errno_text(reason)}')}\n")
    return EXIT_STATE


def _report(error: BaseException, stdout: Stream | None, stderr: Stream, *, trace: bool) -> int:
    """Say what went wrong on stderr, and as JSON on stdout if given; return the exit code."""
    from runner.display.words import fault_text

    code, faults = _judge(error)
    stderr.write("".join(f"{fault_text(fault)}\n" for fault in faults))
    if code == EXIT_INTERNAL and trace:
        import traceback

        stderr.write("".join(traceback.format_exception(error)))
    if stdout is not None:
        from runner.display.summary import error_json

        stdout.write(error_json(code, faults))
    return code


def _judge(error: BaseException) -> tuple[int, tuple[Fault, ...]]:
    if isinstance(error, OffpipeError):
        return error.exit_code, error.faults
    if isinstance(error, KeyboardInterrupt):
        return _INTERRUPTED, (Fault("", "interrupted"),)
    if isinstance(error, OSError):
        return EXIT_STATE, (Fault(str(error.filename or ""), _errno_text(error)),)
    if isinstance(error, MemoryError):
        return EXIT_STATE, (Fault("", "out of memory"),)
    if isinstance(error, ImportError) and _NO_ROOM in str(error):
        return EXIT_STATE, (Fault("", str(error), "memory ran out, or the file system is mounted noexec"),)
    if isinstance(error, RuntimeError) and str(error) == "can't start new thread":  # how Python words this EAGAIN
        return EXIT_STATE, (Fault("", f"cannot start a thread: {_errno_text(OSError(errno.EAGAIN, None))}"),)
    text = f"{type(error).__name__}: {error}".removesuffix(": ")
    return EXIT_INTERNAL, (Fault("", f"internal error: {text}", _REPORT),)


def _errno_text(error: OSError) -> str:
    import os

    if error.errno is None:
        return str(error)
    return f"{errno.errorcode.get(error.errno, 'error')} ({os.strerror(error.errno)})"
