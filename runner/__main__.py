"""`python -m runner`, and the console script `offpipe`: the quick way where there is nothing to do, else the verbs."""

from __future__ import annotations

import atexit
import gc
import os
import sys
from errno import ENOMEM

from runner.arguments import plain_arguments
from runner.noop import answer

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal

    from runner.arguments import Arguments
else:
    import _signal as signal  # `signal` itself builds enums, which takes as long as a run with nothing to do

OURS = frozenset({"runner", "pluggy", "rich", "pygments", "markdown_it", "mdurl"})  # what needs no end
RARELY = (200_000, 50, 50)  # collections: what a run makes it keeps, and in no cycles


def main(*, ends: bool = False) -> int:
    """Do what the command line asks for and return the exit code.

    With `ends` the process ends here, where nobody else has anything to do at its end.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # until a run hears signals there is nothing to tell, nor to lose
    arguments = plain_arguments(sys.argv[1:])
    try:
        code = answer(arguments) if arguments else None
    except Exception as error:
        from runner.errors import OffpipeError

        if not isinstance(error, OffpipeError):
            raise
        from runner.cli.main import report

        return report(error)
    if code is not None:
        if ends and _is_on_its_own():
            os._exit(code)  # nothing is left to be written; taking an interpreter down takes as long as 1,000 stages
        return code
    if not ends:
        return _performed(arguments)
    before = frozenset(sys.modules)
    watched = not _is_on_its_own()
    _forget_where_it_started()
    gc.set_threshold(*RARELY)
    code = _performed(arguments)
    if not watched:
        _leave(code, before)
    return code


def _performed(arguments: Arguments | None) -> int:
    from runner.cli.main import main as perform

    return perform(sys.argv[1:], arguments)


def program() -> int:
    """`main` of a process that is nothing else."""
    try:
        return main(ends=True)
    except (MemoryError, OSError) as error:  # before what tells of it was loaded
        if isinstance(error, OSError) and error.errno != ENOMEM:
            raise
        os.write(2, b"error: out of memory\n")
        return 74  # EXIT_STATE


def _is_on_its_own() -> bool:
    """Whether nobody else, such as coverage or a profiler, has anything to do at the end of this process."""
    started = sys.orig_argv[1:2] == sys.argv[:1] or sys.orig_argv[1:3] == ["-m", __package__]
    watched = sys.gettrace() or sys.getprofile() or "threading" in sys.modules
    return started and not watched and not atexit._ncallbacks()  # noqa: SLF001 - there is no other way to ask


def _forget_where_it_started() -> None:
    """Let no module be found any more where Python looks first: in the working directory, or beside the script.

    A stage may write there, and what it put there would run here, outside all walls.
    """
    started = sys.modules["__main__"]
    try:
        by_name = started.__spec__ is not None
        own = os.getcwd() if by_name else os.path.dirname(os.path.realpath(str(started.__file__)))
    except (OSError, AttributeError):
        return  # the directory is gone, and so not among these; or there was no file
    if not sys.flags.safe_path and sys.path[0] == own:
        del sys.path[0]


def _leave(code: int, before: frozenset[str]) -> None:
    """End the process, whose interpreter would take longer than several stages, as far as it runs nothing but ours.

    A plugin may have left a file open, or a thread that works. `before`: the modules that were loaded at the start.
    """
    from runner.display.streams import flushed

    names = {name.partition(".")[0] for name in sys.modules.keys() - before}
    threading = sys.modules.get("threading")
    if sys.gettrace() or sys.getprofile() or (threading is not None and threading.active_count() > 1):
        return
    if names <= OURS | sys.stdlib_module_names:
        atexit._run_exitfuncs()  # noqa: SLF001 - those of the libraries that we use, which nothing else calls
        if flushed():
            os._exit(code)


if __name__ == "__main__":
    sys.exit(program())
