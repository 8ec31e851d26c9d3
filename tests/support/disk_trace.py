"""The calls of all processes of a run that change or sync files, as strace reports them."""

from __future__ import annotations

import os
import re
import shutil
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pipeline_bench import PipelineBench

MAKES = "openat open creat mkdir mkdirat symlink symlinkat link linkat"
NAMES = "rename renameat renameat2 unlink unlinkat rmdir"
BYTES = "write pwrite64 writev pwritev pwritev2 truncate ftruncate fallocate copy_file_range sendfile splice"
SYNCS = "fsync fdatasync sync_file_range sync syncfs msync"
CALLS = ",".join(f"{MAKES} {NAMES} {BYTES} {SYNCS}".split())
STRACE = shutil.which("strace")

_LINE = re.compile(r"(\d+) +(?:<\.\.\. (\w+) resumed>(.*)|(\w+)\((.*))$")
_RESULT = re.compile(r"(.*)\)\s+= (-?\d+)(.*)$")
_TEXT = re.compile(r'"((?:\\x..)*)"(\.\.\.)?')
_PLACE = re.compile(r"<((?:\\x..)+)>(\(deleted\))?")


class Call(NamedTuple):
    """A system call that succeeded: its arguments as strace spells them, and how many calls had ended when it began.

    A sync that was made to fail is one too: `fsync_failed`.
    """

    name: str
    words: list[str]
    result: str
    began: int


def why_not() -> str:
    """Return why this machine cannot trace; empty if it can."""
    return "" if STRACE else "needs strace"


def traced(bench: PipelineBench, *words: str, inject: tuple[str, ...] = (), **popen: object):
    """Run to the end under strace; return the completed process and its calls, in the order in which they ended.

    `inject`: which calls must fail, in strace's syntax: `fdatasync:error=EIO:when=2+`, counted in each thread.
    """
    log = bench.root.parent / "strace"
    command = (STRACE, "-f", "-y", "-xx", "-s", str(1 << 20), "--seccomp-bpf", "-e", f"trace={CALLS}", "-o", str(log))
    command += tuple(word for fault in inject for word in ("-e", f"inject={fault}"))
    done = bench.run(*words, command=command, **popen)
    return done, list(calls(log))


def calls(log: Path) -> Iterator[Call]:
    """Yield the successful calls in the order in which they ended; `began` counts those yielded before it began."""
    waiting: dict[str, tuple[str, str, int]] = {}
    count = 0
    with log.open() as lines:
        for line in lines:
            found = _LINE.match(line)
            if found is None:  # a signal, or the end of a process
                continue
            pid, resumed, rest, name, text = found.groups()
            began = count
            if resumed:
                name, before, began = waiting.pop(pid)
                text = before + rest
            elif "<unfinished ...>" in text:
                waiting[pid] = (name, text.split(" <unfinished")[0], began)
                continue
            ended = _RESULT.match(text)
            if ended and ended[2].startswith("-") and name in SYNCS.split() and "(INJECTED)" in ended[3]:
                name += "_failed"
            elif not ended or ended[2].startswith("-"):
                continue
            yield Call(name, ended[1].split(", "), ended[2] + ended[3], began)
            count += 1


def text_of(word: str) -> bytes:
    """Return the bytes of a string argument."""
    found = _TEXT.fullmatch(word)
    assert found and not found[2], f"not a whole string: {word[:80]}"
    return bytes.fromhex(found[1].replace("\\x", ""))


def place_of(word: str) -> str | None:
    """Return the path of a descriptor; None if the file has no name any more, or never had one."""
    found = _PLACE.search(word)
    return None if found is None or found[2] else os.fsdecode(bytes.fromhex(found[1].replace("\\x", "")))


def path_of(directory: str, word: str) -> str:
    """Return the absolute path of a name that is relative to a directory's descriptor."""
    return os.path.normpath(os.path.join(place_of(directory) or "/", os.fsdecode(text_of(word))))
