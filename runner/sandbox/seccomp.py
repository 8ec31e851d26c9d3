"""Seccomp: the filter, installed once, in the launcher, and its listener, which reports who asked for a socket.

The filter is a program of classic BPF: which system calls a stage is refused. The kernel gives it a
`struct seccomp_data`: nr at 0, arch at 4, the six arguments of 64 bits each from 16 on.

Loaded by the launcher program only. Instructions, return values, structures and ioctl numbers: linux/bpf_common.h,
linux/seccomp.h, seccomp_unotify(2).
"""

from __future__ import annotations

import ctypes
import errno
import struct

from runner.levels import NAMED, RefusedError
from runner.sandbox import syscalls
from runner.sandbox.syscalls import NUMBERS, PR_SET_CHILD_SUBREAPER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Steps = list[tuple[int, int, int, int]]  # struct sock_filter: code, jumps where it holds and where not, operand

LAYER = "seccomp"
IO_URING, X32, FOREIGN = "io_uring", "x32 call", "32-bit call"  # ways to a socket, as records name them
SET_MODE_FILTER = 1
SPEC_ALLOW, NEW_LISTENER, WAIT_KILLABLE_RECV = 1 << 2, 1 << 3, 1 << 5  # SECCOMP_FILTER_FLAG_*
IOCTL_RECV, IOCTL_SEND = 0xC0502100, 0xC0182101
FAMILIES = (  # of address, by number: linux/socket.h
    "UNSPEC UNIX INET AX25 IPX APPLETALK NETROM BRIDGE ATMPVC X25 INET6 ROSE DECnet NETBEUI SECURITY KEY "
    "NETLINK PACKET ASH ECONET ATMSVC RDS SNA IRDA PPPOX WANPIPE LLC IB MPLS CAN TIPC BLUETOOTH IUCV "
    "RXRPC ISDN PHONET IEEE802154 CAIF ALG NFC VSOCK KCM QIPCRTR SMC XDP MCTP "
).split()

ALLOW = 0x7FFF0000
NOTIFY = 0x7FC00000
ERRNO = 0x00050000  # | the number

AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # linux/audit.h
X32_BIT = 0x40000000
X32_ONLY = (512, 548)  # without the bit too these were x32's, before Linux 5.4; seccomp(2)

AF_UNSPEC, AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, AF_ALG = 0, 1, 2, 10, 16, 38
QUIET_FAMILIES = (AF_UNSPEC, AF_NETLINK, AF_ALG)  # asked for by look-ups that mean no harm; nothing leaves by them
SOCK_STREAM, SOCK_SEQPACKET, SOCK_TYPE_MASK = 1, 5, 0xF

# Other ways to a socket or to a process that has one: ENOSYS where programs can do without the call, else EPERM or
# EACCES.
REFUSED: dict[str, int] = {
    "io_uring_enter": errno.ENOSYS,  # opens and uses sockets without any of the calls below; see also `assemble`
    "io_uring_register": errno.ENOSYS,
    "connect": errno.EACCES,  # for a descriptor that got here all the same
    "bind": errno.EACCES,
    "listen": errno.EACCES,
    "accept": errno.EACCES,
    "accept4": errno.EACCES,
    "clone3": errno.ENOSYS,  # whose flags are in memory, where a filter cannot look: everybody goes on with clone
    "setns": errno.EPERM,
    "pidfd_getfd": errno.EPERM,
    "ptrace": errno.EPERM,
    "process_vm_readv": errno.EPERM,
    "process_vm_writev": errno.EPERM,
    "add_key": errno.EPERM,  # request_key(2) makes the kernel start a program outside, which may ask a name server
    "request_key": errno.EPERM,
    "keyctl": errno.EPERM,
}
# Typing into somebody's shell: TIOCSTI, TIOCLINUX (asm-generic/ioctls.h). Attaching to a tunnel that the user owns:
# TUNSETIFF (linux/if_tun.h).
REFUSED_IOCTLS = (0x5412, 0x541C, 0x400454CA)
# linux/sched.h. A sibling of a stage would be nobody's. In a namespace of control groups of one's own they may be
# mounted, writable; a root's would have the groups that the launcher and the runner are in.
CLONE_PARENT, CLONE_NEWCGROUP = 0x8000, 0x02000000
RLIMIT_RTTIME = 15  # asm-generic/resource.h; see process_tree

