from __future__ import annotations

import errno
import os
import re
import struct

import pytest
from bpf_machine import verdict

from runner.sandbox.seccomp import (
    ALLOW,
    AUDIT_ARCH,
    ERRNO,
    NOTIFY,
    assemble,
    assemble_tag_filter,
    refusal_errno,
)
from runner.sandbox.syscalls import NUMBERS

MACHINES = sorted(NUMBERS)
I386, ARM = 0x40000003, 0x40000028  # linux/audit.h
UNIX, INET, NETLINK, INET6 = 1, 2, 16, 10
STREAM, DATAGRAM, RAW, SEQPACKET, CLOEXEC, NONBLOCK = 1, 2, 3, 5, 0o2000000, 0o4000


def ask(machine: str, name: str | int, *arguments: int, listener: bool = True, arch: int | None = None) -> int:
    number = name if isinstance(name, int) else NUMBERS[machine][name]
    return verdict(
        assemble(machine, listener=listener), arch=AUDIT_ARCH[machine] if arch is None else arch, number=number,
        arguments=arguments,
    )  # fmt: skip


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("family", [*range(1, 47), 255, 2**31 - 1])
def test_no_family_of_sockets_gets_through(machine, family) -> None:
    with_listener = ask(machine, "socket", family, STREAM, 0)
    without_listener = ask(machine, "socket", family, STREAM, 0, listener=False)
    assert with_listener == (ERRNO | errno.EAFNOSUPPORT if family in (NETLINK, 38) else NOTIFY)
    assert without_listener == ERRNO | (errno.ENETUNREACH if family in (INET, INET6) else errno.EAFNOSUPPORT)


@pytest.mark.parametrize("machine", MACHINES)
def test_the_upper_half_of_a_register_hides_nothing(machine) -> None:
    assert ask(machine, "socket", INET | 1 << 32, STREAM, 0) == NOTIFY
    assert ask(machine, "socketpair", UNIX | 1 << 40, DATAGRAM | 1 << 33, 0) == ERRNO | errno.EPROTONOSUPPORT


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("flags", [0, CLOEXEC, NONBLOCK, CLOEXEC | NONBLOCK])
def test_only_pairs_that_are_connected_for_good_stay(machine, flags) -> None:
    assert ask(machine, "socketpair", UNIX, STREAM | flags, 0) == ALLOW
    assert ask(machine, "socketpair", UNIX, SEQPACKET | flags, 0) == ALLOW
    for kind in (0, DATAGRAM, RAW, 4, 6, 10):
        assert ask(machine, "socketpair", UNIX, kind | flags, 0) == ERRNO | errno.EPROTONOSUPPORT
    for family in (INET, INET6, 30):
        assert ask(machine, "socketpair", family, STREAM | flags, 0) == ERRNO | errno.EAFNOSUPPORT


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(
    ("names", "number"),
    [
        ("io_uring_enter io_uring_register clone3", errno.ENOSYS),
        ("connect bind listen accept accept4", errno.EACCES),
        ("setns pidfd_getfd ptrace process_vm_readv process_vm_writev add_key request_key keyctl", errno.EPERM),
    ],
)
def test_other_ways_out_are_refused_with_an_errno(machine, names, number) -> None:
    assert {name: ask(machine, name) for name in names.split()} == dict.fromkeys(names.split(), ERRNO | number)


@pytest.mark.parametrize("machine", MACHINES)
def test_foreign_architectures_are_refused_whole(machine) -> None:
    for arch in {I386, ARM, *AUDIT_ARCH.values()} - {AUDIT_ARCH[machine]}:
        for number in (0, 1, 102, NUMBERS[machine]["socket"]):
            assert ask(machine, number, arch=arch) == NOTIFY
            assert ask(machine, number, arch=arch, listener=False) == ERRNO | errno.ENOSYS


def test_the_x32_numbers_are_refused() -> None:
    for number in (0x40000000, 0x40000000 | NUMBERS["x86_64"]["socket"], 0x7FFFFFFF, 0xFFFFFFFF):
        assert ask("x86_64", number, INET) == NOTIFY
        assert ask("x86_64", number, INET, listener=False) == ERRNO | errno.ENOSYS


def test_what_old_kernels_take_for_x32_without_its_bit_is_refused() -> None:
    assert all(ask("x86_64", number) == NOTIFY for number in range(512, 548))
    assert all(ask("x86_64", number, listener=False) == ERRNO | errno.ENOSYS for number in range(512, 548))


@pytest.mark.parametrize("machine", MACHINES)
def test_io_uring_is_not_there(machine) -> None:
    assert ask(machine, "io_uring_setup", 8) == NOTIFY
    assert ask(machine, "io_uring_setup", 8, listener=False) == ERRNO | errno.ENOSYS
    assert ask("x86_64", 511) == ask("x86_64", 548) == ALLOW


@pytest.mark.parametrize("machine", MACHINES)
def test_no_stage_types_into_another_terminal(machine) -> None:
    assert ask(machine, "ioctl", 0, 0x5412) == ask(machine, "ioctl", 0, 0x541C) == ERRNO | errno.EPERM
    assert ask(machine, "ioctl", 0, 0x5413) == ALLOW


