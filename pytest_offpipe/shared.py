"""The undisturbed run of each stage, made exactly once in a test session, whichever worker is first to need it.

All workers share one sandbox of the spec, and a record on disk for each stage that was run in it, behind a file lock.
Each stage has a run of its own. A worker that dies leaves an unfinished one, with which the next worker goes on.
"""

from __future__ import annotations

import os
import pickle
import re
import time
from contextlib import nullcontext
from dataclasses import dataclass, replace
from fnmatch import translate
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from zlib import crc32

import pytest
from filelock import FileLock

from pytest_offpipe import measuring
from pytest_offpipe.compare import Snapshot, changes, snapshot
from pytest_offpipe.reports import RunReport, StageReport
from pytest_offpipe.runs import Around, Launchers, run_sandbox
from pytest_offpipe.sandbox import Sandbox, Source, discard, lay_out, stands_for_its_origin
from pytest_offpipe.settings import SHARED
from runner import results
from runner.api import Options
from runner.api.programs import program_faults
from runner.errors import EXIT_STAGE_FAILED, OffpipeError
from runner.noop import record_path
from runner.paths import StatePaths
from runner.spec.graph import select
from runner.spec.load import load_spec
from runner.spec.model import effective_spec

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from runner.spec.graph import Graph
    from runner.spec.model import Spec, Stage

T = TypeVar("T")
RUNS = pytest.StashKey[dict[str, "SharedRun"]]()

_ANY = StatePaths("", "")
_KEPT = re.compile("|".join(
    translate(os.path.basename(path.rstrip("/")))
    for path in (
        _ANY.marker("*"), _ANY.progress("*"), _ANY.audit("*"), _ANY.metrics("*"), _ANY.digest_cache, _ANY.logs(""),
        _ANY.temporary, _ANY.put_aside,
    )
))  # fmt: skip


@dataclass(slots=True)
class Undisturbed:
    """How a stage did when nothing was done to it.

    `run`: the id of the run that it was made in. `error`: why there is no `report`, in the runner's words. `blocked`:
    the stage whose failure kept it from running. `changes`: what became of which undeclared path. `ended`: when it
    ended, by time.time(). `seconds`: what it took, from laying it out to looking at what it left.
    """

    report: StageReport | None = None
    run: str | None = None
    error: str = ""
    blocked: str = ""
    changes: tuple[tuple[str, str], ...] = ()
    ended: float = 0.0
    isolation: str = ""
    seconds: float = 0.0

    @property
    def succeeded(self) -> bool:
        """Whether there are outputs to compare others with."""
        return self.report is not None and self.report.status == results.SUCCEEDED


