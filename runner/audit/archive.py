"""The state of a pipeline for readers, who name a spec or a state directory, which may be a copy."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from runner.audit.run_log import LEDGER
from runner.engine.session import read_seal
from runner.errors import Fault, UsageError
from runner.paths import StatePaths
from runner.record import events, files
from runner.record.log import Record, read_records

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runner.engine import Options
    from runner.record.seal import Seal
    from runner.spec.model import Spec

_OURS = ("audit_", "stage_", "metrics_")


class Archive(NamedTuple):
    """The state of a pipeline; `spec` is None if only the state directory was given.

    `shown` is the state directory as messages name it. Without the key of keyed records, `seal` is PLAIN, and their
    hashes are not checked.
    """

    paths: StatePaths
    seal: Seal
    spec: Spec | None = None
    shown: str = ""

    def events(self, run: str) -> Iterator[tuple[Record, events.Event | None]]:
        """Yield each record of a run with its event, or with None if its payload has no known shape."""
        for record in read_records(self.paths.audit(run), self.seal):
            try:
                yield record, events.decode(record["ev"], record["data"])
            except ValueError:
                yield record, None


def open_archive(target: str, options: Options, *, needs_key: bool = False, signs: bool = False) -> Archive:
    """Return the archive of a spec, or of a state directory. Raises UsageError for a directory without state.

    `needs_key` and `signs` are those of `read_seal`, which raises more errors with them.
    """
    if os.path.isdir(target):
        _require_state(target)
        directory = os.path.abspath(target)
        seal = read_seal(directory, needs_key=needs_key, signs=signs)
        return Archive(StatePaths(directory, directory), seal, shown=target)  # the locks may be anywhere
    spec = options.load(target)
    seal = read_seal(spec.workspace, spec.root, spec.paths.state_dir, needs_key=needs_key, signs=signs)
    return Archive(spec.paths, seal, spec, os.path.relpath(spec.paths.state_dir))


def _require_state(directory: str) -> None:
    """Raise UsageError for a directory without state, because such a directory must not count as intact."""
    with files.naming(directory, "list"):
        if any(name.startswith(_OURS) for name in os.listdir(directory)):
            return
    below = os.path.join(directory, "state")
    hint = f"did you mean {below}?" if os.path.lexists(f"{below}/{LEDGER}") else "name a spec, or its state directory"
    raise UsageError(Fault(directory, f"is not a state directory: it has no {LEDGER}", hint))
