"""Keeps stages of every user from gaining or using privileges, and from changing kernel settings.

Loaded by the launcher program only. Constants: linux/capability.h, linux/mount.h, prctl(2), capset(2).
"""

from __future__ import annotations

import errno
import os
import stat
import struct

from runner.levels import RefusedError
from runner.sandbox import syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

CAPABILITY_VERSION_3 = 0x20080522
# Capabilities that root keeps, to work on the files of all users: CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH,
# FOWNER, FSETID, KILL, SETGID, SETUID, SETPCAP, SYS_CHROOT, SYS_NICE, SYS_RESOURCE, LEASE, SETFCAP.
KEPT_BY_ROOT = (0, 1, 2, 3, 4, 5, 6, 7, 8, 18, 23, 24, 28, 31)
CAP_SETPCAP = 8
MS_KEPT = (
    syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC | syscalls.MS_NOATIME | syscalls.MS_NODIRATIME
)  # statvfs(3) has them at the same bits
# Not a mount point, hidden by another mount, or closed to stages, too.
UNREACHABLE = (errno.EINVAL, errno.ENOENT, errno.EACCES)
PROC = "/proc"
# Every mount of these kinds becomes read-only, because a chroot may have a /proc too. Not only root may write there: a
# user may own a delegated control group, and could stop or kill the processes in it.
KERNEL_FILE_SYSTEMS = frozenset(
    "proc sysfs cgroup cgroup2 debugfs tracefs securityfs configfs binfmt_misc efivarfs selinuxfs smackfs resctrl nfsd "
    "rpc_pipefs fusectl pstore bpf".split()
)


def drop_privileges() -> str:
    """Drop all privileges (root keeps KEPT_BY_ROOT), and let exec gain none. Return a description of the rest."""
    syscalls.prctl("prctl(PR_SET_NO_NEW_PRIVS)", syscalls.PR_SET_NO_NEW_PRIVS, 1)
    held = {name: int(value, 16) for name, value in syscalls.own_status().items() if name.startswith("Cap")}
    is_root = os.geteuid() == 0
    kept = sum(1 << number for number in KEPT_BY_ROOT) & held["CapPrm"] if is_root else 0
    if held["CapEff"] >> CAP_SETPCAP & 1:  # without it the set cannot shrink, but no_new_privs makes it useless
        for number in range(64):
            if held["CapBnd"] >> number & 1 and not kept >> number & 1:
                syscalls.prctl("prctl(PR_CAPBSET_DROP)", syscalls.PR_CAPBSET_DROP, number)
    low, high = kept & 0xFFFFFFFF, kept >> 32
    header, sets = struct.pack("=Ii", CAPABILITY_VERSION_3, 0), struct.pack("=6I", low, low, 0, high, high, 0)
    syscalls.call("capset", header, sets)
    return "files and own processes" if kept else "none"


def open_memory(*, is_open: bool) -> None:
    """Let processes of the same user open this process's memory and trace it, or keep them from it."""
    syscalls.prctl("prctl(PR_SET_DUMPABLE)", syscalls.PR_SET_DUMPABLE, int(is_open))


def protect_settings() -> str:
    """Make the kernel's own files read-only in this mount namespace; return the layer's description.

    A failure here does not harm the other layers.
    """
    try:
        if os.geteuid() == 0:  # a /proc that is covered in part would keep other users from mounting one
            for path in _parts_of_proc():
                syscalls.mount(f"binding {path}", path, path, None, syscalls.MS_BIND | syscalls.MS_REC)
        writable = [path for path in _kernel_mounts() if not _make_read_only(path)]
    except RefusedError as error:
        return f"writable: {error}"
    return f"writable: {', '.join(writable)}" if writable else "read-only"


def _parts_of_proc() -> Iterator[str]:
    """Yield the directories and writable files of our /proc that belong to the machine; only root may write there."""
    for name in os.listdir(PROC):
        path = f"{PROC}/{name}"
        mode = os.lstat(path).st_mode if not name.isdecimal() else 0
        if stat.S_ISDIR(mode) or (stat.S_ISREG(mode) and mode & 0o222):
            yield path


def _kernel_mounts() -> list[str]:
    """Return the mount points of the kernel's own file systems, and those below, except this namespace's /proc.

    proc(5), mountinfo: a mount is listed after the mount that holds it.
    """
    paths: list[str] = []
    with open("/proc/self/mountinfo", "rb") as file:
        for line in file:
            fields, _, kind = line.partition(b" - ")
            escaped = fields.split()[4].decode("unicode_escape")  # three octal digits for a space
            path = os.fsdecode(escaped.encode("latin-1"))
            is_below = any(path.startswith(f"{above}/") for above in paths)
            if (is_below or kind.split()[0].decode() in KERNEL_FILE_SYSTEMS) and path != PROC:
                paths.append(path)
    return paths


def _make_read_only(path: str) -> bool:
    """Make one mount read-only; False if it stays writable. A mount that stages cannot reach counts as read-only."""
    try:
        flags = syscalls.MS_REMOUNT | syscalls.MS_BIND | syscalls.MS_RDONLY | os.statvfs(path).f_flag & MS_KEPT
        syscalls.mount(f"remounting {path}", b"none", path, None, flags)
        return bool(os.statvfs(path).f_flag & os.ST_RDONLY)
    except (RefusedError, OSError) as error:
        if error.errno not in UNREACHABLE:
            raise
        return True
