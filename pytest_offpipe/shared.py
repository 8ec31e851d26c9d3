"""The undisturbed run of each stage, made once in a test session by the first worker that needs it.

All workers share one sandbox of the spec, and a record on disk for each stage that ran in it, under a file lock. Each
stage has a run of its own. If a worker dies, the next worker continues its run.
"""

from __future__ import annotations

import os
import pickle
import time
from collections import Counter
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar
from zlib import crc32

import pytest
from filelock import FileLock

from pytest_offpipe import measuring
from pytest_offpipe.compare import Snapshot, changes, snapshot
from pytest_offpipe.memory import MemoryMeter
from pytest_offpipe.reports import RunReport, StageReport
from pytest_offpipe.runs import UNSYNCED, Around, Launchers, run_sandbox, undisturbed_env
from pytest_offpipe.sandbox import Sandbox, Source, discard, lay_out, load
from pytest_offpipe.settings import SHARED, given, settings_of
from pytest_offpipe.usage import require_known, shown_path
from runner.engine import DigestsOnRecord
from runner.engine.programs import program_faults
from runner.errors import EXIT_STAGE_FAILED, Fault, InputError, OffpipeError
from runner.record.noop_record import record_path
from runner.spec.each.tables import Made
from runner.spec.graph import build_graph, name_finder, select, stage_finder
from runner.spec.load import load_spec
from runner.verbs.clean import OURS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from runner.spec.graph import Graph
    from runner.spec.kinds import Place
    from runner.spec.model import Spec, Stage


T = TypeVar("T")
GATHERED = 2  # instances, so that a stage that gathers them sees more than one
RUNS = pytest.StashKey[dict[str, "SharedRun"]]()


class Undisturbed(NamedTuple):
    """How a stage ended without a fault.

    `run`: the id of its run. `error`: the runner's reason why there is no `report`. `blocked`: the stage whose failure
    kept it from running. `changes`: how undeclared paths changed. `ended`: when it ended (time.time). `seconds`: from
    laying out to the last snapshot. `memory`: the peak of all its processes together, in bytes.
    """

    report: StageReport | None = None
    run: str | None = None
    error: str = ""
    blocked: str = ""
    changes: tuple[tuple[str, str], ...] = ()
    ended: float = 0.0
    seconds: float = 0.0
    memory: int = 0

    @property
    def succeeded(self) -> bool:
        """Whether there are outputs to compare others with."""
        return self.report is not None and self.report.succeeded


