"""What may not be on disk is written again before it is synced, or removed.

An fsync that fails is told once. The kernel then takes for written what is lost, and a later fsync succeeds without it,
also that of another process: so one cannot make durable what somebody else wrote and may have failed to sync.
"""

from __future__ import annotations

import os
from contextlib import suppress

from runner.errors import StateError
from runner.record import files

PAGE = 1 << 12  # bytes
_CHUNK = 1 << 20


def write_again(path: str, start: int = 0) -> None:
    """Write the bytes of a file from `start` on over themselves, so that they are to be written to the disk anew.

    Whoever reads it, or kills us, meanwhile finds it as it was. The caller holds the lock that its writers take.
    """
    with files.naming(path, "write"):
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            while chunk := os.pread(descriptor, _CHUNK, start):
                start += os.pwrite(descriptor, chunk, start)
        finally:
            os.close(descriptor)


def sync_again(path: str) -> None:
    """Make durable what a process that is dead wrote to the log at `path`, and may have failed to sync."""
    write_again(path)
    files.sync_file(path)


def sync_or_take_back(descriptor: int, path: str, durable: int) -> int:
    """Make a log durable and return its size; when that fails, take back all but the `durable` bytes it had before."""
    try:
        files.sync_descriptor(descriptor, path)
    except StateError:
        take_back(path, durable)
        raise
    return os.fstat(descriptor).st_size


def take_back(path: str, durable: int) -> None:
    """Cut a log back to what is surely on disk; else the next run would read from memory what is not, and act on it."""
    with suppress(StateError):
        files.truncate(path, durable)


def sync_or_discard(path: str) -> None:
    """Make a finished output durable. One that cannot be made so is removed: a later fsync would claim that it is."""
    try:
        (sync_tree if os.path.isdir(path) else files.sync_file)(path)
    except StateError:
        try:
            files.discard(path)
        except StateError:
            pass  # what led here is the error to tell
        raise


def sync_tree(path: str) -> None:
    """Make every file and directory below `path` durable; what is no regular file has nothing to sync."""
    found: list[str] = []
    pending = [path]
    while pending:
        found.append(directory := pending.pop())
        with files.naming(directory, "list"), os.scandir(directory) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
                elif entry.is_file(follow_symlinks=False):
                    found.append(entry.path)
    files.sync_files(found)
