"""Python stages without the start of an interpreter: the launcher forks, and the child is what a new one would be.

Loaded by the launcher program only. It was started for this as `python -B`, with what every interpreter loads; what
stages import of the standard library it loads beforehand. What a stage can observe is to equal `python -B PROCESSOR`.
"""

from __future__ import annotations

import builtins
import gc
import io
import os
import stat
import sys
from _frozen_importlib_external import PathFinder  # as importlib.machinery has it, which is not there yet

from runner.sandbox import own_environment
from runner.sandbox.ending import Ending
from runner.sandbox.script import Script
from runner.sandbox.warmth import heeded

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Iterable
    from typing import Any

    from runner.sandbox.child import Request
else:
    import _signal as signal

SDK = "runner.sdk"
# Their sys.path begins with the directory of the program that the first one was started with, from Python 3.12 on.
MORE_INTERPRETERS = frozenset(
    ("_interpreters", "_xxsubinterpreters", "concurrent.interpreters", "concurrent.futures.InterpreterPoolExecutor")
)
MOST_SCRIPTS = 16  # that are kept
_LOADERS = ("importlib._bootstrap", "_frozen_importlib")
OWN = ("resource",)  # imported by wait4(2) of the launcher, every time
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
        self._needs: dict[str, set[str]] = {"array": {"collections.abc"}}  # asked for in C (array_modexec)
        self._import = builtins.__import__
        self._streams = [(stream.encoding, stream.errors) for stream in (sys.stdin, sys.stdout, sys.stderr)]
        self._modules: dict[str, Any] = {}  # all that is loaded, in the order of loading
        self._shown: dict[tuple[str, ...], dict[str, Any]] = {}  # by what stages import: what they find loaded
        self._showing: dict[str, Any] | None = None  # the one of these that is in sys.modules
        self._hidden: list[tuple[Any, str, Any]] = []  # packages, and what of them these stages have not imported
        self._ending: Ending | None = None
        self._handled: tuple[int, ...] = ()  # signals that stages are not to find as they are here
        self._scripts: dict[bytes, Script] = {}
        self._script: Script | None = None  # of the last fork
        self._heeded = heeded(own_environment.current())
        self._fitting: dict[bytes, bytes] | None = None  # the base that was asked about last, where that fits
        self._env: dict[bytes, bytes] | None = None  # of this process, from the first fork on: the first stage's base
        self._made: list[int] = []  # the standard streams, by identity
        self._null_block = 0  # as they are made for: the block size of /dev/null
        self._starts_frozen = gc.get_freeze_count() > 0  # as on 3.12
        # From here on: what a stage may find loaded is known by what asks for what.
        builtins.__import__ = self._recording
        from runner.sandbox.syscalls import close_all_but

        self._close_all_but = close_all_but

    def _recording(
        self, name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0,  # noqa: A002, ANN401 - as __import__
    ) -> Any:  # noqa: ANN401  # fmt: skip
        module = self._import(name, globals, locals, fromlist, level)
        importer = globals.get("__name__") if globals else None
        if importer and not importer.startswith(_LOADERS):  # these load a module that imports in C; nobody knows which
            base = name
            if level:
                package = globals.get("__package__") or importer
                base = ".".join([*package.split(".")[: len(package.split(".")) - level + 1], *([name] if name else [])])
            asked = self._needs.setdefault(importer, set())
            asked.update((base, *(f"{base}.{one}" for one in fromlist or ())))
        return module

    def load(self, names: Iterable[str]) -> None:
        """Import what stages will ask for, as far as that is the same whoever does it; nothing once it has settled."""
        for name in names if self._ending is None else ():
            if name not in sys.modules and (name in PURE or name == SDK):
                try:
                    self._import(name)
                except BaseException:  # noqa: BLE001 - whatever is wrong with it, the stage will find out
                    continue

    def fork(self, request: Request) -> int:
        """Fork: in the child that is loaded which the stage is to find loaded, and nothing else.

        The launcher can do without as well, but for what it is given back. So what is the same for many stages is done
        once, and not in each of them, where it would copy every page that it is on.
        """
        self.settle()
        if self._env is None:
            self._env = request["base"]
            own_environment.replace(self._env)
        self._script = self._look(request)
        names = request["preload"]
        shown = self._shown.get(names)
        if shown is None:
            found = self._closure(names)
            shown = self._shown[names] = {name: one for name, one in self._modules.items() if name in found}
        for name in OWN:
            if name not in shown:
                sys.modules.pop(name, None)
        if shown is not self._showing or len(shown) != len(sys.modules):  # to compare them would touch every module
            self._show(shown)
        if not self._starts_frozen:
            gc.freeze()  # a stage's collections would look at all that is there, and copy every page
        pid = -1
        try:
            pid = os.fork()
        finally:
            if pid != 0:
                for name in OWN:
                    sys.modules.setdefault(name, self._modules[name])
        return pid

    def _show(self, shown: dict[str, Any]) -> None:
        """Let these be what is loaded; a package has no attribute for a module in it that is not."""
        sys.modules.clear()
        sys.modules.update(shown)
        self._showing = shown
        for package, name, module in self._hidden:
            setattr(package, name, module)
        inner = [(*name.rpartition("."), module) for name, module in self._modules.items() if name not in shown]
        self._hidden = [
            (shown[package], name, module)
            for package, _, name, module in inner
            if package in shown and vars(shown[package]).get(name) is module
        ]
        for package, name, _ in self._hidden:
            delattr(package, name)

    def settle(self) -> None:
        """Load nothing more from here on, and make all that is the same for most stages; once."""
        if self._ending is not None:
            return
        self._modules = dict(sys.modules)
        builtins.__import__ = self._import
        self._add_made_modules()
        for name in sys.path_importer_cache.keys() - self._importers:
            del sys.path_importer_cache[name]
        self._handled = tuple(n for n in signal.valid_signals() if signal.getsignal(n) is not signal.SIG_DFL)
        compile("", "", "exec")  # the first time makes a hundred classes
        self._made = [id(_open_stream(number, *how)) for number, how in enumerate(self._streams)]
        self._null_block = os.fstat(0).st_blksize
        self._ending = Ending()
        gc.disable()  # there is no garbage in cycles here

    def _add_made_modules(self) -> None:
        """What no finder would find comes with what is above it, which put it there (typing.io, collections.abc)."""
        for name in self._modules.keys() - self._loaded:
            spec, maker = getattr(self._modules[name], "__spec__", None), name.rpartition(".")[0]
            if maker not in self._modules or (spec is not None and spec.name == name):
                continue
            if not PathFinder.find_spec(name, getattr(self._modules[maker], "__path__", ())):
                self._needs.setdefault(maker, set()).add(name)

    def _look(self, request: Request) -> Script:
        """Return the stage's program, as it is now."""
        name = request["script"]
        assert name is not None
        script = self._scripts.get(name)
        if script is None:
            if len(self._scripts) >= MOST_SCRIPTS:
                self._scripts.clear()
            script = self._scripts[name] = Script(os.fsdecode(name))
        script.look()
        return script

    def takes(self, request: Request) -> bool:
        """Whether a fork can be what this stage would get by a new interpreter."""
        if request["script"] is None or request["program"] != os.fsencode(sys.orig_argv[0]):
            return False
        if request["address_space"] is not None:  # of which a new interpreter needs its part
            return False
        if sys.version_info >= (3, 12) and not MORE_INTERPRETERS.isdisjoint(request["preload"]):
            return False
        if request["base"] is not self._fitting:
            self._fitting = request["base"] if heeded(request["base"]) == self._heeded else None
        if self._fitting is not None and not heeded(request["env"]):
            return True
        return heeded(request["base"] | request["env"]) == self._heeded

    def become(self, request: Request, kept: int) -> Script:
        """Runs in the *child*, isolated: make it what a new interpreter is that has run nothing yet.

        Of the launcher's descriptors only the one that is `kept` stays open.
        """
        looks = "gc" in request["preload"]
        if self._starts_frozen != looks:  # what is frozen in every interpreter could not be told from ours any more
            (gc.unfreeze if looks else gc.freeze)()
        gc.enable()
        self._close_all_but((0, 1, 2, kept))
        signal.set_wakeup_fd(-1)
        for number in self._handled:
            signal.signal(number, signal.SIG_DFL)
        if request["base"] is self._env:
            own_environment.change(request["env"])
        else:
            own_environment.replace(request["base"] | request["env"])
        script = self._script
        assert script is not None
        script.begin()
        if threading := sys.modules.get("threading"):
            threading.main_thread()._native_id = threading.get_native_id()  # noqa: SLF001 - a fork keeps the old one
        sys.orig_argv[:] = [os.fsdecode(word) for word in request["argv"]]
        sys.argv[:] = sys.orig_argv[2:]
        sys.path_importer_cache[script.path] = None  # no archive or directory to run
        script.ending = self._ending
        return script

    def enter(self, request: Request, script: Script) -> None:
        """Runs in the *child*, after `become`, when it is connected and in its directory: do the rest.

        That is the signals that Python ignores or handles, `sys.path[0]`, and the standard streams, which are made anew
        where an interpreter would make them otherwise than for /dev/null.
        """
        for ignored in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(ignored, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.path.insert(0, script.directory())
        made = self._made[:]
        fits: dict[bytes | None, bool] = {None: True}
        for number, path in enumerate((request["stdin"], request["stdout"] or request["log"], request["log"])):
            if path not in fits:
                status = os.fstat(number)
                fits[path] = stat.S_ISREG(status.st_mode) and status.st_blksize == self._null_block
            if not fits[path]:
                made[number] = id(_open_stream(number, *self._streams[number]))
        script.streams = made

    def _closure(self, names: Iterable[str]) -> set[str]:
        """Return what is loaded in an interpreter that has imported `names`."""
        found = set(self._loaded)
        pending = [name for name in names if name in PURE or name == SDK]
        while pending:
            name = pending.pop()
            if name in self._modules and name not in found:
                found.add(name)
                pending.extend(self._needs.get(name, ()))
                if "." in name:
                    pending.append(name.rpartition(".")[0])
        return found


def _open_stream(number: int, encoding: str, errors: str | None) -> Any:  # noqa: ANN401 - the stream
    """Open a standard stream as create_stdio does (Python/pylifecycle.c)."""
    name, mode = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))[number]
    buffer: Any = io.open(number, f"{mode}b", -1, closefd=False)  # noqa: UP020 - as create_stdio does it
    buffer.raw.name = f"<{name}>"
    is_terminal = buffer.raw.isatty()
    stream: Any = io.TextIOWrapper(
        buffer, encoding, errors, newline="\n", line_buffering=number == 2 or (is_terminal and number == 1)
    )
    stream.mode = mode
    setattr(sys, name, stream)
    setattr(sys, f"__{name}__", stream)
    return stream
