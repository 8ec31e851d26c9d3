"""The fork server: the launcher forks its own interpreter for each Python stage, so that no stage starts a new one.

The launcher runs as `python -B`, with the variables of its stages' environment that interpreters read. It imports once
what the stages need of the standard library. A stage is a fork that becomes a new `__main__`, like that of `python -B
FILE`. At its end it releases only its own objects, and leaves those from before the fork to the kernel.

The contract (docs/writing-stages.md): a Python stage may find standard modules loaded. `freshInterpreter` switches the
fork server off.

After a fork, the first write to a page copies the page, and a new refcount is a write. These copies are most of the
cost of a forked stage. So the launcher opens the standard streams, and sets a stage's variables, before the fork.

Loaded by the launcher program only.
"""

from __future__ import annotations

import atexit
import builtins
import gc
import io
import os
import sys
import time
from _collections import defaultdict  # type: ignore[import-not-found] # collections and functools import more
from _frozen_importlib_external import SourceFileLoader
from _functools import partial  # type: ignore[import-not-found] # as above
from _io import _IOBase  # io.IOBase, without the slow isinstance of an abstract class
from itertools import takewhile
from os import _exit  # a stage may replace a function that its end needs

from runner.sandbox.syscalls import close_all_but, end_by_signal, libc, signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import CodeType
    from typing import Any, NoReturn, TextIO

    from runner.sandbox.protocol import Request

flush_c = libc.fflush  # looked up before the fork
EXCEPTHOOK = sys.__excepthook__
# Prefixes of the variables that an interpreter, its libraries or its .pth files read when it starts.
INTERPRETER_VARIABLES = (b"PYTHON", b"LC_", b"LANG", b"LD_", b"GLIBC_", b"MALLOC_", b"COVERAGE_")
# Modules that may be loaded before a stage: they are the same in every process (`random` seeds itself again in a fork).
# Others are not: multiprocessing, for example, keeps the working directory, and logging the time of its import.
PURE = frozenset(
    """argparse array ast base64 binascii bisect bz2 calendar cmath collections collections.abc contextlib copy csv
    dataclasses datetime difflib enum errno fnmatch functools glob graphlib gzip hashlib heapq hmac html
    html.entities html.parser inspect itertools json keyword linecache locale lzma math mmap numbers operator
    pathlib pprint queue random re reprlib select selectors shlex shutil signal string stringprep struct
    subprocess tarfile tempfile textwrap threading time token tokenize tomllib traceback types typing unicodedata
    urllib.parse uuid warnings weakref zipfile zlib""".split()
)


