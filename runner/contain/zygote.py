"""Python stages without the start of an interpreter: the launcher forks, and the child is what a new one would be.

Loaded by the launcher program only. It was started for this as `python -B`, with what every interpreter loads; what
stages import of the standard library it loads beforehand. What a stage can observe is to equal `python -B PROCESSOR`.
"""

from __future__ import annotations

import builtins
import gc
import io
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Iterable
    from types import CodeType
    from typing import Any

    from runner.contain.child import Request
    from runner.contain.isolate import Isolation
else:
    import _signal as signal

UNLIKE = (b"PYTHON", b"LC_", b"LANG", b"LD_", b"GLIBC_", b"MALLOC_", b"COVERAGE_")
"""What an interpreter, its libraries or its .pth files heed when it starts: with another value a new one is started."""
SDK = "runner.sdk"
# Loading one of these is the same in every process (`random` seeds itself anew in a fork), and leaves nothing in a C
# module that a second loading would not: a stage that comes to import one later loads it once more. Left out are, for
# example: multiprocessing (keeps the directory), logging (the time), decimal and pickle (C halves that keep classes).
PURE = frozenset(
    """argparse array ast base64 binascii bisect bz2 calendar cmath collections collections.abc contextlib copy csv
    dataclasses datetime difflib enum errno fnmatch functools glob graphlib gzip hashlib heapq hmac html
    html.entities html.parser inspect itertools json keyword linecache locale lzma math mmap numbers operator
    pathlib pprint queue random re reprlib select selectors shlex shutil signal string stringprep struct
    subprocess tarfile tempfile textwrap threading time token tokenize tomllib traceback types typing unicodedata
    urllib.parse uuid warnings weakref zipfile zlib""".split()
)


def leave_threads() -> None:
    """Begin anew, cold, where a .pth file has started threads: with these no namespace could be entered, or forked."""
    try:
        threads = len(os.listdir("/proc/self/task"))
    except OSError:
        return  # no Linux: nothing is entered
    if threads > 1:
        words = [word for word in sys.argv if word != "warm"]
        os.execve(sys.executable, [sys.executable, "-I", "-S", *words], {})  # noqa: S606 - the same program


