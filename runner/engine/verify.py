"""The verb `verify`: whether the record of all runs, and on request the outputs, are still as they were written."""

from __future__ import annotations

import os
import stat
from functools import partial
from typing import TYPE_CHECKING

from runner.engine.history import open_archive
from runner.engine.session import refuse_other_pipeline, without_orphans
from runner.errors import Fault, InputError, StateError, UsageError
from runner.plan.digests import DigestCache, digest_tree
from runner.record import files
from runner.record.markers import read_markers
from runner.record.seal import read_pem
from runner.record.verify import Verification
from runner.record.verify_log import LEDGER
from runner.record.verify_state import Damage, Remark
from runner.spec.source import missing_hint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runner.engine import Options
    from runner.record.markers import OutputIdentity
    from runner.spec.model import Spec


def verify(
    target: str, options: Options, run: str | None = None, *, outputs: bool = False, expect_head: str | None = None,
    public_keys: Sequence[str] = (), signs: bool = False,
) -> Verification:  # fmt: skip
    """Check the state of the spec `target`, or a state directory `target`, which may be a copy.

    `public_keys` are files; with any, the ledger must be signed with these keys. `signs` adds the signing key, if there
    is one. The result names files from the current directory. Raises UsageError for a `run` that does not exist, for
    `outputs` without a spec, for a key that cannot be used, and for a directory without state. SpecError: the state
    directory is undamaged, but belongs to a pipeline of another name. StateError: a file cannot be read, or a newer
    release wrote it.
    """
    if not os.path.lexists(target):
        raise UsageError(Fault(target, "no such spec file, and no such state directory", missing_hint(target)))
    paths, seal, spec = open_archive(target, options, is_needed=True, signs=signs)
    if outputs and spec is None:
        raise UsageError(Fault("--outputs", "needs the spec, which says where outputs are"))
    keys = [*(read_pem(path, "public key") for path in public_keys), *([seal.signer] if seal.signer else ())]
    directory, shown = (paths.state_dir, os.path.relpath(paths.state_dir)) if spec else (target, target)
    verified = Verification(directory, seal, run, expect_head, shown, keys)
    if is_there := os.path.lexists(directory):
        with files.naming(directory, "read"):
            verified.check()
    elif run is None and (keys or expect_head is not None):
        what = "a signature" if keys else "a head"
        verified.findings.damaged(LEDGER, 0, "", f"is missing, but {what} is expected")
    if spec is not None and not verified.damage:
        refuse_other_pipeline(spec, verified.pipeline)
    if run is not None and not verified.known and not verified.damage:
        raise UsageError(Fault("--run", f'no run "{run}"'))
    if spec is not None and outputs and is_there:
        _check_outputs(options, spec, verified)
    return verified


def _check_outputs(options: Options, spec: Spec, verified: Verification) -> None:
    """Read every output that has a marker, and compare it with its commit. Remark on those that no stage declares."""
    made, verified.outputs = verified.markers.outputs(), 0
    spec, orphans = without_orphans(options, spec, [*read_markers(spec.paths)], DigestCache(trust=False))
    for former in orphans.former:
        verified.findings.notes.append(Remark(os.path.relpath(spec.output_path(former.path)), former.remark()))
    for stage in spec.stages:
        for declared in stage.outputs.values():
            marker, identity = made.get(declared, (None, None))
            path = spec.output_path(declared)
            if marker is None or identity is None or (marker.stage != stage.name and not os.path.lexists(path)):
                continue  # a stage that took it over has not run yet
            verified.outputs += 1
            damage = _damage_of(path, identity)
            if damage is not None and verified.markers.still_stands(marker.stage):
                verified.findings.damage.append(damage)


def _damage_of(path: str, identity: OutputIdentity) -> Damage | None:
    """Return how an output differs from its commit, or None."""
    damage = partial(Damage, os.path.relpath(path), 0)
    cache = DigestCache(trust=False)
    is_tree = identity.path.endswith("/")
    try:
        status = os.lstat(path)
        if stat.S_ISLNK(status.st_mode) or stat.S_ISDIR(status.st_mode) != is_tree:
            return damage("", f"is {'no directory' if is_tree else 'no regular file'} any more")
        if is_tree:
            tree = digest_tree(path, cache)
            size, sha256 = tree.size, tree.sha256
        else:
            size, sha256 = status.st_size, cache.file(path, status).sha256
    except (FileNotFoundError, NotADirectoryError):
        return damage("", "is missing")
    except InputError as error:
        return damage("", error.faults[0].what)
    except OSError as error:
        raise StateError.from_os(error, path, "read") from error
    if size != identity.size:
        return damage("size", f"is {size:,} bytes, and was {identity.size:,} when it was committed")
    if sha256 != identity.sha256:
        return damage("sha256", "is not that of its commit: the content was changed")
    return None
