"""The program of a Python stage that was forked: opened, compiled, run as `__main__`, and ended.

Loaded by the launcher program only, and what of it can be seen by a stage is what an interpreter would show.
"""

from __future__ import annotations

import _warnings
import builtins
import gc
import os
import stat
import sys
from _frozen_importlib_external import SourceFileLoader  # as importlib.machinery has it, which may be unloaded

from runner.sandbox.ending import BLOCK, EVERY, SET, mask

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import defaultdict
    from functools import partial
    from types import CodeType, TracebackType
    from typing import Any

    from runner.sandbox.ending import Ending
else:
    from _collections import defaultdict  # as collections and functools have them, which load more
    from _functools import partial

EXCEPTHOOK = sys.__excepthook__  # which raises nothing
WATCHING = (b"settrace", b"setprofile")  # what a program in which every call of ours would show cannot do without


LARGEST = 256 * 1024  # bytes of a program that the launcher compiles, which meanwhile looks at no time limit


class Script:
    """A program that an interpreter is about to run as `__main__`: one for all stages that run it, before the fork."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.streams: list[int] = []  # the standard ones, by identity: they are to end with their last user
        self.ending: Ending | None = None  # None also where the end has to come without one call of ours
        self.came_by: object = None  # the frames of the launcher: taking them apart would copy every page of them
        self.main: Any = None  # the module, and what it holds
        self.namespace: Any = None
        self._directory: str | None = None  # without links; None where the launcher could not look
        self._content: bytes | None = None
        self._code: CodeType | None = None
        self._is_new = True  # and so not compiled yet
        self._is_watching = False

    def look(self) -> None:
        """Runs in the launcher, before each fork: keep what the file is now.

        What is found there again is compiled here, once: a compilation touches many pages. Whatever is out of the
        ordinary is left to the child, which tells what is wrong with it.
        """
        content, self._directory = looked_at(self.path)
        if content != self._content:
            self._hold(content)
            self._code, self._is_new = None, True
        elif self._is_new and content is not None:
            self._is_new = False
            self._code = _compiled(content, self.path) if _is_simple(content) else None

    def begin(self) -> None:
        """Runs in the *child*: make the module. One frozen before the fork would keep cycles of the stage alive."""
        self.main = sys.modules["__main__"] = _new_main(self.path)
        self.namespace = self.main.__dict__

    def directory(self) -> str:
        """Return the one that the program is in, as the path without links has it."""
        return os.path.dirname(os.path.realpath(self.path)) if self._directory is None else self._directory

    def _hold(self, content: bytes | None) -> None:
        self._content = content
        self._is_watching = content is not None and any(word in content for word in WATCHING)

    def as_item(self) -> Any:  # noqa: ANN401 - a mapping
        """Return what runs the program when it is asked for a key, which it has not, and gives None then.

        Raises what `compiled` does.
        """
        return defaultdict(partial(exec, self.compiled(), self.namespace))

    def compiled(self) -> CodeType:
        """Return the program's code. SystemExit, with everything told, when there is none."""
        try:
            if self._content is None:
                self._hold(_read(self.path))
            if self._is_watching:
                self.ending = None
                gc.unfreeze()  # see thaw
            return self._code or compile(self._content or b"", self.path, "exec", dont_inherit=True)
        except OSError as error:
            sys.stderr.write(
                f"{sys.orig_argv[0]}: can't open file {self.path!r}: [Errno {error.errno}] {error.strerror}\n"
            )
            raise SystemExit(2) from None
        except BaseException as error:  # noqa: BLE001 - whatever the compiler says
            sys.excepthook(type(error), error.with_traceback(None), None)
            raise SystemExit(1) from None

    def finish(self, ended: BaseException | None, *, exits: bool) -> BaseException | None:
        """Do what comes behind the program's last instruction, and return what to raise, so that the interpreter ends.

        `ended` is how the program did: by returning (None), by SystemExit (`exits` too), or by an error. Ends the
        process where that can be done at once. Raises what a handler of the program's does.
        """
        try:
            if exits:
                if self.ending is not None:
                    self.ending.leave(ended, self.main, self.streams)
                return ended
            assert ended is not None
            return self._disowned(ended)  # not by a name here: its traceback has this frame, and it would never end
        finally:
            self.thaw()

    def thaw(self) -> None:
        """Let the interpreter's last collection see all.

        What a class of the library holds, since the program has put something of its own on it, would never end else,
        and a file not be written.
        """
        self.main = self.namespace = None
        gc.unfreeze()

    def _disowned(self, error: BaseException) -> BaseException:
        """Tell an error as PyErr_PrintEx does (Python/pythonrun.c), without the frame below the program.

        Return it, to be raised on, which is silent then, for what else an interpreter does about it; or the SystemExit
        that the program's own hook has raised.
        """
        for stream in (sys.stderr, sys.stdout):
            try:
                stream.flush()
            except Exception:  # noqa: BLE001 - as flush_io does
                continue
        own, hook = error.__traceback__ and error.__traceback__.tb_next, getattr(sys, "excepthook", _missing)
        error.__traceback__ = own
        sys.last_type, sys.last_value, sys.last_traceback = type(error), error, own
        if sys.version_info >= (3, 12):
            sys.last_exc = error
        is_its_own = hook is not EXCEPTHOOK and hook is not _missing
        try:
            hook(type(error), error, own)
        except SystemExit as replaced:
            if is_its_own:  # else a handler did, of a signal that came meanwhile
                return replaced
        except BaseException as failed:  # noqa: BLE001 - whatever the program's hook does
            if is_its_own:
                _tell_of_hook(failed, error)
        _silence(hook)
        return error


