"""What the kernel does outside is changed by files too: at level `kernel` they are read-only for every stage.

Loaded by the launcher program only, which calls this once, in a mount namespace of its own. Constants: linux/mount.h.
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
    from collections.abc import Iterator

MS_KEPT = MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME | MS_NODIRATIME  # statvfs(3) has them at the same bits
AT_FDCWD, AT_RECURSIVE, MOUNT_ATTR_RDONLY = -100, 0x8000, 1
PROC = "/proc"
NO_WAY = (errno.EINVAL, errno.ENOENT, errno.EACCES)  # no mount point; or one that stages cannot get to either
# Every mount of these kinds, since a chroot may have a /proc as well. Who may write there is not only root: a
# delegated control group is its user's, and with it goes the right to stop or kill what is in it.
KERNEL_FILE_SYSTEMS = frozenset(
    (b"proc", b"sysfs", b"cgroup", b"cgroup2", b"debugfs", b"tracefs", b"securityfs", b"configfs", b"binfmt_misc",
     b"efivarfs", b"selinuxfs", b"smackfs", b"resctrl", b"nfsd", b"rpc_pipefs", b"fusectl", b"pstore", b"bpf")
)  # fmt: skip


def protect_settings() -> str:
    """Make them read-only, which may be refused without harm to the rest; return what was reached."""
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
    """What of the own /proc is the machine's and can be written to, or holds what can: by root alone.

    Others are spared it, because in a /proc that is covered in part nobody may mount one of a namespace of his own.
    """
    for name in os.listdir(PROC):
        path = f"{PROC}/{name}"
        mode = os.lstat(path).st_mode if not name.isdecimal() else 0
        if stat.S_ISDIR(mode) or (stat.S_ISREG(mode) and mode & 0o222):
            yield os.fsencode(path)


def _make_read_only(path: bytes) -> bool:
    """With all mounts below; False when the path leads to another mount, which hides this one, or is out of reach."""
    attributes = syscalls.address(struct.pack("=4Q", MOUNT_ATTR_RDONLY, 0, 0, 0))  # struct mount_attr
    try:
        syscalls.call("kernel settings", "mount_setattr", AT_FDCWD, path, AT_RECURSIVE, attributes, len(attributes))
    except RefusedError as error:
        if error.number not in NO_WAY:
            return _remount(path)
        return False
    return True


def _remount(path: bytes) -> bool:
    """As above, but this mount alone: where mount_setattr is unknown, to Linux before 5.12 or a container's profile."""
    try:
        kept = os.statvfs(path).f_flag & MS_KEPT
        syscalls.mount(f"remounting {os.fsdecode(path)}", b"none", path, None, MS_REMOUNT | MS_BIND | MS_RDONLY | kept)
    except (RefusedError, OSError) as error:
        if (error.number if isinstance(error, RefusedError) else error.errno) in NO_WAY:
            return False
        raise
    return True


def _kernel_mounts() -> list[bytes]:
    """Where the kernel's own file systems are mounted, and what is below, but for this namespace's /proc.

    proc(5), mountinfo: a mount stands after the one that it is in.
    """
    found: list[bytes] = []
    with open("/proc/self/mountinfo", "rb") as file:
        for line in file:
            fields, _, kind = line.partition(b" - ")
            path = _unescaped(fields.split()[4])
            is_below = any(path.startswith(above + b"/") for above in found)
            if (is_below or kind.split()[0] in KERNEL_FILE_SYSTEMS) and path != os.fsencode(PROC):
                found.append(path)
    return found


def _unescaped(path: bytes) -> bytes:
    """A path as mountinfo spells it: space, tab, line feed and backslash as three octal digits."""
    for character in b" \t\n\\":
        path = path.replace(b"\\%03o" % character, bytes((character,)))
    return path
