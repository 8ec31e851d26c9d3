"""A pipeline as one verb works with it: its options, spec, graph and caches, each loaded once."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import cache, partial
from itertools import chain
from typing import TYPE_CHECKING

from runner.canonical import KEY_VARIABLE, stamp
from runner.engine import DigestsOnRecord
from runner.engine.programs import find_command
from runner.errors import Fault, OfflineError, OffpipeError, SpecError, StateError
from runner.plan.code.banned import BanList, merged
from runner.plan.code.component import CodeReader, declared_paths
from runner.plan.decisions import NO_RUN, Skip
from runner.plan.digests import DigestCache
from runner.plan.fingerprint import Examiner
from runner.plan.orphans import Orphans, find_orphans, unknown_templates
from runner.plan.planner import Planner, Planning
from runner.plan.temporary import Temporary
from runner.plan.tools import ToolsReader
from runner.record import files
from runner.record.checkpoints import Progress, progress_files, read_progress
from runner.record.ledger import Ledger, LedgerHead, read_head
from runner.record.log import EventFile
from runner.record.markers import Marker, Markers, read_marker
from runner.record.noop_record import is_damaged, is_plain, record_path
from runner.record.seal import PLAIN, Seal, read_key_file, signing
from runner.record.state import DAMAGED, MOST_CACHE, no_note, read_metrics, read_usable
from runner.record.views import state_in, views_in
from runner.spec.graph import Graph, build_graph, refuse_unknown, select, select_names

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from runner.engine import Options
    from runner.paths import StatePaths
    from runner.record.state import Note
    from runner.spec.model import Spec


def no_warning(fault: Fault) -> None:
    """Ignore a warning."""


class Session:
    """A loaded pipeline, with what it takes to plan it. Making one writes nothing.

    A plan leaves nothing here but the digests that it has read, and the damage that it has found.

    Raises SpecError for a spec that is not valid, or whose state directory belongs to another pipeline. A verb that
    `writes` needs the keys of the logs: then this also raises what `read_seal` raises. UsageError for a ledger with
    another key, or for a signed one without a signing key.

    `warn` gets each warning once: a state file that cannot be used and counts as missing, an unresolved import of a
    stage, a likely mistake in the spec (see `remarks`).
    """

    def __init__(
        self,
        spec_path: str,
        options: Options,
        *,
        spec: Spec | None = None,
        writes: bool = False,
        warn: Callable[[Fault], None] = no_warning,
    ) -> None:
        """`spec` is what `options.load` returned, if it was called."""
        self.options = options
        self.spec = spec or options.load(spec_path)
        self.graph = build_graph(self.spec)
        self.stages = select(self.graph, options.stages)
        places = self.spec.workspace, self.spec.root, self.spec.paths.state_dir
        self.seal = read_seal(*places, needs_key=writes, signs=writes)
        self.ledger = Ledger(self.spec.paths.ledger, self.spec.name, stamp, self.seal)
        self.head = self.read_head()
        self._on_warning = warn
        self.warned: set[Fault] = set()
        self.damage: dict[str, str] = {}  # files that count as missing, and what is wrong with each
        self.noop_record = record_path(self.spec.path, options.workspace)
        if writes:
            self.seal.refuse_other(self.spec.paths.ledger, self.head.key_id, self.head.signer)
            self._check_noop_record(self._note)
        self.cache = _load_cache(self.spec.paths, self._note, trust=not options.paranoid)
        self.events = EventFile(options.events, self.warn) if options.events else None
        self.bans = BanList(self.spec.banned_imports, self.spec.allow_imports)
        self.check: Callable[[], None] = lambda: None  # called before each stage of a plan; may raise to interrupt

    def read_head(self) -> LedgerHead:
        """Return the ledger's head as it is now. SpecError for the state directory of another pipeline."""
        head = read_head(self.spec.paths.ledger, self.seal)
        refuse_other_pipeline(self.spec, head.pipeline)
        return head

    def markers(self) -> list[Marker]:
        """Return all markers as they are now, also those of stages that are gone."""
        return [*Markers(self.spec.paths, self._note).all(self.graph.upstream)]

    def find_orphans(
        self, markers: Collection[Marker], cache: DigestCache, outdated: Collection[str] = ()
    ) -> tuple[Graph, Orphans]:
        """Return the outputs that no stage declares any more, given all markers, and the graph of the spec then.

        The spec is expanded again without orphans that a pattern of an `each` has matched. It is also expanded again if
        the table of a template has changed since, or is made by an `outdated` stage: then the template is open.
        """
        spec, digests = self.spec, DigestsOnRecord(self.spec.paths, self.spec.workspace, cache)
        changed = (table.sha256 != digests.of(table.stage, table.path) for table in spec.made_tables)
        if outdated or any(changed):
            spec = self.options.load(self.spec.shown, (), outdated, self.spec.content)
        spec, orphans = without_orphans(self.options, spec, markers, cache, outdated)
        return (self.graph if spec is self.spec else build_graph(spec)), orphans

    def _check_noop_record(self, note: Note) -> None:
        """Note a damaged no-op record. StateError if something else is in the place of its directory."""
        directory = os.path.dirname(self.noop_record)
        if os.path.exists(directory) and not os.path.isdir(directory):
            raise files.no_directory(directory, directory)
        content = None if is_plain() else read_usable(self.noop_record, MOST_CACHE, note)
        if content is not None and is_damaged(content):
            note(self.noop_record, DAMAGED)

    def _note(self, path: str, what: str) -> None:
        self.damage[path] = what
        self.warn(Fault(path, f"{what}, and counts as missing"))

    def _absence(self, stage: str) -> str:
        """Return why a stage has no usable marker."""
        what = self.damage.get(self.spec.paths.marker(stage))
        return f"the marker {what}" if what else NO_RUN

    def warn(self, fault: Fault) -> None:
        """Pass a warning on, once."""
        if fault not in self.warned:
            self.warned.add(fault)
            self._on_warning(fault)

    def heal(self) -> None:
        """Remove each file that counts as missing, so that the next run need not warn. Needs the pipeline lock."""
        damaged: dict[str, str] = {}  # now, with the lock
        paths, note = self.spec.paths, damaged.__setitem__
        if self.damage:
            _load_cache(paths, note)
            self._check_noop_record(note)
            for stage in self.spec.stages:
                read_marker(paths, stage.name, note)
                read_progress(paths.progress(stage.name), note)
        for run in self.head.open_runs:
            read_metrics(paths, run, note)
        for path, what in damaged.items():
            self._note(path, what)
            files.discard(path)

    def plan(self, *, reads_all: bool = True, ended: Collection[str] = ()) -> Planning:
        """Decide every selected stage from what is on disk now.

        Without `reads_all`, the inputs of a stage that runs in any case are opened, and not read. A template is open
        if a stage that makes its values is not up to date. Stages that have `ended` in this run are up to date.
        Raises OfflineError with every fault in the stages' code, also if the stages are up to date, unless stages have
        ended. UsageError for an instance that the options name, and that is not there.
        """
        outdated: set[str] = set()
        planning = self._plan(outdated, ended, reads_all=reads_all)
        while more := self._outdated_sources(planning) - outdated - {*ended}:
            outdated |= more
            planning = self._plan(outdated, ended, reads_all=reads_all)
        plan = planning.plan
        if plan.refused and not ended:
            raise OfflineError(*merged([*chain.from_iterable(plan.refused.values()), *plan.faults]))
        refuse_unknown(planning.spec, self.options.stages)
        refuse_unknown(planning.spec, self.options.params, "--param")
        for fault in (*planning.orphans.warnings(self.spec.shown), *planning.planner.temporary.warnings()):
            self.warn(fault)
        return planning

    def _outdated_sources(self, planning: Planning) -> set[str]:
        """Return the stages that make values of closed templates, and are not up to date.

        These are the selected ones, and those of templates without instances. Once such a template has instances, what
        is selected may read their outputs.
        """
        closed = (stage for stage in planning.spec.declared if not stage.is_open)
        sources = {source for stage in closed for source in stage.sources}
        decisions = planning.plan.decisions
        empty = {source for each in planning.spec.empty for source in each.stage.sources} - decisions.keys()
        if empty:
            others = planning.planner.plan(select(planning.graph, [*empty]), planning.examiner, self.check)
            decisions = {**decisions, **others.decisions}
        return {name for name in sources & decisions.keys() if not isinstance(decisions[name], Skip)}

    def _plan(self, outdated: Collection[str], ended: Collection[str], *, reads_all: bool) -> Planning:
        self.cache.published.clear()
        markers = Markers(self.spec.paths, self._note)
        every = [*markers.all(self.graph.upstream)]
        graph, orphans = self.find_orphans(every, self.cache, outdated)
        spec, stages = graph.spec, select(graph, self.options.stages)
        checkpoints = self._find_checkpoints(spec, {stage.name for stage in stages})
        forced = frozenset(select_names(spec.names, self.options.stages) if self.options.force else ()) - {*ended}
        temporary = Temporary(graph, self.cache, markers.of)
        planner = Planner(graph, self.cache, markers, temporary, forced, self._absence, _gone(every, graph))
        declared, tools = declared_paths(spec), ToolsReader(spec.shown, spec.root, self.cache)

        def new_examiner() -> Examiner:
            code = CodeReader(spec, self.cache, declared, self.bans, self.warn)
            return Examiner(graph, self.cache, code, orphans, find_command, temporary, tools)

        examiner = new_examiner()
        examiner.reads_all = reads_all
        plan = planner.plan(stages, examiner, self.check)
        if not self.options.keep_temporary:
            is_current = cache(partial(planner.is_current, examiner=new_examiner()))
            plan = plan._replace(removes=tuple(temporary.removable(plan.decisions, is_current)))
        return Planning(graph, stages, plan, planner, examiner, new_examiner, every, orphans, checkpoints, self.spec)

    def _find_checkpoints(self, spec: Spec, selected: Collection[str]) -> dict[str, Progress]:
        """Return the checkpoints that earlier runs left, by stage."""
        checkpoints: dict[str, Progress] = {}
        views = views_in(spec.workspace, spec.paths) if self.head.open_runs else ()
        states = (state_in(view, spec.workspace, spec.paths) for view in views)
        in_views = filter(os.path.isdir, states)  # a stage may have taken all rights
        left = progress_files(spec.paths.state_dir, spec.paths.temporary, *in_views)
        for stage in spec.stages:  # recovery may remove any checkpoint: refuse those of a newer release
            if path := left.get(stage.name):
                note = self._note if stage.name in selected else no_note
                if progress := read_progress(path, note, left=True):
                    checkpoints[stage.name] = progress
        return checkpoints

    def save_cache(self) -> None:
        """Keep the digests for the next run. If the disk refuses them, the next run only takes longer."""
        if not (self.cache.dirty or self.cache.parsed.dirty) or is_plain():
            return
        content, paths = self.cache.dump(), self.spec.paths
        if len(content) > MOST_CACHE:
            return  # the next run would refuse to read it
        with suppress(StateError):  # the next run reads the files again
            files.make_directories(paths.temporary)
            # Runs without work save at the same time, so each has its own temporary file. Recovery may remove it.
            files.replace(paths.digest_cache, content, temporary=f"{paths.temporary}/files.{os.urandom(4).hex()}.json")


