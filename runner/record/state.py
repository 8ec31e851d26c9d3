"""State files: the metrics of a run, replaced whole and checked when read; the stage file; newer releases' files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.canonical import LARGEST, canonical, parsed, spelled
from runner.errors import Fault, StateError
from runner.hashing import sha256_of
from runner.record import files
from runner.record.spelling import VERSION
from runner.record.unusable import DAMAGED, MOST_METRICS, read_usable, unheard

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runner.paths import StatePaths
    from runner.record.unusable import Note


def write_metrics(
    paths: StatePaths, run: str, metrics: dict[str, object], stages: dict[str, bytes] | None = None, *, sync: bool
) -> str:
    """Replace the metrics file of a run and return the hex SHA-256 of its bytes; `stages` are in canonical spelling."""
    parts = {name: canonical(value) for name, value in metrics.items()}
    if stages is not None:
        parts["stages"] = spelled(stages)
    content = spelled(parts) + b"\n"
    files.replace(paths.metrics(run), content, temporary=f"{paths.temporary}/metrics_{run}.json", sync=sync)
    return sha256_of(content)


def read_metrics(paths: StatePaths, run: str, note: Note = unheard) -> dict[str, object]:
    """Return the metrics of a run, empty when there are none or `note` is told why. StateError for a newer `v`."""
    path = paths.metrics(run)
    content = read_usable(path, MOST_METRICS, note)
    if content is None:
        return {}
    metrics = decode_object(content, path)
    if metrics is None:
        note(path, DAMAGED)
    return metrics or {}


def decode_object(content: bytes, path: str) -> dict[str, object] | None:
    """Return the JSON object that a state file holds, or None when it is damaged; StateError for a newer `v`."""
    try:
        value = parsed(content)
    except (ValueError, RecursionError, MemoryError):
        return None
    if not isinstance(value, dict):
        return None
    refuse_newer(value, path)
    return value


def refuse_newer(value: Mapping[str, object], path: str) -> None:
    """Raise StateError when a state file, or a record of a log, has a `v` that this release does not know."""
    version = value.get("v")
    if isinstance(version, int) and VERSION < version < LARGEST:
        hint = "use the release that wrote it, or a newer one; nothing was changed"
        raise StateError(Fault(path, f"was written by a newer release (v {version}, this one knows {VERSION})", hint))


def gone(path: str, how: str = "removed or replaced") -> StateError:
    """Return the error of a run whose log or ledger is no longer what it wrote to."""
    return StateError(Fault(path, f"was {how} while the run was at work", "leave it alone and run again"))


def write_stage_file(path: str, told: dict[str, object]) -> None:
    """Write the file that tells a stage about itself; the stage starts only after this."""
    files.create(path, canonical({"v": VERSION, **told}))
