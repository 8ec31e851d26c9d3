"""The seccomp filter: which system calls a stage is refused, as a program of classic BPF for the kernel. Pure.

Instructions and return values: linux/bpf_common.h, linux/seccomp.h. The kernel gives the program a
`struct seccomp_data`: nr at 0, arch at 4, the six arguments of 64 bits each from 16 on.
"""

from __future__ import annotations

import errno
import struct

from runner.sandbox.syscalls import NUMBERS, PR_SET_CHILD_SUBREAPER

ALLOW = 0x7FFF0000
NOTIFY = 0x7FC00000
ERRNO = 0x00050000  # | the number

AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # linux/audit.h
X32_BIT = 0x40000000
X32_ONLY = (512, 548)  # without the bit too these were x32's, before Linux 5.4; seccomp(2)

AF_UNSPEC, AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, AF_ALG = 0, 1, 2, 10, 16, 38
QUIET_FAMILIES = (AF_UNSPEC, AF_NETLINK, AF_ALG)  # asked for by look-ups that mean no harm; nothing leaves by them
SOCK_STREAM, SOCK_SEQPACKET, SOCK_TYPE_MASK = 1, 5, 0xF

# Other ways to a socket or to a process that has one. A sandbox without them is told so (ENOSYS), not forbidden
# (EPERM), where programs have a way to do without.
REFUSED: dict[str, int] = {
    "io_uring_setup": errno.ENOSYS,  # opens and uses sockets without any of the calls below
    "io_uring_enter": errno.ENOSYS,
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
NEW_LISTENER = 1 << 3  # SECCOMP_FILTER_FLAG_NEW_LISTENER
# linux/sched.h. A sibling of a stage would be nobody's. In a namespace of control groups of one's own they may be
# mounted, writable; a root's would have the groups that the launcher and the runner are in.
CLONE_PARENT, CLONE_NEWCGROUP = 0x8000, 0x02000000
RLIMIT_RTTIME = 15  # asm-generic/resource.h; see tag

_LOAD, _AND, _RETURN = 0x20, 0x54, 0x06  # BPF_LD|W|ABS, BPF_ALU|AND|K, BPF_RET|K
_EQUAL, _AT_LEAST = 0x15, 0x35  # BPF_JMP|JEQ|K, BPF_JMP|JGE|K
_NUMBER, _ARCH = 0, 4


def assemble(machine: str, *, listener: bool) -> bytes:
    """Return the filter as an array of `struct sock_filter`; without a `listener` what it would hear of is refused.

    It answers for `socket`: AF_INET and the other network families with NOTIFY, AF_UNIX too (the listener tells
    them apart), QUIET_FAMILIES with EAFNOSUPPORT. KeyError for a machine that it does not know.
    """
    numbers = NUMBERS[machine]
    code = _Program()
    code.load(_ARCH)
    code.unless_equal(AUDIT_ARCH[machine], _error(errno.ENOSYS))
    code.load(_NUMBER)
    if machine == "x86_64":
        code.if_at_least(X32_BIT, _error(errno.ENOSYS))
        code.if_between(X32_ONLY, _error(errno.ENOSYS))
    for name, number in REFUSED.items():
        code.if_equal(numbers[name], _error(number))
    code.when(numbers["clone"], _flags(CLONE_PARENT | CLONE_NEWCGROUP))
    code.when(numbers["unshare"], _flags(CLONE_NEWCGROUP))
    code.when(numbers["ioctl"], _device())
    code.when(numbers["prctl"], _own_process())
    code.when(numbers["prlimit64"], _limits())
    code.when(numbers["seccomp"], _filters())
    code.when(numbers["socketpair"], _pair())
    code.when(numbers["socket"], _socket(listener=listener))
    code.give(ALLOW)
    return code.bytes()


def assemble_tag_filter(machine: str) -> bytes:
    """Return the filter that a stage has besides: it refuses to set RLIMIT_RTTIME. KeyError as `assemble`."""
    numbers = NUMBERS[machine]
    code = _Program()
    code.load(_NUMBER)
    code.when(numbers["setrlimit"], _tag_limit(0, None))
    code.when(numbers["prlimit64"], _tag_limit(1, 2))
    code.give(ALLOW)
    return code.bytes()


def unheard_errno(family: int) -> int:
    """The errno for `socket` of this family: internet programs know what an unreachable network is."""
    return errno.ENETUNREACH if family in (AF_INET, AF_INET6) else errno.EAFNOSUPPORT


def _socket(*, listener: bool) -> _Program:
    code = _Program()
    code.load_argument(0)
    for family in QUIET_FAMILIES:
        code.if_equal(family, _error(errno.EAFNOSUPPORT))
    if listener:
        code.give(NOTIFY)
    for family in (AF_INET, AF_INET6):
        code.if_equal(family, _error(unheard_errno(family)))
    code.give(_error(errno.EAFNOSUPPORT))
    return code


def _pair() -> _Program:
    """Pairs that are connected for good stay; a datagram socket could be sent from to any path."""
    code = _Program()
    code.load_argument(0)
    code.unless_equal(AF_UNIX, _error(errno.EAFNOSUPPORT))
    code.load_argument(1)
    code.mask(SOCK_TYPE_MASK)
    code.if_equal(SOCK_STREAM, ALLOW)
    code.if_equal(SOCK_SEQPACKET, ALLOW)
    code.give(_error(errno.EPROTONOSUPPORT))
    return code


def _device() -> _Program:
    code = _Program()
    code.load_argument(1)
    for request in REFUSED_IOCTLS:
        code.if_equal(request, _error(errno.EPERM))
    code.give(ALLOW)
    return code


def _own_process() -> _Program:
    """A stage that lets its orphans go to the launcher would have what they ask for laid to somebody else."""
    code = _Program()
    code.load_argument(0)
    code.unless_equal(PR_SET_CHILD_SUBREAPER, ALLOW)
    code.load_argument(1)
    code.if_equal(0, _error(errno.EPERM))
    code.give(ALLOW)
    return code


def _limits() -> _Program:
    """Nobody sets the limits of another process: the kernel would kill the launcher by them."""
    code = _Program()
    code.load_argument(0)
    code.if_equal(0, ALLOW)
    for half in (0, 4):
        code.load_argument(2, half)
        code.unless_equal(0, _error(errno.EPERM))
    code.give(ALLOW)  # only asks
    return code


def _tag_limit(resource: int, new: int | None) -> _Program:
    """`resource` and `new` are the places of these arguments; a `new` limit of NULL only asks."""
    code = _Program()
    code.load_argument(resource)
    code.unless_equal(RLIMIT_RTTIME, ALLOW)
    for half in (0, 4) if new is not None else ():
        code.load_argument(new or 0, half)
        code.unless_equal(0, _error(errno.EPERM))
    code.give(_error(errno.EPERM) if new is None else ALLOW)
    return code


def _flags(refused: int) -> _Program:
    """The first argument holds none of these bits."""
    code = _Program()
    code.load_argument(0)
    code.mask(refused)
    code.unless_equal(0, _error(errno.EPERM))
    code.give(ALLOW)
    return code


def _filters() -> _Program:
    """Whoever had a listener of his own could let his calls through, were the launcher dead."""
    code = _Program()
    code.load_argument(1)
    code.mask(NEW_LISTENER)
    code.if_equal(NEW_LISTENER, _error(errno.EBUSY))
    code.give(ALLOW)
    return code


def _error(number: int) -> int:
    return ERRNO | number


class _Program:
    """Instructions in order; every jump goes over one instruction or over one whole block, so none needs a label."""

    def __init__(self) -> None:
        self._instructions: list[tuple[int, int, int, int]] = []

    def load(self, offset: int) -> None:
        self._instructions.append((_LOAD, 0, 0, offset))

    def load_argument(self, index: int, half: int = 0) -> None:
        """The low half (these machines are little-endian), which is all that an `int` has, or with 4 the high one."""
        self.load(16 + 8 * index + half)

    def mask(self, bits: int) -> None:
        self._instructions.append((_AND, 0, 0, bits))

    def give(self, value: int) -> None:
        self._instructions.append((_RETURN, 0, 0, value))

    def if_equal(self, constant: int, value: int) -> None:
        self._instructions.append((_EQUAL, 0, 1, constant))
        self.give(value)

    def unless_equal(self, constant: int, value: int) -> None:
        self._instructions.append((_EQUAL, 1, 0, constant))
        self.give(value)

    def if_at_least(self, constant: int, value: int) -> None:
        self._instructions.append((_AT_LEAST, 0, 1, constant))
        self.give(value)

    def if_between(self, bounds: tuple[int, int], value: int) -> None:
        """From the first of `bounds` on, up to the second one without it."""
        first, behind = bounds
        self._instructions += [(_AT_LEAST, 0, 2, first), (_AT_LEAST, 1, 0, behind)]
        self.give(value)

    def when(self, constant: int, block: _Program) -> None:
        """Run `block`, which always gives something, when the number loaded is `constant`."""
        self._instructions.append((_EQUAL, 0, len(block._instructions), constant))
        self._instructions += block._instructions

    def bytes(self) -> bytes:
        return b"".join(struct.pack("=HBBI", *instruction) for instruction in self._instructions)
