"""Run a program that cannot make namespaces, as in a container's default profile: `offline_deny.py PROGRAM...`.

unshare fails with EPERM, so does clone with a namespace flag. clone3 fails with ENOSYS: libraries then use clone.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys

PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 22, 38  # linux/prctl.h
SECCOMP_MODE_FILTER = 2
ALLOW, ERRNO = 0x7FFF0000, 0x00050000  # linux/seccomp.h
LOAD, EQUALS, ANY_BIT, RETURN = 0x20, 0x15, 0x45, 0x06  # BPF_LD|W|ABS, JMP|JEQ|K, JMP|JSET|K, RET|K
NAMESPACES = 0x7E020000  # CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
UNSHARE, CLONE, CLONE3 = {"x86_64": (272, 56, 435), "aarch64": (97, 220, 435)}.get(platform.machine(), (-1, -1, -1))


def program() -> bytes:
    """The filter; an instruction is (code, jump when true, jump when false, operand)."""
    lines = [
        (LOAD, 0, 0, 0),  # the call's number
        (EQUALS, 4, 0, UNSHARE),
        (EQUALS, 4, 0, CLONE3),
        (EQUALS, 0, 4, CLONE),
        (LOAD, 0, 0, 16),  # its first argument, lower half
        (ANY_BIT, 0, 2, NAMESPACES),
        (RETURN, 0, 0, ERRNO | errno.EPERM),
        (RETURN, 0, 0, ERRNO | errno.ENOSYS),
        (RETURN, 0, 0, ALLOW),
    ]
    return b"".join(struct.pack("HBBI", *line) for line in lines)


def deny() -> None:
    if UNSHARE < 0:
        sys.exit(f"no table of calls for {platform.machine()}")
    libc = ctypes.CDLL(None, use_errno=True)
    lines = ctypes.create_string_buffer(program())
    count = (len(lines) - 1) // 8
    fprog = ctypes.create_string_buffer(struct.pack("HxxxxxxP", count, ctypes.addressof(lines)))
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, fprog, 0, 0):
        sys.exit(f"no filter: {os.strerror(ctypes.get_errno())}")


if __name__ == "__main__":
    deny()
    os.execvp(sys.argv[1], sys.argv[1:])
