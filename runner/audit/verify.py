"""The verb `verify`: checks that the record of all runs, and on request the outputs, are as they were written."""

from __future__ import annotations

import os
import stat
from functools import partial
from typing import TYPE_CHECKING

from runner.audit.archive import Archive, open_archive
from runner.audit.findings import Damage, Remark
from runner.audit.run_log import LEDGER
from runner.audit.verification import Verification
from runner.engine.session import refuse_other_pipeline, without_orphans
from runner.errors import Fault, InputError, StateError, UsageError
from runner.plan.digests import DigestCache, digest_tree
from runner.record import files
from runner.record.markers import OutputIdentity, read_markers
from runner.record.seal import read_pem
from runner.spec.source import missing_hint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runner.engine import Options
    from runner.spec.model import Spec

_MISSING = "is missing"


def verify(
    target: str,
    options: Options,
    run: str | None = None,
    *,
    outputs: bool = False,
    expect_head: str | None = None,
    public_keys: Sequence[str] = (),
) -> Verification:
    """Check the state of the spec `target`, or a state directory `target`, which may be a copy.

    With `outputs`, read those, too: UsageError without a spec. Raises what `verify_archive` raises, and UsageError for
    a key that cannot be used, and for a directory without state.
    """
    if not os.path.lexists(target):
        raise UsageError(Fault(target, "no such spec file, and no such state directory", missing_hint(target)))
    archive = open_archive(target, options, needs_key=True)
    if outputs and archive.spec is None:
        raise UsageError(Fault("--outputs", "needs the spec, which says where outputs are"))
    verified = verify_archive(archive, run, expect_head=expect_head, public_keys=public_keys)
    if archive.spec is not None and outputs and os.path.lexists(archive.paths.state_dir):
        _check_outputs(options, archive.spec, verified, is_partial=run is not None or bool(verified.incomplete))
    return verified


def verify_archive(
    archive: Archive, run: str | None = None, *, expect_head: str | None = None, public_keys: Sequence[str] = ()
) -> Verification:
    """Check the record in an archive that was opened with its keys. The result names files as `archive.shown` does.

    `public_keys` are files. With any, or with a signing key, the ledger must be signed with these keys. Raises
    UsageError for a `run` that does not exist, and for a public key that cannot be used; SpecError if the state
    directory is undamaged, but belongs to a pipeline of another name; StateError if a file cannot be read, or a newer
    release wrote it.
    """
    seal, spec = archive.seal, archive.spec
    directory = archive.paths.state_dir if spec else archive.shown  # errors name files below it
    keys = [*(read_pem(path, "public key") for path in public_keys), *([seal.signer] if seal.signer else ())]
    verified = Verification(directory, seal, run, expect_head, archive.shown, keys)
    if os.path.lexists(directory):
        with files.naming(directory, "read"):
            verified.check()
    elif run is None and (keys or expect_head is not None):
        what = f"is missing, but {'a signature' if keys else 'a head'} is expected"
        verified.findings.damaged(LEDGER, 0, "", what)
    if spec is not None and not verified.damage:
        refuse_other_pipeline(spec, verified.pipeline)
    if run is not None and not verified.known and not verified.damage:
        raise UsageError(Fault("--run", f'no run "{run}"'))
    return verified


def _check_outputs(options: Options, spec: Spec, verified: Verification, *, is_partial: bool) -> None:
    """Read every output that has a marker, and compare it with its commit. Remark on those that no stage declares.

    A temporary output is intact if it is absent, and a log says that a run removed it. `is_partial`: not all logs were
    read to their end.
    """
    made, verified.outputs = verified.markers.outputs(), 0
    spec, orphans = without_orphans(options, spec, [*read_markers(spec.paths)], DigestCache(trust=False))
    for former in orphans.former:
        verified.findings.notes.append(Remark(os.path.relpath(spec.output_path(former.path)), former.remark()))
    for stage in spec.stages:
        for label, declared in stage.outputs.items():
            marker, identity = made.get(declared, (None, None))
            path = spec.output_path(declared)
            if marker is None or identity is None or (marker.stage != stage.name and not os.path.lexists(path)):
                continue  # the stage that took it over has not run yet
            damage, remover = _damage_of(path, identity), verified.markers.removed.get(declared)
            verified.outputs += not (damage and remover)
            if damage is None or not verified.markers.still_stands(marker.stage):
                continue
            if remover is None and not (label in stage.temporary and damage.what == _MISSING and is_partial):
                verified.findings.damage.append(damage)
            elif remover is None:
                verified.findings.notes.append(Remark(damage.file, "is temporary: another log may say what removed it"))
            elif damage.what != _MISSING:
                what = f"is not what stage {marker.stage} made, which run {remover} removed"
                verified.findings.notes.append(Remark(damage.file, what))


def _damage_of(path: str, identity: OutputIdentity) -> Damage | None:
    """Return how an output differs from its commit; None if it does not. Unlike `present_digest`, always reads it."""
    damage = partial(Damage, os.path.relpath(path), 0)
    cache = DigestCache(trust=False)
    is_tree = identity.path.endswith("/")
    try:
        status = os.lstat(path)
        if stat.S_ISLNK(status.st_mode) or stat.S_ISDIR(status.st_mode) != is_tree:
            return damage("", f"is not a {'directory' if is_tree else 'regular file'} any more")
        if is_tree:
            tree = digest_tree(path, cache)
            size, sha256 = tree.size, tree.sha256
        else:
            size, sha256 = status.st_size, cache.file(path, status).sha256
    except (FileNotFoundError, NotADirectoryError):
        return damage("", _MISSING)
    except InputError as error:
        return damage("", error.faults[0].what)
    except OSError as error:
        raise StateError.from_os(error, path, "read") from error
    if size != identity.size:
        return damage("size", f"is {size:,} bytes, but was {identity.size:,} when it was committed")
    if sha256 != identity.sha256:
        return damage("sha256", "is not that of its commit: the content was changed")
    return None