class SharedRun:
    """The stages of one spec in the sandbox that all workers share."""

    def __init__(self, spec: Spec, config: pytest.Config, base: Path, inputs: str | None) -> None:
        """`base`: a directory that only workers of this session share."""
        self._config = config
        self._inputs = inputs
        self._take(spec)
        self.directory = base / f"{spec.name}-{crc32(spec.path.encode()):08x}"
        self.place = f"{self.directory}/run"  # of the sandbox
        self.laid_out = self.directory / "laid-out"  # exists once the sandbox is complete
        self.launchers = Launchers()
        self._known: dict[str, Undisturbed] = {}
        self._latest: Snapshot = {}

    def _take(self, spec: Spec) -> None:
        self.spec = chosen(spec, self._config)  # the stages to run
        self.source = Source(spec, self._inputs)  # of all stages: an output is never a source, even of one not run
        self.graph = build_graph(self.spec)
        self.__dict__.pop("laid", None)

    def stage(self, name: str) -> Undisturbed:
        """Return how a stage ended. Runs it, and the stages that it needs, unless they have been run."""
        self.expand(name)
        for stage in select(self.graph, (name,)):
            if stage.name not in self._known:
                with self.held():
                    record = self.directory / f"{stage.name}.record"
                    self._known[stage.name] = _kept(record, partial(self._run, stage))
        return self._known[name]

    def expand(self, name: str) -> None:
        """Expand the template of this name, and those that a stage needs, if what gives their values succeeds."""
        while (
            (names := stage_finder(self.spec)(name))  # a template may turn out to have no instances
            and (opened := next((stage for stage in select(self.graph, names) if stage.is_open), None))
            and opened.name not in self._known
            and all(self.stage(source).succeeded for source in opened.sources)
        ):
            before = self.source.spec
            with self.held():
                try:
                    self._take(self._reloaded())
                    if self.source.spec.stages == before.stages:
                        raise InputError(Fault(f"stage {opened.name}", "the table of its values is not the one made"))
                    files = _kept(self.laid_out, self._lay_out)[1]
                    _keep(self.laid_out, self._lay_out(files, self.sandbox.root))
                except OffpipeError as error:
                    self._take(before)
                    self._known[opened.name] = Undisturbed(error=str(error))

    def _reloaded(self) -> Spec:
        """Return the spec with the instances that the sandbox gives values to."""
        spec, laid = self.source.spec, self.laid
        made = Made(laid.workspace, DigestsOnRecord(laid.paths, laid.workspace).of)
        path = spec.shown if os.path.isabs(spec.shown) else spec.path
        return load(shown_path(path), self._inputs, made, spec.content)._replace(path=spec.path)

    def instance(self, stage: Stage) -> Stage:
        """Return the stage that the node ids of a stage stand for.

        Of a template that was open when they were made, it is the instance that --offpipe-each means, else the first.
        Skips the check if there is none.
        """
        if not stage.is_open:
            return stage
        self.expand(stage.name)
        for empty in self.spec.empty:
            if empty.stage.name == stage.name:
                pytest.skip(f"{stage.name} is {empty.text}")
        named = _named(self.spec, self._config)
        instances = (other for other in self.spec.stages if other.template == stage.name)
        return max(instances, key=lambda other: other.name in named)  # the first of these

    def run_again(self, name: str) -> None:
        """Make a stage run again when it is next needed, even if it is up to date. Removes its undeclared files."""
        known = self._known
        again = {name, known.get(name, Undisturbed()).blocked or name}
        with self.held():
            for stage in again | {other for other, undisturbed in known.items() if undisturbed.blocked in again}:
                for what, path in known.pop(stage, Undisturbed()).changes:
                    if what == "written":
                        discard(path)
                (self.directory / f"{stage}.record").unlink(missing_ok=True)
        self.__dict__.pop("report", None)

    def all(self) -> dict[str, Undisturbed]:
        """Return how all stages ended, in their order."""
        for stage in self.graph.order:
            self.expand(stage.name)
        return {stage.name: self.stage(stage.name) for stage in self.graph.order}

    @cached_property
    def sandbox(self) -> Sandbox:
        """The sandbox, laid out if it was not. Raises OffpipeError as Source.files does."""
        with self.held():
            return _kept(self.laid_out, self._lay_out)[0]

    def _lay_out(self, laid: Collection[str] = (), root: str = "") -> tuple[Sandbox, set[str]]:
        """Lay the sandbox out; if it has a `root`, add what is not `laid`. Return all its files, too."""
        if not root:
            discard(self.place)  # a worker that died may have left a part of it
        waiting: set[str] = set()  # for instances that are not known
        for stage in self.graph.order:
            if stage.is_unexpanded or not waiting.isdisjoint(self.graph.upstream[stage.name]):
                waiting.add(stage.name)
        stages = [stage for stage in self.spec.stages if stage.name not in waiting]
        files = self.source.files(stages, is_complete=False)
        content = self.source.content(_limited(stage, settings_of(self._config).timeout) for stage in stages)
        return lay_out(self.spec, self.place, files, content, laid, root=root), {*files, *laid}

    @cached_property
    def laid(self) -> Spec:
        """The spec of the sandbox, as it was laid out."""
        return load_spec(self.sandbox.spec)

    def held(self) -> AbstractContextManager[object]:
        """Return the lock of the sandbox. Its holder may take it again."""
        self.directory.mkdir(parents=True, exist_ok=True)
        return FileLock(self.directory / "lock", is_singleton=True)

    def _run(self, stage: Stage) -> Undisturbed:
        began = time.monotonic()
        for upstream in self.graph.upstream[stage.name]:
            if not self._known[upstream].succeeded:
                return Undisturbed(blocked=self._known[upstream].blocked or upstream)
        try:
            self.source.files([stage])  # so that faults name the user's files, not their copies
            spec = self.laid
        except OffpipeError as error:
            programs = program_faults(self.spec, [stage])
            return Undisturbed(error="\n".join(map(str, dict.fromkeys((*error.faults, *programs)))))
        # Kept on disk: if a worker is killed, this is still the state before the stage's first run.
        before = _kept(self.directory / f"{stage.name}.before", self.snapshot)
        meter = MemoryMeter()
        report = self.execute(stage.name, meter=meter)
        outputs = (spec.output_path(path) for path in stage.outputs.values())
        changed = tuple(changes(before, self.snapshot(), [*outputs, *_of_runner(spec)]))
        made = report.stages.get(stage.name), report.run_id, report.error
        seconds = time.monotonic() - began
        return Undisturbed(*made, changes=changed, ended=time.time(), seconds=seconds, memory=meter.peak)

    def snapshot(self) -> Snapshot:
        """Return a snapshot of the sandbox: the copied files, and HOME, but not TMPDIR and the runner's files."""
        record, directory = os.path.dirname(record_path(self.laid.path, None)), self.sandbox.directory
        ours = {record, f"{directory}/{measuring.DATA}", self.sandbox.temporary, *_of_runner(self.laid)}
        self._latest = snapshot(directory, ours, self._latest)
        return self._latest

    @cached_property
    def report(self) -> RunReport:
        """The runs of all stages as one run of the pipeline, as far as they got."""
        with closing(self.launchers):  # a test may wait for children of its own
            runs = self.all().values()
            stages = {run.report.name: run.report for run in runs if run.report}
            earlier = tuple(run.run for run in runs if run.run)
            if all(run.succeeded for run in runs):
                return replace(self.execute(), stages=stages, earlier=earlier)
        error = next((run.error for run in runs if run.error), "")
        failed = RunReport(EXIT_STAGE_FAILED, stages=stages, spec=self.spec.path, error=error)
        if error:
            return failed
        spec = self.laid
        return replace(
            failed, spec=spec.path, workspace=spec.workspace, state_dir=spec.paths.state_dir, earlier=earlier
        )

    def execute(self, *stages: str, meter: MemoryMeter | None = None) -> RunReport:
        """Run these stages in the sandbox, even if they are up to date; without names, run what is out of date."""
        with self.held(), closing(meter or MemoryMeter()):
            around = Around(self.sandbox.home, self.sandbox.temporary, meter=meter)
            for stage in self.laid.stages:
                if stage.name in stages:
                    around.env.update(undisturbed_env(stage))
            options = UNSYNCED._replace(stages=stages, force=bool(stages))
            return run_sandbox(self.sandbox, around, options, launchers=self.launchers, spec=self.laid)


