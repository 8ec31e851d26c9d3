"""The progress file: how far a stage was at its last checkpoint, and how long each output was then."""

from __future__ import annotations

import os

from runner.record import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

PROGRESS_VERSION = 1


class Progress:
    """A checkpoint: the `job` (counted from 0) that stood at these offsets, or was `done`, and the outputs' lengths.

    `is_sealed`: a checksum, which the runner has checked, says that the offsets are those that were saved.
    """

    __slots__ = ("byte_offset", "done", "is_sealed", "job", "key", "lengths", "line_offset")

    def __init__(
        self, key: str, job: int, line_offset: int, byte_offset: int, lengths: Mapping[str, int], *, done: bool
    ) -> None:
        self.key = key
        self.job = job
        self.line_offset = line_offset
        self.byte_offset = byte_offset
        self.lengths = lengths
        self.done = done
        self.is_sealed = True

    @classmethod
    def load(cls, path: str, key: str, outputs: Mapping[str, str]) -> Progress | None:
        """Return what the file at `path` holds; None if it is for another key, damaged, or an output is shorter.

        None means "from the start", so nothing here is an error: a checkpoint only saves time.
        """
        import json

        try:
            with open(path, "rb") as stream:
                content = json.loads(stream.read())
            if content["v"] != PROGRESS_VERSION or content["key"] != key:
                return None
            job, line, byte = (_count(content[name]) for name in ("job", "lineOffset", "byteOffset"))
            lengths = {name: _count(entry["length"]) for name, entry in content["outputs"].items()}
            if any(os.stat(outputs[name]).st_size < length for name, length in lengths.items()):
                return None
            progress = cls(key, job, line, byte, lengths, done=content.get("done") is True)
            progress.is_sealed = "checksum" in content
            return progress
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def save(self, path: str, inodes: Mapping[str, int], *, temporary: str) -> None:
        """Replace the file at `path`; `inodes` tie it to the very files that it vouches for.

        Not synced: after a power cut, an older checkpoint or none is as good.
        """
        import json

        from runner.canonical import digest

        content: dict[str, object] = {
            "v": PROGRESS_VERSION,
            "key": self.key,
            "lineOffset": self.line_offset,
            "byteOffset": self.byte_offset,
            "outputs": {name: {"length": length, "inode": inodes[name]} for name, length in self.lengths.items()},
            "job": self.job,
        }
        if self.done:
            content["done"] = True
        content["checksum"] = digest(content)  # the runner checks it before the next attempt starts
        files.replace(path, json.dumps(content).encode(), temporary=temporary)

    @staticmethod
    def forget(path: str) -> None:
        """Remove a progress file that `load` refuses."""
        files.discard(path)


def _count(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(value)
    return value
