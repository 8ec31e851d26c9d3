"""Everything that can go wrong, as data: what, where, a hint, and the exit code it ends a run with.

A leaf: imports nothing, because the SDK loads it in every stage.
"""

from __future__ import annotations

EXIT_OK = 0
EXIT_STAGE_FAILED = 1
EXIT_INVALID = 2
EXIT_PENDING = 3
EXIT_OFFLINE = 4
EXIT_INPUT = 5
EXIT_DAMAGED = 6
EXIT_LOCKED = 9
EXIT_INTERNAL = 70
EXIT_STATE = 74
EXIT_RETRYABLE = 75

SYSTEM_ERRORS = frozenset(
    {"EAGAIN", "EIO", "EMFILE", "ENFILE", "ENOMEM"}
)  # errnos that say something about the system, not about the file


class Fault:
    """One thing found wrong: `where` (a file and JSON pointer, or a path), `what`, and a `hint` (may be empty)."""

    __slots__ = ("hint", "what", "where")

    def __init__(self, where: str, what: str, hint: str = "") -> None:
        self.where = where
        self.what = what
        self.hint = hint

    def __repr__(self) -> str:
        return f"Fault({self.where!r}, {self.what!r}, {self.hint!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Fault) and self._as_tuple() == other._as_tuple()

    def __hash__(self) -> int:
        return hash(self._as_tuple())

    def __str__(self) -> str:
        text = f"error: {self.where}: {self.what}" if self.where else f"error: {self.what}"
        return f"{text}\nhint: {self.hint}" if self.hint else text

    def _as_tuple(self) -> tuple[str, str, str]:
        return (self.where, self.what, self.hint)


class OffpipeError(Exception):
    """The base of all errors meant for a user; `str()` is the text to print, one block a fault."""

    exit_code = EXIT_INTERNAL

    def __init__(self, *faults: Fault) -> None:
        super().__init__(*faults)
        self.faults = faults

    def __str__(self) -> str:
        return "\n".join(str(fault) for fault in self.faults)


class UsageError(OffpipeError):
    """The command line asks for something that cannot be."""

    exit_code = EXIT_INVALID


class SpecError(OffpipeError):
    """The spec is not valid; carries every fault that was found."""

    exit_code = EXIT_INVALID


class OfflineError(OffpipeError):
    """The offline guard refuses, or Python code cannot be read well enough to know what it imports."""

    exit_code = EXIT_OFFLINE


class InputError(OffpipeError):
    """A declared input is missing, or is nothing that a stage could read."""

    exit_code = EXIT_INPUT


class OutputError(OffpipeError):
    """What a stage made is nothing that could be published."""

    exit_code = EXIT_STAGE_FAILED


class LockHeldError(OffpipeError):
    """Another run holds the lock."""

    exit_code = EXIT_LOCKED


class LauncherError(OffpipeError):
    """The process that starts stages has ended, or neither reads nor answers any more."""

    exit_code = EXIT_INTERNAL


class StateError(OffpipeError):
    """Something that offpipe keeps on disk could not be read or written."""

    exit_code = EXIT_STATE

    @classmethod
    def from_os(cls, error: OSError, path: str | bytes, verb: str, hint: str = "") -> StateError:
        """Word an OSError as `PATH: cannot VERB: ENOSPC (No space left on device)`."""
        from errno import errorcode

        name = errorcode.get(error.errno or 0, "error")
        shown = path if isinstance(path, str) else path.decode("utf-8", "backslashreplace")
        return cls(Fault(shown, f"cannot {verb}: {name} ({error.strerror or error})", hint))


def raise_if_system_error(error: Exception, path: str) -> None:
    """Raise StateError when the system refused to read `path`, as `SYSTEM_ERRORS` has it; else return.

    What could not be read then is neither missing nor other than before, so nothing may be concluded from it.
    """
    from errno import errorcode

    if isinstance(error, OSError) and errorcode.get(error.errno or 0) in SYSTEM_ERRORS:
        raise StateError.from_os(error, path, "read") from error


class InterruptedRunError(OffpipeError):
    """A signal stopped the run; `signal_number` is 1 (HUP), 2 (INT) or 15 (TERM)."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(Fault("", f"interrupted by signal {signal_number}"))
        self.signal_number = signal_number
        self.exit_code = 128 + signal_number

    def __reduce__(self) -> tuple[type[InterruptedRunError], tuple[int]]:
        return (InterruptedRunError, (self.signal_number,))