def _silence(hook: Any) -> None:  # noqa: ANN401 - whatever the program has put there
    """Have the interpreter tell nothing of what is told, and put `hook` back then.

    A handler that raised as it calls the hook would be taken for that, so it comes before, or after.
    """
    blocked: set[int] | None = None

    def silent(_kind: object, _value: object, _trace: object) -> None:
        if hook is _missing:
            del sys.excepthook
        else:
            sys.excepthook = hook
        try:
            if blocked is not None:
                mask(SET, blocked)
        except BaseException:  # noqa: BLE001 - what a handler raises now
            pass

    try:
        blocked = mask(BLOCK, ())
        mask(BLOCK, EVERY)
    except BaseException:  # noqa: BLE001 - what it raises
        pass
    sys.excepthook = silent


def _tell_of_hook(failed: BaseException, error: BaseException) -> None:
    _write("Error in sys.excepthook:\n")
    trace = failed.__traceback__ and failed.__traceback__.tb_next
    failed.__context__ = None  # it is told below
    sys.__excepthook__(type(failed), failed.with_traceback(trace), trace)
    _write("\nOriginal exception was:\n")
    sys.__excepthook__(type(error), error, error.__traceback__)


def _missing(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What an interpreter does whose program has deleted the hook."""
    _write("sys.excepthook is missing\n")
    sys.__excepthook__(kind, error, trace)


def _write(text: str) -> None:
    """Write to the program's stderr, or where that cannot be to the process's, as PySys_WriteStderr does."""
    try:
        sys.stderr.write(text)
    except Exception:  # noqa: BLE001 - whatever the program has put there
        os.write(2, text.encode())


def looked_at(path: str) -> tuple[bytes | None, str | None]:
    """Return what a regular file holds, and its directory without links, which the kernel knows of an open file.

    None for what is not known without waiting, or at all.
    """
    content = place = None
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK) if path.startswith("/") else -1
    except OSError:
        return None, None
    if file < 0:
        return None, None
    try:
        status = os.fstat(file)
        if stat.S_ISREG(status.st_mode) and status.st_size <= LARGEST:
            found = os.read(file, status.st_size + 1)
            content = found if len(found) == status.st_size else None
            place = os.readlink(f"/proc/self/fd/{file}")
    except OSError:
        place = None
    os.close(file)
    if place is None or not place.startswith("/") or place.endswith(" (deleted)"):
        return content, None
    return content, os.path.dirname(place)


def _read(path: str) -> bytes:
    parts = []
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    while part := os.read(file, 1 << 20):
        parts.append(part)
    os.close(file)
    return b"".join(parts)


def _is_simple(content: bytes) -> bool:
    """Whether compiling it loads nothing: no codec, and no names of characters, which a stage is to find not loaded."""
    first = content.split(b"\n", 2)[:2]
    return content.isascii() and b"\\N" not in content and not any(b"coding" in line for line in first)


def _compiled(content: bytes, path: str) -> CodeType | None:
    """Return the code of a program about which there is nothing to tell, not even a warning; else None."""
    filters = getattr(sys.modules.get("warnings"), "filters", _warnings.filters)
    filters.insert(0, ("error", None, Warning, None, 0))
    try:
        return compile(content, path, "exec", dont_inherit=True)
    except BaseException:  # noqa: BLE001 - the stage finds out the same, and tells it
        return None
    finally:
        del filters[0]


def _new_main(path: str) -> Any:  # noqa: ANN401 - a module, whose names are the program's
    main = type(sys)("__main__")
    main.__loader__ = SourceFileLoader("__main__", path)
    if sys.version_info < (3, 14):
        main.__annotations__ = {}
    main.__dict__.update(__builtins__=builtins, __file__=path, __cached__=None)
    return main
