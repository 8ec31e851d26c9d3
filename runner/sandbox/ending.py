"""The end of a Python stage that was forked: at once, where taking its interpreter apart would do nothing that shows.

That would take longer than many a stage: it touches every object that came from the launcher, and so copies every page.
What of it shows concerns what the program made: a `__del__`, the rest of a generator, the callback of a weak reference,
a function registered for the end, a thread, a file that is still to be written and closed. Where there is one of
these, or anything not known to be none, the interpreter ends as all do.

Loaded by the launcher program only.
"""

from __future__ import annotations

import _io
import _thread
import _warnings
import atexit
import gc
import os
import sys
from _frozen_importlib import FrozenImporter
from _frozen_importlib_external import NamespaceLoader, SourceFileLoader, SourcelessFileLoader
from _weakref import ReferenceType
from builtins import (
    BaseException, SystemExit, TypeError, all, any, bool, filter, getattr, id, int, map, range, set, type, vars,
)  # fmt: skip
from os import _exit

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Sequence
    from typing import Any
else:
    import _signal as signal

EVERY = signal.valid_signals()
BLOCKED = EVERY - {signal.SIGKILL, signal.SIGSTOP}  # once all are that can be
MOST = 100  # tries to block them, while handlers let some through again
mask, BLOCK, SET = signal.pthread_sigmask, signal.SIG_BLOCK, signal.SIG_SETMASK
FILES = frozenset({_io.FileIO, _io.BufferedReader, _io.BufferedWriter, _io.TextIOWrapper})
IN_MEMORY = frozenset({_io.BytesIO, _io.StringIO})  # whose `__del__`, inherited from files, only calls `close`
KEEPERS = ("weakref", "_weakrefset")  # modules with callbacks that drop an entry of a mapping or set
DROPS = ("remove", "_remove")  # and those; others call what they were given
DEREGISTRATION = "_destroy"  # the callback of abstract classes, written in C (Modules/_abc.c)
Module, Builtin = type(sys), type(len)
_NO_LOCKS: set[object] = set()
THREADING = f"{os.path.dirname(os.__file__)}/threading.py"
# As their own classes cannot have it otherwise.
_bases = type.__dict__["__mro__"].__get__
_names = type.__dict__["__dict__"].__get__
_flags = type.__dict__["__flags__"].__get__
HEAP, IMMUTABLE = 1 << 9, 1 << 8  # Py_TPFLAGS_HEAPTYPE, Py_TPFLAGS_IMMUTABLETYPE (Include/object.h)


class Ending:
    """What the launcher's interpreter is before there are stages, by which is told what a stage has made."""

    def __init__(self) -> None:
        self._table = sys.modules
        self._modules = frozenset(map(id, sys.modules.values()))
        kinds = {*map(type, gc.get_objects())}
        self._harmless = {kind for kind in kinds if not _can_have_end(kind)} | IN_MEMORY | FILES
        self._known = kinds | self._harmless  # some of them have to be looked at one by one:
        self._looked_at = {*filter(_is_looked_at, self._known)}
        self._filters = list(_warnings.filters)
        self._keepers = [id(vars(sys.modules[name])) for name in KEEPERS if name in sys.modules]

    def leave(self, ended: object, main: object, streams: Sequence[int]) -> None:
        """Runs in a *stage*: end it as a program is ended, by SystemExit or None; return where that is not known to do.

        `main` is its module, and `streams` are the identities of the standard ones that it was given.
        """
        blocked = None
        try:
            blocked = mask(BLOCK, ())
            code = ended.code if type(ended) is SystemExit else ended
            status = 0 if code is None else code
            if type(status) is int and 0 <= status < 256 and self._shows_nothing(streams, main):
                _flush()  # which somebody may have to end who waits
                _flush()  # also where a handler has printed meanwhile
                if _block_all() and self._shows_nothing(streams, main):  # nor does what a handler has made meanwhile
                    _flush()
                    _exit(status)
        except BaseException:  # noqa: BLE001 - the interpreter comes to it once more
            pass
        try:
            if blocked is not None:
                mask(SET, blocked)
        except BaseException:  # noqa: BLE001 - what a handler raises now
            pass

    def _shows_nothing(self, streams: Sequence[int], main: object) -> bool:
        return (
            sys.modules is self._table
            and not _is_watched()
            and not atexit._ncallbacks()  # noqa: SLF001 - told nowhere else
            and not _thread._count()  # noqa: SLF001 - told nowhere else
            and not _awaits_threads(sys.modules.get("threading"))
            and all(map(self._warns_as_before, (_warnings, sys.modules.get("warnings"))))
            and [*map(id, (sys.stdin, sys.stdout, sys.stderr))] == streams
            and all(map(_is_as_made, (sys.stdin, sys.stdout, sys.stderr)))
            and self._are_harmless(gc.get_objects(), main)
        )

    def _warns_as_before(self, module: Any) -> bool:  # noqa: ANN401 - a module
        """Whether a directory that is left open in the middle is still no reason to warn."""
        return module is None or bool(module.filters == self._filters)

    def _is_plain(self, module: Any) -> bool:  # noqa: ANN401 - a module
        """Whether a module was there before, or is of Python alone: any other may hold what ends in its own way."""
        if id(module) in self._modules or module is sys.modules["__main__"]:
            return True
        loader = getattr(vars(module).get("__spec__"), "loader", None) if type(module) is Module else None
        return loader is FrozenImporter or type(loader) in (SourceFileLoader, SourcelessFileLoader, NamespaceLoader)

    def _are_harmless(self, objects: list[object], main: object) -> bool:
        """Whether none of these does anything when it ends: the objects, but of some simple kinds, made by a stage.

        Unless its `main` module is missing, since it has frozen all.
        """
        if id(main) not in map(id, objects):
            return False
        kinds = {*map(type, objects)}
        if any(map(_has_end, kinds - self._harmless)):
            return False
        texts: tuple[Any, ...] = (sys.stdin, sys.stdout, sys.stderr)
        own = {id(part) for text in texts for part in (text, text.buffer, text.buffer.raw)}
        looked_at = (kinds & self._looked_at) | {*filter(_is_looked_at, kinds - self._known)}
        for one in [it for it in objects if type(it) in looked_at]:
            kind = type(one)
            if kind in FILES:
                fine = id(one) in own or _is_closed(one)
            elif kind in IN_MEMORY:
                fine = "close" not in vars(one)
            elif ReferenceType in _bases(kind):
                fine = self._only_drops(one.__callback__)  # type: ignore[attr-defined] # of a weak reference
            elif type in _bases(kind):
                fine = not _has_end(one)  # type: ignore[arg-type] # it is a class
            else:
                fine = self._is_plain(one)
            if not fine:
                return False
        return True

    def _only_drops(self, callback: Any) -> bool:  # noqa: ANN401 - whatever a stage gave it
        if type(callback) is Builtin:
            owner: object = callback.__self__  # type: ignore[attr-defined] # of a function written in C
            return callback.__name__ == DEREGISTRATION and type(owner) is ReferenceType
        if callback is None:
            return True
        return id(getattr(callback, "__globals__", None)) in self._keepers and callback.__code__.co_name in DROPS


