"""A sandbox that several runs of a test have one after the other: what changed at its source is copied anew."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_offpipe.sandbox import discard, lay_out
from pytest_offpipe.snapshot import snapshot

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_offpipe.sandbox import Sandbox
    from runner.spec.model import Spec


class Space:
    """One sandbox, and what was laid out in it. What a test changes in there itself stays as it is."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.sandbox: Sandbox | None = None
        self._laid: dict[str, object] = {}

    def lay(self, spec: Spec, files: Mapping[str, str], content: Mapping[str, Any]) -> Sandbox:
        """Bring the sandbox to what `lay_out` would make of these."""
        signatures: dict[str, object] = {path: _signature(source) for path, source in files.items()}
        standing = {path for path, found in signatures.items() if self._laid.get(path) == found}
        if self.sandbox is not None:
            for gone in self._laid.keys() - standing:
                discard_entry(Path(self.sandbox.root, os.path.relpath(gone, spec.root)))
        self.sandbox = lay_out(spec, self.directory, files, content, standing)
        self._laid = signatures
        return self.sandbox


def discard_entry(path: Path) -> None:
    """Remove a file, a link or a directory, if it is there."""
    if path.is_dir() and not path.is_symlink():
        discard(path)
    else:
        path.unlink(missing_ok=True)


def _signature(source: str) -> object:
    """Return what tells a source from a changed one; it is another one for another source."""
    status = os.stat(source)
    below = snapshot((source,), ()) if os.path.isdir(source) else None
    return source, status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino, below