def without_orphans(
    options: Options, spec: Spec, markers: Collection[Marker], cache: DigestCache, outdated: Collection[str] = ()
) -> tuple[Spec, Orphans]:
    """Return a spec that `options` loaded, in which no `each` matches an orphan any more, and its orphans.

    `outdated` as for `Options.load`.
    """
    without: set[str] = set()
    while True:
        orphans = find_orphans(spec, markers, cache)
        if not (matched := {*filter(orphans.holds, spec.matches)}):
            return spec, orphans
        without |= matched
        spec = options.load(spec.shown, without, outdated, spec.content)


def _gone(markers: Iterable[Marker], graph: Graph) -> dict[frozenset[str], list[Marker]]:
    """Return the markers of stages that are gone, by the paths of their outputs."""
    gone: dict[frozenset[str], list[Marker]] = {}
    unknown = unknown_templates(graph.spec)
    for marker in markers:
        if marker.stage not in graph.upstream and marker.stage.partition("@")[0] not in unknown:
            gone.setdefault(frozenset(output.path for output in marker.outputs.values()), []).append(marker)
    return gone


def _load_cache(paths: StatePaths, note: Note, *, trust: bool = True) -> DigestCache:
    content = None if is_plain() else read_usable(paths.digest_cache, MOST_CACHE, note)
    cache = DigestCache(content, trust=trust)
    if cache.damaged:
        note(paths.digest_cache, DAMAGED)
    return cache


def refuse_other_pipeline(spec: Spec, pipeline: str) -> None:
    """Raise SpecError if the spec's state directory belongs to a `pipeline` of another name; "" is none."""
    if pipeline not in ("", spec.name):
        hint = f'give this one a state directory of its own: "stateDir": "state/{spec.name}"'
        what = f'the state directory belongs to the pipeline "{pipeline}", this one is "{spec.name}"'
        raise SpecError(Fault(f"{spec.shown}#/name", what, hint))


def read_seal(*inside: str, needs_key: bool = True, signs: bool = False) -> Seal:
    """Return the seal of the key in the file that OFFPIPE_AUDIT_KEY_FILE names, or PLAIN without that variable.

    Raises what `read_key_file` raises, for example for a key file in one of the pipeline's directories, `inside`. If
    the key is not needed, this returns PLAIN instead, which leaves keyed hashes unchecked. With `signs`, the seal has
    the signing key, too, if one is given, and this raises what `signing` raises.
    """
    path, seal = os.environ.get(KEY_VARIABLE), PLAIN
    try:
        seal = read_key_file(path, inside) if path else PLAIN
    except OffpipeError:
        if needs_key:
            raise
    return signing(seal, inside) if signs else seal
