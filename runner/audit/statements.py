"""The verb `export`: an in-toto Statement v1 with SLSA Provenance v1 for each run, from the record alone.

The formats are those of https://github.com/in-toto/attestation/tree/main/spec/v1 and https://slsa.dev/provenance/v1.
docs/export.md says what each field holds.
"""

from __future__ import annotations

import os
from base64 import b64encode
from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from runner.audit.archive import Archive, Past, past_invocations
from runner.audit.verify import verify_archive
from runner.canonical import canonical
from runner.errors import DamagedRecordError, Fault, UsageError
from runner.record.events import COMMIT, RunExpanded, RunOpened, StageCommit
from runner.results import REFUSED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from runner.audit.verification import Verification
    from runner.record.markers import OutputIdentity
    from runner.record.signatures import PrivateKey

STATEMENT, PREDICATE = "https://in-toto.io/Statement/v1", "https://slsa.dev/provenance/v1"
BUILD_TYPE, BUILDER = "urn:offpipe:run:v1", "urn:offpipe:local"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
TREE = "offpipeTree"  # the digest of a directory: docs/on-disk.md
_MALFORMED = (KeyError, TypeError, ValueError, AttributeError, IndexError)


class Commit(NamedTuple):
    """A commit as its log has it, or, if that was pruned, as a marker has it: without the program and its digest.

    `record` is its number in the log of the run that made the outputs; None if only a marker that adopted them is left.
    """

    stage: str
    record: int | None
    components: Mapping[str, Any]
    program: str = ""
    program_sha256: str | None = None


Made = list[tuple["OutputIdentity", Commit]]


def export(
    archive: Archive, run: str | None = None, *, builder: str = BUILDER, public_keys: Sequence[str] = ()
) -> list[bytes]:
    """Return a Statement, as JSON, for each run that made an output that stands; or one of all that `run` committed.

    An output that was adopted is in the Statement of the run that made it. With a signing key, each Statement is in a
    signed envelope, and the record must be signed with that key or one of `public_keys`. Raises UsageError if there is
    nothing to attest, or if a key cannot be used; and what `require_intact` raises.
    """
    verified = verify_archive(archive, public_keys=public_keys)
    verified.require_intact("nothing was exported")
    standing, key = _standing(verified), archive.seal.signer
    past = defaultdict[str, list[Past]](list)  # the newest first
    for each in past_invocations(archive.paths.ledger):
        if each.outcome != REFUSED:
            past[each.run].append(each)
    chosen = [name for name in reversed(past) if run == name or (run is None and name in standing)]
    statements = []
    for name in chosen:
        openings, made = _made_by(archive, name, standing.get(name, []), is_named=run is not None)
        removed = {(each.path, each.inode): verified.markers.removed.get(each.path) for each, _ in standing[name]}
        try:
            if made:
                statements.append(
                    canonical(_statement(verified.pipeline, made, removed, openings, past[name], builder))
                )
        except _MALFORMED as error:  # `verify` checks no field that no other reader needs
            what = f"has a record that cannot be understood ({error!r}); nothing was exported"
            raise DamagedRecordError(Fault(archive.paths.audit(name), what)) from error
    if not statements:
        what = "there is nothing to attest: no run made an output that stands"
        if run:
            left = "log: it was pruned" if run in past and past[run][0].pruned else "commit on record"
            what = f'the run "{run}" has no {left}' if run in past else f'no run "{run}"'
        raise UsageError(Fault("--run" if run else archive.shown, what))
    return [envelope(statement, key) for statement in statements] if key else statements


def _standing(verified: Verification) -> dict[str, Made]:
    """Return the outputs that stand, by the run that made them, each with its commit as the marker has it."""
    standing = defaultdict[str, Made](list)
    for marker, output in verified.markers.outputs().values() if verified.head else ():
        commit = Commit(marker.stage, None if output.run else marker.audit_seq, marker.components)  # `run`: adopted
        standing[output.run or marker.run].append((output, commit))
    return standing


def _made_by(archive: Archive, run: str, standing: Made, *, is_named: bool) -> tuple[list[dict[str, Any]], Made]:
    """Return the first record of each invocation of a run, with its last spec, and what the run made.

    That is all if it `is_named`, else what stands. Of a pruned run, no records are left, and only the outputs that
    stand.
    """
    openings: list[dict[str, Any]] = []
    committed: dict[OutputIdentity, Commit] = {}
    for record, event in archive.events(run) if os.path.lexists(archive.paths.audit(run)) else ():
        if isinstance(event, RunOpened):
            record["data"].pop("spec", None)  # it may be large, and has its digest
            openings.append({"began": record["ts"], **record["data"]})
        elif isinstance(event, RunExpanded):
            openings[-1]["specSha256"] = event.spec_sha256
        elif isinstance(event, StageCommit) and record["ev"] == COMMIT:
            components = event.marker(run, 0).components
            commit = Commit(event.stage, record["seq"], components, event.program, event.program_sha256)
            committed.update(dict.fromkeys(event.outputs.values(), commit))
    if is_named and openings:  # of several commits of a path, the last
        return openings, [*{output.path: (output, commit) for output, commit in committed.items()}.values()]
    bare = ((output._replace(run="", ctime_ns=None), output, commit) for output, commit in standing)  # as in the log
    return openings, [(output, committed.get(known, commit)) for known, output, commit in bare]


