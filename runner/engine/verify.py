"""The verb `verify`: whether the record of what was run, and what was made, is still what was written."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from runner.engine.session import read_seal, refuse_other_pipeline
from runner.errors import EXIT_DAMAGED, EXIT_INVALID, EXIT_OK, EXIT_PENDING, Fault, InputError, StateError, UsageError
from runner.plan.digests import DigestCache, digest_tree
from runner.record import files
from runner.record.seal import PLAIN, read_key_file
from runner.record.spelling import KEY_VARIABLE
from runner.record.verify import LEDGER, Verification
from runner.record.verify_state import Damage, Findings
from runner.spec.load import load_spec
from runner.spec.source import missing_hint

if TYPE_CHECKING:
    from runner.engine.session import Options
    from runner.record.markers import OutputIdentity
    from runner.record.seal import Seal
    from runner.record.verify_state import Remark
    from runner.spec.model import Spec

_OURS = ("audit_", "stage_", "metrics_")


class Verified(NamedTuple):
    """What was found in `directory`, whose files are named from the current one. `head`: None before the first run.

    `unchecked`: the id of a key that nobody gave, so that only the form of keyed records was checked. `keyed_from`: the
    first line of the ledger that is keyed. `hidden`: how much more damage there is than `damage` tells.
    `expected_line`: the line of the ledger that has the head which was expected, None where none was, or none has it.
    """

    directory: str
    pipeline: str = ""
    head: str | None = None
    key_id: str | None = None
    keyed_from: int | None = None
    unchecked: str | None = None
    runs: int = 0
    records: int = 0
    outputs: int | None = None
    damage: tuple[Damage, ...] = ()
    hidden: int = 0
    incomplete: tuple[Remark, ...] = ()
    notes: tuple[Remark, ...] = ()
    expected_line: int | None = None

    @property
    def exit_code(self) -> int:
        """6 damaged, 2 sound in form but for a key that was not given, 3 incomplete, else 0."""
        if self.damage:
            return EXIT_DAMAGED
        if self.unchecked is not None:
            return EXIT_INVALID
        return EXIT_PENDING if self.incomplete else EXIT_OK

    def fault(self) -> Fault | None:
        """Return what kept hashes from being checked, if they were not."""
        if self.unchecked is None:
            return None
        hint = f"name the file that holds the key in {KEY_VARIABLE}"
        return Fault(self.directory, f"keyed with {self.unchecked}: without that key only the form was checked", hint)


def verify(
    target: str, options: Options, run: str | None = None, *, outputs: bool = False, expect_head: str | None = None
) -> Verified:
    """Check the state of the spec `target`, or the state directory `target` by itself, which may be a copy.

    Raises UsageError for a run that is not there, for `outputs` without a spec, and for a directory without state;
    SpecError for a spec whose state directory, undamaged, is that of a pipeline of another name; StateError for what
    cannot be read, or was written by a newer release.
    """
    if not os.path.lexists(target):
        raise UsageError(Fault(target, "no such spec file, and no such state directory", missing_hint(target)))
    spec = None if os.path.isdir(target) else load_spec(target, workspace=options.workspace)
    if spec is None:
        _require_state(target, outputs=outputs)
    directory = target if spec is None else spec.paths.state_dir
    shown = os.path.relpath(directory) if spec is not None else target
    if not os.path.lexists(directory):
        gone = Damage(f"{shown}/{LEDGER}", 0, "", "is missing, with the head that is expected")
        return Verified(shown, damage=() if expect_head is None else (gone,))
    seal = read_seal(spec) if spec is not None else _seal_beside(directory)
    with files.naming(directory, "read"):
        verification = Verification(directory, seal, run, expect_head)
        verification.check()
    if spec is not None and not verification.findings.damage:
        refuse_other_pipeline(spec, verification.pipeline)
    if run is not None and not verification.known and not verification.findings.damage:
        raise UsageError(Fault("--run", f'no run "{run}"'))
    of_outputs = Findings()
    hashed = _check_outputs(spec, verification, of_outputs) if spec is not None and outputs else None
    return _verified(shown, verification, hashed, of_outputs)


def _verified(shown: str, verification: Verification, hashed: int | None, outputs: Findings) -> Verified:
    found, below = verification.findings, f"{shown.rstrip('/')}/"
    damage = [one._replace(file=below + one.file) for one in found.damage]
    incomplete = tuple(one._replace(file=below + one.file) for one in found.incomplete)
    notes = tuple(one._replace(file=below + one.file) for one in found.notes)
    return Verified(
        shown, verification.pipeline, verification.head if verification.ledger.line else None,
        verification.ledger.key_id, verification.keyed_from, verification.unchecked, verification.runs,
        verification.records, hashed,
        (*damage, *outputs.damage), found.hidden + outputs.hidden, incomplete, notes,
        verification.expected_line or None,
    )  # fmt: skip


def _require_state(directory: str, *, outputs: bool) -> None:
    """Raise UsageError for a directory in which nothing could be verified: no news would be taken for good news."""
    if outputs:
        raise UsageError(Fault("--outputs", "needs the spec, which says where outputs are"))
    with files.naming(directory, "list"):
        if any(name.startswith(_OURS) for name in os.listdir(directory)):
            return
    below = os.path.join(directory, "state")
    is_there = os.path.lexists(os.path.join(below, LEDGER))
    hint = f"did you mean {below}?" if is_there else "name a spec, or its state directory"
    raise UsageError(Fault(directory, f"is no state directory: it has no {LEDGER}", hint))


def _seal_beside(directory: str) -> Seal:
    path = os.environ.get(KEY_VARIABLE)
    return read_key_file(path, (directory,)) if path else PLAIN


def _check_outputs(spec: Spec, verification: Verification, findings: Findings) -> int:
    """Read every output whose marker stands, and compare it with its commit; return how many there were."""
    made, count = verification.markers.outputs(), 0
    for stage in spec.stages:
        for declared in stage.outputs.values():
            maker, identity = made.get(declared, ("", None))
            if maker != stage.name or identity is None:
                continue
            count += 1
            path = spec.output_path(declared)
            wrong = _fault_of(path, identity)
            if wrong is not None and verification.markers.still_stands(stage.name):
                findings.damaged(os.path.relpath(path), 0, *wrong)
    return count


def _fault_of(path: str, identity: OutputIdentity) -> tuple[str, str] | None:
    """Return field and fault of an output that is not what was committed."""
    cache = DigestCache(trust=False)
    is_tree = identity.path.endswith("/")
    try:
        status = os.lstat(path)
        if stat.S_ISLNK(status.st_mode) or stat.S_ISDIR(status.st_mode) != is_tree:
            return "", f"is {'no directory' if is_tree else 'no regular file'} any more"
        if is_tree:
            tree = digest_tree(path, cache)
            size, sha256 = tree.size, tree.sha256
        else:
            size, sha256 = status.st_size, cache.file(path, status)[0]
    except (FileNotFoundError, NotADirectoryError):
        return "", "is missing"
    except InputError as error:
        return "", error.faults[0].what
    except OSError as error:
        raise StateError.from_os(error, path, "read") from error
    if size != identity.size:
        return "size", f"is {size:,} bytes, and was {identity.size:,} when it was committed"
    return None if sha256 == identity.sha256 else ("sha256", "is not that of its commit: the content was changed")
