"""Checks what must hold in a workspace after a kill, and after the run that follows it. Writes nothing.

It follows the chains with its own code, so that a bug in the runner's reader cannot hide one in its writer.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from runner.audit.verify import verify
from runner.canonical import canonical
from runner.engine import Options
from runner.errors import OffpipeError
from runner.paths import is_partial, is_view
from runner.plan.decisions import Skip
from runner.record.checkpoints import read_progress
from runner.record.markers import Marker
from runner.spec.load import load_spec
from runner.verbs.query import plan

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from runner.spec.model import Spec

GENESIS = "0" * 64
DOMAIN = b"offpipe audit record v1\n"


class StageCounts(NamedTuple):
    """From the logs: how often each stage was started and committed, and the key of its last start."""

    started: Counter[str]
    committed: Counter[str]
    keys: dict[str, str]


class Place:
    """A pipeline in a workspace."""

    def __init__(self, spec: str, workspace: Path) -> None:
        self.spec_path = spec
        self.workspace = workspace
        self.state = Path(self.spec.paths.state_dir)

    @property
    def spec(self) -> Spec:
        """The spec, loaded anew each time: files that come and go add and remove instances."""
        return load_spec(self.spec_path, workspace=str(self.workspace))

    # ---- what is there ----

    def outputs(self) -> dict[str, str]:
        """Return a digest of each output that exists: bytes, and in a directory also names, modes and links."""
        found, spec = {}, self.spec
        for stage in spec.stages:
            for declared in stage.outputs.values():
                path = Path(spec.output_path(declared))
                if os.path.lexists(path):
                    found[declared] = _digest(path)
        return found

    def logs(self) -> list[Path]:
        return sorted(self.state.glob("audit_*.jsonl"))

    def stage_counts(self) -> StageCounts:
        """Return what the audit logs say about stages."""
        starts = [data for event, data in self._records() if event == "attempt.started"]
        commits = Counter(str(data["stage"]) for data in self._commits())
        keys = {str(data["stage"]): str(data["key"]) for data in starts}
        return StageCounts(Counter(str(data["stage"]) for data in starts), commits, keys)

    def checkpoints(self) -> dict[str, tuple[str, int]]:
        """Return the key and line of the checkpoint of each stage that stopped after one.

        That of a sealed attempt is in its own directory, which has the place of the workspace.
        """
        found, spec = {}, self.spec
        places = [self.workspace, *(path for path in self.workspace.glob(".partial-*") if is_view(path.name))]
        for stage in spec.stages:
            path = os.path.relpath(spec.paths.progress(stage.name), self.workspace)
            for progress in filter(None, (read_progress(f"{place}/{path}") for place in places)):
                if progress.line_offset:
                    found[stage.name] = (progress.key, progress.line_offset)
        return found

    # ---- what is wrong ----

    def faults_of_state(self) -> Iterator[str]:
        """Yield every state file that cannot be read or is damaged. A torn last line of a log is no fault."""
        for path in sorted(self.state.glob("*.json")):
            try:
                content = path.read_bytes()
                version = json.loads(content)["v"]
            except (OSError, ValueError, KeyError, TypeError) as error:
                if not (path.name.startswith("metrics_") and self._is_unnamed(path)):
                    yield f"{path.name} cannot be read: {error!r}"
                continue
            if version != 1:
                yield f"{path.name} has v {version!r}"
            if path.name.startswith("stage_") and Marker.decode(content) is None:
                yield f"{path.name} is damaged"
        for path in self.logs():
            yield from _faults_of_log(path)

    def faults_of_outputs(self, *allowed: Mapping[str, str]) -> Iterator[str]:
        """Yield every output that is there, but not as in one of `allowed`, or not in a commit record."""
        committed = {
            (identity["path"], int(identity["inode"]))
            for record in self._commits()
            for identity in record["outputs"].values()
        }
        spec = self.spec
        for declared, digest in self.outputs().items():
            if all(expected.get(declared) != digest for expected in allowed):
                yield f"{declared} is published, and is not what any undisturbed run makes"
            if (declared, os.lstat(spec.output_path(declared).rstrip("/")).st_ino) not in committed:
                yield f"{declared} is published, and no stage.commit vouches for it"

    def faults_of_end(self) -> Iterator[str]:
        """Yield what a successful run has left behind or not done."""
        partials = (path for path in self.workspace.rglob("*") if is_partial(path.name))
        for path in (*partials, *(self.state / "tmp").rglob("*"), *self.state.glob("progress_*")):
            yield f"{path.relative_to(self.workspace)} is left"
        for lock in sorted(Path(self.spec.paths.locks_dir).glob("*.lock")):
            if _is_stuck(lock):
                yield f"{lock.name} is still held"
        try:
            planned = plan(self.spec_path, Options(workspace=str(self.workspace))).planning.plan
        except OffpipeError as error:
            yield f"cannot be planned: {error}"
            return
        yield from (f"{name} is not up to date" for name, now in planned.decisions.items() if not isinstance(now, Skip))
        yield from (f"{path} is temporary, and was not removed" for path in planned.removes)
        last = (self.state / "audit_ledger.jsonl").read_bytes().splitlines()[-1]
        if still_open := json.loads(last)["data"]["open"]:
            yield f"runs are still open: {', '.join(still_open)}"
        counted = self.stage_counts()
        yield from (f"{stage} was committed more often than started" for stage in counted.committed - counted.started)

    def faults_of_verify(self, *allowed: int, outputs: bool = False) -> Iterator[str]:
        """Yield what `verify`, with `--outputs` if `outputs`, reports if its exit code is not in `allowed`."""
        if not self.logs():
            return
        try:
            checked = verify(self.spec_path, Options(workspace=str(self.workspace)), outputs=outputs)
        except OffpipeError as error:
            yield f"verify fails: {error}"
            return
        if checked.exit_code not in allowed:
            remarks = [f"{finding.file}: {finding.what}" for finding in (*checked.damage, *checked.incomplete)]
            yield f"verify ends with {checked.exit_code}: {', '.join(remarks)}"

    def _records(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield event and data of every whole line of all logs. The log that was written last comes last."""
        for log in sorted(self.logs(), key=lambda path: path.stat().st_mtime_ns):
            for line in log.read_bytes().split(b"\n")[:-1]:
                record = json.loads(line)
                yield record["ev"], record["data"]

    def _commits(self) -> Iterator[dict[str, Any]]:
        return (data for event, data in self._records() if event == "stage.commit")

    def _is_unnamed(self, metrics: Path) -> bool:
        """Return whether no record names a metrics file. A run without work writes it in place, before the record."""
        log = self.state / metrics.name.replace("metrics_", "audit_").replace(".json", ".jsonl")
        return not (log.exists() and b'"metricsSha256"' in log.read_bytes())


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    if path.is_dir() and not path.is_symlink():
        for entry in sorted(path.rglob("*")):
            content = entry.read_bytes() if entry.is_file() and not entry.is_symlink() else b""
            link = os.readlink(entry) if entry.is_symlink() else ""
            digest.update(repr((str(entry.relative_to(path)), entry.lstat().st_mode, link, content)).encode())
    else:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _faults_of_log(path: Path) -> Iterator[str]:
    """Yield the faults of a log. A torn last line is none: the next run cuts it.

    With a key, only `verify` can check the hashes.
    """
    before, keyed = GENESIS, False
    *lines, _torn = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines):
        try:
            record = json.loads(line)
            keyed = record["data"].get("keyId", keyed or None) is not None
            claimed = record.pop("hash")
            fits = keyed or claimed == hashlib.sha256(DOMAIN + canonical(record)).hexdigest()
            follows = (record["v"], record["seq"], record["prev"]) == (1, number, before)
        except (ValueError, KeyError, AttributeError) as error:
            yield f"{path.name}:{number + 1} is damaged: {error!r}"
            return
        if not (fits and follows and canonical({**record, "hash": claimed}) == line):
            yield f"{path.name}:{number + 1} {'does not follow the line before it' if fits else 'is damaged'}"
        before = claimed


def _is_stuck(path: Path) -> bool:
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False
