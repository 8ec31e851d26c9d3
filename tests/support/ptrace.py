"""ptrace(2), and what a tracer does to the call that a stopped thread is about to make.

For Linux on x86_64 and aarch64. Numbers: linux/ptrace.h, linux/elf.h; registers: sys/user.h, asm/ptrace.h.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

SEIZE, LISTEN, CONT, SYSCALL, GETEVENTMSG, GET_SYSCALL_INFO = 0x4206, 0x4208, 7, 24, 0x4201, 0x420E
GETREGSET, SETREGSET, NT_PRSTATUS, NT_ARM_SYSTEM_CALL = 0x4204, 0x4205, 1, 0x404
LENGTH_REGISTER = {"x86_64": 12, "aarch64": 2}  # the third argument, among the general registers (sys/user.h)
RESULT_REGISTER = {"x86_64": 10, "aarch64": 0}
CALL_REGISTER = 15  # x86_64's orig_rax; aarch64 has a set of registers of its own for it

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


def ptrace(request: int, thread: int, address: int = 0, data: int = 0) -> int:
    result = int(_libc.ptrace(request, thread, address, data))
    if result < 0:
        number = ctypes.get_errno()
        kind = ProcessLookupError if number == errno.ESRCH else OSError
        raise kind(number, f"ptrace {request:#x}: {os.strerror(number)}")
    return result


def shorten(thread: int, length: int) -> None:
    """Set the third argument of the call that a thread is about to make."""
    _set_registers(thread, {LENGTH_REGISTER[os.uname().machine]: length})


def fail(thread: int, number: int) -> None:
    """Let the call that a thread is about to make fail with an errno: the kernel skips a call with the number -1."""
    machine = os.uname().machine
    result = {RESULT_REGISTER[machine]: -number}
    if machine == "x86_64":
        _set_registers(thread, {**result, CALL_REGISTER: -1})
        return
    _set_registers(thread, result)
    none = ctypes.c_int(-1)
    vector = (ctypes.c_size_t * 2)(ctypes.addressof(none), ctypes.sizeof(none))
    ptrace(SETREGSET, thread, NT_ARM_SYSTEM_CALL, ctypes.addressof(vector))


def _set_registers(thread: int, values: Mapping[int, int]) -> None:
    registers = ctypes.create_string_buffer(64 * 8)
    vector = (ctypes.c_size_t * 2)(ctypes.addressof(registers), len(registers))  # struct iovec
    ptrace(GETREGSET, thread, NT_PRSTATUS, ctypes.addressof(vector))
    for register, value in values.items():
        struct.pack_into("=q", registers, 8 * register, value)
    ptrace(SETREGSET, thread, NT_PRSTATUS, ctypes.addressof(vector))
