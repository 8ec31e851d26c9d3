"""`reads`: a stage reads nothing in root that it does not declare. If it does, find out what.

The stage runs in a view, as if it were sealed, then in one that also has the other entries of the user's root. If the
two differ, it runs with the first half of these entries, and so on, until one entry is left.
"""

from __future__ import annotations

import os
import time
from itertools import takewhile
from typing import TYPE_CHECKING

import pytest

from pytest_offpipe.checks.case import Bench, Case, await_later, ended
from pytest_offpipe.compare import difference
from pytest_offpipe.runs import UNSYNCED, run_sandbox
from runner.errors import EXIT_OFFLINE
from runner.paths import OWN_DIRECTORY
from runner.sandbox.contents import Shown
from runner.spec.globs import bare, entries_of, is_glob, matches, may_match_below, parents

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from pytest_offpipe.reports import StageReport

NAMED = 10  # paths, at most
_DONE = "ran it in a view of what it declares, then in one that also has the other files of root"
_READ = "the stage reads it, and does not declare it"
_SIDES = ("only declared", "all of root")
_HINT = 'hint: declare it as an input, or let the stage see only what it declares ("sealed": true)'
_ANYWAY = "its bytes differ even with nothing done to it"


def check_reads(case: Case) -> None:
    """Compare a run that sees what the stage declares with one that also sees the rest of root."""
    if case.stage.sealed:
        case.note("it is sealed, so it cannot read what it does not declare")
        return
    reads = _Reads(case)
    if not (entries := reads.entries()):
        case.clean()
        pytest.skip("root has nothing else that it could read")
    await_later(case.shared.stage(case.stage.name).ended)
    reads.keep(reads.run([]))
    whole = reads.run(entries)
    if not reads.sealed.succeeded and not whole.succeeded:
        case.unmade(f"it fails in a view, whatever that has of root: {ended(reads.sealed)}")
    if text := reads.differs(whole):
        reads.require_repeatable(whole)
        reads.view.fail(_DONE, "the same bytes in both", "\n".join([*reads.found(), _HINT, text]), whole)


class _Reads(Bench):
    """Runs of one stage in views of its declared files and some others."""

    def __init__(self, case: Case) -> None:
        super().__init__(case, {"sealed": True})
        self._deadline = time.monotonic() + case.settings.budget
        self._root, shared, paths = case.spec.root, case.shared, case.spec.paths
        self.view = self.trial("view")
        self.view.around.env.update(self.seeds(0))
        stage = next(stage for stage in shared.source.spec.stages if stage.name == case.stage.name)
        declared = [path for _, _, path in stage.entries()]
        self._globs = [path for path in declared if is_glob(path)]
        own = f"{os.path.dirname(case.spec.path)}/{OWN_DIRECTORY}"
        others = (own, paths.state_dir, paths.locks_dir, shared.directory.parent, f"{self._root}/.git")
        self._apart = {*map(bare, declared), *map(bare, stage.outputs.values())}
        self._apart |= {os.path.relpath(path, self._root) for path in others}
        self._apart |= {os.path.relpath(path, self.spec.root) for path in self.inputs}

    def run(self, entries: list[str]) -> StageReport:
        """Run it where it also sees these entries of root. Leaves the check unmade if there is no such view."""
        options = UNSYNCED._replace(force=True, shown=Shown(self._root, entries))
        launchers = self.case.shared.launchers
        report = run_sandbox(self.view.sandbox, self.view.around, options, launchers=launchers)
        made = report.stages.get(self.stage.name)
        if report.exit_code == EXIT_OFFLINE and not (made and made.network):
            self.case.unmade((made or report).error.removeprefix("error: ").splitlines()[0])
        return self.view.of_stage(report)

    def keep(self, sealed: StageReport) -> None:
        """Take the run that all others are compared with, and put its outputs where these do not replace them."""
        self.sealed, self._kept = sealed, {}
        self._is_usual = sealed.succeeded and not self.compare(sealed, "")
        for name, path in sealed.outputs.paths.items() if sealed.succeeded else ():
            self._kept[name] = f"{self.view.sandbox.directory}/kept/{name}"
            os.renames(path, self._kept[name])

    def differs(self, report: StageReport) -> str:
        """Return how a run differs from the one that sees only what is declared; "" if it does not."""
        if report.succeeded != self.sealed.succeeded:
            side, failed = (0, self.sealed) if report.succeeded else (1, report)
            return f"{_SIDES[side]}: {ended(failed)}"
        for name, path in self._kept.items() if not self.volatile else ():
            if text := difference(name, path, report.outputs.paths[name], _SIDES):
                return text
        return ""

    def require_repeatable(self, whole: StageReport) -> None:
        """Rule out that runs differ by themselves: so may all do if none of them is like the undisturbed one."""
        if self.sealed.succeeded and not self._is_usual and (not whole.succeeded or self.compare(whole, "")):
            await_later(time.time())
            if self.differs(self.run([])):
                self.case.skip_if_reported(self.stage.name, "repeat", f"{_ANYWAY}:")
                self.case.unmade(_ANYWAY)

    def found(self) -> Iterator[str]:
        """Yield what makes a difference, each path by halves; then "and more" if that is not all."""
        leaves, together = self._leaves(), list[str]()
        for _ in range(NAMED):
            low, high = 0, len(leaves)  # with so many of them it is as if sealed, and with so many it is not
            while high - low > 1:
                middle = (low + high) // 2
                report = self.run([*self.entries(leaves[middle]), *together])
                low, high = (low, middle) if self.differs(report) else (middle, high)
            together.append(leaves[low])
            yield f"{leaves[low]}: {_READ}"
            if low and not self.differs(self.run(together)):  # these matter only if an earlier one is there, too
                del leaves[low:]
                continue
            self._apart.update(together)
            if not self.differs(self.run(self.entries())):
                return
            if time.monotonic() > self._deadline:
                break
            leaves, together = self._leaves(), []
        yield "and more"

    def _leaves(self) -> list[str]:
        return [*self._listed(self._above(), all_are_opened=True)]

    def entries(self, end: str = "") -> list[str]:
        """Return the entries of root, in order, up to `end`. A directory stands for all that is in it, if it can."""
        return [*takewhile(end.__ne__, self._listed(self._above(end)))]

    def _above(self, *others: str) -> set[str]:
        return {directory for path in (*self._apart, *others) for directory in parents(path)}

    def _listed(self, opened: Collection[str], directory: str = "", *, all_are_opened: bool = False) -> Iterator[str]:
        """Yield what is in a directory of root, and is not apart. In place of one that is opened, yield what it has."""
        for name in entries_of(f"{self._root}/{directory}"):
            path, absolute = f"{directory}{name}", f"{self._root}/{directory}{name}"
            if path in self._apart or any(matches(pattern, path) for pattern in self._globs):
                continue
            is_opened = path in opened or any(may_match_below(pattern, path) for pattern in self._globs)
            if all_are_opened and not os.path.islink(absolute):
                is_opened = is_opened or bool(entries_of(absolute))  # an empty one is a leaf
            if is_opened and os.path.isdir(absolute):
                yield from self._listed(opened, f"{path}/", all_are_opened=all_are_opened)
            else:
                yield path
