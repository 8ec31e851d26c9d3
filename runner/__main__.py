"""`python -m runner`, and the console script `offpipe`: a quick answer if there is nothing to do, else the verbs."""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found] # `signal` builds enums, which takes long
import atexit
import gc
import os
import sys
from errno import ENOMEM

from runner.cli.parser import Arguments, read
from runner.errors import EXIT_STATE, OffpipeError
from runner.noop import answer

# Packages that need no clean exit.
OURS = frozenset(
    {"runner", "pluggy", "rich", "pygments", "markdown_it", "mdurl", "cryptography", "_cffi_backend", "_openssl"}
)
RARELY = (100_000, 50, 50)  # thresholds of the garbage collector: a run keeps nearly all objects that it makes


def main() -> int:
    """Run the command line and return the exit code."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback before a run catches signals
    arguments = read(sys.argv[1:])
    try:
        if (code := quick_answer(arguments)) is not None:
            return code
    except OffpipeError as error:
        arguments.failure = error  # `perform` reports it
    from runner.cli.main import main as perform

    return perform(arguments=arguments)


def quick_answer(arguments: Arguments) -> int | None:
    """Return the exit code of a run with nothing to do; None if the verbs must be loaded."""
    return answer(arguments.spec, arguments.words, arguments.given) if arguments.is_plain else None


def program() -> int:
    """Run `main` in a process of its own, and end the process at once: a clean exit takes as long as several stages.

    A clean exit follows only if other code may need it: a program that started this interpreter (coverage, a profiler),
    or a plugin, which may have an open file or a running thread. Modules of plugins are neither ours nor Python's.
    """
    began_here = sys.orig_argv[1:2] == sys.argv[:1] or sys.orig_argv[1:3] == ["-m", __package__]  # not in a profiler
    is_watched = atexit._ncallbacks() or sys.gettrace() or sys.getprofile()  # noqa: SLF001 - the only way to know
    before = frozenset(sys.modules)
    _leave_start_directory()
    gc.set_threshold(*RARELY)
    try:
        code = main()
    except (MemoryError, OSError) as error:  # before the code that reports errors was loaded
        if isinstance(error, OSError) and error.errno != ENOMEM:
            raise
        os.write(2, b"error: out of memory\n")
        return EXIT_STATE
    loaded = {name.partition(".")[0] for name in sys.modules.keys() - before}
    if began_here and not is_watched and loaded - OURS <= sys.stdlib_module_names:
        atexit._run_exitfuncs()  # noqa: SLF001 - of the libraries that we use; only a clean exit calls them
        os._exit(code)  # nothing is left in Python's own buffers: see `display.streams`
    return code


def _leave_start_directory() -> None:
    """Import nothing more from the first entry of `sys.path`: the working directory, or the script's directory.

    A stage may write there, and its module would run here, outside the sandbox.
    """
    try:
        first = os.getcwd(), os.path.dirname(os.path.realpath(sys.argv[0]))
    except OSError:
        return  # the directory is gone
    if not sys.flags.safe_path and sys.path[0] in first:
        del sys.path[0]


if __name__ == "__main__":
    sys.exit(program())