class SharedRun:
    """The stages of one spec in the sandbox that all workers share."""

    def __init__(self, spec: Spec, base: Path, inputs: str | None) -> None:
        """`base` is a directory that all workers of this session have in common, and no other session."""
        self.spec = spec
        self.directory = base / f"{spec.name}-{crc32(spec.path.encode()):08x}"
        self.source = Source(spec, inputs)
        self.waited: dict[str, float] = {}  # stage -> the seconds that this process ran it, or waited for who did
        self.launchers = Launchers()  # of this process; they rest between runs, until somebody closes them
        self._known: dict[str, Undisturbed] = {}
        self._sandbox: Sandbox | None = None
        self._laid: Spec | None = None

    @property
    def graph(self) -> Graph:
        """The graph of the spec, as the user has it."""
        return self.source.graph

    def stage(self, name: str) -> Undisturbed:
        """Return how a stage did; it and what it needs are run now, unless they were."""
        for stage in select(self.graph, (name,)):
            if stage.name not in self._known:
                began = time.monotonic()
                self._known[stage.name] = self._recorded(stage)
                self.waited[stage.name] = time.monotonic() - began
        return self._known[name]

    def seconds(self, name: str) -> float:
        """Return what the run of a stage took, or 0 while that is not known."""
        return self._known[name].seconds if name in self._known else 0.0

    def all(self) -> dict[str, Undisturbed]:
        """Return how all stages did, in their order."""
        return {stage.name: self.stage(stage.name) for stage in self.graph.order}

    def sandbox(self) -> Sandbox:
        """Return the sandbox, laid out if it was not. Raises OffpipeError as Source.files does."""
        if self._sandbox is None:
            with self.held():
                self._sandbox = self._laid_out()
        return self._sandbox

    def laid(self) -> Spec:
        """Return the spec of the sandbox, as it was laid out."""
        if self._laid is None:
            self._laid = load_spec(self.sandbox().spec)
        return self._laid

    def close(self) -> None:
        """End the launcher that is kept for the next run."""
        self.launchers.close()

    def held(self) -> AbstractContextManager[object]:
        """Return the lock, to be held while one works in the sandbox; it may be taken again by its holder."""
        self.directory.mkdir(parents=True, exist_ok=True)
        return FileLock(self.directory / "lock", is_singleton=True)

    def _laid_out(self) -> Sandbox:
        directory = self.directory / "run"
        note = self.directory / "laid-out"
        if not note.exists():
            unfinished = self.directory / "run.unfinished"
            for left in (unfinished, directory):  # by a worker that died
                discard(left)
            made = lay_out(self.spec, unfinished, self.source.present(), effective_spec(self.spec))
            unfinished.rename(directory)
            spec, root = (os.path.relpath(path, unfinished) for path in (made.spec, made.root))
            place = {"spec": str(directory / spec), "root": os.path.normpath(directory / root)}
            _write(note, replace(made, directory=directory, **place))
        return stands_for_its_origin(_read(note, Sandbox))

    def _recorded(self, stage: Stage) -> Undisturbed:
        record = self.directory / f"{stage.name}.record"
        with self.held():
            if not record.exists():
                began = time.monotonic()
                found = self._run(stage)
                found.seconds = time.monotonic() - began
                _write(record, found)
                return found
            return _read(record, Undisturbed)

    def _run(self, stage: Stage) -> Undisturbed:
        for upstream in self.graph.upstream[stage.name]:
            if not self._known[upstream].succeeded:
                return Undisturbed(blocked=self._known[upstream].blocked or upstream)
        try:
            sandbox, spec = self.sandbox(), self.laid()
            self.source.files([stage])  # what is missing, is told of the user's files, not of their copies
        except OffpipeError as error:
            programs = program_faults(self.spec, [stage], os.environ.get("PATH", ""))
            return Undisturbed(error="\n".join(map(str, dict.fromkeys((*error.faults, *programs)))))
        before = self._before(stage, sandbox, spec)
        report = self._run_in(sandbox, stage.name)
        outputs = (spec.output_path(path) for path in stage.outputs.values())
        declared = [*outputs, *_of_runner(spec)]
        found = changes(before, _snapshot(sandbox, spec), declared)
        own = f"{sandbox.temporary}/{stage.name}."  # and the number of an attempt: its TMPDIR, which is made for it
        found = [one for one in found if not (one[1].startswith(own) and "/" not in one[1].removeprefix(own))]
        ended = report.stages.get(stage.name)
        return Undisturbed(
            ended, report.run_id, report.error, "", tuple(found), time.time(), report.isolation.get("level", "")
        )

    def _before(self, stage: Stage, sandbox: Sandbox, spec: Spec) -> Snapshot:
        """Return how the sandbox was before the stage first ran in it, also when the worker that ran it was killed."""
        note = self.directory / f"{stage.name}.before"
        if note.exists():
            found: Snapshot = _read(note, dict)
        else:
            found = _snapshot(sandbox, spec)
            _write(note, found)
        return found

    def report(self) -> RunReport:
        """Return the run of the whole pipeline, as far as it came: what was run stage by stage, as one."""
        found = self.all()
        stages = {name: one.report for name, one in found.items() if one.report is not None}
        runs = tuple(dict.fromkeys(one.run for one in found.values() if one.run is not None))
        errors = [one.error for one in found.values() if one.error]
        if errors:
            return RunReport(EXIT_STAGE_FAILED, None, results.FAILED, stages, self.spec.path, "", "", errors[0])
        if all(one.succeeded for one in found.values()):
            last = self.again()
            return replace(last, stages=stages, earlier=tuple(run for run in runs if run != last.run_id))
        sandbox = self.sandbox()
        state = self.laid().paths.state_dir
        return RunReport(
            EXIT_STAGE_FAILED, None, results.FAILED, stages, sandbox.spec, sandbox.root, state, earlier=runs
        )

    def again(self) -> RunReport:
        """Run the whole pipeline once more, after all stages; everything should be up to date then."""
        sandbox = self.sandbox()
        with self.held():
            return self._run_in(sandbox)

    def _run_in(self, sandbox: Sandbox, *stages: str) -> RunReport:
        options = Options(stages=stages, durability="process")  # nothing of it outlives the session
        return run_sandbox(sandbox, Around(sandbox.home, sandbox.temporary), options, launchers=self.launchers)


def shared_directory(config: pytest.Config, factory: pytest.TempPathFactory) -> Path:
    """Return a directory that the workers of this session share; each has its own base below that of the session."""
    base = factory.getbasetemp()
    config.stash[SHARED] = (base.parent if hasattr(config, "workerinput") else base) / "offpipe"
    return config.stash[SHARED]


def end_runs(config: pytest.Config, spec: Spec) -> None:
    """End what the checks of a spec keep running for each other."""
    runs = config.stash.get(RUNS, {})
    if spec.path in runs:
        runs[spec.path].close()


def held_where(config: pytest.Config, path: str) -> AbstractContextManager[object]:
    """Return the lock of the sandbox that `path` is in, if workers share it: while it is held none begins a run."""
    runs = config.stash.get(RUNS, {}).values()
    shared = (run.held() for run in runs if Path(os.path.abspath(path)).is_relative_to(run.directory))
    return next(shared, nullcontext())


def _snapshot(sandbox: Sandbox, spec: Spec) -> Snapshot:
    """All of the sandbox: its tree, HOME and TMPDIRs, and what lies beside them where `../` leads out of the tree."""
    record = os.path.dirname(record_path(spec.path, None))
    ours = frozenset((*_of_runner(spec), record, str(sandbox.directory / measuring.DATA)))
    return snapshot((str(sandbox.directory),), ours)


def _of_runner(spec: Spec) -> list[str]:
    """Return what the runner keeps, as docs/on-disk.md has it; a stage may have put something beside it."""
    state = spec.paths.state_dir
    names = os.listdir(state) if os.path.isdir(state) else []
    kept = [os.path.join(state, name) for name in names if _KEPT.match(name)]
    return [spec.paths.locks_dir, *kept]


def _write(path: Path, value: object) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    temporary.write_bytes(pickle.dumps(value))
    temporary.replace(path)


def _read(path: Path, kind: type[T]) -> T:
    value = pickle.loads(path.read_bytes())  # noqa: S301 - written by this session, in its own directory
    assert isinstance(value, kind)
    return value
