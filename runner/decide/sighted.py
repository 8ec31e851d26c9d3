"""Whether all that was looked at is still as it was, told without looking into it again."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from runner.decide.digests import signature
from runner.settled import is_settled

if TYPE_CHECKING:
    from collections.abc import Callable

    from runner.decide.digests import Signature

MOST = 64  # paths; where there are more, looking anew at what one stage needs is no more work


class Sighted:
    """Paths, each with the signature that it had before it was looked into, or None where nothing was."""

    def __init__(self, clock: Callable[[], int] = time.time_ns) -> None:
        """`clock` gives the wall clock in ns."""
        self._clock = clock
        self._paths: dict[str, Signature | None] = {}
        self._would_show = True

    def look(self, path: str) -> None:
        """To be called before a file is read, or a directory listed, or either is found missing."""
        if path not in self._paths:
            began, found = self._clock(), _signature_at(path)
            self._paths[path] = found
            self._would_show = self._would_show and (found is None or is_settled(found[1], found[2], began))

    def is_file(self, path: str) -> bool:
        """Look, and return whether there is a regular file: of a link no listing tells where it leads."""
        self.look(path)
        return os.path.isfile(path)

    def paths(self) -> list[str]:
        """Return what was looked at and can be: no path holds a NUL."""
        return [path for path in self._paths if "\0" not in path]

    def stands(self) -> bool:
        """Whether nothing has changed; False also where a change might not show."""
        return (
            self._would_show
            and len(self._paths) <= MOST
            and all(_signature_at(path) == found for path, found in self._paths.items())
        )


def _signature_at(path: str) -> Signature | None:
    try:
        return signature(os.stat(path))
    except (OSError, ValueError):
        return None
