"""Seccomp: the filter, which the launcher installs once, and its listener, which receives each call for a socket.

The filter is a program of classic BPF that says which system calls of a stage fail. The kernel gives it a
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
    from collections.abc import Iterator

    # Offset in the data, mask, whether the masked word must be equal or unequal, the value, and the answer.
    Rule = tuple[int, int, bool, int, int]
    Step = tuple[int, int, int, int]  # struct sock_filter: code, jumps where it holds and where not, operand

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

AF_UNSPEC, AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, AF_ALG = 0, 1, 2, 10, 16, 38
# Harmless look-ups use these, and nothing leaves the machine through them.
QUIET_FAMILIES = (AF_UNSPEC, AF_NETLINK, AF_ALG)
SOCK_STREAM, SOCK_SEQPACKET, SOCK_TYPE_MASK = 1, 5, 0xF

# Other ways to a socket, or to a process that has one. ENOSYS where programs fall back to other calls, else EPERM or
# EACCES.
REFUSED: dict[str, int] = {
    # A ring opens and uses sockets without the calls below; see also `assemble`. The flags of clone3 are in memory,
    # which a filter cannot read; programs then use clone.
    **dict.fromkeys(("io_uring_enter", "io_uring_register", "clone3"), errno.ENOSYS),
    # In case a stage gets a socket in another way.
    **dict.fromkeys(("connect", "bind", "listen", "accept", "accept4"), errno.EACCES),
    **dict.fromkeys(("setns", "pidfd_getfd", "ptrace", "process_vm_readv", "process_vm_writev"), errno.EPERM),
    # request_key(2) lets the kernel start a program outside, which may query a name server.
    **dict.fromkeys(("add_key", "request_key", "keyctl"), errno.EPERM),
}
# TIOCSTI and TIOCLINUX type into a shell (asm-generic/ioctls.h). TUNSETIFF attaches to a tunnel that the user owns
# (linux/if_tun.h).
REFUSED_IOCTLS = (0x5412, 0x541C, 0x400454CA)
# linux/sched.h. A stage's sibling would belong to no stage. In a control-group namespace of its own, a stage could
# mount the groups writable; root's mount would show the groups of the launcher and the runner.
CLONE_PARENT, CLONE_NEWCGROUP = 0x8000, 0x02000000
RLIMIT_RTTIME = 15  # asm-generic/resource.h; see process_tree

_LOAD, _AND, _RETURN, _EQUAL = 0x20, 0x54, 0x06, 0x15  # BPF_LD|W|ABS, BPF_ALU|AND|K, BPF_RET|K, BPF_JMP|JEQ|K
_NUMBER, _ARCH = 0, 4  # offsets in struct seccomp_data
_ALL = 0xFFFFFFFF  # bits of a word
IS, IS_NOT = True, False
EVERY_CALL = (_NUMBER, 0, IS, 0)  # the first fields of a rule that always holds
# Calls of x32 have this bit. Before Linux 5.4, 512 to 547 were calls of x32 without it, seccomp(2).
X32_CALLS = ((0x40000000, IS_NOT, 0), (0xFFFFFFE0, IS, 512), (0xFFFFFFFC, IS, 544))


def _argument(index: int) -> int:
    """Return the offset of an argument's low half, which holds an `int` (these machines are little-endian)."""
    return 16 + 8 * index


