"""The no-op record: every path on which a plan that found nothing to do depended, and the state of each.

While no path has changed, a run needs no plan (`runner.noop`). Stages can write to the workspace, so they can forge the
record. It therefore holds only paths, digests and ids. Losing it only costs time. Loads built-in modules only.
"""

from __future__ import annotations

import os
import sys
import zlib
from _operator import attrgetter
from itertools import accumulate, pairwise, repeat

from runner import __version__
from runner.hashing import sha256_of
from runner.paths import OWN_DIRECTORY, StatePaths, is_name
from runner.reading import is_settled
from runner.record.seal import SIGNING_VARIABLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any

    from runner.spec.model import Spec

    Stat = Callable[[Any], os.stat_result]
    Signature = Callable[[os.stat_result], tuple[int, ...]]

MAGIC = b"offpipe noop 5\n"
LARGEST = 1 << 29  # bytes of a no-op record
_FAMILY = b"offpipe noop "
_HEX = 64
_BODY = len(MAGIC) + _HEX + 8  # where the body begins: after a digest of the conditions, and a checksum
_FIXED = 13  # fields before the paths
_LONGEST_NAME = 200  # bytes of a spec's name; a longer one does not fit into the record's file name
_signature: Signature = attrgetter("st_ctime_ns", "st_mtime_ns", "st_size", "st_ino")
_kind: Signature = attrgetter("st_mode", "st_ino")
_READINGS: tuple[tuple[Stat, Signature], ...] = ((os.stat, _signature), (os.lstat, _signature), (os.lstat, _kind))


def is_plain() -> bool:
    """Whether caches and no-op records are off (`OFFPIPE_PLAIN=1`). Results must be the same with and without them."""
    return os.environ.get("OFFPIPE_PLAIN") == "1"


class NoopRecord:
    """What a plan that found everything up to date depended on, and what the next run writes into its records.

    `groups` are lists of paths: one for each of `_READINGS`, and last the paths that must be absent. They are relative
    to the directory of the state directory, if they are below it. `states` has a hash over the state of each list but
    the last. Record 0 of the run `spec_run` has the spec of digest `spec_sha256`.
    """

    def __init__(
        self,
        paths: StatePaths,
        pipeline: str,
        stages: int,
        spec_sha256: str,
        spec_run: str,
        groups: list[list[bytes]],
        states: list[bytes],
    ) -> None:
        self.paths = paths
        self.pipeline = pipeline
        self.stages = stages
        self.spec_sha256 = spec_sha256
        self.spec_run = spec_run
        self.groups = groups
        self.states = states

    def is_current(self) -> bool:
        """Whether no path has changed; relative ones start at the working directory."""
        if any(map(os.access, self.groups[-1], repeat(os.F_OK))):
            return False
        try:
            return list(map(_state, _signatures(self.groups))) == self.states
        except (OSError, ValueError):
            return False

    def encode(self, conditions: bytes) -> bytes:
        """Return the bytes of the file, for `conditions_now`."""
        body = b"\0".join(
            [
                os.fsencode(self.paths.state_dir),
                os.fsencode(self.paths.locks_dir),
                self.pipeline.encode(),
                b"%d" % self.stages,
                self.spec_sha256.encode(),
                self.spec_run.encode(),
                *self.states,
                *(b"%d" % len(paths) for paths in self.groups),
                *(path for paths in self.groups for path in paths),
            ]
        )
        return MAGIC + conditions + _checksum(body) + body


def decode(content: bytes, conditions: bytes) -> NoopRecord | None:
    """Return the record in the bytes of a file; None if it is damaged, or was made in other conditions."""
    body = content[_BODY:]
    if content[:_BODY] != MAGIC + conditions + _checksum(body):
        return None
    fields = body.split(b"\0")
    state, locks, pipeline, stages, sha256, spec_run, *rest = fields[:_FIXED]
    states, counts = rest[: len(_READINGS)], map(_count, rest[len(_READINGS) :])
    ends = list(accumulate(counts, initial=_FIXED))
    names = pipeline.decode(), spec_run.decode()
    is_digest = len(sha256) == _HEX and sha256.isalnum()
    if not (ends[-1] == len(fields) and state[:1] == locks[:1] == b"/" and is_digest and all(map(is_name, names))):
        return None
    paths = StatePaths(os.fsdecode(state), os.fsdecode(locks))
    groups = [fields[start:end] for start, end in pairwise(ends)]
    return NoopRecord(paths, names[0], _count(stages), sha256.decode(), names[1], groups, states)


