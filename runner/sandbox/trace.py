"""The runner's end of a tracer: runs one command in isolation, and returns the paths that it used."""

from __future__ import annotations

import marshal
import os
import sys
from typing import TYPE_CHECKING, NamedTuple

from runner.errors import Fault, LauncherError, OfflineError, UsageError
from runner.processes import signal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

PROGRAM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "tracer.py")
_ROOM = 65536  # bytes for one read


class Trace(NamedTuple):
    """How a command ended, and what it used.

    `code` is its exit code, or a signal's number below 0. `uses` are the bits of tracer.Uses, by absolute path;
    `network` has the fields of results.NetworkCalls.
    """

    code: int
    uses: dict[str, int]
    network: list[tuple[str, str, int, bool]]


def trace(program: str, words: Sequence[str], env: Mapping[str, str], relay: Callable[[bytes], object]) -> Trace:
    """Run `program` in the working directory with these `words` and `env`, to the end of all its processes.

    Its standard input is /dev/null; `relay` gets what it prints. Raises UsageError if it does not start, OfflineError
    below level `kernel`. If this raises, or if this process dies, no process of the command is left.
    """
    report, null = os.memfd_create("report"), os.open(os.devnull, os.O_RDONLY)
    log, writes = os.pipe()
    actions = [(os.POSIX_SPAWN_DUP2, end, number) for number, end in enumerate((null, writes, writes, report))]
    started = [sys.executable, "-I", "-S", PROGRAM, str(os.getpid()), program, *words]
    pid = os.posix_spawn(sys.executable, started, env, file_actions=actions)
    os.close(null)
    os.close(writes)
    try:
        while data := os.read(log, _ROOM):
            relay(data)
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        raise
    finally:
        os.waitpid(pid, 0)
        os.close(log)
    os.lseek(report, 0, os.SEEK_SET)
    with open(report, "rb") as file:
        received = file.read()
    if not received:
        raise LauncherError(Fault("learn", "the process that watches the command was killed", "run it again"))
    refusal, seen = marshal.loads(received)  # noqa: S302 - written by our own other end
    if refusal:
        hint = "sealed stages need level kernel, too: offpipe doctor says what it lacks"
        raise OfflineError(Fault("offline guard", f"the command cannot be watched: {refusal}", hint))
    failure, code, uses, network = seen
    if failure:
        raise UsageError(Fault(words[0], f"did not start: {failure}"))
    return Trace(code, {os.fsdecode(path): bits for path, bits in uses.items()}, network)