# ---- the Statement ---------------------------------------------------------------------------------------------------


def _statement(
    pipeline: str,
    made: Made,
    removed: Mapping[tuple[str, int], str | None],
    openings: Sequence[Mapping[str, Any]],
    past: Sequence[Past],
    builder: str,
) -> dict[str, object]:
    """Return the Statement of the run with these invocations, the newest first.

    `removed`: path and inode of a temporary output -> the run that removed it, or None.
    """
    commits = [*{(commit.stage, commit.record): commit for _, commit in made}.values()]
    dependencies = {canonical(each): each for each in _dependencies(openings, commits)}
    times = {"startedOn": past[-1].began, "finishedOn": past[0].ended}
    return {
        "_type": STATEMENT,
        "subject": [
            {
                **_resource(output.path, output.sha256),
                "annotations": {**_cite(commit), **({"removedBy": run} if run else {})},
            }
            for output, commit in made
            for run in [removed.get((output.path, output.inode))]
        ],
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {"pipeline": pipeline, "stages": [*map(_parameters, commits)]},
                "internalParameters": {"invocations": openings},
                "resolvedDependencies": [*dependencies.values()],
            },
            "runDetails": {
                "builder": {"id": builder, "version": openings[-1]["versions"] if openings else {}},
                "metadata": {"invocationId": past[0].run} | {name: time for name, time in times.items() if time},
            },
        },
    }


def _cite(commit: Commit) -> dict[str, object]:
    return {} if commit.record is None else {"stage": commit.stage, "record": commit.record}


def _parameters(commit: Commit) -> dict[str, object]:
    """Return what the spec says of a stage; `inputs` are the paths that its entries stood for."""
    inputs = {name: [path for path, _ in pairs] for name, pairs in commit.components["inputs"].items()}
    names = ("command", "params", "env", "outputs")
    return {**_cite(commit), "inputs": inputs, **{name: commit.components[name] for name in names}}


def _dependencies(openings: Iterable[Mapping[str, Any]], commits: Iterable[Commit]) -> Iterator[dict[str, object]]:
    for opening in openings:
        yield _resource("effective spec", opening["specSha256"])
    for commit in commits:
        code = commit.components["code"]
        programs = {} if commit.program else commit.components.get("program", {})  # of a pruned run
        for pairs in (*commit.components["inputs"].values(), code.get("files", {}).items(), programs.items()):
            yield from (_resource(path, sha256) for path, sha256 in pairs)
        yield from _software(commit)


def _software(commit: Commit) -> Iterator[dict[str, object]]:
    """Yield the interpreter, the packages and the program, by URI: not every digest is on record."""
    interpreter, _, version = commit.components.get("interpreter", "").rpartition("-")
    if interpreter:
        yield {"name": interpreter, "uri": f"pkg:generic/{interpreter}@{version}"}
    for distributions in sorted(commit.components["code"].get("packages", {}).values()):
        for distribution in filter(None, distributions.split(", ")):  # none if they are unknown
            name, _, version = distribution.rpartition(" ")
            yield {"name": name, "uri": f"pkg:pypi/{quote(name)}@{quote(version)}"}
    if commit.program:
        path = os.fsencode(commit.program)  # the only name that need not be UTF-8
        program: dict[str, object] = {"name": path.decode("utf-8", "backslashreplace"), "uri": f"file://{quote(path)}"}
        if commit.program_sha256:
            program["digest"] = {"sha256": commit.program_sha256}
        yield program


def _resource(path: str, sha256: str) -> dict[str, object]:
    return {"name": path, "digest": {TREE if path.endswith("/") else "sha256": sha256}}


def envelope(payload: bytes, key: PrivateKey) -> bytes:
    """Return the JSON of the signed envelope around a Statement.

    The format is DSSE v1.0.2, as https://github.com/secure-systems-lab/dsse defines it.
    """
    signed = b"DSSEv1 %d %b %d %b" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)
    signature = {"keyid": key.id, "sig": b64encode(key.sign(signed)).decode()}
    return canonical({"payload": b64encode(payload).decode(), "payloadType": PAYLOAD_TYPE, "signatures": [signature]})