def shared_run(
    config: pytest.Config, factory: pytest.TempPathFactory, spec: Spec, inputs: str | None, own: str = ""
) -> SharedRun:
    """Return the shared run of a spec; `own` keeps specs apart that tests have changed."""
    runs = config.stash.setdefault(RUNS, {})
    key = f"{spec.path}{own}"
    if key not in runs:
        base = factory.getbasetemp()  # each worker has its own, below that of the session
        config.stash[SHARED] = f"{base.parent if hasattr(config, 'workerinput') else base}/offpipe"
        runs[key] = SharedRun(spec, config, Path(config.stash[SHARED], own), inputs)
    return runs[key]


def chosen(spec: Spec, config: pytest.Config, *, runs: bool = True) -> Spec:
    """Return the spec with the instances of templates that are checked, and what these need.

    They are those that node ids name and that --offpipe-each means, else the first of each template, and two where a
    stage gathers them. Of the instances that an input matches or refers to, at least the first is among them, and a
    reference means only those. So it is with stages that make values of a template, unless it is for `runs`, which need
    them all. Raises UsageError if the option means nothing, and SpecError for a cycle.
    """
    graph, find, named = build_graph(spec), name_finder(spec.names), _named(spec, config)
    first = {stage.template or stage.name: stage.name for stage in reversed(spec.stages)}
    wanted = named | {name for template, name in first.items() if named.isdisjoint(find(template))}
    taken = {stage.template for stage in spec.stages if stage.name in named} | {""}
    instances = {
        stage.name: (number, stage.template) for number, stage in enumerate(spec.stages) if stage.template not in taken
    }
    for stage in reversed(graph.order):
        if stage.name in wanted:
            wanted.update(stage.sources if runs else ())
            for makers in () if stage.is_unexpanded else _makers(graph, stage):  # its instances may read one each
                wanted.update(_gathered(makers, instances))
            for names in [*_makers(graph, stage), *map(find, stage.needs), stage.sources]:
                if wanted.isdisjoint(names):
                    wanted.update(names[:1])
    return spec._replace(stages=tuple(_reduced(graph, stage, wanted) for stage in spec.stages if stage.name in wanted))


