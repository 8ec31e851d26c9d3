"""Requires that a spec is equal to the same pipeline in written stages: after any edit, both decide and make the same.

Both pipelines are laid out side by side, with the same files. After each edit both are planned and run.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline_bench import PipelineBench

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    Describe = Callable[..., dict[str, object]]  # a bench and the settings -> `stages`, and other fields of the spec

NO_OUTPUTS = {"state", "locks", ".offpipe", "spec.json"}


class Edit(NamedTuple):
    """A change of both pipelines, and what must follow.

    `change`: of the files of one. `settings` are added to those that describe the specs. `words` are options of the
    plan and the run, `run_words` of the run alone, `short_words` those that only the spec with the construct knows.
    `affected`: the stages that then run, may run or are blocked. `code`: the exit code of the run.
    """

    name: str
    affected: Collection[str] | None = None
    change: Callable[[PipelineBench], object] = lambda _: None
    settings: Mapping[str, object] = {}
    words: Sequence[str] = ()
    run_words: Sequence[str] = ()
    short_words: Sequence[str] = ()
    code: int = 0


class EqualPipelines:
    """Two pipelines below `place`: one as `short` describes it, with a construct, and one written out `by_hand`.

    Both functions take a bench, whose files they may read, and the settings as keywords.
    """

    def __init__(self, place: Path, short: Describe, by_hand: Describe, **settings: object) -> None:
        self._sides = [(PipelineBench(place / "short"), short), (PipelineBench(place / "by-hand"), by_hand)]
        self._settings = settings

    def everywhere(self, change: Callable[[PipelineBench], object]) -> None:
        """Change the files of both. What is changed gets the same time of writing in both."""
        before = _times(self._sides[1][0])
        for bench, _ in self._sides:
            change(bench)
        first, second = (bench for bench, _ in self._sides)
        for path, time in _times(second).items():
            if before.get(path) != time:
                os.utime(second.root / path, ns=(time, os.stat(first.root / path).st_mtime_ns))

    def apply(self, edits: Sequence[Edit]) -> None:
        """Apply the edits one after another, and compare both pipelines after each."""
        for edit in edits:
            self.everywhere(edit.change)
            self._settings |= edit.settings
            first, second = (self._outcome(*side, edit) for side in self._sides)
            for what, outcome in first.items():
                assert outcome == second[what], f"{edit.name}: {what}"
            affected = {name for name, stage in first["plan"].items() if stage["decision"] not in ("skip", "adopt")}
            assert edit.affected is None or affected == set(edit.affected), edit.name
            assert first["exit codes"]["run"] == edit.code, edit.name

    def close(self) -> None:
        for bench, _ in self._sides:
            bench.close()

    def _outcome(self, bench: PipelineBench, describe: Describe, edit: Edit) -> dict[str, Any]:
        """Plan and run one pipeline. Return all that must be equal."""
        spec = describe(bench, **self._settings)
        bench.define(*spec.pop("stages"), **spec)
        own = edit.short_words if bench is self._sides[0][0] else ()
        words = (*edit.words, *own)
        planned, ran = bench.run("plan", "--json", *words), bench.run("run", "--json", *words, *edit.run_words)
        plan, result = json.loads(planned.stdout), json.loads(ran.stdout)
        assert "stages" in plan and "stages" in result, (planned.stdout, ran.stdout)
        return {
            "exit codes": {"plan": planned.returncode, "run": ran.returncode},
            "plan": {stage.pop("stage"): _without_runs(stage) for stage in plan["stages"]},
            "faults": sorted(fault["what"] for fault in plan["faults"]),
            "run": {name: (stage["status"], stage["key"]) for name, stage in result["stages"].items()},
            "markers": _markers(bench),
            "files": {path: (bench.root / path).read_bytes() for path in _files(bench)},
            "orphans": bench.json("status", *own)["undeclared"],
        }


def _without_runs(stage: dict[str, Any]) -> dict[str, Any]:
    """Return a decision without the run and the time of an earlier failure."""
    failure = stage.pop("lastFailure", None)
    return {**stage, "failed": failure and failure["why"]}


def _markers(bench: PipelineBench) -> dict[str, object]:
    """Return what each marker says of the stage, without what differs from run to run."""
    markers = [json.loads(path.read_bytes()) for path in (bench.root / "state").glob("stage_*.json")]
    return {
        marker["stage"]: {
            **{field: marker[field] for field in ("key", "components", "reasons")},
            "outputs": {
                label: (made["path"], made["size"], made["sha256"]) for label, made in marker["outputs"].items()
            },
        }
        for marker in markers
    }


def _files(bench: PipelineBench) -> Iterator[str]:
    """Yield the paths of all files that are not the runner's own."""
    for path in sorted(bench.root.rglob("*")):
        relative = path.relative_to(bench.root)
        if relative.parts[0] not in NO_OUTPUTS and path.is_file():
            yield str(relative)


def _times(bench: PipelineBench) -> dict[str, int]:
    return {path: os.stat(bench.root / path).st_mtime_ns for path in _files(bench)}
