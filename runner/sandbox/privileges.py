"""What no user's stage may do: gain privileges, use those that reach beyond files, change kernel settings.

Loaded by the launcher program only. Constants: linux/capability.h, linux/mount.h, prctl(2), capset(2).
"""

from __future__ import annotations

import errno
import os
import stat
import struct

from runner.levels import RefusedError
from runner.sandbox import syscalls
from runner.sandbox.syscalls import (
    MS_BIND,
    MS_NOATIME,
    MS_NODEV,
    MS_NODIRATIME,
    MS_NOEXEC,
    MS_NOSUID,
    MS_RDONLY,
    MS_REC,
    MS_REMOUNT,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CAPABILITY_VERSION_3 = 0x20080522
# What root keeps, so that it can still work on the files of all users: CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH,
# FOWNER, FSETID, KILL, SETGID, SETUID, SETPCAP, SYS_CHROOT, SYS_NICE, SYS_RESOURCE, LEASE, SETFCAP.
KEPT_BY_ROOT = (0, 1, 2, 3, 4, 5, 6, 7, 8, 18, 23, 24, 28, 31)
CAP_SETPCAP = 8
LAYER = "privileges"
MS_KEPT = MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME | MS_NODIRATIME  # statvfs(3) has them at the same bits
NO_WAY = (errno.EINVAL, errno.ENOENT, errno.EACCES)  # no mount point, hidden by another, or out of stages' reach
PROC = "/proc"
# Every mount of these kinds, because a chroot may have a /proc as well. Not only root may write there: a user may own a
# delegated control group, and may then stop or kill what is in it.
KERNEL_FILE_SYSTEMS = frozenset(
    (b"proc", b"sysfs", b"cgroup", b"cgroup2", b"debugfs", b"tracefs", b"securityfs", b"configfs", b"binfmt_misc",
     b"efivarfs", b"selinuxfs", b"smackfs", b"resctrl", b"nfsd", b"rpc_pipefs", b"fusectl", b"pstore", b"bpf")
)  # fmt: skip


def drop_privileges() -> str:
    """Drop all privileges, but for root KEPT_BY_ROOT, and allow none to be gained by exec. Return what is left."""
    syscalls.prctl(LAYER, "prctl(PR_SET_NO_NEW_PRIVS)", syscalls.PR_SET_NO_NEW_PRIVS, 1)
    held = _capabilities()
    is_root = os.geteuid() == 0
    kept = sum(1 << number for number in KEPT_BY_ROOT) & held["CapPrm"] if is_root else 0
    if held["CapEff"] >> CAP_SETPCAP & 1:  # without it nothing can be gained from that set under no_new_privs
        for number in range(64):
            if held["CapBnd"] >> number & 1 and not kept >> number & 1:
                syscalls.prctl(LAYER, "prctl(PR_CAPBSET_DROP)", syscalls.PR_CAPBSET_DROP, number)
    header = syscalls.address(struct.pack("=Ii", CAPABILITY_VERSION_3, 0))
    low, high = kept & 0xFFFFFFFF, kept >> 32
    syscalls.call(LAYER, "capset", header, syscalls.address(struct.pack("=6I", low, low, 0, high, high, 0)))
    return "files and own processes" if kept else "none"


def hide_memory() -> None:
    """Keep processes of the same user from opening the launcher's memory, or tracing it."""
    syscalls.prctl(LAYER, "prctl(PR_SET_DUMPABLE)", syscalls.PR_SET_DUMPABLE, 0)


def showing_memory() -> Callable[[], int]:
    """Return what undoes `hide_memory`, for a child that is a stage; as syscalls.prepared."""
    return syscalls.prepared(LAYER, "prctl", syscalls.PR_SET_DUMPABLE, 1, 0, 0, 0)


def _capabilities() -> dict[str, int]:
    return {name: int(value, 16) for name, value in syscalls.own_status().items() if name.startswith("Cap")}


def protect_settings() -> str:
    """Make the kernel's own files read-only, in a mount namespace of its own; return what was reached.

    A failure here does no harm to the other layers.
    """
    own = list(_parts_of_proc()) if os.geteuid() == 0 else []
    try:
        for path in own:
            syscalls.mount(f"binding {os.fsdecode(path)}", path, path, None, MS_BIND | MS_REC)
        changed = [path for path in (*own, *_kernel_mounts()) if _make_read_only(path)]
    except RefusedError as error:
        return f"writable: {error}"
    writable = [os.fsdecode(path) for path in changed if not os.statvfs(path).f_flag & os.ST_RDONLY]
    return f"writable: {', '.join(writable)}" if writable else "read-only"


def _parts_of_proc() -> Iterator[bytes]:
    """Yield what belongs to the machine in our /proc and can be written to, or holds what can: by root alone.

    Only for root: once a /proc is covered in part, other users can no longer mount one in a namespace of their own.
    """
    for name in os.listdir(PROC):
        path = f"{PROC}/{name}"
        mode = os.lstat(path).st_mode if not name.isdecimal() else 0
        if stat.S_ISDIR(mode) or (stat.S_ISREG(mode) and mode & 0o222):
            yield os.fsencode(path)


def _make_read_only(path: bytes) -> bool:
    """Make one mount read-only; False if the path leads to another one, which hides it, or is out of reach."""
    try:
        kept = os.statvfs(path).f_flag & MS_KEPT
        syscalls.mount(f"remounting {os.fsdecode(path)}", b"none", path, None, MS_REMOUNT | MS_BIND | MS_RDONLY | kept)
    except (RefusedError, OSError) as error:
        if (error.number if isinstance(error, RefusedError) else error.errno) in NO_WAY:
            return False
        raise
    return True


def _kernel_mounts() -> list[bytes]:
    """Return where the kernel's own file systems are mounted, and what is below, except for this namespace's /proc.

    proc(5), mountinfo: a mount is listed after the one that it is in.
    """
    found: list[bytes] = []
    with open("/proc/self/mountinfo", "rb") as file:
        for line in file:
            fields, _, kind = line.partition(b" - ")
            path = fields.split()[4].decode("unicode_escape").encode("latin-1")  # three octal digits for a space
            is_below = any(path.startswith(above + b"/") for above in found)
            if (is_below or kind.split()[0] in KERNEL_FILE_SYSTEMS) and path != os.fsencode(PROC):
                found.append(path)
    return found