def interpreter_variables(env: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """Return those variables of an environment that an interpreter reads at its start. It ignores empty ones."""
    uses_home = getattr(sys.modules.get("site"), "ENABLE_USER_SITE", True)
    return {
        name: value
        for name, value in env.items()
        if (value and name.startswith(INTERPRETER_VARIABLES)) or (uses_home and name == b"HOME")
    }


def leave_threads() -> None:
    """Restart without a fork server if a .pth file started threads: neither unshare nor fork works beside threads."""
    if os.path.isdir("/proc/self/task") and len(os.listdir("/proc/self/task")) > 1:
        words = [word for word in sys.argv if word != "forkserver"]
        os.execve(sys.executable, [sys.executable, "-I", "-S", *words], {})  # noqa: S606 - the same program


class ForkServer:
    """The launcher's own interpreter, ready to be forked into stages."""

    def __init__(self) -> None:
        self._variables = interpreter_variables(os.environb)
        self._names: frozenset[str] = frozenset()  # of top-level modules, once all are loaded

    def load(self, names: Iterable[str]) -> None:
        """Import the modules that stages will need. Only the first call imports anything."""
        if self._names:
            return
        for name in names:
            if name in PURE or name == "runner.sdk":
                try:
                    __import__(name)
                except BaseException:  # noqa: BLE001 - the stage will meet the error itself
                    continue
        sys.path_importer_cache.pop(sys.argv[0], None)
        self._names = frozenset(name.partition(".")[0] for name in sys.modules)
        compile("", "", "exec")  # the first call makes a hundred classes
        for number in range(3):  # for /dev/null; a stage puts its own files there, which are as seekable
            _open_stream(number)
        gc.disable()  # the launcher makes no reference cycles

    def program(self, request: Request) -> Program | None:
        """Return the program of a stage, for a fork that follows at once; None if it needs a new interpreter."""
        if (
            request["script"] is None
            or request["program"] != os.fsencode(sys.orig_argv[0])
            or request["address_space"] is not None  # the limit would count the launcher's memory too
            # Python 3.12 begins the sys.path of further interpreters with the directory of our program.py.
            or (sys.version_info >= (3, 12) and any(b"nterpreter" in name for name in request["preload"]))
            or interpreter_variables(request["env"]) != self._variables
        ):
            return None
        path = os.fsdecode(request["script"])
        self.load(())
        directory = os.path.dirname(os.path.realpath(path))
        if self._shadows_modules(directory):
            return None
        os.environb.clear()
        os.environb.update(request["env"])
        time.tzset()
        gc.freeze()  # otherwise a stage's collections would visit every object, and copy its page
        return Program(path, directory)

    def _shadows_modules(self, directory: str) -> bool:
        """Whether a file beside the program could have the name of a loaded module."""
        try:
            names = os.listdir(directory)
        except OSError:
            return True
        modules = (name.partition(".")[0] for name in names if name.endswith((".py", ".pyc", ".so")) or "." not in name)
        return not self._names.isdisjoint(modules)


class Program:
    """The program of a Python stage, from the fork to the end. All but `__init__` runs in the *child*."""

    def __init__(self, path: str, directory: str) -> None:
        self._path = path
        self._directory = directory
        self._main: Any = None
        self._streams = sys.stdout, sys.stderr
        self._is_written = True  # False once the standard streams cannot be flushed
        self.launcher_frames: object = None  # kept alive: to release them would copy their pages

    def become(self, request: Request, kept: int) -> None:
        """Make this process look like a new interpreter that has run nothing yet.

        Its streams and its directory are set already. Closes all of the launcher's descriptors but `kept`.
        """
        gc.enable()
        close_all_but((0, 1, 2, kept))
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # the only signal that the launcher handles
        for ignored in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(ignored, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if threading := sys.modules.get("threading"):
            threading.main_thread()._native_id = threading.get_native_id()  # noqa: SLF001 - a fork keeps the old one
        sys.orig_argv[:] = [os.fsdecode(word) for word in request["argv"]]
        sys.argv[:] = sys.orig_argv[2:]
        sys.path.insert(0, self._directory)
        sys.path_importer_cache[self._path] = None  # no archive or directory to run
        if request["stdin"] is not None:
            _open_stream(0)  # any kind of file
        del sys.modules["__main__"]  # so that the program's own modules come after it, see `_release`
        self._main = sys.modules["__main__"] = type(sys)("__main__")
        self._main.__loader__ = SourceFileLoader("__main__", self._path)
        if sys.version_info < (3, 14):
            self._main.__annotations__ = {}
        self._main.__dict__.update(__builtins__=builtins, __file__=self._path, __cached__=None)

    def run(self) -> NoReturn:
        """Run the program as `__main__`, at the bottom of the stack, then end the process as an interpreter would.

        A signal handler that raises after the end of the program must change nothing. Handlers run at calls and at
        backward jumps. An index operation runs the program, because no handler runs between its end and the next
        instruction.
        """
        program: Any = defaultdict(partial(exec, self._compiled(), self._main.__dict__))
        error: BaseException | None = None
        status, text, is_interrupted = 0, None, False
        try:
            program[0]
        except SystemExit as ended:
            code: Any = ended.code
            if code.__class__ is int:  # no call, so no handler runs here; a code too large for a C long ends as -1 does
                status = code & 0xFF if -(1 << 63) <= code < 1 << 63 else 0xFF
            elif code is not None:
                status, text = 1, code
                if issubclass(type(code), int):
                    status, text = int.__and__(code, 0xFF), None
        except BaseException as failed:  # noqa: BLE001 - anything that the program did not catch
            status, error = 1, failed
        try:
            del program
            is_interrupted = isinstance(error, KeyboardInterrupt)
            _flush_streams()
            if error is not None:
                status = _show(error)
            elif text is not None:
                _write(f"{text}\n")
        finally:
            error = text = None
            try:
                self._end()
            finally:
                if is_interrupted:
                    end_by_signal(signal.SIGINT)
                if self._is_written:
                    _exit(status)
        raise SystemExit(status)  # the interpreter reports what cannot be written

    def _compiled(self) -> CodeType:
        """Return the program's code. If there is none, prints the error and raises SystemExit."""
        try:
            with open(self._path, "rb") as file:
                return compile(file.read(), self._path, "exec", dont_inherit=True)
        except OSError as error:
            _write(f"{sys.orig_argv[0]}: can't open file {self._path!r}: [Errno {error.errno}] {error.strerror}\n")
            raise SystemExit(2) from None
        except BaseException as error:  # noqa: BLE001 - any error of the compiler
            sys.excepthook(type(error), error.with_traceback(None), None)
            raise SystemExit(1) from None

    def _end(self) -> None:
        """Finalize as an interpreter does, but only what the program made."""
        try:
            if threading := sys.modules.get("threading"):
                threading._shutdown()  # noqa: SLF001 - as the interpreter calls it
            atexit._run_exitfuncs()  # noqa: SLF001 - as above
        finally:
            try:
                self._release()
            finally:
                _flush_everything(self._streams)
                self._is_written = _flush_streams()

    def _release(self) -> None:
        """Release what the program's own modules hold, in the order of Py_FinalizeEx (Python/pylifecycle.c).

        The first collection moves the holder of a file ahead of that file, so that the holder is finalized first. The
        second one finalizes objects in cycles (`__del__`, `finally`) while they still find all names. Modules that are
        left then lose their names.
        """
        gc.collect()
        gc.callbacks.clear()  # an interpreter calls them for its first collection only
        for last in ("last_type", "last_value", "last_traceback", "last_exc"):
            sys.__dict__[last] = None
        own = {"__main__", *takewhile(lambda name: name != "__main__", reversed(sys.modules))}
        for name in own:
            sys.modules.pop(name, None)
        self._main = None
        gc.collect()
        for names in gc.get_objects():  # a module's dict is left if an object from before the fork holds it
            if type(names) is dict and "__builtins__" in names and names.get("__name__") in own:
                for name in [*names]:
                    if name[:2] != "__":
                        names[name] = None
        gc.collect()


def _open_stream(number: int) -> None:
    """Open a standard stream again, as create_stdio does (Python/pylifecycle.c) for a file or /dev/null."""
    name, mode = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))[number]
    old = getattr(sys, name)
    buffer: Any = io.open(number, f"{mode}b", -1, closefd=False)  # noqa: UP020 - as create_stdio does it
    buffer.raw.name = f"<{name}>"
    stream: Any = io.TextIOWrapper(buffer, old.encoding, old.errors, newline="\n", line_buffering=number == 2)
    stream.mode = mode
    setattr(sys, name, stream)
    setattr(sys, f"__{name}__", stream)


