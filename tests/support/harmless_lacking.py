"""Run a program where system calls fail: `harmless_lacking.py WORDS PROGRAM...`, with commas between WORDS.

A word is a system call that fails with EPERM, or "listener": the program then has a seccomp listener already.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys

CALLS = {  # x86_64, aarch64
    "unshare": (272, 97), "mount": (165, 40), "capset": (126, 91), "landlock_create_ruleset": (444, 444),
    "prctl": (157, 167), "seccomp": (317, 277), "mount_setattr": (442, 442),
}  # fmt: skip
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 22, 38  # linux/prctl.h
SET_MODE_FILTER, NEW_LISTENER = 1, 8  # linux/seccomp.h
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
LOAD, EQUALS, RETURN = 0x20, 0x15, 0x06  # BPF_LD|W|ABS, JMP|JEQ|K, RET|K; then jump when true, when false, operand

libc = ctypes.CDLL(None, use_errno=True)


def number(name: str) -> int:
    return CALLS[name][platform.machine() == "aarch64"]


def refusing(name: str) -> list[tuple[int, int, int, int]]:
    """Return a filter that makes the call fail; prctl fails only if it would add a filter."""
    refused = (RETURN, 0, 0, ERRNO | errno.EPERM)
    if name == "prctl":
        first = [(LOAD, 0, 0, 0), (EQUALS, 0, 3, number(name)), (LOAD, 0, 0, 16), (EQUALS, 0, 1, PR_SET_SECCOMP)]
    else:
        first = [(LOAD, 0, 0, 0), (EQUALS, 0, 1, number(name))]
    return [*first, refused, (RETURN, 0, 0, ALLOW)]


def install(lines: list[tuple[int, int, int, int]], flags: int = 0) -> int:
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in lines))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(lines), ctypes.addressof(code)))
    answer = libc.syscall(number("seccomp"), SET_MODE_FILTER, flags, program)
    if answer < 0:
        sys.exit(f"no filter: {os.strerror(ctypes.get_errno())}")
    return answer


def main() -> None:
    words, *command = sys.argv[1:]
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        sys.exit(f"no filter: {os.strerror(ctypes.get_errno())}")
    for word in sorted(words.split(","), key=lambda word: word == "seccomp"):  # last: it would refuse the others
        if word == "listener":
            _hold(install([(RETURN, 0, 0, ALLOW)], NEW_LISTENER))
        else:
            install(refusing(word))
    os.execvp(command[0], command)


def _hold(listener: int) -> None:
    """Continue in a child. The parent keeps the listener open until the child ends, and ends with its exit code."""
    os.set_inheritable(listener, False)
    if child := os.fork():
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        os._exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    main()
