"""The verb `clean`: remove what the pipeline made."""

from __future__ import annotations

import os
import re
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING

from runner.engine.journal import Invocation
from runner.engine.open_runs import held_lock
from runner.engine.preflight import replaced
from runner.engine.session import Session
from runner.errors import Fault, InputError
from runner.plan.digests import DigestCache
from runner.plan.inputs import AbsentError, InputResolver
from runner.plan.orphans import ADOPTED, CHANGED, COPY, aside_of, unknown_templates
from runner.record import files
from runner.record.checkpoints import find_partials
from runner.record.markers import Marker, marked_stages
from runner.record.views import views_in
from runner.spec.globs import entries_of
from runner.spec.kinds import pointer

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from runner.engine import Options
    from runner.paths import StatePaths
    from runner.spec.graph import Graph
    from runner.spec.model import Spec

OURS = re.compile(r"(stage|progress|metrics)_.*\.json|audit_.*\.jsonl|files\.json|logs|tmp|tmp\.dead")
"""What runs write into a state directory, which may also hold the locks, and the state of other pipelines."""


def clean(
    spec_path: str, options: Options, warn: Callable[[Fault], None], *, dry_run: bool, state: bool, orphans: bool
) -> list[str]:
    """Remove outputs, orphans, markers, partials and checkpoints; return the paths, relative to the workspace.

    With `state`, also remove everything else that runs wrote into the state directory: audit logs, metrics, logs. With
    `orphans`, remove and return only these, and remove the markers of stages that are gone; InputError if a source is
    missing. Holds the pipeline lock, unless it is a `dry_run`, which only returns the paths.
    """
    spec = options.load(spec_path)
    with Invocation(spec, options, warn, time.time_ns(), verb="clean") as invocation:
        invocation.is_recorded = dry_run or state or not os.path.exists(spec.paths.ledger)  # then it leaves no line
        session = Session(spec_path, options, spec=spec, writes=not dry_run, warn=invocation.warn)
        with nullcontext() if dry_run else held_lock(spec, options.wait):
            markers = session.markers()
            graph, left = session.find_orphans(markers, DigestCache(trust=False))  # reads each of them
            spec = graph.spec
            kept = left.warnings(spec.shown, (ADOPTED, COPY, CHANGED))
            unknown = () if orphans else replaced(session, spec, spec.stages, markers, "`clean` removes")
            for fault in (*kept, *unknown):
                session.warn(fault)
            sources = InputResolver(graph, left)
            if orphans and (missing := dict.fromkeys(_missing_sources(graph, sources))):  # a disk may be unmounted
                raise InputError(Fault("--orphans", "nothing is removed while a source is missing"), *missing)
            first, known = left.removable(), {each.stage for each in left.former if each.state in (ADOPTED, COPY)}
            gone = [*_markers_of_gone(graph, markers, known, adopts=orphans)]
            state_files = _state(spec.paths) if state else ()
            others = [] if orphans else [*dict.fromkeys((*gone, *_made(spec, known), *state_files))]
            if not dry_run:  # orphans first: after a kill or a power cut, only their markers still name them
                for place in first:
                    files.discard_at_once(place, aside_of(place))
                files.sync_files([*filter(os.path.isdir, dict.fromkeys(map(os.path.dirname, first)))])
                for path in dict.fromkeys((*gone, *others)):
                    files.discard(path)
    return [os.path.relpath(path, spec.workspace) for path in (*first, *others)]


def _missing_sources(graph: Graph, sources: InputResolver) -> Iterator[Fault]:
    """Yield a fault for each path of an input that no stage makes, if it is missing or an empty directory.

    Also yield one for each template whose pattern or table has no values, and for each empty directory of a template
    that may have none.
    """
    for empty in graph.spec.empty:
        where = pointer(graph.spec.shown, ("stages", empty.stage.index, "each"))
        for directory in empty.directories:
            if not entries_of(directory):
                yield Fault(where, f'"{os.path.relpath(directory, graph.spec.root)}/" is empty', "is it mounted?")
    for stage in graph.spec.stages:
        if stage.missing:
            yield stage.missing
            continue
        for name, at, pattern in stage.entries():
            if graph.outputs.matches(pattern):
                continue
            where = pointer(graph.spec.shown, ("stages", stage.index, "inputs", *at))
            try:
                files = sources.files_of(pattern, where)
            except InputError as error:
                is_allowed = isinstance(error, AbsentError) and sources.may_be_absent(stage, name, pattern)
                yield from () if is_allowed else error.faults
                continue
            if files[0].path == pattern and pattern.endswith("/") and not entries_of(files[0].absolute):
                yield Fault(where, f'"{pattern}" is empty')


def _state(paths: StatePaths) -> Iterator[str]:
    """Yield what runs wrote into the state directory, except the locks."""
    for name in sorted(os.listdir(paths.state_dir)) if os.path.isdir(paths.state_dir) else ():
        path = f"{paths.state_dir}/{name}"
        if OURS.fullmatch(name) and path != paths.locks_dir:
            yield path


def _markers_of_gone(
    graph: Graph, markers: Collection[Marker], known: Collection[str], *, adopts: bool
) -> Iterator[str]:
    """Yield the markers of stages that are gone, except of those `known`, whose orphans stay.

    With `adopts`, also except those whose outputs a stage without a marker may adopt.
    """
    spec, kept, complete = graph.spec, {*known}, {marker.stage for marker in markers}
    bare = [stage for stage in spec.stages if stage.name not in complete] if adopts else []
    unmade = {path for stage in bare for path in stage.outputs.values()}
    for marker in markers:
        if not unmade.isdisjoint(output.path for output in marker.all_outputs()):
            kept.add(marker.stage)
    declared, unknown = graph.upstream.keys(), unknown_templates(spec)
    for stage in marked_stages(spec.paths):
        if stage not in declared and stage not in kept and stage.partition("@")[0] not in unknown:
            yield spec.paths.marker(stage)


def _made(spec: Spec, known: Collection[str]) -> Iterator[str]:
    """Yield whatever the stages made that exists. Markers come first, so that a killed `clean` leaves no false marker.

    The markers of the stages `known` stay: they know of orphans that stay.
    """
    paths = spec.paths
    for stage in spec.stages:
        outputs = {name: spec.output_path(path) for name, path in stage.outputs.items()}
        partials = [path for found in find_partials(outputs).values() for path in found]
        markers = () if stage.name in known else (paths.marker(stage.name),)
        for path in (*markers, paths.progress(stage.name), *outputs.values(), *partials):
            if os.path.lexists(path):
                yield path
    yield from views_in(spec.workspace, paths)
