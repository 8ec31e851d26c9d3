"""One start of a stage: its request and limits, how they go through the launcher's pipe, and how it ended."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING

from runner.interrupts import GRACE
from runner.values import Value

if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any


class Enforced(Value):
    """Limits of one launch: processors it may use, and bytes of address space (RLIMIT_AS)."""

    affinity: list[int] | None = None
    address_space: int | None = None

    def as_json(self) -> dict[str, object]:
        """Return the limits that the kernel enforces, as they stand in the audit log and the metrics."""
        limits = {"affinity": self.affinity, "addressSpaceBytes": self.address_space}
        return {name: value for name, value in limits.items() if value is not None}


NOTHING = Enforced()


def enforced(cpus: float | None, memory_mib: int | None, turn: int) -> Enforced:
    """Return the limits of a stage whose resources are enforced, within what this process may use.

    `turn` numbers the launches of a run, so that stages that run together get different processors.
    """
    affinity = None
    if cpus is not None and hasattr(os, "sched_getaffinity"):
        there = sorted(os.sched_getaffinity(0))
        count = min(len(there), max(1, math.ceil(cpus)))
        affinity = sorted(there[(turn * count + offset) % len(there)] for offset in range(count))
    return Enforced(affinity, memory_mib << 20 if memory_mib else None)


class Launch(Value):
    """One start of one program. `id` is the caller's, and comes back in the Exit; paths are absolute.

    `log` and `stdout` exist already and are appended to. Without `stdout`, standard output goes to the log; without
    `stdin`, standard input is /dev/null. `timeout` and `grace` are seconds, `address_space` bytes (RLIMIT_AS).
    `program` is the file to execute if not `argv[0]`; no PATH is searched. `script`: argv is an interpreter, `-B`, this
    file and its arguments, and a warm launcher may fork itself instead; `preload` are modules that it will import.
    """

    id: int
    argv: list[str]
    env: dict[str, str]
    cwd: str
    stdin: str | None
    stdout: str | None
    log: str
    timeout: float | None = None
    grace: float = GRACE
    affinity: list[int] | None = None
    address_space: int | None = None
    program: str | None = None
    script: str | None = None
    preload: tuple[str, ...] = ()


class Exit(Value):
    """How a launch ended: `code` or `signal`, or neither when it `failed_to_start` ("ENOENT (No such ...)").

    `sent`: the launcher signalled it (time limit, terminate, kill) before it ended. `left_behind` counts the processes
    that outlived the main one and were killed. `cpu_seconds` and `max_rss_bytes` are those of the main process and of
    what it waited for; the kernel counts the launcher's own size (about 10 MB) as the least RSS. `network` is what
    Asked has not reported yet; `local_sockets` counts the calls of socket(2) for blocking stream sockets of AF_UNIX,
    such as multiprocessing's.
    """

    id: int
    code: int | None
    signal: int | None
    timed_out: bool
    sent: bool
    seconds: float
    cpu_seconds: float
    max_rss_bytes: int
    failed_to_start: str | None
    left_behind: int
    network: list[tuple[str, str, int, bool]]
    local_sockets: int


class Asked(Value):
    """Processes of a running launch asked for networks; the fields of results.NetworkCalls."""

    id: int
    network: list[tuple[str, str, int, bool]]


def encoded(launch: Launch) -> dict[str, Any]:
    """Return a launch as protocol.Request has it."""
    encode = os.fsencode
    return {
        "id": launch.id,
        "program": encode(launch.program or launch.argv[0]),
        "argv": _encoded(launch.argv),
        "env": dict(zip(_encoded(launch.env.keys()), _encoded(launch.env.values()), strict=True)),
        "cwd": encode(launch.cwd),
        "stdin": None if launch.stdin is None else encode(launch.stdin),
        "stdout": None if launch.stdout is None else encode(launch.stdout),
        "log": encode(launch.log),
        "timeout": launch.timeout,
        "grace": launch.grace,
        "affinity": launch.affinity,
        "address_space": launch.address_space,
        "script": None if launch.script is None else encode(launch.script),
        "preload": launch.preload,
    }


def _encoded(words: Collection[str]) -> list[bytes]:
    """Return all words as bytes, encoded in one call, because there are dozens; one by one if a word holds a NUL."""
    found = os.fsencode("\0".join(words)).split(b"\0")
    return found if len(found) == len(words) else [os.fsencode(word) for word in words]
