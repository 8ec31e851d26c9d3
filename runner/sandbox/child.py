"""The child of a launch: from the fork to the first instruction of the stage's program.

Loaded by the launcher program only. Every step is a plain system call, except in a Python stage that stays a fork.
"""

from __future__ import annotations

import errno
import os
import resource

from runner.levels import MAKING_VIEW
from runner.sandbox.namespaces import Maps
from runner.sandbox.syscalls import end_by_signal, signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from runner.sandbox.forkserver import Program
    from runner.sandbox.isolate import Isolation
    from runner.sandbox.process_tree import ProcessTree
    from runner.sandbox.protocol import Request

# Signals that the launcher blocks and a stage does not. The launcher neither handles nor ignores them. So a signal that
# arrives after the fork stays pending until the stage sets its own mask, and then ends the stage.
BLOCKED = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE)


class Forked(BaseException):
    """Raised in a child, to run its argument, a Program, in this interpreter."""


def fork_stage(request: Request, tree: ProcessTree, isolation: Isolation, program: Program | None) -> tuple[int, int]:
    """Start the launch that began last; return its process and a descriptor. With a `program`, the child raises Forked.

    Once the process has ended, the descriptor says why the stage's program did not start. It is empty if it started.
    Raises OSError if there are no descriptors or processes left.
    """
    reads, writes = os.pipe()
    maps = None
    try:
        if request["view"]:
            maps = Maps()
        pid = os.fork()
    except OSError:
        os.close(reads)
        os.close(writes)
        if maps is not None:
            maps.close()
        raise
    if pid == 0:
        _become(request, tree, isolation, writes, program, maps)
    os.close(writes)
    if maps is not None:
        maps.write(pid)
    return pid, reads


def _become(
    request: Request, tree: ProcessTree, isolation: Isolation, failure: int, program: Program | None, maps: Maps | None
) -> NoReturn:
    """Runs in the *child*. Never returns, and raises only Forked. All other descriptors are close-on-exec."""
    tried = "preparing its process"
    try:
        os.setsid()
        tree.enter_stage()
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        tried = "opening "  # `failure_text` adds the name of the file
        for descriptor, opened in enumerate(open_streams(request, [])):
            os.dup2(opened, descriptor)
        tried = MAKING_VIEW if request["view"] else "entering its isolation"
        isolation.enter(request["view"], (0, 1, 2, failure), maps)
        if request["view"]:
            _open_inside(request)
        tried = "setting affinity"
        if request["affinity"] is not None:
            os.sched_setaffinity(0, request["affinity"])
        tried = "setting limits"
        _set_limits(request)
        tried = "entering "
        os.chdir(request["cwd"])
        if program is not None:
            tried = "becoming an interpreter"
            program.become(request, failure)
            isolation.become_program()
            os.close(failure)
            raise Forked(program)
        tried = ""
        # Plain execve: a file without a shebang fails with ENOEXEC, where execvp would let sh try it.
        os.execve(request["program"], request["argv"], request["env"])  # noqa: S606 - the purpose of this file
    except Forked:
        raise
    except KeyboardInterrupt:
        end_by_signal(signal.SIGINT)  # as an interpreter does before its program runs
    except BaseException as error:  # noqa: BLE001 - any error is reported, and none reaches the launcher's loop
        try:
            os.write(failure, failure_text(error, tried).encode("utf-8", "backslashreplace"))
        finally:
            os._exit(127)


def _open_inside(request: Request) -> None:
    """Open the stdin of a sealed stage in its view: opened outside, it could be opened anew for writing."""
    opened = os.open(request["stdin"] or os.devnull, os.O_RDONLY)
    os.dup2(opened, 0)
    os.close(opened)


def _set_limits(request: Request) -> None:
    for limit, most in ((resource.RLIMIT_AS, request["address_space"]), (resource.RLIMIT_FSIZE, request["file_size"])):
        if most is not None:
            resource.setrlimit(limit, (most, most))


def failure_text(error: BaseException, tried: str) -> str:
    """Return `ENOENT (No such file or directory) opening x`; the file name only if `tried` ends with a space."""
    if not isinstance(error, OSError) or not error.errno:
        return f"{tried}: {error}"
    name = os.fsencode(error.filename).decode("utf-8", "backslashreplace") if tried.endswith(" ") else ""
    return f"{errno.errorcode.get(error.errno, error.errno)} ({os.strerror(error.errno)}) {tried}{name}".rstrip()


def open_streams(request: Request, opened: list[int], flags: int = 0) -> list[int]:
    """Open the files for descriptors 0, 1 and 2, with these `flags`, too. Adds each to `opened` at once.

    The stdin of a sealed stage is a path in its view, so that waits.
    """
    stdin = request["stdin"] if request["view"] is None else None
    opened.append(os.open(stdin or os.devnull, os.O_RDONLY | flags))
    for path in filter(None, (request["log"], request["stdout"])):
        opened.append(os.open(path, os.O_WRONLY | os.O_APPEND | flags))  # noqa: PERF401 - `opened` keeps those before an error
    return [opened[0], opened[-1], opened[1]]