class Zygote:
    """What the launcher knows of its own interpreter, to make stages of it."""

    def __init__(self, loaded: frozenset[str], importers: frozenset[str]) -> None:
        """The names in sys.modules, and in sys.path_importer_cache, when nothing of ours was loaded yet."""
        self._loaded = loaded
        self._importers = importers - {sys.argv[0]}
        self._needs: dict[str, set[str]] = {}
        self._import = builtins.__import__
        self._streams = [(stream.encoding, stream.errors) for stream in (sys.stdin, sys.stdout, sys.stderr)]
        # From here on: what a stage may find loaded is known by what asks for what.
        builtins.__import__ = self._recording

    def _recording(
        self,
        name: str,
        globals: Any = None,  # noqa: A002, ANN401 - the signature of __import__
        locals: Any = None,  # noqa: A002, ANN401
        fromlist: Any = (),  # noqa: ANN401
        level: int = 0,
    ) -> Any:  # noqa: ANN401
        module = self._import(name, globals, locals, fromlist, level)
        if globals and (importer := globals.get("__name__")):
            base = name
            if level:
                package = globals.get("__package__") or importer
                base = ".".join([*package.split(".")[: len(package.split(".")) - level + 1], *([name] if name else [])])
            asked = self._needs.setdefault(importer, set())
            asked.update((base, *(f"{base}.{one}" for one in fromlist or ())))
        return module

    def load(self, names: Iterable[str]) -> None:
        """Import what stages will ask for, as far as that is the same whoever does it."""
        for name in names:
            if name not in sys.modules and (name in PURE or name == SDK):
                try:
                    self._import(name)
                except BaseException:  # noqa: BLE001 - whatever is wrong with it, the stage will find out
                    continue

    def takes(self, request: Request) -> bool:
        """Whether a fork can be what this stage would get by a new interpreter."""
        if request["script"] is None or request["program"] != os.fsencode(sys.executable):
            return False
        if request["address_space"] is not None:  # of which a new interpreter needs its part
            return False
        theirs, own = request["env"], os.environb
        if any(name.startswith(UNLIKE) and theirs.get(name) != own.get(name) for name in {*theirs, *own}):
            return False
        site = sys.modules.get("site")
        return theirs.get(b"HOME") == own.get(b"HOME") or not getattr(site, "ENABLE_USER_SITE", True)

    def become(self, request: Request, isolation: Isolation, kept: int) -> Script:
        """Runs in the *child*, isolated and connected: make it what a new interpreter is that has run nothing yet.

        Of the launcher's descriptors the one that is `kept` stays open.
        """
        if "gc" not in request["preload"]:
            gc.freeze()  # a collection, at the end at the latest, would look at all that is there, and copy every page
        isolation.become_program()
        os.closerange(3, kept)
        os.closerange(kept + 1, 1 << 20)
        self._reset_signals()
        self._reset_modules(request["preload"])
        os.environb.clear()  # the type is kept: it is what `os.environ` is a view of
        os.environb.update(request["env"])
        _reset_time()
        script = os.fsdecode(request["script"] or b"")
        sys.argv[:] = [os.fsdecode(word) for word in request["argv"][2:]]
        sys.orig_argv[:] = [os.fsdecode(word) for word in request["argv"]]
        sys.path.insert(0, os.path.dirname(os.path.realpath(script)))
        sys.path_importer_cache[script] = None  # no archive or directory to run
        for number, (encoding, errors) in enumerate(self._streams):
            _open_stream(number, encoding, errors)
        return Script(script)

    def _reset_signals(self) -> None:
        signal.set_wakeup_fd(-1)
        for number in signal.valid_signals():
            if number not in (signal.SIGKILL, signal.SIGSTOP) and signal.getsignal(number) is not signal.SIG_DFL:
                signal.signal(number, signal.SIG_DFL)
        for number in (signal.SIGPIPE, signal.SIGXFSZ):  # as every interpreter does when it starts
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def _reset_modules(self, names: Iterable[str]) -> None:
        builtins.__import__ = self._import
        keep = self._closure(names)
        for name in list(sys.modules):
            if name not in keep:
                del sys.modules[name]
        for name in list(sys.path_importer_cache):
            if name not in self._importers:
                del sys.path_importer_cache[name]

    def _closure(self, names: Iterable[str]) -> set[str]:
        """Return what is loaded in an interpreter that has imported `names`."""
        found = set(self._loaded)
        pending = [name for name in names if name in PURE or name == SDK]
        while pending:
            name = pending.pop()
            if name in sys.modules and name not in found:
                found.add(name)
                pending.extend(self._needs.get(name, ()))
                if "." in name:
                    pending.append(name.rpartition(".")[0])
        return found


class Script:
    """A program that the interpreter is about to run as `__main__`."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.main = _new_main(path)
        self.namespace = self.main.__dict__

    def compiled(self) -> CodeType:
        """Return the program's code. SystemExit, with everything told, when there is none."""
        try:
            with open(self.path, "rb") as file:
                content = file.read()
        except OSError as error:
            sys.stderr.write(
                f"{sys.orig_argv[0]}: can't open file {self.path!r}: [Errno {error.errno}] {error.strerror}\n"
            )
            raise SystemExit(2) from None
        try:
            return compile(content, self.path, "exec", dont_inherit=True)
        except BaseException as error:  # noqa: BLE001 - whatever the compiler says
            sys.excepthook(type(error), error.with_traceback(None), None)
            raise SystemExit(1) from None

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
    from _frozen_importlib_external import SourceFileLoader  # as importlib.machinery has it, which may be unloaded

    main = type(sys)("__main__")
    main.__loader__ = SourceFileLoader("__main__", path)
    if sys.version_info < (3, 14):
        main.__annotations__ = {}
    main.__dict__.update(__builtins__=builtins, __file__=path, __cached__=None)
    sys.modules["__main__"] = main
    return main


def _open_stream(number: int, encoding: str, errors: str | None) -> None:
    """Open a standard stream as create_stdio does (Python/pylifecycle.c)."""
    name, mode = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))[number]
    buffer: Any = io.open(number, f"{mode}b", -1, closefd=False)  # noqa: UP020
    buffer.raw.name = f"<{name}>"
    is_terminal = buffer.raw.isatty()
    stream: Any = io.TextIOWrapper(
        buffer, encoding, errors, newline="\n", line_buffering=number == 2 or (is_terminal and number == 1)
    )
    stream.mode = mode
    setattr(sys, name, stream)
    setattr(sys, f"__{name}__", stream)


def _reset_time() -> None:
    import time

    if hasattr(time, "tzset"):
        time.tzset()
