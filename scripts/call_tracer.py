"""Runs a program under ptrace(2), counts the state-changing calls of all its processes, and kills at one of them.

No strace and no root: the kernel stops a process at those calls only (seccomp's RET_TRACE), so a traced run takes about
as long as any other. The process is stopped *before* the call; killed there, the call never happens. For Linux on
x86_64 and aarch64. Numbers: linux/ptrace.h, linux/seccomp.h, and the tables of system calls.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import struct
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

WHO = ("all", "runner", "launcher", "stage")
PATIENCE = 60.0  # seconds; a run that takes longer hangs

CALLS = {
    "x86_64": {
        1: "write", 2: "open", 18: "pwrite", 20: "writev", 40: "sendfile", 73: "flock", 74: "fsync", 75: "fdatasync",
        76: "truncate", 77: "ftruncate", 82: "rename", 83: "mkdir", 84: "rmdir", 85: "creat", 86: "link", 87: "unlink",
        88: "symlink", 90: "chmod", 91: "fchmod", 257: "openat", 258: "mkdirat", 263: "unlinkat", 264: "renameat",
        265: "linkat", 266: "symlinkat", 268: "fchmodat", 285: "fallocate", 296: "pwritev", 316: "renameat2",
        326: "copy_file_range",
    },
    "aarch64": {
        32: "flock", 34: "mkdirat", 35: "unlinkat", 36: "symlinkat", 37: "linkat", 38: "renameat", 45: "truncate",
        46: "ftruncate", 47: "fallocate", 52: "fchmod", 53: "fchmodat", 56: "openat", 64: "write", 66: "writev",
        68: "pwrite", 70: "pwritev", 71: "sendfile", 82: "fsync", 83: "fdatasync", 276: "renameat2",
        285: "copy_file_range",
    },
}  # fmt: skip
SECCOMP = {"x86_64": 317, "aarch64": 277}
AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
LENGTH_REGISTER = {"x86_64": 12, "aarch64": 2}  # the third argument, among the general registers (sys/user.h)
OPENS = {"open": 1, "openat": 2}  # the argument that holds the flags
PATHS = {  # the argument that holds the path that is changed
    "open": 0, "openat": 1, "rename": 1, "renameat": 3, "renameat2": 3, "mkdir": 0, "mkdirat": 1, "rmdir": 0,
    "unlink": 0, "unlinkat": 1, "truncate": 0, "creat": 0, "link": 1, "linkat": 3, "symlink": 1, "symlinkat": 2,
    "chmod": 0, "fchmodat": 1,
}  # fmt: skip
OF_DESCRIPTORS = {"sendfile": 0, "copy_file_range": 2}  # all others that name no path: argument 0 too
CREATES = os.O_CREAT | os.O_TRUNC

SEIZE, LISTEN, CONT, SYSCALL, GETEVENTMSG, GET_SYSCALL_INFO = 0x4206, 0x4208, 7, 24, 0x4201, 0x420E
GETREGSET, SETREGSET, NT_PRSTATUS = 0x4204, 0x4205, 1
OPTIONS = 0x1 | 0x2 | 0x4 | 0x8 | 0x80 | 0x100000  # TRACESYSGOOD, FORK, VFORK, CLONE, SECCOMP, EXITKILL
EVENT_SECCOMP, EVENT_STOP = 7, 128
RET_ALLOW, RET_TRACE = 0x7FFF0000, 0x7FF00000
PR_SET_NO_NEW_PRIVS = 38
WALL = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


@dataclass(frozen=True, slots=True)
class Call:
    """One state-changing call: by which part of the run, what, on which file; and which parts were alive then."""

    role: str
    name: str
    path: str
    alive: frozenset[str]

    def __str__(self) -> str:
        return f"{self.role}: {self.name} {self.path}".rstrip()


@dataclass(slots=True)
class Traced:
    """How a traced run ended, as os.waitstatus_to_exitcode has it; its calls; who was killed: nobody if not reached."""

    code: int = 0
    calls: list[Call] = field(default_factory=list)
    victims: tuple[int, ...] = ()
    hung: bool = False


def why_not() -> str:
    """Return why this machine cannot trace, or nothing."""
    if not sys.platform.startswith("linux"):
        return "needs Linux"
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
    torn: bool = False,
    cwd: str | None = None,
    env: Mapping[str, str] | None = None,
    patience: float = PATIENCE,
) -> Traced:
    """Run a program to its end and return its calls; at call `position`, counted from 1, kill -9 whom `who` names.

    stdout and stderr go to the file `log`. `torn`: where that call writes, half of it is let through first. Returns
    when every process is gone. One call at a time in a process, which must have no other children meanwhile.
    """
    ready, go = os.pipe()
    with open(log, "ab") as output:
        starter = subprocess.Popen(
            [sys.executable, "-I", "-S", os.path.abspath(__file__), "start", *argv],
            stdin=ready, stdout=output, stderr=output, cwd=cwd, env=env, start_new_session=True,
        )  # fmt: skip
    os.close(ready)
    try:
        _ptrace(SEIZE, starter.pid, 0, OPTIONS)
    except OSError:
        starter.kill()
        starter.wait()
        raise
    finally:
        os.close(go)  # end-of-file: it is traced, and may begin
    tracer = _Tracer(starter.pid, position, who, torn=torn)
    watchdog = threading.Timer(patience, tracer.give_up)
    watchdog.daemon = True
    watchdog.start()
    try:
        tracer.loop()
    finally:
        watchdog.cancel()
        starter.returncode = tracer.traced.code  # taken here, so that nobody else waits for it
    return tracer.traced


class _Tracer:
    def __init__(self, root: int, position: int, who: str, *, torn: bool) -> None:
        self.traced = Traced()
        self._root = root
        self._position = position
        self._who = who
        self._torn = torn
        self._roles: dict[int, str] = {root: "runner"}  # processes only
        self._inits: set[int] = set()  # launchers that are process 1 of a pid namespace: their children are stages
        self._processes: dict[int, int] = {root: root}  # thread -> process
        self._torn_by = 0
        self._names = CALLS[os.uname().machine]
        self._depth = len(_status(os.getpid()).get("NSpid", "1").split())

    def loop(self) -> None:
        while True:
            try:
                thread, status = os.waitpid(-1, WALL)
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
            _ptrace(LISTEN, thread)  # stopped by a signal, as without a tracer
        elif number == signal.SIGTRAP | 0x80:  # the end of a call that was let through in part
            self._strike()
            _ptrace(CONT, thread)
        else:
            _ptrace(CONT, thread, 0, 0 if event or number == signal.SIGTRAP else number)

    def _meet(self, thread: int) -> None:
        """Tell what a new thread or process is, by what it comes from."""
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
        """A stage that was started without namespaces is known by its environment."""
        role = self._roles.get(process, "launcher")
        if role == "launcher":
            try:
                if b"\0PIPELINE_STAGE_FILE=" in b"\0" + Path(f"/proc/{process}/environ").read_bytes():
                    role = self._roles[process] = "stage"
            except OSError:
                pass  # it is not dumpable, as a launcher is
        return role

    def _at_call(self, thread: int) -> None:
        info = ctypes.create_string_buffer(88)  # struct ptrace_syscall_info
        _ptrace(GET_SYSCALL_INFO, thread, len(info), ctypes.addressof(info))
        call, *arguments = struct.unpack_from("=7Q", info, 24)
        name = self._names.get(call, str(call))
        if not (self.traced.victims or self.traced.hung):
            process = self._processes[thread]
            alive = frozenset(self._role(one) for one in self._roles)
            path = _path(process, name, arguments)
            self.traced.calls.append(Call(self._role(process), name, path, alive))
            if len(self.traced.calls) == self._position:
                if self._torn and name in ("write", "pwrite") and arguments[2] > 1:
                    _shorten(thread, arguments[2] // 2)
                    _ptrace(SYSCALL, thread)
                    return
                self._strike()
        _ptrace(CONT, thread)

    def _strike(self) -> None:
        self.traced.victims = tuple(self._chosen())
        self._kill(self.traced.victims)

    def _chosen(self) -> list[int]:
        """All the runner's processes, or those of a role; a launcher is two or three, of which one is killed."""
        everyone = sorted(self._roles, key=lambda process: process != self._root)
        if self._who == "all":
            return everyone
        ours = [process for process in everyone if self._role(process) == self._who]
        return ours[self._position % len(ours) :][:1] if self._who == "launcher" and ours else ours

    @staticmethod
    def _kill(processes: Sequence[int]) -> None:
        for process in processes:
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                pass  # it ended just now