_LOAD, _AND, _RETURN = 0x20, 0x54, 0x06  # BPF_LD|W|ABS, BPF_ALU|AND|K, BPF_RET|K
_EQUAL, _AT_LEAST = 0x15, 0x35  # BPF_JMP|JEQ|K, BPF_JMP|JGE|K
_NUMBER, _ARCH = 0, 4


def _error(number: int) -> int:
    return ERRNO | number


def _load(offset: int) -> Steps:
    return [(_LOAD, 0, 0, offset)]


def _argument(index: int, half: int = 0) -> Steps:
    """The low half (these machines are little-endian), which is all that an `int` has, or with 4 the high one."""
    return _load(16 + 8 * index + half)


def _mask(bits: int) -> Steps:
    return [(_AND, 0, 0, bits)]


def _give(answer: int) -> Steps:
    return [(_RETURN, 0, 0, answer)]


def _if(constant: int, answer: int) -> Steps:
    return [(_EQUAL, 0, 1, constant), *_give(answer)]


def _unless(constant: int, answer: int) -> Steps:
    return [(_EQUAL, 1, 0, constant), *_give(answer)]


def _any_of(constants: tuple[int, ...], number: int) -> Steps:
    return [step for constant in constants for step in _if(constant, _error(number))]


def _null(index: int, number: int) -> Steps:
    """Refuse the call unless this argument, a pointer, is NULL."""
    return [step for half in (0, 4) for step in (*_argument(index, half), *_unless(0, _error(number)))]


def _without(bits: int) -> Steps:
    """Refuse the call if its first argument has one of these flags."""
    return [*_argument(0), *_mask(bits), *_unless(0, _error(errno.EPERM))]


# What the arguments of a call must be like; what passes here is allowed.
CHECKED: dict[str, Steps] = {
    "clone": _without(CLONE_PARENT | CLONE_NEWCGROUP),
    "unshare": _without(CLONE_NEWCGROUP),
    "ioctl": [*_argument(1), *_any_of(REFUSED_IOCTLS, errno.EPERM)],
    # If a stage let its orphans go to the launcher, their attempts would be recorded for another stage.
    "prctl": [
        *_argument(0), *_unless(PR_SET_CHILD_SUBREAPER, ALLOW),
        *_argument(1), *_if(0, _error(errno.EPERM)),
    ],
    # No stage sets the limits of another process, such as the launcher's, which could kill it. Reading them is fine.
    "prlimit64": [*_argument(0), *_if(0, ALLOW), *_null(2, errno.EPERM)],
    # With a listener of its own, a stage could let its calls through once the launcher is dead.
    "seccomp": [*_argument(1), *_mask(NEW_LISTENER), *_if(NEW_LISTENER, _error(errno.EBUSY))],
    # Pairs that are connected for good stay; a datagram socket could be sent from to any path.
    "socketpair": [
        *_argument(0), *_unless(AF_UNIX, _error(errno.EAFNOSUPPORT)),
        *_argument(1), *_mask(SOCK_TYPE_MASK),
        *_if(SOCK_STREAM, ALLOW), *_unless(SOCK_SEQPACKET, _error(errno.EPROTONOSUPPORT)),
    ],
}  # fmt: skip
# A second filter, of each stage: it cannot set RLIMIT_RTTIME, which is its tag.
TAG_CHECKED: dict[str, Steps] = {
    "setrlimit": [*_argument(0), *_if(RLIMIT_RTTIME, _error(errno.EPERM))],
    "prlimit64": [*_argument(1), *_unless(RLIMIT_RTTIME, ALLOW), *_null(2, errno.EPERM)],
}


def assemble(machine: str, *, listener: bool) -> bytes:
    """Return the filter as an array of `struct sock_filter`; without a `listener`, its calls are refused.

    It answers with NOTIFY for calls of another architecture, `io_uring_setup`, and `socket` of AF_INET, the other
    network families and AF_UNIX (the listener tells them apart); for QUIET_FAMILIES with EAFNOSUPPORT. KeyError for a
    machine that it does not know.
    """
    numbers, unknown = NUMBERS[machine], NOTIFY if listener else _error(errno.ENOSYS)
    steps = [*_load(_ARCH), *_unless(AUDIT_ARCH[machine], unknown), *_load(_NUMBER)]
    if machine == "x86_64":
        steps += [(_AT_LEAST, 0, 1, X32_BIT), *_give(unknown)]
        first, behind = X32_ONLY
        steps += [(_AT_LEAST, 0, 2, first), (_AT_LEAST, 1, 0, behind), *_give(unknown)]
    steps += _if(numbers["io_uring_setup"], unknown)
    for name, number in REFUSED.items():
        steps += _if(numbers[name], _error(number))
    asked = [*_argument(0), *_any_of(QUIET_FAMILIES, errno.EAFNOSUPPORT)]
    if listener:
        asked += _give(NOTIFY)
    else:
        asked += [*_any_of((AF_INET, AF_INET6), errno.ENETUNREACH), *_give(_error(errno.EAFNOSUPPORT))]
    return _assembled(steps, numbers, {**CHECKED, "socket": asked})


