"""Finds steps of a run that section "What happens when it is killed" of docs/on-disk.md forbids."""

from __future__ import annotations

import json
import os
from hashlib import sha256
from typing import TYPE_CHECKING

from disk_model import ROOT, Bytes, Failed, Sync

from runner.paths import is_partial, partial_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from disk_model import Disk, Step, Tree

LEDGER = "state/audit_ledger.jsonl"


class Order:
    """Checks every promise about the order of steps at the step that would break it.

    `synced`: only synced steps count (durability `full`); otherwise all steps count (`process`).
    """

    def __init__(self, disk: Disk, outputs: dict[str, dict[str, str]], *, synced: bool) -> None:
        """`outputs`: stage -> output name -> path."""
        self._disk = disk
        self._outputs = outputs
        self._synced = synced

    def faults(self) -> list[str]:
        return [fault for at, step in enumerate(self._disk.steps) for fault in self._faults_at(at, step)]

    def _faults_at(self, at: int, step: Step) -> Iterator[str]:
        if isinstance(step, Sync | Failed):
            return
        now = self._disk.whole(at)
        names = {number: path for path, number in now.below(ROOT)}
        if isinstance(step, Bytes):
            if step.data and now.content(step.inode)[""][step.offset :][: len(step.data)] == step.data:
                return  # the same bytes written again
            path = names.get(step.inode, "")
            if os.path.basename(path).startswith("audit_") and step.data:
                safe = self._safe(at)
                for line in step.data.splitlines():
                    yield from (f"{path}, {fault}" for fault in self._about(json.loads(line), now, safe))
            return
        for name, number in step.changes:
            if number is None:
                continue
            before, folder = names.get(number, ""), names.get(step.inode, "")
            if is_partial(os.path.basename(before)) and not is_partial(name):
                yield from self._about_publishing(number, os.path.join(folder, name), now, self._safe(at))
            if name.startswith("progress_"):
                yield from self._about_progress(name, number, now, self._safe(at))

    def _safe(self, at: int) -> Tree:
        return self._disk.synced(at, names_too=False) if self._synced else self._disk.whole(at)

    def _about(self, record: dict, now: Tree, safe: Tree) -> Iterator[str]:
        event, data = record["ev"], record["data"]
        if event in ("opened", "closed", "noop"):
            log = _records(safe, f"state/audit_{record['run']}.jsonl")
            if [logged["hash"] for logged in log if logged["seq"] == data["logSeq"]] != [data["logHash"]]:
                yield f"{event}: names a record of the log that is not durable"
        elif event == "stage.commit":
            for identity in data["outputs"].values():
                partial = partial_path(identity["path"], data["tag"])
                number = now.find(partial)
                if number is None or str(number) != identity["inode"]:
                    yield f"{event}: {partial} is not the file that it names"
                elif safe.content(number) != now.content(number):
                    yield f"{event}: the content of {partial} is not durable"
        elif event in ("run.end", "run.stopped"):
            yield from (f"{event}: {fault}" for fault in self._about_end(record, now, safe))

    def _about_end(self, record: dict, now: Tree, safe: Tree) -> Iterator[str]:
        metrics = _bytes(safe, f"state/metrics_{record['run']}.json")
        if metrics is None or sha256(metrics).hexdigest() != record["data"]["metricsSha256"]:
            yield "the metrics that it names are not durable"
        log = f"state/audit_{record['run']}.jsonl"
        commits = {logged["data"]["stage"]: logged for logged in _records(now, log) if logged["ev"] == "stage.commit"}
        for stage, commit in commits.items():
            if (content := _bytes(safe, f"state/stage_{stage}.json")) is None or content != _bytes(
                now, f"state/stage_{stage}.json"
            ):
                yield f"the marker of {stage} is not durable"
            for identity in commit["data"]["outputs"].values():
                number = safe.find(identity["path"])
                if number is None or str(number) != identity["inode"]:
                    yield f"{identity['path']} is not durably in place"
                elif safe.content(number) != now.content(number):
                    yield f"the content of {identity['path']} is not durable"

    def _about_publishing(self, number: int, path: str, now: Tree, safe: Tree) -> Iterator[str]:
        if safe.content(number) != now.content(number):
            yield f"{path} appears before its content is durable"
        logs = [file for file in safe.directories[safe.find("state") or ROOT] if file.startswith("audit_")]
        commits = [
            logged for log in logs for logged in _records(safe, f"state/{log}") if logged["ev"] == "stage.commit"
        ]
        if not any(
            (identity["path"].rstrip("/"), identity["inode"]) == (path, str(number))
            for logged in commits
            for identity in logged["data"]["outputs"].values()
        ):
            yield f"{path} appears before its stage.commit is durable"

    def _about_progress(self, name: str, number: int, now: Tree, safe: Tree) -> Iterator[str]:
        outputs = self._outputs[name.removeprefix("progress_").removesuffix(".json")]
        for output, kept in json.loads(str(now.files[number], "utf-8"))["outputs"].items():
            folder, base = os.path.split(outputs[output])
            partials = [
                file
                for entry, file in now.directories[now.find(folder) or ROOT].items()
                if is_partial(entry) and entry.endswith(f".{base}")
            ]
            if [len(safe.files[file]) >= kept["length"] for file in partials] != [True]:
                yield f"{name}: {kept['length']} bytes of {output} are not durable"


def _bytes(tree: Tree, path: str) -> bytes | None:
    number = tree.find(path)
    content = None if number is None else tree.files.get(number)
    return content if isinstance(content, bytes) else None


def _records(tree: Tree, path: str) -> list[dict]:
    return [json.loads(line) for line in (_bytes(tree, path) or b"").splitlines(keepends=True) if line.endswith(b"\n")]