# prlimit64 with a new limit: its third argument, a pointer, is not NULL.
NEW_LIMIT: list[Rule] = [(_argument(2) + half, _ALL, IS_NOT, 0, ERRNO | errno.EPERM) for half in (0, 4)]
# Rules for the arguments of calls. A call that no rule answers is allowed.
CHECKED: dict[str, list[Rule]] = {
    "clone": [(_argument(0), CLONE_PARENT | CLONE_NEWCGROUP, IS_NOT, 0, ERRNO | errno.EPERM)],
    "unshare": [(_argument(0), CLONE_NEWCGROUP, IS_NOT, 0, ERRNO | errno.EPERM)],
    "ioctl": [(_argument(1), _ALL, IS, request, ERRNO | errno.EPERM) for request in REFUSED_IOCTLS],
    # If a stage sent its orphans to the launcher, their calls would be recorded for another stage.
    "prctl": [
        (_argument(0), _ALL, IS_NOT, PR_SET_CHILD_SUBREAPER, ALLOW),
        (_argument(1), _ALL, IS, 0, ERRNO | errno.EPERM),
    ],
    # A stage must not set limits of other processes: those of the launcher could kill it. It may read them.
    "prlimit64": [(_argument(0), _ALL, IS, 0, ALLOW), *NEW_LIMIT],
    # With a listener of its own, a stage could allow its calls once the launcher is dead.
    "seccomp": [(_argument(1), NEW_LISTENER, IS_NOT, 0, ERRNO | errno.EBUSY)],
    # Pairs stay connected for good. A datagram socket could send to any path.
    "socketpair": [
        (_argument(0), _ALL, IS_NOT, AF_UNIX, ERRNO | errno.EAFNOSUPPORT),
        (_argument(1), SOCK_TYPE_MASK, IS, SOCK_STREAM, ALLOW),
        (_argument(1), SOCK_TYPE_MASK, IS_NOT, SOCK_SEQPACKET, ERRNO | errno.EPROTONOSUPPORT),
    ],
}
# A second filter, which each stage has: it cannot set RLIMIT_RTTIME, its tag.
TAG_CHECKED: dict[str, list[Rule]] = {
    "setrlimit": [(_argument(0), _ALL, IS, RLIMIT_RTTIME, ERRNO | errno.EPERM)],
    "prlimit64": [(_argument(1), _ALL, IS_NOT, RLIMIT_RTTIME, ALLOW), *NEW_LIMIT],
}


def assemble(machine: str, *, listener: bool) -> bytes:
    """Return the filter as an array of `struct sock_filter`; without a `listener`, it refuses what that would refuse.

    It answers NOTIFY to calls of another architecture, to `io_uring_setup`, and to `socket` of all families but
    QUIET_FAMILIES, which get EAFNOSUPPORT. KeyError for an unknown machine.
    """
    numbers, unknown = NUMBERS[machine], NOTIFY if listener else ERRNO | errno.ENOSYS
    rules: list[Rule] = [(_ARCH, _ALL, IS_NOT, AUDIT_ARCH[machine], unknown)]
    if machine == "x86_64":
        rules += [(_NUMBER, mask, is_equal, value, unknown) for mask, is_equal, value in X32_CALLS]
    refused = {"io_uring_setup": unknown} | {name: ERRNO | number for name, number in REFUSED.items()}
    rules += [(_NUMBER, _ALL, IS, numbers[name], answer) for name, answer in refused.items()]
    families = QUIET_FAMILIES if listener else (*QUIET_FAMILIES, AF_INET, AF_INET6)
    socket = [(_argument(0), _ALL, IS, family, ERRNO | refusal_errno(family)) for family in families]
    others = (*EVERY_CALL, NOTIFY if listener else ERRNO | errno.EAFNOSUPPORT)
    return _program(rules, numbers, {**CHECKED, "socket": [*socket, others]})


def assemble_tag_filter(machine: str) -> bytes:
    """Return the filter of the tag, which a stage has beside that of `assemble`. KeyError for an unknown machine."""
    return _program([], NUMBERS[machine], TAG_CHECKED)


def _program(rules: list[Rule], numbers: dict[str, int], checked: dict[str, list[Rule]]) -> bytes:
    """Return a program: rules for all calls, then a block for each call that has rules of its own."""
    steps = [*_steps(rules), (_LOAD, 0, 0, _NUMBER)]
    for name, own in checked.items():
        block = [*_steps(own), (_RETURN, 0, 0, ALLOW)]
        steps += [(_EQUAL, 0, len(block), numbers[name]), *block]
    return b"".join(struct.pack("=HBBI", *step) for step in [*steps, (_RETURN, 0, 0, ALLOW)])


def _steps(rules: list[Rule]) -> Iterator[Step]:
    """Yield the instructions of rules. The first rule that holds answers; if none holds, the program goes on."""
    loaded: tuple[int, int] | None = None
    for offset, mask, is_equal, value, answer in rules:
        if (offset, mask) != loaded:
            loaded = offset, mask
            yield _LOAD, 0, 0, offset
            if mask != _ALL:
                yield _AND, 0, 0, mask
        yield (_EQUAL, 0, 1, value) if is_equal else (_EQUAL, 1, 0, value)
        yield _RETURN, 0, 0, answer


