"""Filters of outputs, which run before bytes are compared. Each run of a filter is a run of a stage."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pytest_offpipe.compare import of_bytes
from pytest_offpipe.runs import UNSYNCED, Around, run_sandbox
from pytest_offpipe.sandbox import Sandbox, discard
from runner.errors import OffpipeError

if TYPE_CHECKING:
    from pytest_offpipe.compare import OfFiles, Sides
    from runner.spec.model import Spec, Stage


class FilterError(AssertionError):
    """A filter failed. Survives pickling, as errors in a confined process must."""


class Normaliser(NamedTuple):
    """The `filters` of a `stage` of `spec`, by the end of a file's name. They start in `root`, with its env and tools.

    They work below `directory`, and end after `timeout` seconds.
    """

    filters: dict[str, tuple[str, ...]]
    spec: Spec
    stage: Stage
    root: str
    directory: str
    timeout: float

    def of_files(self, name: str, paths: list[str], sides: Sides, compare: OfFiles = of_bytes) -> str | None:
        """Return how two files differ after their filter, if there is one. Raises FilterError if it fails.

        The second path ends as that of the output. Files with the same bytes need no filter.
        """
        text = compare(name, paths, sides)
        words = self._filter(paths[1])
        if text is None or words is None:
            return text
        filtered = [self._filtered(path, words, f"{self.directory}/{side}") for side, path in enumerate(paths)]
        text = compare(name, filtered, sides)
        discard(self.directory)
        return text

    def _filter(self, path: str) -> tuple[str, ...] | None:
        """Return the filter with the longest key that the path ends with."""
        found = [key for key in self.filters if path.endswith(key)]
        return self.filters[max(found, key=len)] if found else None

    def _filtered(self, path: str, words: tuple[str, ...], directory: str) -> str:
        """Return the path of what the filter prints, with the file as its standard input."""
        discard(directory)
        sandbox = Sandbox(directory, f"{directory}/normalise.json", self.root, self.root)
        for made in (sandbox.home, sandbox.temporary):
            os.makedirs(made)
        shutil.copyfile(path, f"{directory}/given")
        stage = {
            "name": "normalise",
            "command": ["filter"],
            "inputs": {"given": f"{directory}/given"},
            "stdin": "given",
            "outputs": {"printed": "printed"},
            "stdout": "printed",
            "timeoutSeconds": self.timeout,
        }
        root = os.path.relpath(self.root, directory)
        content = {"specVersion": 1, "name": "normalise", "root": root, "stages": [stage]}
        Path(sandbox.spec).write_text(json.dumps(content), encoding="utf-8")
        options = UNSYNCED._replace(workspace=f"{directory}/made")
        os.makedirs(f"{directory}/made")
        try:
            spec = options.load(sandbox.spec)
        except OffpipeError as error:
            raise FilterError(str(error)) from None
        literal = tuple(word.replace("{", "{\0") for word in words)  # the mark of braces that begin no placeholder
        tools = self.spec.tools_of(self.stage)
        given = spec.stages[0]._replace(command=literal, env=self.stage.env, tools=tools)
        banned, allowed = self.spec.banned_imports, self.spec.allow_imports
        spec = spec._replace(stages=(given,), banned_imports=banned, allow_imports=allowed)
        run = run_sandbox(sandbox, Around(sandbox.home, sandbox.temporary), options, spec=spec)
        report = run.stages.get("normalise")
        if report is None or not report.succeeded:
            why, log = (report.error, report.log) if report else (run.error, "")
            raise FilterError(f"{' '.join(words)}: {why}\n{log}")
        return report.outputs.paths["printed"]
