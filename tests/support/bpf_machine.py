"""Executes classic BPF as the kernel does for seccomp: one `struct seccomp_data` in, one return value out."""

from __future__ import annotations

import struct

LOAD, AND, RETURN, EQUAL, AT_LEAST = 0x20, 0x54, 0x06, 0x15, 0x35  # linux/bpf_common.h


def verdict(program: bytes, *, arch: int, number: int, arguments: tuple[int, ...] = ()) -> int:
    """Return the filter's answer to a call. Arguments are 64 bits wide, like registers."""
    padded = (*arguments, *[0] * (6 - len(arguments)))
    content = struct.pack("=iIQ6Q", number - (1 << 32) * (number >> 31), arch, 0, *padded)
    instructions = list(struct.iter_unpack("=HBBI", program))
    accumulator, at = 0, 0
    while True:
        code, when_true, when_false, operand = instructions[at]
        at += 1
        if code == RETURN:
            return operand
        if code == LOAD:
            (accumulator,) = struct.unpack_from("=I", content, operand)
        elif code == AND:
            accumulator &= operand
        elif code == EQUAL:
            at += when_true if accumulator == operand else when_false
        elif code == AT_LEAST:
            at += when_true if accumulator >= operand else when_false
        else:
            raise AssertionError(f"no instruction {code:#x}")