def refusal_errno(family: int) -> int:
    """Return the errno for `socket` of this family: internet programs handle an unreachable network."""
    return errno.ENETUNREACH if family in (AF_INET, AF_INET6) else errno.EAFNOSUPPORT


class Call:
    """A call that waits for its answer: the process or thread, and the arguments of socket(2).

    `way` names another way to a socket. Such a call has no family.
    """

    __slots__ = ("family", "id", "kind", "name", "pid")

    def __init__(self, number: int, pid: int, family: int, kind: int, way: str = "") -> None:
        self.id = number
        self.pid = pid
        self.family = -1 if way else family
        self.kind = kind
        self.name = way or (f"AF_{FAMILIES[family]}" if family < len(FAMILIES) else str(family))


class Listener:
    """The descriptor through which the kernel reports calls that the filter passes on."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def receive(self) -> Call | None:
        """Return a call that waits; None if its process is gone. Waits for a call unless poll announces one."""
        received = ctypes.create_string_buffer(80)  # struct seccomp_notif, zeroed
        if self._ioctl(IOCTL_RECV, received):
            return None  # ENOENT; or EINTR, then the call still waits
        number, pid, _, call, arch, _, family, kind = struct.unpack_from("=QIIIIQQQ", received)
        return Call(number, pid, family & 0xFFFFFFFF, kind & 0xFFFFFFFF, _way(arch, call))

    def refuse(self, call: Call) -> None:
        """Make the call fail with an errno that its program can handle."""
        number = errno.ENOSYS if call.family < 0 else refusal_errno(call.family)
        response = struct.pack("=QqiI", call.id, 0, -number, 0)  # struct seccomp_notif_resp
        while self._ioctl(IOCTL_SEND, ctypes.create_string_buffer(response, len(response))) == errno.EINTR:
            pass  # poll does not announce a received call again

    def _ioctl(self, request: int, buffer: ctypes.Array[ctypes.c_char]) -> int:
        """Return 0, or the errno if the call is gone (ENOENT) or a signal arrived (EINTR)."""
        if syscalls.libc.ioctl(self.descriptor, ctypes.c_ulong(request), buffer) == 0:
            return 0
        number = ctypes.get_errno()
        if number not in (errno.ENOENT, errno.EINTR):
            raise OSError(number, f"ioctl {request:#x} of the seccomp listener")
        return number


def _way(arch: int, call: int) -> str:
    """Return the way to a socket that a call is, by its number; empty for socket(2)."""
    machine = syscalls.machine()
    if arch != AUDIT_ARCH[machine]:
        return FOREIGN
    known = {NUMBERS[machine]["socket"]: "", NUMBERS[machine]["io_uring_setup"]: IO_URING}
    return known.get(call, X32)


def install() -> tuple[Listener | None, str]:
    """Put this process and all that it starts under the filter; return its listener, and how attempts are recorded.

    If another filter has a listener already (EBUSY), ours has none, and refuses the calls itself. RefusedError if no
    filter can be installed. Needs no_new_privs.
    """
    machine, refusal = syscalls.machine(), None
    for flags in (NEW_LISTENER | WAIT_KILLABLE_RECV, NEW_LISTENER):  # the first since Linux 5.19
        try:
            return Listener(set_filter(assemble(machine, listener=True), flags)), NAMED
        except RefusedError as error:
            refusal = error
            if error.errno not in (errno.EINVAL, errno.EBUSY):
                raise
    set_filter(assemble(machine, listener=False))
    return None, f"cannot be named: {refusal}"


class FilterProgram(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def set_filter(instructions: bytes, flags: int = 0) -> int:
    """Put the calling process or thread under a filter, for good; return its listener, if the flags ask for one."""
    program = FilterProgram(len(instructions) // 8, instructions)
    return syscalls.call("seccomp", SET_MODE_FILTER, flags | SPEC_ALLOW, ctypes.byref(program))
