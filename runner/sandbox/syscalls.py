"""System calls that Python has no function for, by ctypes. An error names the call and its errno.

Loaded by the launcher program only. Numbers: arch/x86/entry/syscalls/syscall_64.tbl and
include/uapi/asm-generic/unistd.h (aarch64) of Linux; those above 424 are the same everywhere.
"""

from __future__ import annotations

import ctypes
import os

from runner.levels import RefusedError
from runner.processes import signal as signal  # noqa: PLC0414 - the launcher's other modules import it from here

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from typing import NoReturn

NEW_NUMBERS = {
    "io_uring_setup": 425,
    "io_uring_enter": 426,
    "io_uring_register": 427,
    "clone3": 435,
    "pidfd_getfd": 438,
    "mount_setattr": 442,
    "landlock_create_ruleset": 444,
    "landlock_add_rule": 445,
    "landlock_restrict_self": 446,
}
NUMBERS: dict[str, dict[str, int]] = {
    "x86_64": {
        "ioctl": 16,
        "socket": 41,
        "connect": 42,
        "accept": 43,
        "bind": 49,
        "listen": 50,
        "socketpair": 53,
        "clone": 56,
        "ptrace": 101,
        "capset": 126,
        "prctl": 157,
        "setrlimit": 160,
        "add_key": 248,
        "request_key": 249,
        "keyctl": 250,
        "unshare": 272,
        "accept4": 288,
        "prlimit64": 302,
        "setns": 308,
        "process_vm_readv": 310,
        "process_vm_writev": 311,
        "seccomp": 317,
        **NEW_NUMBERS,
    },
    "aarch64": {
        "ioctl": 29,
        "capset": 91,
        "unshare": 97,
        "ptrace": 117,
        "setrlimit": 164,
        "prctl": 167,
        "socket": 198,
        "socketpair": 199,
        "bind": 200,
        "listen": 201,
        "accept": 202,
        "connect": 203,
        "add_key": 217,
        "request_key": 218,
        "keyctl": 219,
        "clone": 220,
        "accept4": 242,
        "prlimit64": 261,
        "setns": 268,
        "process_vm_readv": 270,
        "process_vm_writev": 271,
        "seccomp": 277,
        **NEW_NUMBERS,
    },
}

# linux/mount.h
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND, MS_REC, MS_SLAVE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 19
MS_MOVE = 8192
MS_NOATIME, MS_NODIRATIME = 1024, 2048
# linux/prctl.h
PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_CAPBSET_DROP = 24
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38

libc = ctypes.CDLL(None, use_errno=True)
_close_range = getattr(libc, "close_range", lambda _first, _last, _flags: -1)  # glibc 2.34
HIGHEST = (1 << 20) - 1  # the highest descriptor, unless fs.nr_open was raised


def machine() -> str:
    """Return this machine's architecture; "" if the tables lack it, or if this is a 32-bit process."""
    name = os.uname().machine
    return name if name in NUMBERS and ctypes.sizeof(ctypes.c_void_p) == 8 else ""


def close_all_but(kept: Collection[int]) -> None:
    """Close every descriptor but these.

    Not by os.closerange alone: if Python was built with an old C library, that makes a call for each number.
    """
    first = 0
    for number in (*sorted(kept), HIGHEST + 1):
        if first < number and _close_range(first, number - 1, 0) != 0:
            os.closerange(first, number)
        first = number + 1


def end_by_signal(number: int) -> NoReturn:
    """End this process by a signal, even one that it handles or ignores."""
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    os._exit(128 + number)


def fork_for(work: Callable[[], int]) -> int:
    """Start a child that does this work and ends with the exit code that it returns, or 255; return its process."""
    pid = os.fork()
    if pid == 0:
        code = 255
        try:
            code = work()
        finally:
            os._exit(code)
    return pid


def call(name: str, *arguments: object) -> int:
    """Make the system call `name`; RefusedError if it fails. KeyError if `machine` returns ""."""
    return function(name, "syscall", NUMBERS[machine()][name], *arguments)


def function(shown: str, name: str, *arguments: object) -> int:
    """Call a function of the C library by name. If it fails, RefusedError names it as `shown`.

    An int fills a whole register: ctypes would pass 32 bits, and leave the other half undefined.
    """
    wide = (ctypes.c_long(argument) if isinstance(argument, int) else argument for argument in arguments)
    result = getattr(libc, name)(*wide)
    if result < 0:
        raise RefusedError(shown, ctypes.get_errno())
    return int(result)


def mount(shown: str, source: str | bytes, target: str | bytes, kind: bytes | None, flags: int) -> None:
    """Make or change a mount. If it fails, RefusedError names it as `shown`."""
    function(shown, "mount", os.fsencode(source), os.fsencode(target), kind, flags, None)


def prctl(shown: str, option: int, value: int) -> None:
    """Set a property of this process to a number. If it fails, RefusedError names it as `shown`."""
    function(shown, "prctl", option, value, 0, 0, 0)


def own_status() -> dict[str, str]:
    """Return the fields of /proc/self/status; proc(5)."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
