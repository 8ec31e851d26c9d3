"""Seccomp: the filter is installed once, in the launcher, and its listener tells which stage asked for a socket.

Loaded by the launcher program only. Structures and ioctl numbers: linux/seccomp.h, seccomp_unotify(2).
"""

from __future__ import annotations

import ctypes
import errno
import struct

from runner.levels import NAMED, RefusedError
from runner.sandbox import bpf, syscalls
from runner.sandbox.bpf import NEW_LISTENER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

SET_MODE_FILTER = 1
SPEC_ALLOW, WAIT_KILLABLE_RECV = 1 << 2, 1 << 5
IOCTL_RECV, IOCTL_SEND = 0xC0502100, 0xC0182101
LAYER = "seccomp"
FAMILIES = (  # of address, by number: linux/socket.h
    "UNSPEC UNIX INET AX25 IPX APPLETALK NETROM BRIDGE ATMPVC X25 INET6 ROSE DECnet NETBEUI SECURITY KEY "
    "NETLINK PACKET ASH ECONET ATMSVC RDS SNA IRDA PPPOX WANPIPE LLC IB MPLS CAN TIPC BLUETOOTH IUCV "
    "RXRPC ISDN PHONET IEEE802154 CAIF ALG NFC VSOCK KCM QIPCRTR SMC XDP MCTP "
).split()


class Call:
    """One call of socket(2) that waits for its answer: by which process or thread, with which arguments."""

    __slots__ = ("family", "id", "kind", "pid")

    def __init__(self, number: int, pid: int, family: int, kind: int) -> None:
        self.id = number
        self.pid = pid
        self.family = family
        self.kind = kind

    @property
    def family_name(self) -> str:
        return f"AF_{FAMILIES[self.family]}" if self.family < len(FAMILIES) else str(self.family)


class Listener:
    """The descriptor through which the kernel tells of calls that the filter hands on."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def receive(self) -> Call | None:
        """Return the next call, which poll(2) has announced; None when its process is gone."""
        received = ctypes.create_string_buffer(80)  # struct seccomp_notif, which must be zeros
        if self._ioctl(IOCTL_RECV, received):
            return None  # ENOENT; or EINTR, and poll announces it again
        number, pid, _, _, _, _, family, kind = struct.unpack_from("=QIIiIQQQ", received)
        return Call(number, pid, family & 0xFFFFFFFF, kind & 0xFFFFFFFF)

    def refuse(self, call: Call) -> None:
        """Let the call fail with the errno that its program knows how to take."""
        response = struct.pack("=QqiI", call.id, 0, -bpf.unheard_errno(call.family), 0)  # struct seccomp_notif_resp
        while self._ioctl(IOCTL_SEND, ctypes.create_string_buffer(response, len(response))) == errno.EINTR:
            pass  # what has been received is not announced again

    def _ioctl(self, request: int, buffer: ctypes.Array[ctypes.c_char]) -> int:
        """0, or the errno when the call was given up meanwhile (ENOENT) or a signal came (EINTR)."""
        if syscalls.libc.ioctl(self.descriptor, ctypes.c_ulong(request), buffer) == 0:
            return 0
        number = ctypes.get_errno()
        if number not in (errno.ENOENT, errno.EINTR):
            raise OSError(number, f"ioctl {request:#x} of the seccomp listener")
        return number


def install() -> tuple[Listener | None, str]:
    """Put this process and all that it starts under the filter; return its listener and how attempts are seen.

    Where somebody else listens already (EBUSY) there is no listener, and the filter refuses by itself. RefusedError
    when there is no filter at all. Needs no_new_privs.
    """
    machine, refusal = syscalls.machine(), None
    for flags in (NEW_LISTENER | WAIT_KILLABLE_RECV, NEW_LISTENER):  # the first since Linux 5.19
        try:
            return Listener(_set_filter(machine, flags)), NAMED
        except RefusedError as error:
            refusal = error
            if error.number not in (errno.EINVAL, errno.EBUSY):
                raise
    _set_filter(machine, 0)
    return None, f"cannot be named: {refusal}"


def prepared(instructions: bytes, flags: int = 0) -> Callable[[], int]:
    """Return what puts the calling process under a filter, for good; as syscalls.prepared."""
    array = syscalls.address(instructions)
    program = syscalls.address(struct.pack("=HxxxxxxQ", len(instructions) // 8, syscalls.pointer_to(array)))
    return syscalls.prepared(LAYER, "seccomp", SET_MODE_FILTER, flags | SPEC_ALLOW, program, kept=array)


def _set_filter(machine: str, flags: int) -> int:
    return prepared(bpf.assemble(machine, listener=bool(flags)), flags)()