def is_damaged(content: bytes) -> bool:
    """Whether the bytes of a file are not a record of any release or interpreter."""
    if content.startswith(MAGIC):
        return content[_BODY - 8 : _BODY] != _checksum(content[_BODY:])
    return not content.startswith(_FAMILY)


def record_of(
    dependencies: Iterable[set[str]], spec: Spec, spec_sha256: str, spec_run: str, began: int
) -> NoopRecord | None:
    """Return the record of a plan that began at `began` (time.time_ns), after reading the state of its `dependencies`.

    These are in four groups, as in NoopRecord.

    None if a path has changed since then, or so shortly before that its time stamps might not show a later change
    (racily clean). For an absent path, the directory around it shows whether it was absent during the plan, too.
    """
    try:
        groups = [sorted(map(os.fsencode, chosen)) for chosen in dependencies]
        files_read, entries, kinds = _signatures(groups)
        around = [_signature(os.stat(path)) for path in {_directory_above(path) for path in groups[-1]}]
    except (OSError, ValueError):
        return None
    if not all(is_settled(modified, changed, began) for changed, modified, *_ in (*files_read, *entries, *around)):
        return None
    states = list(map(_state, (files_read, entries, kinds)))
    record = NoopRecord(spec.paths, spec.name, len(spec.stages), spec_sha256, spec_run, groups, states)
    if not record.is_current():
        return None
    base = os.fsencode(os.path.dirname(spec.paths.state_dir)).rstrip(b"/") + b"/"
    record.groups = [[path.removeprefix(base) or path for path in group] for group in groups]
    return record


def record_path(spec: str, workspace: str | None) -> str:
    """Return the path of a spec's no-op record: beside the spec, or below the workspace."""
    directory, name = os.path.split(os.path.abspath(spec))
    if len(os.fsencode(name)) > _LONGEST_NAME:
        name = f"{zlib.crc32(os.fsencode(name)):08x}"
    return os.path.join(os.path.abspath(workspace) if workspace else directory, OWN_DIRECTORY, f"noop-{name}")


def conditions_now(spec: str, workspace: str | None, var_sources: Sequence[str | bytes] = ()) -> bytes:
    """Return a digest of the rest that a plan depends on: release, interpreter, `sys.path`, three variables, the spec.

    `var_sources`: see Options.
    """
    env, archive = os.environ, f"python{sys.version_info[0]}{sys.version_info[1]}.zip"
    names = [entry.rpartition("/")[2] for entry in sys.path]
    installed = sys.path[names.index(archive) :] if archive in names else sys.path  # without what the start put first
    around = (__version__, sys.version, sys.executable, installed, env.get("PATH"), env.get("HOME"))
    key = env.get(SIGNING_VARIABLE)
    places = [path and os.path.abspath(path) for path in (spec, workspace, key)] + [key and os.path.realpath(key)]
    return sha256_of(repr((around, places, *var_sources)).encode("utf-8", "backslashreplace")).encode()


def _directory_above(path: bytes) -> bytes:
    """Return the nearest directory above a path that exists."""
    while not os.path.exists(path := os.path.dirname(path)):
        pass
    return path


def _signatures(groups: list[list[bytes]]) -> Iterator[list[tuple[int, ...]]]:
    for (read, signature), paths in zip(_READINGS, groups, strict=False):
        yield list(map(signature, map(read, paths)))


def _state(signatures: list[tuple[int, ...]]) -> bytes:
    """Return Python's own 64-bit hash over the signatures. For integers it has no seed, and takes 15 ns a path."""
    return b"%d" % hash(tuple(signatures))


def _checksum(body: bytes) -> bytes:
    return b"%08x" % zlib.crc32(body)


def _count(text: bytes) -> int:
    if len(text) > 9 or not text.isdigit():
        raise ValueError(text[:20])
    return int(text)
