"""The view of a sealed stage: what its processes see of the disk.

Runs in the *child* of a launch, or in the probe of `isolate`, while both have one thread and no wall but the filter.
The runner has put together the steps (executor/views.py); here they are only taken. The view is a tree of mounts of its
own: all that there is, read-only, and over it what the steps say. Nothing outside sees it, and the kernel removes it
with the last process of the launch.

Constants: linux/mount.h, mount_setattr(2).
"""

from __future__ import annotations

import os
import struct

from runner.levels import POSSIBLE, RefusedError
from runner.sandbox import syscalls
from runner.sandbox.namespaces import CLONE_NEWNS, CLONE_NEWUSER, Maps
from runner.sandbox.privileges import drop_privileges, open_memory
from runner.sandbox.syscalls import MS_BIND, MS_MOVE, MS_NODEV, MS_NOSUID, MS_REC, signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    Step = tuple[bytes, bytes, bytes]  # its kind, its source, and a path in the view

AT_RECURSIVE = 0x8000
MOUNT_ATTR_RDONLY = 1


def enter_view(point: bytes, steps: Collection[Step], kept: Collection[int], maps: Maps) -> None:
    """Move this process into the view that the steps make, and close all descriptors but `kept`.

    `point` is a directory for its mounts. Steps, in order: "read" and "write" show a source, "again" shows what the
    view has at another path; "own" mounts an empty directory, and "empty" one in which only later steps write; "room"
    makes a directory, and "link" a symbolic link. Raises RefusedError or OSError.
    """
    syscalls.close_all_but((*kept, *maps.descriptors))  # before other processes of this user may look into this one
    signal.set_wakeup_fd(-1)
    open_memory(is_open=True)  # else only a launcher of root can write the maps
    maps.enter(CLONE_NEWUSER | CLONE_NEWNS, "unshare(user, mount)")
    _set_read_only(b"/", AT_RECURSIVE)
    syscalls.mount("binding /", b"/", point, None, MS_BIND | MS_REC)
    _set_writable(point + b"/proc")  # its parts that belong to the machine stay read-only
    empty = [point + path for kind, _, path in steps if kind == b"empty"]
    points = MountPoints()
    for kind, source, path in steps:
        target = point + path
        points.make_parent(target)
        if kind == b"link":
            os.symlink(source, target)
        elif kind == b"room":
            os.makedirs(target, exist_ok=True)
        elif kind in (b"empty", b"own"):
            os.makedirs(target, exist_ok=True)
            syscalls.mount(f"mounting {_shown(path)}", b"tmpfs", target, b"tmpfs", MS_NOSUID | MS_NODEV)
        else:
            shown = point + source if kind == b"again" else source
            points.make(target, shown)
            syscalls.mount(f"showing {_shown(path)}", shown, target, None, MS_BIND | MS_REC)
            if kind == b"write":
                _set_writable(target)
    for target in empty:
        _set_read_only(target, 0)
    os.chdir(point)
    syscalls.mount("moving the view to /", b".", b"/", None, MS_MOVE)
    os.chroot(b".")
    drop_privileges()


def views_layer() -> str:
    """Return whether a child of the launcher can enter a view, as a layer: `possible`, or why not."""
    reads, writes = os.pipe()
    maps = Maps()

    def probe() -> int:
        try:
            enter_view(b"/dev", (), (writes,), maps)
        except (RefusedError, OSError) as error:
            os.write(writes, str(error).encode("utf-8", "backslashreplace"))
        return 0

    pid = syscalls.fork_for(probe)
    os.close(writes)
    maps.write(pid)
    with open(reads, encoding="utf-8") as file:
        why = file.read()
    os.waitpid(pid, 0)
    return f"none: {why}" if why else POSSIBLE


class MountPoints:
    """Makes empty files and directories for mounts. The files of one file system are hard links of one file.

    ext4 takes up to 0.6 ms to make a file if many were removed in the last five seconds (recently_deleted in ialloc.c).
    """

    def __init__(self) -> None:
        self._parents: set[bytes] = set()  # that exist
        self._file = -1  # the last file that was made

    def make_parent(self, path: bytes) -> None:
        """Make the directory that a path is in."""
        parent = os.path.dirname(path)
        if parent not in self._parents:
            os.makedirs(parent, exist_ok=True)
            self._parents.add(parent)

    def make(self, path: bytes, like: bytes) -> None:
        """Make an empty directory or file, whichever `like` is, unless something is there."""
        if os.path.isdir(like):
            os.makedirs(path, exist_ok=True)
        elif not os.path.lexists(path):
            try:
                # With a descriptor for the directory, this calls linkat, which follows the link in /proc.
                os.link(f"/proc/self/fd/{self._file}", path, src_dir_fd=self._file)
            except OSError:  # the first file here, or no hard links, or too many
                self._file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600)


def _set_read_only(path: bytes, flags: int) -> None:
    _set_attributes(path, flags, MOUNT_ATTR_RDONLY, 0)


def _set_writable(path: bytes) -> None:
    _set_attributes(path, 0, 0, MOUNT_ATTR_RDONLY)


def _set_attributes(path: bytes, flags: int, on: int, off: int) -> None:
    attributes = struct.pack("=4Q", on, off, 0, 0)  # struct mount_attr
    syscalls.call("mount_setattr", -1, path, flags, attributes, len(attributes))


def _shown(path: bytes) -> str:
    return path.decode("utf-8", "backslashreplace")
