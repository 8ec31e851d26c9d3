"""The room left for outputs. A program that ignores a full disk exits with 0, and its output is cut."""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING

from runner.errors import Fault, raise_if_system_error
from runner.processes import proc_file

if TYPE_CHECKING:
    from collections.abc import Mapping

LEAST = 16 << 20  # bytes: with less left, a disk counts as full
LEAST_PART = 20  # and a small disk with less than one part in so many, 5 %
# ext4 lets nobody use so many blocks, or one in so many if that is less (ext4_set_resv_clusters).
_RESERVED, _RESERVED_PART = 4096, 50


def shortage(stage: str, partials: Mapping[str, str]) -> Fault | None:
    """Return which output of a stage is on a disk that is full now, and how full; None if all have room.

    `partials`: path by output. A directory that is gone has no shortage: `fault_of` reports the missing output.
    """
    directories = {os.path.dirname(path): name for name, path in partials.items()}
    for directory, name in directories.items():
        try:
            disk = os.statvfs(directory)
        except OSError as error:
            raise_if_system_error(error, directory)
            continue
        where = f"stage {stage}, output {name}"
        left, least = bytes_left(disk), min(LEAST, disk.f_blocks * disk.f_frsize // LEAST_PART)
        if left < least:
            what = f"exit 0, but its disk had only {left:,} bytes left, so the output may be cut"
            return Fault(where, what, f"make room for the outputs and {least:,} bytes more, and run it again")
        if disk.f_files and not disk.f_ffree:
            what = "exit 0, but its disk had no inode left, so files of the output may be missing"
            return Fault(where, what, "remove some files from that disk, and run it again")
    return None


def bytes_left(disk: os.statvfs_result) -> int:
    """Return how many bytes this process and its stages can still write to a disk."""
    if not _is_root():
        return disk.f_bavail * disk.f_frsize
    reserved = min(disk.f_bfree - disk.f_bavail, _RESERVED, disk.f_blocks // _RESERVED_PART)
    return (disk.f_bfree - reserved) * disk.f_frsize


@cache
def _is_root() -> bool:
    """Whether file systems give this process the blocks that they keep for root: not in a container without root."""
    ids = proc_file("self/uid_map")  # None: a kernel without user namespaces
    return os.geteuid() == 0 and (ids is None or ids.split()[:2] == [b"0", b"0"])
