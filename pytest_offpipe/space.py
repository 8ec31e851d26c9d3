"""Sandboxes that several runs of a test have one after the other: what changed at their source is copied anew."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_offpipe.alone import code_files, one_stage
from pytest_offpipe.giving import lay_inputs
from pytest_offpipe.sandbox import Source, discard, lay_out
from pytest_offpipe.snapshot import snapshot
from runner.errors import Fault, InputError, UsageError
from runner.spec.graph import build_graph
from runner.spec.model import effective_spec

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from pytest_offpipe.giving import Inputs
    from pytest_offpipe.sandbox import Sandbox
    from runner.spec.model import Spec, Stage


class Space:
    """One sandbox, and what was laid out in it. What a test changes in there itself stays as it is."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.sandbox: Sandbox | None = None
        self._laid: dict[str, object] = {}

    def lay(self, spec: Spec, files: Mapping[str, str], content: Mapping[str, Any]) -> Sandbox:
        """Bring the sandbox to what `lay_out` would make of these."""
        signatures: dict[str, object] = {path: _signature(source) for path, source in files.items()}
        standing = {path for path, found in signatures.items() if self._laid.get(path) == found}
        if self.sandbox is not None:
            for gone in self._laid.keys() - standing:
                place = Path(os.path.normpath(os.path.join(self.sandbox.root, os.path.relpath(gone, spec.root))))
                if place.parent.resolve().is_relative_to(self.directory.resolve()):  # and no link has led out of it
                    discard_entry(place)
        self.sandbox = lay_out(spec, self.directory, files, content, standing)
        self._laid = signatures
        return self.sandbox


class PipelineSpace:
    """A sandbox of a whole pipeline, and the tree that its inputs come from."""

    def __init__(self, directory: Path, inputs: str | None) -> None:
        self.inputs = inputs
        self._space = Space(directory)

    def lay(self, spec: Spec) -> Sandbox:
        """Bring it to what the source is now. Raises as Source.files does."""
        files = Source(spec, self.inputs).files(spec.stages)
        return self._space.lay(spec, files, effective_spec(spec))


class StageSpace:
    """A sandbox of one stage, and what it was given so far."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._space = Space(directory / "alone")
        self._files: dict[str, dict[str, str]] = {}
        self._params: dict[str, Any] = {}

    def lay(self, spec: Spec, stage: Stage, inputs: Inputs, params: Mapping[str, Any], tree: str | None) -> Sandbox:
        """Lay out what the stage is given now, and before; then what the source has."""
        self._params.update(params)
        for name, content in inputs.items():
            scratch = self._directory / f"given-{name}-{len(list(self._directory.glob('given-*')))}"
            self._files[name] = lay_inputs(spec, stage, {name: content}, scratch)
        files = self._sources(spec, stage, tree, self._files)
        for given in self._files.values():
            files.update(given)
        overrides = {"params": {**stage.params, **self._params}}
        return self._space.lay(spec, files, one_stage(spec, stage, overrides))

    @staticmethod
    def _sources(spec: Spec, stage: Stage, tree: str | None, given: Collection[str]) -> dict[str, str]:
        graph = build_graph(spec)
        source = Source(spec, tree)
        files = code_files(graph, stage)
        for name in (one for one in stage.inputs if one not in given):
            makers = sorted({maker for maker, _ in graph.feeds.get(stage.name, {}).get(name, ())})
            where = f"{spec.shown}#/stages/{stage.index}/inputs/{name}"
            hint = f'give it: inputs={{"{name}": b"..."}}'
            if makers:
                what = f"{stage.inputs[name]} is made by {', '.join(makers)}, which a stage alone does not have"
                raise UsageError(Fault(where, what, hint))
            try:
                files.update(source.input_files(stage, name))
            except InputError as error:
                raise InputError(*(Fault(fault.where, fault.what, hint) for fault in error.faults)) from error
        return files


def discard_entry(path: Path) -> None:
    """Remove a file, a link or a directory, if it is there."""
    if path.is_dir() and not path.is_symlink():
        discard(path)
    else:
        path.unlink(missing_ok=True)


def _signature(source: str) -> object:
    """Return what tells a source from a changed one; it is another one for another source."""
    status = os.stat(source)
    below = snapshot((source,), ()) if os.path.isdir(source) else None
    return source, status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino, below
