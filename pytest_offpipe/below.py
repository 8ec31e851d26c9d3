"""What lies below a path: its files, and how much they hold."""

from __future__ import annotations

import os


def files_below(path: str) -> list[str]:
    """Return the files of a directory and of those in it, links to directories left out; else the path itself."""
    if not os.path.isdir(path):
        return [path]
    return [os.path.join(directory, name) for directory, _, names in os.walk(path) for name in names]


def bytes_below(path: str) -> int:
    """Return how many bytes these files hold; of a link its text."""
    return sum(os.lstat(file).st_size for file in files_below(path))