@pytest.mark.parametrize("machine", MACHINES)
def test_no_stage_attaches_to_a_tunnel(machine) -> None:
    assert ask(machine, "ioctl", 3, 0x400454CA) == ERRNO | errno.EPERM


@pytest.mark.parametrize("machine", MACHINES)
def test_no_stage_listens_to_its_own_calls(machine) -> None:
    assert ask(machine, "seccomp", 1, 1 << 3) == ask(machine, "seccomp", 1, 0x2F) == ERRNO | errno.EBUSY
    assert ask(machine, "seccomp", 1, 0) == ask(machine, "seccomp", 2, 0) == ask(machine, "seccomp", 1, 0x37) == ALLOW


@pytest.mark.parametrize("machine", MACHINES)
def test_a_stage_sets_only_its_own_limits(machine) -> None:
    assert ask(machine, "prlimit64", 0, 7, 0x7FFF00001000, 0) == ALLOW
    assert ask(machine, "prlimit64", 123, 7, 0, 0x7FFF00001000) == ALLOW
    for pointer in (0x1000, 0x7FFF00000000, 1 << 63):
        assert ask(machine, "prlimit64", 123, 0, pointer, 0) == ERRNO | errno.EPERM


@pytest.mark.parametrize("machine", MACHINES)
def test_a_stage_stays_the_subreaper_of_its_orphans(machine) -> None:
    assert ask(machine, "prctl", 36, 0) == ERRNO | errno.EPERM
    assert ask(machine, "prctl", 36, 1) == ask(machine, "prctl", 15, 0) == ALLOW


@pytest.mark.parametrize("machine", MACHINES)
def test_no_stage_makes_a_sibling_or_a_namespace_of_control_groups(machine) -> None:
    thread, process, namespaces = 0x3D0F00, 0x1200011, 0x7C020011 & ~0x02000000
    for flags in (thread, process, namespaces, 0x4111 | 1 << 47):
        assert ask(machine, "clone", flags) == ask(machine, "unshare", flags & ~0xFF) == ALLOW
    for refused in (0x8000, 0x02000000):
        assert ask(machine, "clone", process | refused) == ask(machine, "clone", refused) == ERRNO | errno.EPERM
    assert ask(machine, "unshare", 0x02000000) == ask(machine, "unshare", 0x7E020000) == ERRNO | errno.EPERM
    assert ask(machine, "clone3", 0x7FFF00001000, 88) == ERRNO | errno.ENOSYS


@pytest.mark.parametrize("machine", MACHINES)
def test_no_stage_changes_its_tag(machine) -> None:
    program = assemble_tag_filter(machine)

    def answer(name: str, *arguments: int) -> int:
        return verdict(program, arch=AUDIT_ARCH[machine], number=NUMBERS[machine][name], arguments=arguments)

    assert answer("setrlimit", 15, 0x7FFF00001000) == answer("setrlimit", 15 | 1 << 32, 0) == ERRNO | errno.EPERM
    for new in (0x1000, 0x7FFF00000000, 1 << 63):
        assert answer("prlimit64", 0, 15, new, 0) == answer("prlimit64", 7, 15 | 1 << 40, new) == ERRNO | errno.EPERM
    assert answer("prlimit64", 0, 15, 0, 0x1000) == answer("prlimit64", 0, 7, 0x1000, 0) == ALLOW
    assert answer("setrlimit", 7, 0x1000) == answer("clone", 15) == ALLOW


@pytest.mark.parametrize("machine", MACHINES)
def test_everything_else_is_allowed(machine) -> None:
    known = set(NUMBERS[machine].values()) - {
        NUMBERS[machine][name] for name in ("ioctl", "prctl", "prlimit64", "seccomp")
    }
    x32 = set(range(512, 548)) if machine == "x86_64" else set()
    assert all(ask(machine, number) == ALLOW for number in range(600) if number not in known | x32)


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("listener", [True, False])
def test_every_path_ends_within_the_program(machine, listener) -> None:
    """The kernel checks this, too (bpf_check_classic): no jump beyond the end, a return there."""
    lines = list(struct.iter_unpack("=HBBI", assemble(machine, listener=listener)))
    assert len(lines) <= 4096 and lines[-1][0] == 0x06
    assert all(at + 1 + max(line[1], line[2]) < len(lines) for at, line in enumerate(lines) if line[0] in (0x15, 0x35))


def test_internet_sockets_get_an_unreachable_network() -> None:
    assert refusal_errno(INET) == refusal_errno(INET6) == errno.ENETUNREACH
    assert refusal_errno(UNIX) == refusal_errno(40) == errno.EAFNOSUPPORT


@pytest.mark.parametrize(
    ("machine", "header"),
    [("x86_64", "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"), ("aarch64", "/usr/include/asm-generic/unistd.h")],
)
def test_the_numbers_are_those_of_the_kernels_headers(machine, header) -> None:
    if not os.path.exists(header):
        pytest.skip(f"no kernel headers here: {header}")
    with open(header) as file:
        known = dict(re.findall(r"#define __NR3?_?(?:264_)?(\w+)\s+(\d+)", file.read()))
    assert {name: int(known[name]) for name in NUMBERS[machine]} == NUMBERS[machine]
