"""Runs on *both sides*: what must be the same for the runner and its workers, and the leases between them.

A lease is a file in the directory of a run on a cluster. Of all executions of a launch, the one that creates it may
start the launch. No other run uses the directory.
"""

from __future__ import annotations

import os
import stat
import sys
from contextlib import suppress
from importlib.metadata import distributions
from typing import TYPE_CHECKING

from runner import __version__
from runner.errors import StateError
from runner.hashing import sha256_of
from runner.paths import is_partial
from runner.reading import read_small
from runner.record import files

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

UMASK = os.umask(0o077)  # nothing can read it without setting it
os.umask(UMASK)


def take_lease(directory: str, launch: object, holder: str = "") -> bool:
    """Take the lease of a launch, to start it or to give it up; False if it is taken.

    On NFS, too, only one process can create the file. Raises StateError, without the lease, if it cannot be written.
    """
    try:
        files.create(f"{directory}/{launch}", holder.encode(), new=True)
    except StateError as error:
        if isinstance(error.__cause__, FileExistsError):
            return False
        raise
    return True


def is_leased(directory: str, launch: object) -> bool:
    """Whether an execution has taken the lease of a launch, or the runner has given the launch up."""
    return os.path.lexists(f"{directory}/{launch}")


def lease_holder(directory: str, launch: object) -> tuple[str, str]:
    """Return the address and the node of the worker that has taken a lease; "" if none has."""
    with suppress(OSError, StateError):
        address, _, node = read_small(f"{directory}/{launch}", 1 << 10).decode().partition(" ")
        return address, node
    return "", ""


def identity(path: str, *, follow: bool = True) -> str:
    """Return a digest of size, mtime and inode: of a file, or of all files in a directory; "" if nothing is there.

    `follow`: whether `path` itself may be a link. A stage could put a link to `/` where it should write.
    """
    found, paths = [], [path]
    for each in paths:  # grows
        with suppress(OSError):
            status = os.stat(each, follow_symlinks=follow and each is path)
            if stat.S_ISDIR(status.st_mode):
                paths += [f"{each}/{name}" for name in sorted(os.listdir(each)) if not is_partial(name)]
                found.append((each, 0, 0, 0))
            else:
                found.append((each, status.st_size, status.st_mtime_ns, status.st_ino))
    return sha256_of(repr(found).encode()) if found else ""


def differing(expected: Mapping[str, str], written: Collection[str]) -> str:
    """Return the first path without its expected identity; "" if there is none. Paths in `written` may not be links."""
    return next((path for path, theirs in expected.items() if identity(path, follow=path not in written) != theirs), "")


def versions(names: Iterable[str]) -> list[str]:
    """Return what must be the same in the runner and in every worker; `names` are those of distributions."""
    found = [f"{name} {next((each.version for each in distributions(name=name)), '(not installed)')}" for name in names]
    ours = f"offpipe {__version__}", f"Python {sys.version.split()[0]}", f"its interpreter in {sys.prefix}"
    return [*ours, f"umask {UMASK:04o}", *found]
