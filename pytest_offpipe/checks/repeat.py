"""`repeat`: from nothing, later and elsewhere, it gives the same bytes; else it is found out what they depend on."""

from __future__ import annotations

import contextlib
import random
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_offpipe.confined import Confined
from pytest_offpipe.copying import copy
from pytest_offpipe.difference import Sides, difference
from pytest_offpipe.running import run_sandbox
from pytest_offpipe.sandbox import discard
from pytest_offpipe.trial import LATER, SAME, Bench, Budget, Trial, await_moment, ended, here
from pytest_offpipe.varied import HOST_NAME, ODD, PLAIN, Circumstances, fewer_processors, lay_varied, may_be_forked
from runner import results
from runner.levels import RefusedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_offpipe.checks.case import Case
    from pytest_offpipe.reports import StageReport
    from pytest_offpipe.trial import Call
    from pytest_offpipe.varied import Varied

SEEDS = 4  # orders of hashes that are tried, since two may agree in what a stage makes of them
_COMPARED, _VARIED = "compared", "one-by-one"
_SIDES = Sides("one run", "another")


def check_repeat(case: Case) -> None:
    """Vary all at once, then run once more in place; only when bytes differ, vary one thing after the other."""
    repeats = _Repeats(case)
    await_moment(case.shared.stage(case.stage.name).ended + LATER)
    different = repeats.everything()
    with contextlib.ExitStack() as until:
        call: Call = here
        try:
            call = until.enter_context(Confined(HOST_NAME)).call
        except RefusedError as error:
            case.note(f"the host name stayed as it is: {error}")
            different = replace(different, host_name=False)
        varied, report, different = repeats.elsewhere(different, call)
        done = f"ran it from nothing, later, with another value of: {', '.join(different.names)}"
        repeats.judge(varied, report, done, "elsewhere", different)
        again = repeats.run(varied.once_more(repeats.seed()), call)
        done = "ran it from nothing, later and elsewhere, then once more in place"
        repeats.judge(varied, again, done, "in place", Circumstances(hash_seed=repeats.seed()))
    repeats.bench.close()


class _Repeats:
    """Runs of one stage in circumstances that differ."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.bench = Bench(case)
        self._chance = random.Random(case.settings.seed)
        self._budget = Budget(case.settings.budget)

    def seed(self) -> int:
        """Draw an order of hashes."""
        return self._chance.randrange(1, 1 << 32)

    def everything(self) -> Circumstances:
        """Return all that can be different here."""
        return Circumstances(
            directory=ODD, home="HOME" not in self.bench.stage.env, host_name=True, hash_seed=self.seed(),
            processors=fewer_processors() is not None, hint=True, modified=bool(self.bench.inputs),
            interpreter=may_be_forked(self.bench.stage), run_id=True,
        )  # fmt: skip

    def elsewhere(self, different: Circumstances, call: Call) -> tuple[Varied, StageReport, Circumstances]:
        """Run it with all that is different; in a directory of a plainer name if it fails in that of an odd one."""
        place = self.case.directory / "varied"
        varied = lay_varied(self.bench, place, different)
        report = self.run(varied, call)
        if report.status == results.SUCCEEDED:
            return varied, report, different
        plainer = replace(different, directory=PLAIN)
        varied, failed = lay_varied(self.bench, place, plainer), ended(report)
        report = self.run(varied, call)
        if report.status == results.SUCCEEDED:
            self.case.note(f'it fails below a directory that is called "{ODD}": {failed}')
        return varied, report, plainer

    def run(self, varied: Varied, call: Call) -> StageReport:
        """Run what is laid out."""
        report = call(run_sandbox, varied.sandbox, varied.around, varied.options)
        return Trial(self.bench, varied.sandbox).of_stage(report)

    def judge(self, varied: Varied, report: StageReport, done: str, when: str, different: Circumstances) -> None:
        """Fail the check unless a run gave the undisturbed bytes, with what the difference depends on."""
        if report.status == results.SUCCEEDED:
            found = self.bench.compare(report.outputs.paths, when)
        else:
            found = ended(report)
        if found:
            text = f"{found}\nit depends on: {self._search(different)}"
            for made in (_COMPARED, _VARIED):
                discard(self.case.directory / made)
            Trial(self.bench, varied.sandbox).fail(done, SAME, text, report)

    def _search(self, different: Circumstances) -> str:
        """Return what of `different` makes a difference by itself, between runs that are the same in all else."""
        first = self._compared(Circumstances())
        if first.status != results.SUCCEEDED:
            return f"cannot be told, since it fails when run for comparison: {ended(first)}"
        kept = self._kept(first, "first")
        await_moment(time.time() + LATER)
        if self._differs(self._compared(Circumstances()), kept):
            return "the time, or chance (it differs between two runs that are the same in all else)"
        found, untried, is_hashed = [], [], False
        for one in different.each():
            runs = 4 if one.interpreter else 1
            if not self._budget.allows(runs * first.seconds):
                untried += one.names
            elif one.interpreter:
                found += one.names if not is_hashed and self._tells_forks() else []
            elif any(self._differs(self._compared(each), kept) for each in self._orders(one)):
                found += one.names
                is_hashed = is_hashed or bool(one.hash_seed)
        others = "several of these together" if len(different.names) > 1 else "what its first run left"
        text = ", and on ".join(found) or f"{others}, or on chance"
        return f"{text} (not tried for lack of time: {', '.join(untried)})" if untried else text

    def _orders(self, one: Circumstances) -> list[Circumstances]:
        return [replace(one, hash_seed=self.seed()) for _ in range(SEEDS)] if one.hash_seed else [one]

    def _tells_forks(self) -> bool:
        """Whether forks of an interpreter that is there give one thing, and new interpreters another.

        No order of hashes is set for these runs, since none is forked with one; so each kind has to agree with itself.
        """
        forked, fresh = Circumstances(), Circumstances(interpreter=True)
        report = self._compared(forked, is_seeded=False)
        if report.status != results.SUCCEEDED:
            return False
        kept = self._kept(report, "forked")
        if self._differs(self._compared(forked, is_seeded=False), kept):
            return False
        report = self._compared(fresh, is_seeded=False)
        if report.status != results.SUCCEEDED:
            return True
        if not self._differs(report, kept):
            return False
        return not self._differs(self._compared(fresh, is_seeded=False), self._kept(report, "fresh"))

    def _kept(self, report: StageReport, by: str) -> dict[str, str]:
        """Keep the outputs of a run, which the next one would remove."""
        kept = {}
        for name, path in report.outputs.paths.items():
            kept[name] = str(self.case.directory / _COMPARED / by / name)
            copy(path, kept[name])
        return kept

    def _compared(self, different: Circumstances, *, is_seeded: bool = True) -> StageReport:
        varied = lay_varied(self.bench, self.case.directory / _VARIED, different, is_seeded=is_seeded)
        if not different.host_name:
            return self.run(varied, here)
        with Confined(HOST_NAME) as confined:
            return self.run(varied, confined.call)

    def _differs(self, report: StageReport, kept: Mapping[str, str]) -> bool:
        if report.status != results.SUCCEEDED:
            return True
        pairs = ((kept[name], path) for name, path in report.outputs.paths.items())
        return not self.bench.volatile and any(difference("", one, other, _SIDES) for one, other in pairs)