def _ptrace(request: int, thread: int, address: int = 0, data: int = 0) -> int:
    result = int(_libc.ptrace(request, thread, address, data))
    if result < 0:
        number = ctypes.get_errno()
        kind = ProcessLookupError if number == errno.ESRCH else OSError
        raise kind(number, f"ptrace {request:#x}: {os.strerror(number)}")
    return result


def _shorten(thread: int, length: int) -> None:
    """Set the third argument of the call that a thread is about to make."""
    registers = ctypes.create_string_buffer(64 * 8)
    vector = (ctypes.c_size_t * 2)(ctypes.addressof(registers), len(registers))  # struct iovec
    _ptrace(GETREGSET, thread, NT_PRSTATUS, ctypes.addressof(vector))
    struct.pack_into("=Q", registers, 8 * LENGTH_REGISTER[os.uname().machine], length)
    _ptrace(SETREGSET, thread, NT_PRSTATUS, ctypes.addressof(vector))


def _status(process: int) -> dict[str, str]:
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return {}
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _path(process: int, name: str, arguments: Sequence[int]) -> str:
    """The file that a call is about, as far as it can be told: a path as it was given, or of a descriptor."""
    try:
        if name not in PATHS:
            return os.readlink(f"/proc/{process}/fd/{arguments[OF_DESCRIPTORS.get(name, 0)]}")
        with open(f"/proc/{process}/mem", "rb", buffering=0) as memory:
            memory.seek(arguments[PATHS[name]])
            return memory.read(4096).partition(b"\0")[0].decode("utf-8", "backslashreplace")
    except (OSError, ValueError, OverflowError):
        return ""