def _write(text: str) -> None:
    """Write to the program's stderr, or else to the process's, as PySys_WriteStderr does."""
    try:
        sys.stderr.write(text)
    except Exception:  # noqa: BLE001 - the program may have put anything there
        os.write(2, text.encode())


def _show(error: BaseException) -> int:
    """Print an error as an interpreter does, without our own frame; return the exit code: 1, or a hook's."""
    trace = error.__traceback__ and error.__traceback__.tb_next
    error.__traceback__ = trace
    sys.last_type, sys.last_value, sys.last_traceback = type(error), error, trace
    if not hasattr(sys, "excepthook"):
        _write("sys.excepthook is missing\n")
    hook = getattr(sys, "excepthook", EXCEPTHOOK)
    try:
        hook(type(error), error, trace)
    except BaseException as failed:  # noqa: BLE001 - the program's hook may raise anything
        if hook is EXCEPTHOOK:
            return 1  # this hook raises nothing, so a signal handler did
        if isinstance(failed, SystemExit):
            return failed.code if isinstance(failed.code, int) else int(failed.code is not None)
        failed.__context__ = None  # it is printed below
        _write("Error in sys.excepthook:\n")
        EXCEPTHOOK(type(failed), failed.with_traceback(failed.__traceback__ and failed.__traceback__.tb_next), None)
        _write("\nOriginal exception was:\n")
        EXCEPTHOOK(type(error), error.with_traceback(trace), None)
    return 1


def _flush(file: Any) -> bool:  # noqa: ANN401 - the program may have put anything there
    """Flush a file or stream that is open; False if that fails."""
    try:
        if not file.closed:
            file.flush()
    except Exception:  # noqa: BLE001 - as an interpreter does
        return False
    return True


def _flush_streams() -> bool:
    """Flush the standard streams, stderr first as flush_io does (Python/pythonrun.c); False if that fails."""
    streams = (getattr(sys, "stderr", None), getattr(sys, "stdout", None))
    failed = [stream for stream in streams if stream is not None and not _flush(stream)]
    return not failed


def _flush_everything(streams: Iterable[TextIO]) -> None:
    """Flush these streams, every file that the program left open anywhere, and C's own buffers."""
    for file in (*streams, *gc.get_objects()):  # which leaves out frozen objects, those from before the fork
        if isinstance(file, _IOBase):
            _flush(file)
    flush_c(None)
