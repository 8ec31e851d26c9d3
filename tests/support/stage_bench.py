"""Runs a stage program without the runner; between attempts it treats partials and progress as the runner does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).resolve().parents[2]


class StageBench:
    """One stage in `folder`: `inputs` are written at once, and each attempt gets its own partials."""

    def __init__(
        self,
        folder: Path,
        inputs: Mapping[str, Sequence[bytes]],
        outputs: Sequence[str] = ("text",),
        params: Mapping[str, object] | None = None,
        every_lines: int | None = None,
        every_seconds: float | None = None,
    ) -> None:
        self.folder = folder
        self.attempt = 0
        self.outputs = tuple(outputs)
        self.progress = folder / "progress_stage.json"
        self.stage_fields: dict[str, object] = {
            "v": 1,
            "name": "stage",
            "runId": "run",
            "key": "key",
            "params": dict(params or {}),
            "checkpoint": {"everyLines": every_lines, "everySeconds": every_seconds},
            "durability": "full",
            "inputs": {name: self._write_inputs(name, contents) for name, contents in inputs.items()},
            "realOutputs": {name: str(folder / name) for name in self.outputs},
            "progress": str(self.progress),
            "resources": {"cpus": None, "memoryMiB": None, "ioConcurrency": None},
        }

    def begin_attempt(self) -> dict[str, object]:
        """Write and return the next attempt's stage file. Kept partials are cut and renamed, all others removed."""
        kept = self._kept_lengths()
        for name in self.outputs:
            partial = self.partial(name)
            if name in kept:
                os.truncate(partial, kept[name])
                partial.rename(self.folder / f".partial-{self.attempt + 1:06x}.{name}")
            else:
                partial.unlink(missing_ok=True)
        if not kept:
            self.progress.unlink(missing_ok=True)
        self.attempt += 1
        scratch = self.folder / f"scratch.{self.attempt}"
        scratch.mkdir()
        paths = {name: str(self.partial(name)) for name in self.outputs}
        fields = self.stage_fields | {"attempt": self.attempt, "outputs": paths, "scratch": str(scratch)}
        self.stage_file.write_text(json.dumps(fields))
        return fields

    def run(self, program: Path, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run one attempt of `program` in its own process."""
        self.begin_attempt()
        return subprocess.run(
            [sys.executable, program], env=self.environment(**environment), capture_output=True, text=True, check=False
        )

    def environment(self, **more: str) -> dict[str, str]:
        base = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "PYTHONPATH": str(ROOT)}
        return base | {"PIPELINE_STAGE_FILE": str(self.stage_file)} | more

    @property
    def stage_file(self) -> Path:
        return self.folder / "stage.json"

    def partial(self, name: str) -> Path:
        return self.folder / f".partial-{self.attempt:06x}.{name}"

    def output(self, name: str = "text") -> bytes:
        return self.partial(name).read_bytes()

    def reached(self) -> dict[str, object]:
        return dict(json.loads(self.progress.read_bytes()))

    def _kept_lengths(self) -> dict[str, int]:
        try:
            reported = json.loads(self.progress.read_bytes())
            lengths = {name: entry["length"] for name, entry in reported["outputs"].items()}
            fits = reported["key"] == self.stage_fields["key"]
            fits = fits and all(self.partial(name).stat().st_size >= length for name, length in lengths.items())
        except (OSError, ValueError, KeyError, TypeError):
            return {}
        return lengths if fits else {}

    def _write_inputs(self, name: str, contents: Sequence[bytes]) -> list[str]:
        paths = []
        for number, content in enumerate(contents):
            path = self.folder / f"{name}.{number}.in"
            path.write_bytes(content)
            paths.append(str(path))
        return paths
