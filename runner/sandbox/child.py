"""The child of a launch: from the fork to the first instruction of the stage's program.

Loaded by the launcher program only. Every step is a plain system call, but for a Python stage that is run by a fork.
"""

from __future__ import annotations

import os
import resource

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import NoReturn

    from runner.sandbox.forkserver import Program
    from runner.sandbox.isolate import Isolation
    from runner.sandbox.process_tree import ProcessTree
    from runner.sandbox.protocol import Request
else:
    import _signal as signal  # `signal` itself builds enums, which costs a start of the launcher 3 ms

# Signals that the launcher blocks and a stage does not. The launcher neither handles nor ignores them, so that one that
# comes between the fork and the stage's own mask stays pending, and ends the stage then.
BLOCKED = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE)


class Forked(BaseException):
    """Raised in a child that is to run `program` in this interpreter."""

    def __init__(self, program: Program) -> None:
        super().__init__()
        self.program = program


def fork_stage(
    request: Request, tree: ProcessTree, number: int, isolation: Isolation,
    program: Program | None,
) -> tuple[int, int]:  # fmt: skip
    """Start one stage; return its process and a descriptor to read, after its end, why it never started.

    The content is empty, or `<errno> <what was tried>`. `number` is that of the launch in the tree. Raises
    OSError when there is no descriptor or process; in the child that is to run a `program` in this interpreter, Forked.
    """
    report, failure = os.pipe()
    launcher = os.getpid()
    pid = -1
    try:
        pid = os.fork()
    except OSError:
        os.close(report)
        raise
    finally:
        if pid != 0:
            os.close(failure)
    if pid == 0:
        _become(request, tree, number, isolation, launcher, failure, program)
    return pid, report


def _become(
    request: Request, tree: ProcessTree, number: int, isolation: Isolation, launcher: int, failure: int,
    program: Program | None,
) -> NoReturn:  # fmt: skip
    """Runs in the *child*, and never returns; raises Forked alone. All other descriptors are close-on-exec."""
    tried = [b"preparing its process"]
    try:
        os.setsid()
        tree.enter_stage(launcher, number)
        tried[0] = b"entering its isolation"
        isolation.enter_stage()
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        _connect(request, tried)
        _limit(request, tried)
        tried[0] = b"entering " + request["cwd"]
        os.chdir(request["cwd"])
        if program is not None:
            tried[0] = b"becoming an interpreter"
            program.become(request, failure)
            isolation.become_program()
            os.close(failure)
            raise Forked(program)
        tried[0] = b""
        # execve and nothing else: a file without a shebang is ENOEXEC, and not run by sh on a guess.
        os.execve(request["program"], request["argv"], request["env"])  # noqa: S606 - what this file is for
    except Forked:
        raise
    except KeyboardInterrupt:  # end as an interpreter does before its program runs
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
        os._exit(128 + signal.SIGINT)
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is reported, and never reaches the launcher's loop
        try:
            os.write(failure, _report(error, tried[0]))
        finally:
            os._exit(127)


def _report(error: BaseException, tried: bytes) -> bytes:
    code = error.errno or 0 if isinstance(error, OSError) else 0
    text = b"" if code else b": " + str(error).encode("utf-8", "backslashreplace")
    return b"%d %s%s" % (code, tried, text)


def _connect(request: Request, tried: list[bytes]) -> None:
    stdin, stdout, log = request["stdin"] or b"/dev/null", request["stdout"], request["log"]
    append = os.O_WRONLY | os.O_APPEND
    _open(stdin, os.O_RDONLY, (0,), tried)
    _open(log, append, (2,) if stdout else (1, 2), tried)
    if stdout:
        _open(stdout, append, (1,), tried)


def _open(path: bytes, flags: int, numbers: tuple[int, ...], tried: list[bytes]) -> None:
    tried[0] = b"opening " + path
    descriptor = os.open(path, flags)
    for number in numbers:
        os.dup2(descriptor, number)
    os.close(descriptor)


def _limit(request: Request, tried: list[bytes]) -> None:
    if request["affinity"] is not None and hasattr(os, "sched_setaffinity"):
        tried[0] = b"setting affinity"
        os.sched_setaffinity(0, request["affinity"])
    if request["address_space"] is not None:
        tried[0] = b"setting RLIMIT_AS"
        resource.setrlimit(resource.RLIMIT_AS, (request["address_space"], request["address_space"]))