def _block_all() -> bool:
    """Block every signal: what came is handled, and what comes is too late. False while handlers let some through."""
    steady = 0
    for _ in range(MOST):
        steady = steady + 1 if mask(BLOCK, EVERY) >= BLOCKED else 0
        if steady == 2:  # since the one before nothing can have come, unless a handler that ran in it has changed that
            return True
    return False


def _flush() -> None:
    """This one first, as of a program in a file (flush_io, Python/pythonrun.c)."""
    sys.stderr.flush()
    sys.stdout.flush()


def _has_end(kind: type) -> bool:
    """Whether something runs when an object of this class ends; classes in C have a `__del__` for that as well."""
    return any("__del__" in _names(base) for base in _bases(kind))


def _can_have_end(kind: type) -> bool:
    """Whether it has one, or a stage can give it one."""
    return _has_end(kind) or _flags(kind) & (HEAP | IMMUTABLE) == HEAP


def _is_looked_at(kind: type) -> bool:
    """Whether it takes a look at an object of this class to know what its end would do."""
    return kind in FILES | IN_MEMORY or not {Module, type, ReferenceType}.isdisjoint(_bases(kind))


def _is_as_made(text: Any) -> bool:  # noqa: ANN401 - a standard stream
    """Whether nothing was set on it that its end would come by, such as a `close` of its own."""
    return vars(text).keys() <= {"mode"} and not vars(text.buffer) and vars(text.buffer.raw).keys() <= {"name"}


def _is_closed(file: Any) -> bool:  # noqa: ANN401 - one of FILES
    while type(file) is _io.TextIOWrapper:
        file = file.buffer
    return type(file) in FILES and (type(file) is _io.FileIO or type(file.raw) is _io.FileIO) and file.closed is True


def _is_watched() -> bool:
    """Whether something of the program's is called for whatever happens, so that even our own calls would show."""
    if sys.gettrace() or sys.getprofile() or "gc" in sys.modules or gc.callbacks:
        return True
    try:
        sys.audit(None)  # type: ignore[arg-type] # which only is noticed when there is a hook to be told
    except TypeError:
        return True
    monitoring = getattr(sys, "monitoring", None)
    return monitoring is not None and any(map(monitoring.get_tool, range(6)))


def _awaits_threads(threading: Any) -> bool:  # noqa: ANN401 - the module, or None, or what a stage has put there
    """Whether anything of a stage is called when threads are waited for."""
    if type(threading) is not Module:
        return threading is not None
    own = vars(threading)
    main = own["_main_thread"]
    called = [own["_shutdown"], *filter(None, [getattr(type(main), "_stop", None)])]  # gone in 3.13
    locks = own.get("_shutdown_locks", _NO_LOCKS)  # gone in 3.13
    return (
        bool(own["_threading_atexits"])
        or type(locks) is not set
        or bool(locks - {vars(main).get("_tstate_lock")})
        or "_stop" in vars(main)
        or not all(getattr(one, "__globals__", None) is own and one.__code__.co_filename == THREADING for one in called)
    )