# ---- in the process that becomes the traced program ------------------------------------------------------------------


def _filter(machine: str) -> bytes:
    """Stop at the calls of the table, and at opens that make or empty a file; struct sock_filter, linux/filter.h."""
    load, equal, any_bit, give = 0x20, 0x15, 0x45, 0x06  # LD|W|ABS, JMP|JEQ|K, JMP|JSET|K, RET|K
    code = [(load, 0, 0, 4), (equal, 1, 0, AUDIT_ARCH[machine]), (give, 0, 0, RET_ALLOW), (load, 0, 0, 0)]
    for number, name in CALLS[machine].items():
        if name in OPENS:
            flags = [(load, 0, 0, 16 + 8 * OPENS[name]), (any_bit, 0, 1, CREATES)]
            code += [(equal, 0, 4, number), *flags, (give, 0, 0, RET_TRACE), (give, 0, 0, RET_ALLOW)]
        else:
            code += [(equal, 0, 1, number), (give, 0, 0, RET_TRACE)]
    code.append((give, 0, 0, RET_ALLOW))
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)


def _start(argv: list[str]) -> None:
    os.read(0, 1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    machine = os.uname().machine
    code = _filter(machine)
    array = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("=HxxxxxxQ", len(code) // 8, ctypes.addressof(array))  # struct sock_fprog
    word = ctypes.c_long
    _libc.prctl(PR_SET_NO_NEW_PRIVS, word(1), word(0), word(0), word(0))
    if _libc.syscall(word(SECCOMP[machine]), word(1), word(0), ctypes.c_char_p(program)):
        raise OSError(ctypes.get_errno(), "seccomp")
    os.execvp(argv[0], argv)  # noqa: S606 - what this program is for


if __name__ == "__main__" and sys.argv[1:2] == ["start"]:
    _start(sys.argv[2:])
