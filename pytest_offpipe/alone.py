"""A stage alone: a sandbox that holds one stage of a pipeline, its code and its inputs, and nothing of the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_offpipe.sandbox import code_of, lay_out
from runner.decide.inputs import InputResolver
from runner.spec.model import effective_spec

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pytest_offpipe.sandbox import Sandbox
    from runner.spec.graph import Graph
    from runner.spec.model import Spec, Stage

NOTHING: Mapping[str, Any] = {}


def alone(
    spec: Spec, stage: Stage, files: Mapping[str, str], directory: Path, overrides: Mapping[str, Any] = NOTHING
) -> Sandbox:
    """Lay one stage of `spec` out in a new `directory`; what other stages would make is plain input there.

    `files`: where each belongs (an absolute path, as if in the source) -> where it is (`inputs_of`, `code_files`).
    `overrides` are fields of the stage as in a spec, and replace its own; one that is None is left out.
    """
    return lay_out(spec, directory, files, one_stage(spec, stage, overrides))


def inputs_of(graph: Graph, stage: Stage) -> dict[str, str]:
    """Return the files and directories that are a stage's inputs now, for `alone`."""
    spec, resolver = graph.spec, InputResolver(graph)
    found = {}
    for name in stage.inputs:
        is_made = name in graph.feeds.get(stage.name, {})
        for file in resolver.resolve(stage, name):
            belongs = spec.output_path(file.path) if is_made else spec.source_path(file.path)
            found[belongs] = file.absolute.rstrip("/")
    return found


def code_files(graph: Graph, stage: Stage) -> dict[str, str]:
    """Return the files that a stage consists of, for `alone`."""
    return {path: path for path in code_of(graph, [stage])}


def one_stage(spec: Spec, stage: Stage, overrides: Mapping[str, Any] = NOTHING) -> dict[str, Any]:
    """Return the spec of a pipeline of one stage, as JSON: it needs no other, and reads what they make as input."""
    content = effective_spec(spec)
    stages: list[dict[str, Any]] = content["stages"]  # type: ignore[assignment] # as the effective spec has it
    own = next(one for one in stages if one["name"] == stage.name)
    changed = {**own, "needs": [], **overrides}
    content["stages"] = [{name: value for name, value in changed.items() if value is not None}]
    return content
