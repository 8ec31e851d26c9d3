"""State files: read if they are usable, checked, and replaced whole.

Markers, checkpoints and caches only save time. So an unusable one counts as missing, and no verb repairs state.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from runner.canonical import LARGEST, VERSION, canonical, parsed
from runner.errors import Fault, NewerReleaseError, StateError
from runner.hashing import sha256_of
from runner.reading import NotRegularError, read_small
from runner.record import files

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from runner.paths import StatePaths

    Note = Callable[[str, str], None]  # called with the path of a file that counts as missing, and its fault

DAMAGED = "is damaged"
MOST_MARKER = 128 << 20  # bytes; enough for a spec of 64 MiB
MOST_PROGRESS = 64 << 20
MOST_CACHE = 512 << 20  # about two million files
MOST_METRICS = 128 << 20


def no_note(path: str, what: str) -> None:
    """Note nothing: for a second reader of the same file."""


def read_usable(path: str, most: int, note: Note) -> bytes | None:
    """Return the content of a state file; None if it is missing, or unusable: then `note` gets the reason.

    Does not follow a link: writers replace a link at the path, and `verify` reports it as damage. StateError if the
    disk fails.
    """
    with files.naming(path, "read"), suppress(FileNotFoundError):
        try:
            return read_small(path, most)
        except NotRegularError as error:
            note(path, error.what)
        except PermissionError as error:
            note(path, StateError.from_os(error, path, "be read").faults[0].what)
    return None


def read_metrics(paths: StatePaths, run: str, note: Note = no_note) -> dict[str, object]:
    """Return the metrics of a run, empty if they are missing or unusable (then `note` gets the reason).

    StateError for a newer `v`.
    """
    path = paths.metrics(run)
    content = read_usable(path, MOST_METRICS, note)
    metrics = {} if content is None else decode_object(content, path)
    if metrics is None:
        note(path, DAMAGED)
    return metrics or {}


def write_metrics(paths: StatePaths, run: str, metrics: dict[str, object], *, sync: bool) -> str:
    """Replace the metrics file of a run and return the hex SHA-256 of its bytes."""
    content = canonical(metrics) + b"\n"
    files.replace(paths.metrics(run), content, temporary=f"{paths.temporary}/metrics_{run}.json", sync=sync)
    return sha256_of(content)


def decode_object(content: bytes, path: str) -> dict[str, object] | None:
    """Return the JSON object in a state file, or None if it is damaged; StateError for a newer `v`."""
    try:
        value = parsed(content)
    except (ValueError, RecursionError, MemoryError):
        return None
    if not isinstance(value, dict):
        return None
    refuse_newer(value, path)
    return value


def refuse_newer(value: Mapping[str, object], path: str) -> None:
    """Raise StateError if a state file, or a record of a log, has a `v` that this release does not know."""
    version = value.get("v")
    if isinstance(version, int) and VERSION < version < LARGEST:
        what = f"was written by a newer release (v {version}, this one knows {VERSION})"
        raise NewerReleaseError(Fault(path, what, "use the release that wrote it, or a newer one; nothing was changed"))
