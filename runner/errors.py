"""Errors as data: where, what, a hint, and the exit code of the run.

A leaf that imports nothing, because the SDK loads it in every stage.
"""

from __future__ import annotations

EXIT_OK = 0
EXIT_STAGE_FAILED = 1
EXIT_INVALID = 2  # the command line, or the spec
EXIT_PENDING = 3  # of `status --exit-code`, `verify` and `export`
EXIT_OFFLINE = 4
EXIT_INPUT = 5
EXIT_DAMAGED = 6  # of `verify`, `prune` and `export`
EXIT_LOCKED = 9
EXIT_INTERNAL = 70
EXIT_STATE = 74
EXIT_RETRYABLE = 75  # a stage failed in a way that its policy retries: see `failure` in executor/retry.py
EXIT_INTERRUPTED = 130  # by INT, where nothing catches it
WORST_FIRST = (  # of several stages' codes, the first becomes that of the run
    EXIT_INTERNAL,
    EXIT_STATE,
    EXIT_OFFLINE,
    EXIT_STAGE_FAILED,
    EXIT_INVALID,
    EXIT_LOCKED,
    EXIT_RETRYABLE,
    EXIT_INPUT,
)

_NO_ROOM = "failed to map segment from shared object"  # the wording of the system's loader
_REPORT = "this is a bug: please report it to the project's issue tracker, with the output of -v"

SYSTEM_ERRORS = frozenset({"EAGAIN", "EIO", "EMFILE", "ENFILE", "ENOMEM"})  # the system's state, not the file's


class Fault:
    """One fault: `where` (a file and JSON pointer, or a path), `what` is wrong, and a `hint` (may be empty)."""

    def __init__(self, where: str, what: str, hint: str = "") -> None:
        self.where = where
        self.what = what
        self.hint = hint

    def __repr__(self) -> str:
        return f"Fault({self.where!r}, {self.what!r}, {self.hint!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Fault) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((self.where, self.what, self.hint))

    @property
    def line(self) -> str:
        """The place and what is wrong."""
        return f"{self.where}: {self.what}" if self.where else self.what

    def __str__(self) -> str:
        text = f"error: {self.line}"
        return f"{text}\nhint: {self.hint}" if self.hint else text


class OffpipeError(Exception):
    """The base of all errors that a user sees; `str()` is the text to print, a block for each fault."""

    exit_code = EXIT_INTERNAL

    def __init__(self, *faults: Fault) -> None:
        super().__init__(*faults)
        self.faults = faults

    def __str__(self) -> str:
        return "\n".join(str(fault) for fault in self.faults)


def note_run(error: BaseException, pipeline: str, run: str) -> None:
    """Note in an error which run it ended, for `run_of`. `run` is "" while the run has no name."""
    vars(error).update(pipeline=pipeline, run=run)


def run_of(error: BaseException) -> dict[str, str]:
    """Return the `pipeline` and the `run` that an error ended, without those that are not known."""
    return {name: vars(error)[name] for name in ("pipeline", "run") if vars(error).get(name)}


class UsageError(OffpipeError):
    """The command line asks for something impossible."""

    exit_code = EXIT_INVALID


class NoRecordError(UsageError):
    """There is no record: nothing has run, or the directory is not a state directory."""


class SpecError(OffpipeError):
    """The spec is not valid. `faults` has every fault, `spec` is as much of it as could be built."""

    exit_code = EXIT_INVALID
    spec: object = None


class OfflineError(OffpipeError):
    """The offline guard refuses a stage, or Python code cannot be parsed, so that its imports are not known."""

    exit_code = EXIT_OFFLINE


class InputError(OffpipeError):
    """A declared input is missing, or a stage could not read it."""

    exit_code = EXIT_INPUT


class OutputError(OffpipeError):
    """An output of a stage cannot be published."""

    exit_code = EXIT_STAGE_FAILED


class LockHeldError(OffpipeError):
    """Another run holds the lock."""

    exit_code = EXIT_LOCKED


class DamagedRecordError(OffpipeError):
    """The record is damaged, and must stay as it is."""

    exit_code = EXIT_DAMAGED


class PendingError(OffpipeError):
    """The record is not complete yet: a run is at work, or was killed."""

    exit_code = EXIT_PENDING


class LauncherError(OffpipeError):
    """The process that starts stages has ended, or does not respond."""


class StateError(OffpipeError):
    """A file that offpipe keeps on disk cannot be read or written."""

    exit_code = EXIT_STATE

    @classmethod
    def from_os(cls, error: OSError, path: str, verb: str, hint: str = "") -> StateError:
        """Return an OSError as `PATH: cannot VERB: ENOSPC (No space left on device)`."""
        from errno import errorcode

        name = errorcode.get(error.errno or 0, "error")
        return cls(Fault(path, f"cannot {verb}: {name} ({error.strerror or error})", hint))


class NewerReleaseError(StateError):
    """A newer release wrote a file that offpipe keeps on disk: nothing may be changed there."""


def raise_if_system_error(error: Exception, path: str) -> None:
    """Raise StateError if `path` could not be read because of the system (see `SYSTEM_ERRORS`); else return.

    Such an error says nothing about the file: it is neither missing nor changed.
    """
    from errno import errorcode

    if isinstance(error, OSError) and errorcode.get(error.errno or 0) in SYSTEM_ERRORS:
        raise StateError.from_os(error, path, "read") from error


class InterruptedRunError(OffpipeError):
    """A signal stopped the run; `signal_number` is 1 (HUP), 2 (INT) or 15 (TERM)."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(Fault("", f"interrupted by signal {signal_number}"))
        self.args = (signal_number,)  # for pickle
        self.signal_number = signal_number
        self.exit_code = 128 + signal_number


def judged(error: BaseException) -> tuple[int, tuple[Fault, ...]]:
    """Return the exit code of any error that ends an invocation, and its faults."""
    if isinstance(error, OffpipeError):
        return error.exit_code, error.faults
    if isinstance(error, KeyboardInterrupt):
        return EXIT_INTERRUPTED, (Fault("", "interrupted"),)
    if isinstance(error, OSError):
        if isinstance(error, FileNotFoundError) and not error.filename:  # from os.getcwd, which names no path
            return EXIT_STATE, (Fault("", "the working directory no longer exists", "cd to a directory that exists"),)
        return EXIT_STATE, StateError.from_os(error, str(error.filename or ""), "go on").faults
    if isinstance(error, MemoryError):
        return EXIT_STATE, (Fault("", "out of memory"),)
    if isinstance(error, ImportError) and _NO_ROOM in str(error):
        return EXIT_STATE, (Fault("", str(error), "memory ran out, or the file system is mounted noexec"),)
    if isinstance(error, RuntimeError) and str(error) == "can't start new thread":  # Python's words for EAGAIN
        import errno
        import os

        refused = OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return EXIT_STATE, StateError.from_os(refused, "", "start a thread").faults
    text = f"{type(error).__name__}: {error}".removesuffix(": ")
    return EXIT_INTERNAL, (Fault("", f"internal error: {text}", _REPORT),)
