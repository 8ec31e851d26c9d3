"""Reads state files that a run can do without: one that cannot be used counts as missing, and that is told.

No verb repairs state, and nobody need: a marker, a checkpoint or a cache that is lost costs time, and no more.
"""

from __future__ import annotations

import os
from errno import errorcode
from typing import TYPE_CHECKING

from runner.errors import StateError
from runner.record.lines import NotRegularError, open_plain

if TYPE_CHECKING:
    from collections.abc import Callable

    Note = Callable[[str, str], None]  # is told the path of a file that counts as missing, and what is wrong with it

DAMAGED = "is damaged"
MOST_MARKER = 128 << 20  # bytes; what a spec of 64 MiB can come to
MOST_PROGRESS = 64 << 20
MOST_CACHE = 512 << 20  # about two million files
MOST_METRICS = 128 << 20
_CHUNK = 1 << 20


def unheard(path: str, what: str) -> None:
    """Be told nothing: for those who only come after somebody who was."""


def read_usable(path: str, most: int, note: Note) -> bytes | None:
    """Return what a state file holds, or None when there is none, or nothing of at most `most` bytes to be read.

    No link is followed: those who write replace what is at the path, and `verify` takes one for damage. StateError for
    a disk that fails.
    """
    try:
        descriptor = open_plain(path)
        try:
            size = os.fstat(descriptor).st_size
            content = os.read(descriptor, size + 1) if size <= most else b""
            while content and len(content) <= most and (more := os.read(descriptor, _CHUNK)):
                content += more
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        return None
    except NotRegularError as error:
        note(path, str(error))
        return None
    except PermissionError as error:
        note(path, f"cannot be read: {errorcode.get(error.errno or 0, 'error')} ({error.strerror})")
        return None
    except OSError as error:
        raise StateError.from_os(error, path, "read") from error
    if max(size, len(content)) > most:
        note(path, f"is larger than {most >> 20} MiB, which none is")
        return None
    return content
