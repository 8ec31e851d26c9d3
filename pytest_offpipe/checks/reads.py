"""`reads`: a stage reads nothing in root that it does not declare. If it does, find out what.

The stage runs in a view, as if it were sealed, then in one that also has the other entries of the user's root. If the
two differ, it runs with the first half of these entries, and so on, until one entry is left. A stage that is sealed may
differ on purpose: that is a warning.
"""

from __future__ import annotations

import os
import time
from itertools import takewhile
from typing import TYPE_CHECKING

import pytest

from pytest_offpipe.checks.case import Bench, Case, await_later, ended
from pytest_offpipe.compare import difference
from pytest_offpipe.runs import UNSYNCED, run_sandbox, varied_env
from runner.engine.programs import find_command
from runner.errors import EXIT_OFFLINE
from runner.paths import OWN_DIRECTORY
from runner.plan.code.commands import shebang
from runner.sandbox.contents import Shown
from runner.spec.globs import bare, entries_of, is_glob, matches, may_match_below, parents

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_offpipe.reports import StageReport

NAMED = 10  # paths, at most
_DONE = "ran it in a view of what it declares, then in one that also has the other files of root"
_USES = "the stage uses it, and does not declare it"
_SIDES = ("only declared", "all of root")
_HINT = 'hint: declare it as an input, or let the stage see only what it declares ("sealed": true)'
_UNSEEN = "sealed, it does not see what would change its outputs"
_ANYWAY = "its bytes differ even with nothing done to it"


def check_reads(case: Case) -> None:
    """Compare a run that sees what the stage declares with one that also sees the rest of root."""
    reads = _Reads(case)
    if not (entries := reads.rest.entries()):
        case.clean()
        pytest.skip("root has nothing else that it could read")
    reads.require_no_environment()
    await_later(case.shared.stage(case.stage.name).ended)
    reads.run_sealed()
    whole = reads.run(entries)
    if reads.sealed.succeeded and not whole.succeeded:  # perhaps because it cannot write to a directory of root
        whole = reads.run(reads.rest.leaves())
    if not reads.sealed.succeeded and not whole.succeeded:
        case.unmade(f"it fails in a view, whatever that has of root: {ended(reads.sealed)}")
    if text := reads.differs(whole):
        reads.require_repeatable(whole)
        if case.stage.sealed:
            case.warn("\n".join([_UNSEEN, *reads.search(), text]))
            return
        reads.view.fail(_DONE, "the same bytes in both", "\n".join([*reads.search(), _HINT, text]), whole)


class _Reads(Bench):
    """Runs of one stage in views of its declared files and some others."""

    sealed: StageReport  # sees only what is declared; all other runs are compared with it

    def __init__(self, case: Case) -> None:
        super().__init__(case, {"sealed": True})
        self._deadline = time.monotonic() + case.settings.budget
        self.rest = _Rest(case, [os.path.relpath(path, self.spec.root) for path in self.inputs])
        self.view = self.trial("view")
        self.view.around.env.update(varied_env(self.stage, 0))

    def require_no_environment(self) -> None:
        """Leave the check unmade if the program is a path into an environment in root.

        The copy has that program alone, so the view would show the environment in parts. With `tools`, it is whole.
        """
        program = find_command(self.spec, self.stage)[0]
        if program and program.startswith(f"{self.spec.root}/"):
            directory, name = os.path.split(os.path.relpath(program, self.spec.root))
            if f"{self.rest.root}/{directory}" in map(os.path.dirname, shebang(program)):
                tools = os.path.dirname(directory)
                self.case.unmade(f'its program is a path: write "tools": "{tools}", and "{name}" in the command')

    def run(self, entries: list[str]) -> StageReport:
        """Run it where it also sees these entries of root. Leaves the check unmade if there is no such view."""
        options = UNSYNCED._replace(force=True, shown=Shown(self.rest.root, entries))
        launchers = self.case.shared.launchers
        report = run_sandbox(self.view.sandbox, self.view.around, options, launchers=launchers)
        made = report.stages.get(self.stage.name)
        if report.exit_code == EXIT_OFFLINE and not (made and made.network):
            self.case.unmade((made or report).error.removeprefix("error: ").splitlines()[0])
        return self.view.of_stage(report)

    def run_sealed(self) -> None:
        """Run it where it sees only what is declared, and move its outputs to where later runs do not replace them."""
        self.sealed = self.run([])
        paths = self.sealed.outputs.paths
        for name, path in paths.items() if self.sealed.succeeded else ():
            paths[name] = f"{self.view.sandbox.directory}/sealed/{name}"
            os.renames(path, paths[name])

    def differs(self, report: StageReport) -> str:
        """Return how a run differs from the one that sees only what is declared; "" if it does not."""
        if report.succeeded != self.sealed.succeeded:
            side, failed = (0, self.sealed) if report.succeeded else (1, report)
            return f"{_SIDES[side]}: {ended(failed)}"
        for name, path in self.sealed.outputs.paths.items() if not self.volatile else ():
            if text := difference(name, path, report.outputs.paths[name], _SIDES, self.normaliser.of_files):
                return text
        return ""

    def require_repeatable(self, whole: StageReport) -> None:
        """Rule out that each run has other bytes, unless one of these had the same as the undisturbed run."""
        if all(run.succeeded and self.compare(run, "") for run in (self.sealed, whole)):
            await_later(time.time())
            if self.differs(self.run([])):
                self.case.skip_if_reported(self.stage.name, "repeat", f"{_ANYWAY}:")
                self.case.unmade(_ANYWAY)

    def search(self) -> Iterator[str]:
        """Yield what makes a difference, each path by halves; then "and more" if that is not all."""
        leaves = self.rest.leaves()
        together: list[str] = []  # they make a difference only if all of them are there
        for _ in range(NAMED):
            low, high = 0, len(leaves)  # with so many of them it is as if sealed, and with so many it is not
            while high - low > 1:
                middle = (low + high) // 2
                report = self.run([*self.rest.entries(leaves[middle]), *together])
                low, high = (low, middle) if self.differs(report) else (middle, high)
            together.append(leaves[low])
            yield f"{leaves[low]}: {_USES}"
            if low and not self.differs(self.run(together)):  # it needs an earlier one, too
                del leaves[low:]
                continue
            self.rest.leave_out(together)
            if not self.differs(self.run(self.rest.entries())):
                return
            if time.monotonic() > self._deadline:
                break
            leaves, together = self.rest.leaves(), []
        yield "and more"


