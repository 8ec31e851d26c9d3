"""Runs a program under ptrace(2), counts the calls of its processes that change files, and strikes at one of them.

A strike kills processes, or makes that call fail with a given errno.

This needs neither strace nor root. The kernel stops a process at those calls only (seccomp's RET_TRACE), so a traced
run takes about as long as any other. The process stops *before* the call: a call that is struck never happens.
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ptrace import CONT, GET_SYSCALL_INFO, LISTEN, SEIZE, SYSCALL, fail, ptrace, shorten
from traced_program import CALLS, READS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

WHO = ("all", "runner", "launcher", "stage")
PATIENCE = 60.0  # seconds; a run that takes longer hangs

PROGRAM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "traced_program.py")
PATHS = {  # which argument holds the path that the call changes
    "open": 0, "openat": 1, "rename": 1, "renameat": 3, "renameat2": 3, "mkdir": 0, "mkdirat": 1, "rmdir": 0,
    "unlink": 0, "unlinkat": 1, "truncate": 0, "creat": 0, "link": 1, "linkat": 3, "symlink": 1, "symlinkat": 2,
    "chmod": 0, "fchmodat": 1,
}  # fmt: skip
AT_FDCWD = -100
OF_DESCRIPTORS = {"sendfile": 0, "copy_file_range": 2}  # argument 0 in all other calls without a path

OPTIONS = 0x1 | 0x2 | 0x4 | 0x8 | 0x80 | 0x100000  # TRACESYSGOOD, FORK, VFORK, CLONE, SECCOMP, EXITKILL
EVENT_SECCOMP, EVENT_STOP = 7, 128
WALL, WNOTHREAD = 0x40000000, 0x20000000


@dataclass(frozen=True, slots=True)
class Call:
    """A state-changing call: which part of the run made it, its name and file, and which parts were alive then."""

    role: str
    name: str
    path: str
    alive: frozenset[str]

    def __str__(self) -> str:
        return f"{self.role}: {self.name} {self.path}".rstrip()


@dataclass(slots=True)
class Traced:
    """How a traced run ended (as os.waitstatus_to_exitcode has it), its calls, and the processes that were killed.

    `struck` is the position in `calls`, from 1, of the call that was struck. It is 0, and there are no `victims`, if
    the run did not reach it.
    """

    code: int = 0
    calls: list[Call] = field(default_factory=list)
    struck: int = 0
    victims: tuple[int, ...] = ()
    hung: bool = False


def why_not() -> str:
    """Return why this machine cannot trace; empty if it can."""
    machine = os.uname().machine
    if machine not in CALLS or ctypes.sizeof(ctypes.c_void_p) != 8:
        return f"knows no system calls of {machine}"
    try:
        traced = trace([sys.executable, "-I", "-S", "-c", "import os; os.write(1, b'x')"], log=os.devnull)
    except OSError as error:
        return f"ptrace: {error.strerror}"
    return "" if traced.code == 0 and traced.calls else "ptrace or seccomp does not work here"


def trace(
    argv: Sequence[str],
    *,
    log: str,
    position: int = 0,
    who: str = "all",
    when: Callable[[Call], bool] = lambda _call: True,
    torn: bool = False,
    error: int = 0,
    reads: bool = False,
    cwd: str | None = None,
    env: Mapping[str, str] | None = None,
    patience: float = PATIENCE,
) -> Traced:
    """Run a program to its end and return its calls. At call `position`, counted from 1, kill -9 the part `who`.

    Only calls that `when` accepts count. With `error`, the call fails with that errno instead, and nothing is killed.
    `reads`: also stop at calls that read. stdout and stderr go to the file `log`. `torn`: if the call writes, half of
    it goes through first. Returns when every process is gone. Until then, the calling thread must have no other
    children.
    """
    ready, go = os.pipe()
    with open(log, "ab") as output:
        starter = subprocess.Popen(
            [sys.executable, "-I", "-S", PROGRAM, "reads" if reads else "changes", *argv],
            stdin=ready, stdout=output, stderr=output, cwd=cwd, env=env, start_new_session=True,
        )  # fmt: skip
    os.close(ready)
    try:
        ptrace(SEIZE, starter.pid, 0, OPTIONS)
    except OSError:
        starter.kill()
        starter.wait()
        raise
    finally:
        os.close(go)  # end-of-file tells the program that it is traced and may begin
    tracer = _Tracer(starter.pid, _Strike(position, who, when, torn, error))
    watchdog = threading.Timer(patience, tracer.give_up)
    watchdog.daemon = True
    watchdog.start()
    try:
        tracer.loop()
    finally:
        watchdog.cancel()
        starter.returncode = tracer.traced.code  # the loop has reaped it, so Popen must not wait for it
    return tracer.traced


@dataclass(slots=True)
class _Strike:
    """Where to strike, and how (see `trace`); `left` counts down."""

    left: int
    who: str
    when: Callable[[Call], bool]
    torn: bool
    error: int

    def is_at(self, call: Call) -> bool:
        """Return whether to strike at this call. Calls differ between runs, so a kill waits until a victim is alive."""
        has_victim = self.error or self.who == "all" or self.who in call.alive
        if not (self.left and self.when(call)) or (self.left == 1 and not has_victim):
            return False
        self.left -= 1
        return not self.left


class _Tracer:
    def __init__(self, root: int, strike: _Strike) -> None:
        self.traced = Traced()
        self._root = root
        self._plan = strike
        self._roles: dict[int, str] = {root: "runner"}  # processes only
        self._inits: set[int] = set()  # launchers that are process 1 of a pid namespace: their children are stages
        self._processes: dict[int, int] = {root: root}  # thread -> process
        self._names = CALLS[os.uname().machine] | READS[os.uname().machine]
        self._depth = len(_status(os.getpid()).get("NSpid", "1").split())

    def loop(self) -> None:
        while True:
            try:
                thread, status = os.waitpid(-1, WALL | WNOTHREAD)
            except ChildProcessError:
                return
            if os.WIFSTOPPED(status):
                try:
                    self._stopped(thread, status >> 16, os.WSTOPSIG(status))
                except ProcessLookupError:
                    pass  # killed while it was stopped
            elif thread in self._processes:
                if thread == self._root:
                    self.traced.code = os.waitstatus_to_exitcode(status)
                del self._processes[thread]
                self._roles.pop(thread, None)

    def give_up(self) -> None:
        self.traced.hung = True
        self._kill(list(self._roles))

    def _stopped(self, thread: int, event: int, number: int) -> None:
        if thread not in self._processes:
            self._meet(thread)
        if event == EVENT_SECCOMP:
            self._at_call(thread)
        elif event == EVENT_STOP and number != signal.SIGTRAP:
            ptrace(LISTEN, thread)  # stays stopped by the signal, as without a tracer
        elif number == signal.SIGTRAP | 0x80:  # the end of a call that was let through in part
            self._strike()
            ptrace(CONT, thread)
        else:
            ptrace(CONT, thread, 0, 0 if event or number == signal.SIGTRAP else number)

    def _meet(self, thread: int) -> None:
        """Record the role of a new thread or process, which follows from its parent."""
        status = _status(thread)
        process, parent = int(status.get("Tgid", thread)), int(status.get("PPid", 0))
        self._processes[thread] = process
        if process in self._roles:
            return
        above = self._roles.get(parent, "launcher")
        self._roles[process] = "stage" if above == "stage" or parent in self._inits else "launcher"
        numbers = status.get("NSpid", "").split()
        if len(numbers) > self._depth and numbers[-1] == "1":
            self._inits.add(process)

    def _role(self, process: int) -> str:
        """Return the role of a process. A stage without namespaces is recognised by its environment."""
        role = self._roles.get(process, "launcher")
        if role == "launcher":
            try:
                if b"\0PIPELINE_STAGE_FILE=" in b"\0" + Path(f"/proc/{process}/environ").read_bytes():
                    role = self._roles[process] = "stage"
            except OSError:
                pass  # not dumpable, like a launcher
        return role

    def _at_call(self, thread: int) -> None:
        info = ctypes.create_string_buffer(88)  # struct ptrace_syscall_info
        ptrace(GET_SYSCALL_INFO, thread, len(info), ctypes.addressof(info))
        call, *arguments = struct.unpack_from("=7Q", info, 24)
        name = self._names.get(call, str(call))
        if not (self.traced.victims or self.traced.hung):
            process = self._processes[thread]
            alive = frozenset(self._role(other) for other in self._roles)
            path = _path(process, name, arguments)
            self.traced.calls.append(made := Call(self._role(process), name, path, alive))
            if self._plan.is_at(made):
                self.traced.struck = len(self.traced.calls)
                if self._plan.error:
                    fail(thread, self._plan.error)
                elif self._plan.torn and name in ("write", "pwrite") and arguments[2] > 1:
                    shorten(thread, arguments[2] // 2)
                    ptrace(SYSCALL, thread)
                    return
                else:
                    self._strike()
        ptrace(CONT, thread)

    def _strike(self) -> None:
        self.traced.victims = tuple(self._chosen())
        self._kill(self.traced.victims)

    def _chosen(self) -> list[int]:
        """Return the processes to kill: all, or those of one role; of the two or three of a launcher, only one."""
        everyone = sorted(self._roles, key=lambda process: process != self._root)
        if self._plan.who == "all":
            return everyone
        ours = [process for process in everyone if self._role(process) == self._plan.who]
        return ours[self.traced.struck % len(ours) :][:1] if self._plan.who == "launcher" and ours else ours

    @staticmethod
    def _kill(processes: Sequence[int]) -> None:
        for process in processes:
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                pass  # it has just ended


def _status(process: int) -> dict[str, str]:
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return {}
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _path(process: int, name: str, arguments: Sequence[int]) -> str:
    """Return the path of the file that a call is about; empty if it is unknown."""
    try:
        if name not in PATHS:
            return os.readlink(f"/proc/{process}/fd/{arguments[OF_DESCRIPTORS.get(name, 0)]}")
        with open(f"/proc/{process}/mem", "rb", buffering=0) as memory:
            memory.seek(arguments[PATHS[name]])
            path = memory.read(4096).partition(b"\0")[0].decode("utf-8", "backslashreplace")
        if path.startswith("/"):
            return path
        folder = ctypes.c_int(arguments[PATHS[name] - 1]).value if name.rstrip("2").endswith("at") else AT_FDCWD
        return os.path.join(os.readlink(f"/proc/{process}/{'cwd' if folder == AT_FDCWD else f'fd/{folder}'}"), path)
    except (OSError, ValueError, OverflowError):
        return ""
