"""Disks in memory, by a process that is in a mount namespace of its own (see driver)."""

from __future__ import annotations

import errno
import os

from runner.sandbox.syscalls import MS_NODEV, MS_NOSUID, MS_REMOUNT, mount

TEMPORARY = ".tmpdir"  # on the disk of a stage's outputs, as a user's TMPDIR may be: it renames what it made there
NO_SPACE = os.strerror(errno.ENOSPC)  # as a stage is told it in the C locale, and tells it in its log


def mount_disk(place: str, size: int | None = None) -> None:
    """Mount an empty disk of so many bytes, 0 for no bounds; by default of what the system gives one (tmpfs(5))."""
    _mount(f"mounting a tmpfs at {place}", place, size, 0)


def resize_disk(place: str, size: int) -> None:
    """Let the disk at `place` have so many bytes from now on; 0 for no bounds."""
    _mount(f"changing the size of the tmpfs at {place}", place, size, MS_REMOUNT)


def _mount(shown: str, place: str, size: int | None, flags: int) -> None:
    options = b"mode=0700" if size is None else b"size=%d,mode=0700" % size
    mount(shown, b"tmpfs", os.fsencode(place), b"tmpfs", MS_NOSUID | MS_NODEV | flags, options)