class _Rest:
    """What the user's root has besides what a stage declares and makes, and what the runner and git keep there.

    All paths are relative to root, and in order. A directory does not end in `/`.
    """

    def __init__(self, case: Case, inputs: list[str]) -> None:
        """`inputs` are the files that the stage's inputs are now. Those of the spec may match others in root."""
        self.root, paths = case.spec.root, case.spec.paths
        stage = next(stage for stage in case.shared.source.spec.stages if stage.name == case.stage.name)
        declared = [path for _, _, path in stage.entries()]
        self._globs = [path for path in declared if is_glob(path)]
        beside_spec = f"{os.path.dirname(case.spec.path)}/{OWN_DIRECTORY}"
        own = str(case.shared.directory.parent)
        kept = (beside_spec, paths.state_dir, paths.locks_dir, own, f"{self.root}/.git", *case.spec.tools_of(stage))
        self._left_out = {*inputs, *map(bare, (*declared, *stage.outputs.values(), *stage.seen_as.values()))}
        self._left_out.update(os.path.relpath(path, self.root) for path in kept)

    def leave_out(self, paths: list[str]) -> None:
        """Leave out these, too."""
        self._left_out.update(paths)

    def leaves(self) -> list[str]:
        """Return all files, links and empty directories."""
        return [*self._listed("", self._above(), is_deep=True)]

    def entries(self, end: str = "") -> list[str]:
        """Return the entries up to the leaf `end`. Where nothing in a directory is left out, it stands for all that."""
        listed = self._listed("", self._above(end), is_deep=False)
        return [*takewhile(lambda path: path != end, listed)]

    def _above(self, *others: str) -> set[str]:
        """Return the directories above what is left out, and above `others`."""
        return {directory for path in (*self._left_out, *others) for directory in parents(path)}

    def _listed(self, directory: str, opened: set[str], *, is_deep: bool) -> Iterator[str]:
        """Yield what is in a directory (`""`, or with a final `/`). In place of one that is opened, yield what it has.

        Those are `opened`, those in which a glob may match, and, if `is_deep`, all that are not empty.
        """
        for name in entries_of(f"{self.root}/{directory}"):
            path, absolute = f"{directory}{name}", f"{self.root}/{directory}{name}"
            if path in self._left_out or any(matches(glob, path) for glob in self._globs):
                continue
            is_opened = path in opened
            if not os.path.islink(absolute):  # a link may lead in a circle
                is_opened |= any(may_match_below(glob, path) for glob in self._globs)
                is_opened |= is_deep and bool(entries_of(absolute))
            if is_opened and os.path.isdir(absolute):
                yield from self._listed(f"{path}/", opened, is_deep=is_deep)
            else:
                yield path
