"""What is found at a path, told without opening it, and what of it an output may be."""

from __future__ import annotations

import os
import stat

from runner.errors import raise_refusal

FILE, DIRECTORY = "a file", "a directory"


def wanted_kind(declared: str) -> str:
    """Return what a stage is to make for an output that is declared so."""
    return DIRECTORY if declared.endswith("/") else FILE


def kind_at(path: str) -> str | None:
    """Return what is there, or None. StateError when the system refused to look, which says nothing of the path."""
    try:
        mode = os.lstat(path).st_mode
    except OSError as error:
        raise_refusal(error, path)
        return None
    if stat.S_ISREG(mode):
        return FILE
    if stat.S_ISDIR(mode):
        return DIRECTORY
    return "a symbolic link" if stat.S_ISLNK(mode) else "no regular file"


def inode_at(path: str) -> tuple[int, int] | None:
    """Return device and inode of what a path leads to, or None."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
