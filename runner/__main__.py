"""`python -m runner`, and the console script `offpipe`: the quick answer where nothing is to do, else the verbs."""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found] # `signal` builds enums: as long as a run with nothing to do
import atexit
import gc
import os
import sys
from errno import ENOMEM

from runner.cli.parser import HelpRequested, parse
from runner.errors import OffpipeError
from runner.noop import answer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runner.cli.parser import Arguments

OURS = frozenset({"runner", "pluggy", "rich", "pygments", "markdown_it", "mdurl"})  # what needs no end
RARELY = (200_000, 50, 50)  # collections: what a run makes it keeps, and in no cycles


def main() -> int:
    """Do what the command line asks for and return the exit code."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # until a run hears signals there is nothing to tell, nor to lose
    words = sys.argv[1:]
    try:
        arguments = parse(words)
    except (HelpRequested, OffpipeError):
        arguments = None  # `perform` parses again, and reports
    try:
        code = quick_answer(arguments) if arguments else None
    except OffpipeError as error:
        from runner.cli.main import report

        return report(error)
    if code is not None:
        return code
    from runner.cli.main import main as perform

    return perform(words, arguments)


def quick_answer(arguments: Arguments) -> int | None:
    """Return the exit code of a run that has nothing to do; None if the verbs must be loaded."""
    if not arguments.is_plain:
        return None
    given = arguments.given
    is_durable = given.get("durability") != "process"
    return answer(arguments.spec, given.get("workspace"), arguments.words, quiet="quiet" in given, durable=is_durable)


def program() -> int:
    """`main` of a process that is nothing else; it ends here, unless others have anything to do at its end.

    Those are who started this interpreter (coverage, a profiler), and plugins, which may have left a file open or a
    thread at work: any module that is neither ours nor Python's.
    """
    began_here = sys.orig_argv[1:2] == sys.argv[:1] or sys.orig_argv[1:3] == ["-m", __package__]  # and no profiler
    is_followed = atexit._ncallbacks() or sys.gettrace() or sys.getprofile()  # noqa: SLF001 - no other way to ask
    before = frozenset(sys.modules)
    _forget_where_it_started()
    gc.set_threshold(*RARELY)
    try:
        code = main()
    except (MemoryError, OSError) as error:  # before what tells of it was loaded
        if isinstance(error, OSError) and error.errno != ENOMEM:
            raise
        os.write(2, b"error: out of memory\n")
        return 74  # EXIT_STATE
    loaded = {name.partition(".")[0] for name in sys.modules.keys() - before}
    if began_here and not is_followed and loaded - OURS <= sys.stdlib_module_names:
        _end(code)
    return code


def _forget_where_it_started() -> None:
    """Let no module be found any more where Python looks first: in the working directory, or beside the script.

    A stage may write there, and what it put there would run here, outside all walls.
    """
    try:
        first = os.getcwd(), os.path.dirname(os.path.realpath(sys.argv[0]))
    except OSError:
        return  # the directory is gone
    if not sys.flags.safe_path and sys.path[0] in first:
        del sys.path[0]


def _end(code: int) -> None:
    """End the process at once, if what was printed can be written: taking it apart takes as long as several stages."""
    atexit._run_exitfuncs()  # noqa: SLF001 - those of the libraries that we use, which nothing else calls
    streams = sys.modules.get("runner.display.streams")
    if streams is None or streams.flushed():
        os._exit(code)


if __name__ == "__main__":
    sys.exit(program())
