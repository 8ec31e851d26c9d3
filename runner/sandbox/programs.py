"""Finds the program of a stage before it starts, and runs the operator's program outside the sandbox."""

from __future__ import annotations

import os
import re
import stat
import time
from typing import TYPE_CHECKING

from runner.errors import Fault, StateError
from runner.interrupts import SIGNALS, Interrupts
from runner.paths import upward
from runner.processes import has_ended, signal
from runner.results import signal_name

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

PATIENCE = 60.0  # seconds that the operator's program may take
_POLL = 0.01  # seconds
_SHELLS_WORK = re.compile(r"[\s<>|&;$*?`]")


def find_program(word: str, path: str, cwd: str) -> str | None:
    """Return the absolute path of the program that `word` names, or None.

    A word with a "/" is a path from `cwd`. Any other is looked for along `path`, where an empty or relative entry means
    below `cwd`, as for execvp.
    """
    return next((candidate for candidate in candidates(word, path, cwd) if _is_program(candidate)), None)


def candidates(word: str, path: str, cwd: str) -> Iterator[str]:
    """Yield the places where `find_program` looks, in order."""
    for directory in [""] if "/" in word else path.split(":"):
        yield os.path.join(cwd, directory, word)


def _is_program(path: str) -> bool:
    try:
        return stat.S_ISREG(os.stat(path).st_mode) and os.access(path, os.X_OK)
    except (OSError, ValueError):
        return False


def missing_program(word: str, path: str, outer_path: str, cwd: str, where: str) -> Fault:
    """Return the fault of a `word` that names no program on the stage's `path`; `outer_path` is the caller's PATH."""
    if _SHELLS_WORK.search(word):
        words = ", ".join(f'"{each}"' for each in word.split()[:2])
        hint = f'no shell is involved: write [{words}, ...], one word each, or name the shell, ["sh", "-c", ...]'
        return Fault(where, f'no program "{word}"', hint)
    elsewhere = find_program(word, outer_path, cwd)
    if elsewhere is not None:
        directory = os.path.dirname(elsewhere)
        hint = f'stages do not see your shell\'s PATH; add to the stage: "env": {{"PATH": "{directory}:{path}"}}'
        return Fault(where, f'program "{word}" is only on the PATH of your shell, as {elsewhere}', hint)
    if "/" in word:
        return Fault(where, f'"{word}" is not a program', "it is relative to root, and must be executable")
    return Fault(where, f'no program "{word}" on the stage\'s PATH', f"PATH is {path}")


def may_be_made(word: str, path: str, cwd: str, outputs: Collection[str]) -> bool:
    """Whether one of the `outputs`, absolute paths, is a place of the program, or a directory above one."""
    places = (place for candidate in candidates(word, path, cwd) for place in upward(os.path.normpath(candidate), "/"))
    return any(place in outputs for place in places)


def notify(program: str, summary: bytes, env: Mapping[str, str], patience: float = PATIENCE) -> Fault | None:
    """Run the operator's program for failures, found along PATH, in `env`; return what went wrong, or None.

    It reads `summary` from its standard input, and prints to our standard error. After `patience` seconds, or at a
    signal to us, its process group is killed.
    """
    where = f"--on-failure {program}"
    with Interrupts() as interrupts:
        try:
            pid = _start_outside(program, summary, env)
        except OSError as error:
            what = StateError.from_os(error, where, "start it").faults[0].what
            return Fault(where, what, "name a program, without arguments")
        deadline = time.monotonic() + patience
        while not (ended := has_ended(pid)) and not interrupts.count and time.monotonic() < deadline:
            interrupts.await_signal(_POLL)
        try:
            if not ended:
                os.killpg(pid, signal.SIGKILL)
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        except (ChildProcessError, ProcessLookupError):
            return None  # SIGCHLD is ignored, so nothing is known about its end
    if not ended:
        return Fault(where, f"killed after {signal_name(interrupts.first) if interrupts.first else f'{patience:g} s'}")
    return Fault(where, f"exit {code}" if code > 0 else signal_name(-code)) if code else None


def _start_outside(program: str, content: bytes, env: Mapping[str, str]) -> int:
    """Start a program in a process group of its own. Its input is a file in memory: a pipe might never be read.

    Signals that we handle or ignore have their default in it.
    """
    given = os.memfd_create("summary")
    try:
        os.write(given, content)
        os.lseek(given, 0, os.SEEK_SET)
        actions = ((os.POSIX_SPAWN_DUP2, given, 0), (os.POSIX_SPAWN_DUP2, 2, 1))
        handled = (*SIGNALS, signal.SIGPIPE, signal.SIGXFSZ)
        return os.posix_spawnp(program, (program,), env, file_actions=actions, setpgroup=0, setsigdef=handled)
    finally:
        os.close(given)