def _gathered(makers: Collection[str], instances: Mapping[str, tuple[int, str]]) -> Iterator[str]:
    """Yield the first of these makers of each template. `instances`: name -> its place in the spec, its template."""
    seen: Counter[str] = Counter()
    for name in sorted(instances.keys() & makers, key=instances.__getitem__):
        template = instances[name][1]
        seen[template] += 1
        if seen[template] <= GATHERED:
            yield name


def _makers(graph: Graph, stage: Stage) -> Iterator[list[str]]:
    """Yield for each path of the inputs the stages that make it, and for each reference those that it means."""
    joined: dict[Place, list[str]] = {join.at: [] for join in stage.joins}
    for _, at, path in stage.entries():
        makers = [maker for maker, _ in graph.outputs.matches(path)]
        if at in joined:
            joined[at] += makers
        else:
            yield makers
    yield from joined.values()


def _reduced(graph: Graph, stage: Stage, wanted: Collection[str]) -> Stage:
    """Return a stage whose references mean only `wanted` instances."""
    inputs, written, places = {**stage.inputs}, {**stage.written}, {join.at for join in stage.joins}
    for name in {join.label for join in stage.joins}:
        kept = [
            (at, path)
            for _, at, path in stage.entries(name)
            if at not in places or any(maker in wanted for maker, _ in graph.outputs.matches(path))
        ]
        if not isinstance(inputs[name], str):
            inputs[name] = tuple(path for _, path in kept)
            written["inputs", name] = [("inputs", *at) for at, _ in kept]
    return stage._replace(inputs=inputs, written=written)


def _named(spec: Spec, config: pytest.Config) -> set[str]:
    """Return the stages of a spec that node ids name, and that --offpipe-each means."""
    nodes, base = (argument.partition("::") for argument in config.args), config.invocation_params.dir
    named = {name.partition("[")[0] for path, _, name in nodes if os.path.normpath(base / path) == spec.path}
    each = given(config, "offpipe_each")[0] or ""
    named.update(spec.names if each == "all" else stage_finder(spec)(each))
    if each and named.isdisjoint(spec.names) and any(stage.template for stage in spec.stages):
        require_known([each], spec.names, "--offpipe-each", f"{spec.shown} has no instance")
    return named


def close_run(config: pytest.Config, spec: Spec) -> None:
    """End the launcher that the checks of a spec share."""
    runs = config.stash.get(RUNS, {})
    if spec.path in runs:
        runs[spec.path].launchers.close()


def held_where(config: pytest.Config, path: str) -> AbstractContextManager[object]:
    """Return the lock of the shared sandbox that holds `path`, if there is one: no run begins there meanwhile."""
    runs = config.stash.get(RUNS, {}).values()
    locks = (run.held() for run in runs if Path(os.path.abspath(path)).is_relative_to(run.directory))
    return next(locks, nullcontext())


def _limited(stage: Stage, longest: float) -> Stage:
    """Return a stage with time limits, so that it cannot hang the test session.

    No attempt takes longer than `longest` seconds, and none starts after them.
    """
    total = stage.retry.max_total_seconds
    retry = stage.retry._replace(max_total_seconds=longest if total is None else min(total, longest))
    own = stage.timeout_seconds
    limits = tuple(min(limit, longest) for limit in (own if isinstance(own, tuple) else (own or longest,)))
    return stage._replace(timeout_seconds=limits if len(limits) > 1 else limits[0], retry=retry)


def _of_runner(spec: Spec) -> list[str]:
    """Return the files of the runner (docs/on-disk.md). Any other file beside them comes from a stage."""
    state = spec.paths.state_dir
    names = os.listdir(state) if os.path.isdir(state) else []
    return [spec.paths.locks_dir, *(f"{state}/{name}" for name in names if OURS.fullmatch(name))]


def _kept(path: Path, make: Callable[[], T]) -> T:
    """Return the value in a file of this session; make it unless another worker has."""
    if not path.exists():
        _keep(path, make())
    value: T = pickle.loads(path.read_bytes())  # noqa: S301 - written above
    return value


def _keep(path: Path, value: object) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    temporary.write_bytes(pickle.dumps(value))
    temporary.replace(path)
