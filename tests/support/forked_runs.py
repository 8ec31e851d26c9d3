"""Runs of the runner that are forked off one process which has loaded it: all of a run but its start.

For tests that look at what a run does to the disk, again and again. On demand such a run ends itself at its n-th call
that changes the disk, before the call or behind it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]
DIED = 99
CHANGES = ("open", "write", "rename", "unlink", "rmdir", "mkdir", "ftruncate", "truncate", "fsync", "fdatasync")


class Ended(NamedTuple):
    code: int
    said: str


class ForkedRuns:
    """One run after the other; `close` ends the process that they come from."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip

    def run(self, *words: str, dies_at: int = 0, after: bool = False) -> Ended:
        """Run to the end, or to that call; `said` is all that was printed."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps([words, dies_at, after]) + "\n")
        self._process.stdin.flush()
        return Ended(*json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        self._process.communicate(timeout=60)


# ---- runs in the process that is forked ------------------------------------------------------------------------------


def serve() -> None:
    import runner.cli.main as cli
    from runner.cli import commands  # noqa: F401
    from runner.engine.start import preload  # what a run imports is there before the first fork

    preload(SimpleNamespace(stages=()), durable=True)
    log = os.memfd_create("log")
    for line in sys.stdin:
        words, dies_at, after = json.loads(line)
        os.ftruncate(log, 0)
        if (pid := os.fork()) == 0:
            _become_run(log)
            _die_at(dies_at, after=after)
            os._exit(cli.main(words))
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        said = os.pread(log, os.fstat(log).st_size, 0).decode("utf-8", "backslashreplace")
        print(json.dumps([code, said]), flush=True)


def _become_run(log: int) -> None:
    os.lseek(log, 0, os.SEEK_SET)
    null = os.open(os.devnull, os.O_RDONLY)
    for number, descriptor in enumerate((null, log, log)):
        os.dup2(descriptor, number)


def _die_at(number: int, *, after: bool) -> None:
    count = 0

    def dying(call: Callable[..., object]) -> Callable[..., object]:
        def wrapped(*args: object, **kwargs: object) -> object:
            nonlocal count
            count += 1
            if count == number and not after:
                os._exit(DIED)
            try:
                return call(*args, **kwargs)
            finally:  # also when it changed nothing: the directory was there
                if count == number:
                    os._exit(DIED)

        return wrapped

    opens, makes = os.open, dying(os.open)
    for name in CHANGES[1:]:
        setattr(os, name, dying(getattr(os, name)))
    os.open = lambda path, flags, *rest, **named: (  # type: ignore[assignment]
        makes if flags & os.O_CREAT else opens
    )(path, flags, *rest, **named)


if __name__ == "__main__":
    serve()
