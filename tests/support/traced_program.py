"""The process that becomes a traced program: the kernel stops it, and what it starts, at some calls only.

call_tracer runs this file by its path, so it imports nothing of ours. Numbers: linux/filter.h, linux/seccomp.h, and
the tables of system calls.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys

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
READS = {
    "x86_64": {0: "read", 17: "pread", 217: "getdents"},
    "aarch64": {61: "getdents", 63: "read", 67: "pread"},
}
SECCOMP = {"x86_64": 317, "aarch64": 277}
AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
OPENS = {"open": 1, "openat": 2}  # the argument that holds the flags
CREATES = os.O_CREAT | os.O_TRUNC
RET_ALLOW, RET_TRACE = 0x7FFF0000, 0x7FF00000
PR_SET_NO_NEW_PRIVS = 38


def _filter(machine: str, *, reads: bool) -> bytes:
    """Stop at the calls of the table, and at opens that make or empty a file; with `reads` at those that read, too."""
    load, equal, any_bit, give = 0x20, 0x15, 0x45, 0x06  # LD|W|ABS, JMP|JEQ|K, JMP|JSET|K, RET|K
    code = [(load, 0, 0, 4), (equal, 1, 0, AUDIT_ARCH[machine]), (give, 0, 0, RET_ALLOW), (load, 0, 0, 0)]
    calls = CALLS[machine] | (READS[machine] if reads else {})
    for number, name in calls.items():
        if name in OPENS and not reads:
            flags = [(load, 0, 0, 16 + 8 * OPENS[name]), (any_bit, 0, 1, CREATES)]
            code += [(equal, 0, 4, number), *flags, (give, 0, 0, RET_TRACE), (give, 0, 0, RET_ALLOW)]
        else:
            code += [(equal, 0, 1, number), (give, 0, 0, RET_TRACE)]
    code.append((give, 0, 0, RET_ALLOW))
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)


def _start(argv: list[str], *, reads: bool) -> None:
    os.read(0, 1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    machine = os.uname().machine
    code = _filter(machine, reads=reads)
    array = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("=HxxxxxxQ", len(code) // 8, ctypes.addressof(array))  # struct sock_fprog
    libc, word = ctypes.CDLL(None, use_errno=True), ctypes.c_long
    libc.prctl(PR_SET_NO_NEW_PRIVS, word(1), word(0), word(0), word(0))
    if libc.syscall(word(SECCOMP[machine]), word(1), word(0), ctypes.c_char_p(program)):
        raise OSError(ctypes.get_errno(), "seccomp")
    os.execvp(argv[0], argv)


if __name__ == "__main__":
    _start(sys.argv[2:], reads=sys.argv[1] == "reads")
