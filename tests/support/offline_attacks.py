"""A table of attacks: ways out of a stage. A word between @ stands for a port, a path or a program of the run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

IPV4, IPV6 = ("AF_INET",), ("AF_INET6",)
EITHER = ("AF_INET", "AF_INET6")  # programs that are free to try both
SUPPORT = ("EAFNOSUPPORT", "EPROTONOSUPPORT", "ESOCKTNOSUPPORT", "ENOSYS", "ENOPROTOOPT", "ENODEV", "ENOENT")
RIGHTS = ("EPERM", "EACCES")


@dataclass(frozen=True)
class Attack:
    """One way out: a line of shell, what must be recorded of it, and what a machine may lack for it.

    `families`: one of them is recorded, with `program`, and the stage fails; empty: refused, and the stage succeeds.
    `lacks`: errors with which the attack may fail without the guard. `needs`: programs that must exist. A script that
    no listener can receive from has @trace@: strace without the guard, nothing with it.
    """

    name: str
    script: str
    families: tuple[str, ...] = ()
    program: str = "@interpreter@"
    lacks: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    processor: bool = False  # runs attack.py as a Python stage
    probes: bool = False  # makes one call, for an IPv6 stream socket, which fails no stage
    limit: str = ""  # why it is no promise at level `filter`

    @property
    def fails(self) -> bool:
        """Whether its stage fails because of it; that of a JVM or a probe does not."""
        return bool(self.families) and self.program != "java" and not self.probes

    def words(self) -> set[str]:
        return set(re.findall("@([a-z0-9-]+)@", self.script))


def filled(text: str, words: Mapping[str, str]) -> str:
    return re.sub("@([a-z0-9-]+)@", lambda match: words[match[1]], text)


def _python(name: str, words: str, families: tuple[str, ...] = (), **fields: object) -> Attack:
    way, *where = words.split()
    return Attack(name, " ".join(["@python@ @programs@/attack.py", way, "@token@", *where]), families, **fields)


def _processor(name: str, words: str, families: tuple[str, ...] = ()) -> Attack:
    way, *where = words.split()
    return Attack(name, " ".join([way, "@token@", *where]), families, processor=True)


def _c(name: str, words: str, families: tuple[str, ...] = (), **fields: object) -> Attack:
    way, *where = words.split()
    return Attack(name, " ".join(["@c@", way, "@token@", *where]), families, "attack", **fields)


def _program(name: str, script: str, families: tuple[str, ...], program: str, **fields: object) -> Attack:
    return Attack(name, f"echo trying; {script}", families, program, needs=(program,), **fields)


PYTHON = [
    _python("tcp4", "tcp 127.0.0.1 @tcp4@", IPV4),
    _python("tcp6", "tcp ::1 @tcp6@", IPV6, probes=True),
    _python("tcp6-again", "tcp_again ::1 @tcp6@", IPV6),
    _python("tcp-by-name", "tcp localhost @tcp4@", EITHER),
    _python("tcp-connect-ex", "tcp_connect_ex 127.0.0.1 @tcp4@", IPV4),
    _python("tcp-threaded", "tcp_threaded 127.0.0.1 @tcp4@", IPV4),
    _python("tcp-forked", "tcp_forked 127.0.0.1 @tcp4@", IPV4),
    _python("tcp-daemon", "tcp_daemon 127.0.0.1 @tcp4@", IPV4),
    _python("tcp-daemon-later", "tcp_daemon_later 127.0.0.1 @tcp4@"),
    _python("tcp-fastopen", "tcp_fastopen @tcp4@", IPV4),
    _python("tcp-mptcp", "tcp_mptcp @tcp4@", IPV4, lacks=SUPPORT),
    _python("tcp-asyncio", "tcp_asyncio @tcp4@", IPV4),
    _python("http", "http @tcp4@", IPV4),
    _python("urllib", "urllib @tcp4@", IPV4),
    _python("underscore", "underscore @tcp4@", IPV4),
    _python("ctypes-libc", "ctypes_libc @tcp4@", IPV4),
    _python("udp4", "udp 127.0.0.1 @udp4@", IPV4),
    _python("udp6", "udp ::1 @udp6@", IPV6),
    _python("udp4-sendto", "udp_sendto 127.0.0.1 @udp4@", IPV4),
    _python("udp6-sendto", "udp_sendto ::1 @udp6@", IPV6),
    _python("udp4-sendmsg", "udp_sendmsg 127.0.0.1 @udp4@", IPV4),
    _python("dns", "dns @udp4@", IPV4),
    Attack("resolver", "@trace@@python@ @programs@/attack.py resolver @token@", EITHER, needs=("strace",)),
    _python("udplite", "udplite @udplite@", IPV4),
    _python("raw4", "raw 127.0.0.1", IPV4, lacks=RIGHTS),
    _python("raw6", "raw ::1", IPV6, lacks=RIGHTS),
    _python("packet-raw", "packet 3", ("AF_PACKET",), lacks=RIGHTS),
    _python("packet-dgram", "packet 2", ("AF_PACKET",), lacks=RIGHTS),
    _python("listen4", "listen 127.0.0.1", IPV4),
    _python("listen6", "listen ::1", IPV6, probes=True),
    _python("every-family", "every_family", EITHER),
    _python("nameless", "memfd @c@ @tcp4@", IPV4, program="memfd:nameless"),
    _python("deleted", "deleted @c@ @tcp4@", IPV4, program="gone-"),
    Attack("isolated", "@python@ -I -S -E @programs@/attack.py tcp @token@ 127.0.0.1 @tcp4@", IPV4),
    Attack("no-environment", "env -i @python@ @programs@/attack.py tcp @token@ 127.0.0.1 @tcp4@", IPV4),
    Attack("child", "@python@ -c 'import os, sys; os.spawnv(0, sys.executable, [sys.executable, \"-S\", "
           "\"@programs@/attack.py\", \"tcp\", \"@token@\", \"127.0.0.1\", \"@tcp4@\"])'", IPV4),
    _processor("processor-tcp4", "tcp 127.0.0.1 @tcp4@", IPV4),
    _processor("processor-udp6", "udp_sendto ::1 @udp6@", IPV6),
    _processor("processor-libc", "ctypes_libc @tcp4@", IPV4),
    _processor("processor-local", "local 1 @path-stream@"),
    _processor("processor-descriptors", "descriptors"),
]  # fmt: skip

FAMILIES = {  # linux/socket.h: number, a type that the family has
    "AF_VSOCK": (40, 1), "AF_X25": (9, 5), "AF_KEY": (15, 3), "AF_RDS": (21, 5), "AF_IB": (27, 1), "AF_CAN": (29, 3),
    "AF_TIPC": (30, 5), "AF_BLUETOOTH": (31, 5), "AF_NFC": (39, 5), "AF_KCM": (41, 5), "AF_QIPCRTR": (42, 2),
    "AF_SMC": (43, 1), "AF_XDP": (44, 3), "AF_MCTP": (45, 2),
}  # fmt: skip
OTHER_FAMILIES = [
    _python(name.lower().replace("_", "-"), f"family {number} {kind} 0", (name, str(number)), lacks=(*SUPPORT, *RIGHTS))
    for name, (number, kind) in FAMILIES.items()
]
QUIET_FAMILIES = [
    _python("netlink", "family 16 3 0"),
    _python("alg", "family 38 5 0", lacks=SUPPORT),
]

LOCAL = [
    _python("path-stream", "local 1 @path-stream@"),
    _python("abstract-stream", "local 1 @abstract-stream@"),
    _python("path-dgram", "local 2 @path-dgram@"),
    _python("abstract-dgram", "local 2 @abstract-dgram@"),
    _python("path-seqpacket", "local 5 @path-seqpacket@"),
    _python("abstract-seqpacket", "local 5 @abstract-seqpacket@"),
    _python("dgram-sendto", "local_sendto @path-dgram@"),
    _python("abstract-dgram-sendto", "local_sendto @abstract-dgram@"),
    _python("local-listen", "local_listen listening-@token@"),
    *(
        _python(f"pair-{how}-{kind}-{place}", f"pair {how} {number} @{place}-dgram@")
        for how in ("sendto", "sendmsg", "rights", "connect")
        for kind, number in (("dgram", 2), ("raw", 3), ("flags", 2 | 0o2000000 | 0o4000))
        for place in ("path", "abstract")
    ),
    _python("inherited", "descriptors"),
    _python("standard-input", "standard"),
    _c("pair-high-bits", "pair_high_bits @path-dgram@"),
    _c("pair-tipc", "pair_family 30", lacks=SUPPORT),
    _program("perl-local", "perl @programs@/attack.pl local @token@ @path-stream@", (), "perl"),
    _program("node-local", "node @programs@/attack.js local @token@ @path-stream@", (), "node"),
    _program("java-local", "java -Xshare:auto -cp @classes@ Attack local @token@ @path-stream@", (), "java"),
    _program("curl-local", "curl -sm2 --unix-socket @path-stream@ http://x/@token@", (), "curl"),
]

KERNEL_FILES = {  # writing them can make the kernel start a program outside, or stop the machine; only opened here
    "core-pattern": "/proc/sys/kernel/core_pattern",
    "modprobe": "/proc/sys/kernel/modprobe",
    "sysrq": "/proc/sysrq-trigger",
    "uevent-helper": "/sys/kernel/uevent_helper",
    "release-agent": "/sys/fs/cgroup/memory/release_agent",
    "interrupts": "/proc/irq/default_smp_affinity",
    "memory-types": "/proc/mtrr",
    "freezer": "/sys/fs/cgroup/freezer/tasks",
    "groups": "/sys/fs/cgroup/cgroup.procs",
    "groups-beside": "/sys/fs/cgroup/unified/cgroup.procs",
}

C = [
    _c("c-tcp4", "tcp @tcp4@", IPV4),
    _c("c-high-bits", "high_bits @tcp4@", IPV4),
    _c("c-vfork", "vforked @tcp4@", IPV4),
    _c("c-thread", "threaded @tcp4@", IPV4),
    _c("c-shared-table", "shared @tcp4@", IPV4),
    _c("c-unshare", "unshared @tcp4@", IPV4),
    _c("c-own-filter", "notify @tcp4@", IPV4),
    _c("c-entry32-socket", "entry32 @tcp4@ socket", lacks=SUPPORT),
    _c("c-entry32-socketcall", "entry32 @tcp4@ socketcall", lacks=SUPPORT),
    _c("c-x32", "x32 @tcp4@", lacks=SUPPORT),
    _c("c-io-uring", "io_uring @tcp4@", lacks=("ENOSYS", "EPERM")),
    _c("c-keys", "keys", lacks=("ENOSYS",)),
    _c("c-trace-self", "trace_self"),
    _c("c-setns", "setns /proc/1/ns/net", lacks=RIGHTS),
    _c("c-setns-outside", "setns /proc/@outside@/ns/net", lacks=RIGHTS),
    _c("c-setns-pidfd", "setns_of @outside@", lacks=RIGHTS),
    _c("c-getfd-outside", "getfd @outside@ @descriptor@"),
    _c("c-trace-outside", "trace @outside@"),
    _c("c-mem-outside", "mem @outside@"),
    _c("c-vm-outside", "vm @outside@"),
    _c("c-bpf", "bpf", lacks=RIGHTS),
    _c("c-tun", "tun", lacks=(*RIGHTS, "ENOENT")),
    *(
        _c(name, f"open {path}", lacks=(*RIGHTS, "ENOENT", "EROFS"), limit="root may change kernel settings there")
        for name, path in KERNEL_FILES.items()
    ),
    Attack(
        "second-proc",
        "echo trying; unshare -Urpmf --mount-proc sh -c ': >> /proc/sys/kernel/core_pattern' && echo reached it"
        " || echo refused EACCES",
        lacks=RIGHTS,
        needs=("unshare",),
        limit="root may change kernel settings there",
    ),
    *(
        Attack(
            f"own-{name}",
            f"echo trying; mkdir -p own-{name}; unshare {options} --propagation=private"
            f" mount -t {kind} none own-{name} && echo reached it || echo refused EPERM",
            lacks=("EPERM",),
            needs=("unshare",),
        )
        for name, options, kind in [
            ("groups", "-UrmC", "cgroup2"),
            ("freezer", "-UrmC", "cgroup -o freezer"),
            ("groups-forked", "-UrmCpf", "cgroup2"),
        ]
    ),
    *(_c(f"c-{way}-parent", f"{way} $PPID") for way in ("trace", "mem", "vm")),
    _c("c-fds-parent", "fds $PPID", lacks=RIGHTS),
    _c("c-getfd-parent", "getfd $PPID 0"),
    _c("c-limit-parent", "limit $PPID"),
    _c("c-limit-outside", "limit @outside@"),
    _c("c-memory-of-all", "memories"),
    _c("c-uncover", "uncover @outside@", limit="processes outside are seen there"),
    _c("c-type", "type @terminal@", lacks=("EIO", *RIGHTS)),
]

PROGRAMS = [
    _program("bash-tcp", "bash -c 'echo @token@ > /dev/tcp/127.0.0.1/@tcp4@'", IPV4, "bash"),
    _program("bash-udp", "bash -c 'echo @token@ > /dev/udp/127.0.0.1/@udp4@'", IPV4, "bash"),
    _program("curl", "curl -sm2 http://127.0.0.1:@tcp4@/@token@", EITHER, "curl"),
    _program("curl-v6", "curl -sm2 'http://[::1]:@tcp6@/@token@' 'http://[::1]:@tcp6@/'", EITHER, "curl"),
    _program("curl-tftp", "curl -sm1 tftp://127.0.0.1:@udp4@/@token@", EITHER, "curl"),
    _program("wget", "wget -qT2 -t1 -O- http://127.0.0.1:@tcp4@/@token@", EITHER, "wget"),
    _program("openssl", "openssl s_client -connect 127.0.0.1:@tcp4@ -servername @token@ </dev/null", EITHER, "openssl"),
    _program("git", "git ls-remote git://127.0.0.1:@tcp4@/@token@", EITHER, "git"),
    _program("psql", "PGSSLMODE=disable psql -w -U x -h 127.0.0.1 -p @tcp4@ -d @token@ -c ''", EITHER, "psql"),
    _program(
        "tclsh", "echo 'set s [socket 127.0.0.1 @tcp4@]; puts $s @token@; flush $s' | tclsh", EITHER, "tclsh"
    ),
    Attack("getent", "@trace@getent ahosts @token@.invalid", EITHER, "getent", needs=("getent", "strace")),
    _program("perl-tcp", "perl @programs@/attack.pl tcp @token@ @tcp4@", IPV4, "perl"),
    _program("perl-udp", "perl @programs@/attack.pl udp @token@ @udp4@", IPV4, "perl"),
    _program("perl-syscall", "perl @programs@/attack.pl syscall @token@ @tcp4@ @call-socket@", IPV4, "perl"),
    _program("node-tcp", "node @programs@/attack.js tcp @token@ @tcp4@ 127.0.0.1", EITHER, "node"),
    _program("node-udp", "node @programs@/attack.js udp @token@ @udp4@ 127.0.0.1", EITHER, "node"),
    _program("node-fetch", "node @programs@/attack.js fetch @token@ @tcp4@ 127.0.0.1", EITHER, "node"),
    _program("node-dns", "node @programs@/attack.js dns @token@ @udp4@ 127.0.0.1", EITHER, "node"),
    _program("java-tcp", "java -Xshare:auto -cp @classes@ Attack tcp @token@ @tcp4@", EITHER, "java"),
    _program("java-udp", "java -Xshare:auto -cp @classes@ Attack udp @token@ @udp4@", EITHER, "java"),
    _program("unshare", "unshare -Urn true; curl -sm2 http://127.0.0.1:@tcp4@/@token@", EITHER, "curl"),
    Attack(
        "unshared", "unshare -Urn @c@ tcp @token@ @tcp4@ || @c@ tcp @token@ @tcp4@", IPV4, "attack", needs=("unshare",)
    ),
]  # fmt: skip

ATTACKS = {attack.name: attack for attack in [*PYTHON, *OTHER_FAMILIES, *QUIET_FAMILIES, *LOCAL, *C, *PROGRAMS]}


def _kind(attack: Attack) -> tuple[bool, str]:
    """Whether an attack asks for a network, and its program, or its script without addresses, families and paths."""
    script = re.sub(r"@[a-z0-9-]+@|\b\d\S*|::1|/\S*", "", attack.script)
    return bool(attack.families), attack.needs[0] if attack.needs else script


_FIRST = {_kind(attack): attack.name for attack in reversed(ATTACKS.values())}
VARIANTS = ATTACKS.keys() - set(_FIRST.values())  # left to --full: all but the first of each kind
