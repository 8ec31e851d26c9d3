"""Rounds: open templates are expanded in the middle of a run, as soon as the stages that make their values have ended.

Each expansion plans again, from what is on disk, and replaces the planning of the run. What has ended stays ended, and
what runs goes on.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from runner.canonical import canonical
from runner.errors import EXIT_INPUT, EXIT_INTERNAL, Fault, InputError, InterruptedRunError, OfflineError, OffpipeError
from runner.executor.job import Job
from runner.hashing import sha256_of
from runner.plan.orphans import Places
from runner.record.events import EXPANDED, RunExpanded, encode
from runner.results import GOOD
from runner.spec.model import effective_spec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pluggy import HookRelay

    from runner.executor.job import RunContext
    from runner.executor.removals import Removals
    from runner.plan.planner import Planning
    from runner.results import StageResult
    from runner.spec.graph import ReadyQueue
    from runner.spec.model import Stage


class Rounds:
    """The open templates of one run."""

    def __init__(
        self,
        run: RunContext,
        results: Mapping[str, StageResult],
        ready: ReadyQueue,
        removals: Removals,
        hooks: HookRelay,
        fail: Callable[[Job, Fault, int], None],
    ) -> None:
        """`results`, `ready` and `removals` are those of the run, and take each new planning.

        `fail` ends a template that has no instances, with the fault and the exit code.
        """
        self._run = run
        self._results = results
        self._ready = ready
        self._removals = removals
        self._hooks = hooks
        self._fail = fail
        self._in_the_way: dict[str, str] = {}  # instance that this run has learned of -> a file in its output's place

    def expand(self) -> bool:
        """Plan again if all sources of an open template are up to date by now, and put its instances on record.

        Return whether there was one, and no interrupt. Raises OffpipeError for a fault of the disk.
        """
        if not (templates := self._due()):
            return False
        ended = [*filter(self._is_good, self._results)]
        try:
            planning = self._run.replan(ended)
        except InterruptedRunError:
            return False
        except OffpipeError as error:
            if error.exit_code >= EXIT_INTERNAL:
                raise
            for template in templates:
                self._fail(Job(self._run.spec, template), error.faults[0], EXIT_INPUT)
            return True
        if fault := self._lost(planning):
            for template in templates:
                self._fail(Job(self._run.spec, template), fault, EXIT_INPUT)
            return True
        spec = canonical(effective_spec(planning.spec))
        self._run.log.append(EXPANDED, encode(RunExpanded(spec.decode(), sha256_of(spec))), sync=self._run.durable)
        self._note_files_in_the_way(planning)
        self._run.replace_planning(planning)
        self._ready.replace(planning.graph, planning.stages, planning.planner.temporary.inputs, self._results)
        self._removals.replan(ended)
        left = planning.opened  # it may have some of `templates`: their sources are instances that are new
        names = [template.name for template in templates if template.name not in left]
        known = len(planning.stages) - len(left)
        self._hooks.offpipe_run_expanded(spec=planning.spec, templates=names, stages=known)
        for template in self._due():  # it is open, although its sources are up to date
            self._fail(Job(planning.spec, template), self._changed_since(template), EXIT_INPUT)
        return True

    def refuse(self, stage: str) -> None:
        """Raise OfflineError if any instance of the same template has code that is refused.

        InputError for a new instance that would replace a file that no stage is known to have made.
        """
        template = stage.partition("@")[0]
        for name, faults in self._run.planning.plan.refused.items():
            if name.partition("@")[0] == template:
                raise OfflineError(*faults)
        if path := self._in_the_way.get(stage):
            what = f'"{path}" is in the place of its output, and no stage is known to have made it'
            raise InputError(Fault(f"stage {stage}", what, "move it away if you need it, or run again to replace it"))

    def _due(self) -> list[Stage]:
        """Return the open templates whose sources are all up to date."""
        opened = (stage for stage in self._run.planning.stages if stage.is_open and stage.name not in self._results)
        return [stage for stage in opened if all(map(self._is_good, stage.sources))]

    def _note_files_in_the_way(self, planning: Planning) -> None:
        """Note files that outputs of new instances would replace, and that no marker knows."""
        known = Places(output.path for marker in planning.markers for output in marker.all_outputs())
        for stage in planning.stages:
            if stage.sources and stage.name not in self._run.planning.graph.upstream:
                for path in stage.outputs.values():
                    if path not in known and os.path.lexists(planning.spec.output_path(path)):
                        self._in_the_way[stage.name] = path

    def _lost(self, planning: Planning) -> Fault | None:
        """Return why another planning lacks stages that this run knows; None if it has them all.

        They may be at work. So a run only adds instances, even if the values of others have changed since.
        """
        known = (stage.name for stage in self._run.planning.stages if not stage.is_unexpanded)
        if all(name in planning.graph.upstream for name in known):
            return None
        flawed = (stage.missing for stage in planning.stages if stage.missing)
        paths = ", ".join(f'"{table.path}"' for table in planning.spec.made_tables if table.sha256 is None)
        what = f"{paths} gave instances to this run, and something has changed it since"
        return next(flawed, Fault(self._run.spec.shown, what, "run again: it is made anew"))

    def _changed_since(self, template: Stage) -> Fault:
        made = (table for table in self._run.spec.made_tables if table.stage in template.sources)
        paths = ", ".join(f'"{table.path}"' for table in made if table.sha256 is None)
        what = f"{paths} is not what its stage made: something has changed it since"
        return Fault(f"stage {template.name}", what, "run again: it is made anew")

    def _is_good(self, stage: str) -> bool:
        return stage in self._results and self._results[stage].status in GOOD