def assemble_tag_filter(machine: str) -> bytes:
    """Return the filter of the tag, which comes after the one of `assemble`. KeyError as there."""
    return _assembled(_load(_NUMBER), NUMBERS[machine], TAG_CHECKED)


def _assembled(steps: Steps, numbers: dict[str, int], checked: dict[str, Steps]) -> bytes:
    """Return the whole program. Every jump skips one instruction, or the whole block of one call."""
    for name, block in checked.items():
        steps = [*steps, (_EQUAL, 0, len(block) + 1, numbers[name]), *block, *_give(ALLOW)]
    return b"".join(struct.pack("=HBBI", *step) for step in [*steps, *_give(ALLOW)])


def unheard_errno(family: int) -> int:
    """Return the errno for `socket` of this family: internet programs know what an unreachable network is."""
    return errno.ENETUNREACH if family in (AF_INET, AF_INET6) else errno.EAFNOSUPPORT


class Call:
    """A call of socket(2) that waits for its answer: the process or thread, and the arguments.

    `way` names another way to a socket, if the call is not socket(2).
    """

    __slots__ = ("family", "id", "kind", "pid", "way")

    def __init__(self, number: int, pid: int, family: int, kind: int, way: str = "") -> None:
        self.id = number
        self.pid = pid
        self.family = family
        self.kind = kind
        self.way = way

    @property
    def family_name(self) -> str:
        return self.way or (f"AF_{FAMILIES[self.family]}" if self.family < len(FAMILIES) else str(self.family))


class Listener:
    """The descriptor through which the kernel reports calls that the filter passes on."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def receive(self) -> Call | None:
        """Return the next call, which poll(2) has announced; None when its process is gone."""
        received = ctypes.create_string_buffer(80)  # struct seccomp_notif, which must be zeros
        if self._ioctl(IOCTL_RECV, received):
            return None  # ENOENT; or EINTR, and poll announces it again
        number, pid, _, call, arch, _, family, kind = struct.unpack_from("=QIIIIQQQ", received)
        return Call(number, pid, family & 0xFFFFFFFF, kind & 0xFFFFFFFF, _way(arch, call))

    def refuse(self, call: Call) -> None:
        """Let the call fail with an errno that its program can handle."""
        number = errno.ENOSYS if call.way else unheard_errno(call.family)
        response = struct.pack("=QqiI", call.id, 0, -number, 0)  # struct seccomp_notif_resp
        while self._ioctl(IOCTL_SEND, ctypes.create_string_buffer(response, len(response))) == errno.EINTR:
            pass  # what has been received is not announced again

    def _ioctl(self, request: int, buffer: ctypes.Array[ctypes.c_char]) -> int:
        """Return 0, or the errno if the call was abandoned meanwhile (ENOENT) or a signal came (EINTR)."""
        if syscalls.libc.ioctl(self.descriptor, ctypes.c_ulong(request), buffer) == 0:
            return 0
        number = ctypes.get_errno()
        if number not in (errno.ENOENT, errno.EINTR):
            raise OSError(number, f"ioctl {request:#x} of the seccomp listener")
        return number


def _way(arch: int, call: int) -> str:
    """Return which way to a socket was tried, by the number of the call; empty for socket(2)."""
    machine = syscalls.machine()
    if arch != AUDIT_ARCH[machine]:
        return FOREIGN
    known = {NUMBERS[machine]["socket"]: "", NUMBERS[machine]["io_uring_setup"]: IO_URING}
    return known.get(call, X32)


def install() -> tuple[Listener | None, str]:
    """Put this process and all that it starts under the filter; return its listener and how attempts are seen.

    If another filter has a listener already (EBUSY), there is none, and the filter itself refuses the calls.
    RefusedError if no filter can be installed. Needs no_new_privs.
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
    return prepared(assemble(machine, listener=bool(flags)), flags)()
