"""The program of a Python stage that was forked: opened, compiled, run as `__main__`, and ended.

Loaded by the launcher program only, and what of it can be seen by a stage is what an interpreter would show.
"""

from __future__ import annotations

import builtins
import os
import sys
from _frozen_importlib_external import SourceFileLoader  # as importlib.machinery has it, which may be unloaded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType
    from typing import Any

    from runner.contain.ending import Ending

WATCHING = (b"settrace", b"setprofile")  # what a program in which every call of ours would show cannot do without


class Script:
    """A program that the interpreter is about to run as `__main__`."""

    def __init__(self, path: str) -> None:
        """Opens the file; what is wrong with it is told when the program comes to be compiled."""
        self.path = path
        self.streams: list[int] = []  # the standard ones, by identity: they are to end with their last user
        self.ending: Ending | None = None  # None also where the end has to come without one call of ours
        self.came_by: object = None  # the frames of the launcher: taking them apart would copy every page of them
        self.main = _new_main(path)
        self.namespace = self.main.__dict__
        self._error: OSError | None = None
        try:
            self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            self._file, self._error = -1, error

    def real_path(self) -> str:
        """Return the path without links, which the kernel knows of an open file at once."""
        try:
            path = os.readlink(f"/proc/self/fd/{self._file}")
        except OSError:
            path = ""
        return path if path.startswith("/") and not path.endswith(" (deleted)") else os.path.realpath(self.path)

    def compiled(self) -> CodeType:
        """Return the program's code. SystemExit, with everything told, when there is none."""
        try:
            content = self._content()
            if any(word in content for word in WATCHING):
                self.ending = None
            return compile(content, self.path, "exec", dont_inherit=True)
        except OSError as error:
            sys.stderr.write(
                f"{sys.orig_argv[0]}: can't open file {self.path!r}: [Errno {error.errno}] {error.strerror}\n"
            )
            raise SystemExit(2) from None
        except BaseException as error:  # noqa: BLE001 - whatever the compiler says
            sys.excepthook(type(error), error.with_traceback(None), None)
            raise SystemExit(1) from None

    def _content(self) -> bytes:
        if self._error is not None:
            raise self._error
        parts = []
        while part := os.read(self._file, 1 << 20):
            parts.append(part)
        os.close(self._file)
        return b"".join(parts)

    def leave(self, code: object) -> None:
        """End the process as one that exits with `code`, where that can be done at once; else return."""
        assert self.ending is not None
        self.ending.leave(code, self.streams)
        self.main = self.namespace = None

    def disown(self, error: BaseException) -> None:
        """Tell an error as PyErr_PrintEx does (Python/pythonrun.c), without the frame below the program.

        To be raised on, which is silent then, for what else an interpreter does about it. Raises SystemExit where the
        program's own hook does.
        """
        for stream in (sys.stderr, sys.stdout):
            try:
                stream.flush()
            except Exception:  # noqa: BLE001 - as flush_io does
                continue
        own, hook = error.__traceback__ and error.__traceback__.tb_next, sys.excepthook
        error.__traceback__ = own
        sys.last_type, sys.last_value, sys.last_traceback = type(error), error, own
        if sys.version_info >= (3, 12):
            sys.last_exc = error
        try:
            hook(type(error), error, own)
        except SystemExit:
            raise
        except BaseException as failed:  # noqa: BLE001 - whatever the program's hook does
            sys.stderr.write("Error in sys.excepthook:\n")
            trace = failed.__traceback__ and failed.__traceback__.tb_next
            failed.__context__ = None  # it is told below
            sys.__excepthook__(type(failed), failed.with_traceback(trace), trace)
            sys.stderr.write("\nOriginal exception was:\n")
            sys.__excepthook__(type(error), error, own)

        def silent(_kind: object, _value: object, _trace: object) -> None:
            sys.excepthook = hook

        sys.excepthook = silent


def _new_main(path: str) -> Any:  # noqa: ANN401 - a module, whose names are the program's
    main = type(sys)("__main__")
    main.__loader__ = SourceFileLoader("__main__", path)
    if sys.version_info < (3, 14):
        main.__annotations__ = {}
    main.__dict__.update(__builtins__=builtins, __file__=path, __cached__=None)
    sys.modules["__main__"] = main
    return main
