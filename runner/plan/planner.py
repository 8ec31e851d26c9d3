"""Which stages must run, and why. Decisions are values, and making them changes nothing.

`plan` walks the stages once in their order. The dry run, `explain`, the tests and the executor share it. The executor
decides a stage that `Depends` again when its upstream stages have ended.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from runner.canonical import canonical
from runner.errors import Fault, InputError, OfflineError
from runner.plan.decisions import MODIFIED, Adopt, Blocked, Decision, Depends, Plan, Reason, Run, Skip
from runner.plan.digests import DigestCache, present_digest
from runner.plan.fingerprint import KEY_VERSION, Examiner, Fingerprint
from runner.plan.orphans import Orphans, Places

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from runner.plan.temporary import Temporary
    from runner.record.checkpoints import Progress
    from runner.record.markers import Marker, Markers
    from runner.spec.graph import Graph
    from runner.spec.model import Spec, Stage


class Planner(NamedTuple):
    """Decides stages by their `markers`; `forced` names stages that run in any case.

    `absence` says why a stage has no marker. `gone` are the markers of stages that are gone, by the paths of outputs.
    """

    graph: Graph
    cache: DigestCache
    markers: Markers
    temporary: Temporary
    forced: Collection[str]
    absence: Callable[[str], str]
    gone: Mapping[frozenset[str], Sequence[Marker]]

    def plan(self, stages: Sequence[Stage], examiner: Examiner, check: Callable[[], None]) -> Plan:
        """Decide every stage of `stages`, which are in order. The cache gets the identities of intact outputs.

        `check` is called before each, and may raise to interrupt.
        """
        decisions: dict[str, Decision] = {}
        faults: list[Fault] = []
        refused: dict[str, tuple[Fault, ...]] = {}
        for stage in stages:
            check()
            try:
                decisions[stage.name] = self._plan_stage(stage, decisions, examiner)
            except (InputError, OfflineError) as error:
                faults.extend(error.faults)
                decisions[stage.name] = Blocked(tuple(fault.what for fault in error.faults))
            is_refused = isinstance(decisions[stage.name], Blocked) or stage.is_open
            if is_refused and (flaws := examiner.code_faults(stage)):
                refused[stage.name] = flaws
        self.temporary.run_again(decisions)
        return Plan(decisions, tuple(dict.fromkeys(faults)), refused=refused)  # each once: stages share files

    def _plan_stage(self, stage: Stage, decisions: dict[str, Decision], examiner: Examiner) -> Decision:
        if stage.is_open:
            blocked = tuple(name for name in stage.sources if isinstance(decisions[name], Blocked))
            return Blocked(blocked) if blocked else Depends(stage.sources)
        unmade = {
            path: producer
            for sources in self.graph.feeds.get(stage.name, {}).values()
            for producer, path in sources
            if isinstance(decisions.get(producer), Run | Depends | Blocked)
        }
        upstream = self.graph.upstream[stage.name]
        if blocked := tuple(name for name in upstream if isinstance(decisions.get(name), Blocked)):
            examiner.check_inputs(stage, unmade)
            return Blocked(blocked)
        fingerprint, reasons = self.decide(stage, examiner, unmade)
        if reasons:
            return Run(reasons)
        if unmade:
            return Depends(tuple(dict.fromkeys(unmade.values())))
        adopts = fingerprint.adopts
        return Adopt(fingerprint.key, adopts.stage) if adopts else Skip(fingerprint.key)

    def decide(
        self, stage: Stage, examiner: Examiner, unmade: Collection[str] = ()
    ) -> tuple[Fingerprint, tuple[Reason, ...]]:
        """Return the fingerprint of a stage, without its `unmade` inputs, and why it must run; see `reasons`."""
        marker = self.markers.of(stage.name)
        is_forced = stage.name in self.forced
        gone = () if marker or unmade or is_forced else self.gone.get(frozenset(stage.outputs.values()), ())
        fingerprint = examiner.examine(stage, unmade, is_decided=is_forced or not (marker or gone))
        for other in gone:
            if not self.reasons(stage, fingerprint, other):
                marker = fingerprint.adopts = other
        reasons = self.reasons(stage, fingerprint, marker, unmade)
        if marker is not None and not reasons:
            self.cache.published.update((output.path, output) for output in marker.outputs.values())
        return fingerprint, reasons

    def is_current(self, name: str, examiner: Examiner) -> bool:
        """Whether a stage that is not selected is up to date, apart from all that it needs."""
        try:
            fingerprint, reasons = self.decide(self.temporary.stages[name], examiner)
        except (InputError, OfflineError):
            return False
        return not reasons and fingerprint.adopts is None

    def reasons(
        self, stage: Stage, fingerprint: Fingerprint, marker: Marker | None, unmade: Collection[str] = ()
    ) -> tuple[Reason, ...]:
        """Return why the stage must run; empty if it is up to date, apart from its `unmade` inputs."""
        if stage.name in self.forced:
            return (Reason("forced", "asked for with --force"),)
        if marker is None:
            return (Reason("marker", self.absence(stage.name)),)
        if marker.key_version != KEY_VERSION:
            return (Reason("key", "of a version that cannot be compared", marker.key_version, KEY_VERSION),)
        reasons: list[Reason] = []
        if unmade or marker.key != fingerprint.key:
            old = {**marker.components}
            if isinstance(inputs := old.get("inputs"), dict):
                places = Places(unmade)
                old["inputs"] = {
                    name: [pair for pair in pairs if pair[0] not in places] for name, pairs in inputs.items()
                }
            reasons.extend(differences(old, fingerprint.components))
            if not reasons and not unmade:
                reasons.append(Reason("key", "differs", marker.key, fingerprint.key))
        reasons.extend(self._output_reasons(stage, marker))
        return tuple(reasons)

    def _output_reasons(self, stage: Stage, marker: Marker) -> Iterator[Reason]:
        for name, declared in stage.outputs.items():
            identity = marker.outputs.get(name)
            if identity is None or identity.path != declared:
                continue  # the `outputs` component differs, too
            if name in stage.temporary and marker.stage == stage.name:
                continue  # it may be absent; but nothing that is absent is adopted
            present = present_digest(self.graph.spec.output_path(identity.path), identity, self.cache)
            if present != identity.sha256:
                yield Reason("outputs", declared, identity.sha256, present)


class Opened(NamedTuple):
    """A template that is open: the stages that make its values, and how many instances it had last time.

    That is what the last table says, or, if it is lost, how many instances have markers.
    """

    sources: tuple[str, ...]
    last_instances: int


class Planning(NamedTuple):
    """One planning of a pipeline: what it decided, and all that it found on the way.

    `graph` has the instances of templates that are there now, without those that only orphans made. `stages` are the
    selected ones, in order. `planner` and `new_examiner` decide a stage again, once more has been made. `examiner` has
    read everything that the decisions depend on. `markers` are all that were there, also of stages that are gone.
    `checkpoints`: those of earlier runs, by stage. `loaded` is the spec with the instances of the last tables, also of
    stages that are not up to date.
    """

    graph: Graph
    stages: tuple[Stage, ...]
    plan: Plan
    planner: Planner
    examiner: Examiner
    new_examiner: Callable[[], Examiner]
    markers: Collection[Marker]
    orphans: Orphans
    checkpoints: dict[str, Progress]
    loaded: Spec

    @property
    def spec(self) -> Spec:
        """The spec of the graph."""
        return self.graph.spec

    @property
    def opened(self) -> dict[str, Opened]:
        """The selected templates that are open."""
        last = Counter(marker.stage.partition("@")[0] for marker in self.markers if "@" in marker.stage)
        known = Counter(stage.template for stage in self.loaded.stages if stage.values)
        known.update({empty.stage.name: 0 for empty in self.loaded.empty})
        return {
            stage.name: Opened(stage.sources, known.get(stage.name, last[stage.name]))
            for stage in self.stages
            if stage.is_open
        }


def differences(old: dict[str, object], new: dict[str, object]) -> Iterator[Reason]:
    """Yield the differences between two sets of components, by their smallest parts: a file, a module, a parameter."""
    for component in sorted(old.keys() | new.keys()):
        before, after = _parts(component, old.get(component)), _parts(component, new.get(component))
        for what in sorted(before.keys() | after.keys()):
            same = (what in before) == (what in after)  # null is a value
            if not same or canonical(before.get(what)) != canonical(after.get(what)):  # 1 == 1.0 == True
                yield Reason(component, what, before.get(what), after.get(what))


def _parts(component: str, value: object) -> dict[str, object]:
    """Spread a component over its smallest named parts."""
    if component == "inputs" and isinstance(value, dict):
        return {f"{name}: {path}": sha256 for name, files in value.items() for path, sha256 in files}
    if component == "code" and isinstance(value, dict):
        parts: dict[str, object] = dict(value.get("files", {}))
        parts.update((f"package {name}", version) for name, version in value.get("packages", {}).items())
        parts.update((f"{name} (not found)", "imported") for name in value.get("absent", ()))
        if "mtimeNs" in value:
            parts[MODIFIED] = value["mtimeNs"]
        return parts
    if value is None:
        return {}
    return dict(value) if isinstance(value, dict) else {"": value}
