"""Trials of a stage: it alone, from nothing, with something done to it, compared with how it does undisturbed."""

from __future__ import annotations

import shlex
import time
from signal import Signals
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from pytest_offpipe.compare import Sides, difference
from pytest_offpipe.faults.plan import Injector
from pytest_offpipe.runs import UNSYNCED, Around, run_sandbox
from pytest_offpipe.sandbox import Source, discard, inputs_of, lay_out, one_stage
from pytest_offpipe.settings import extension_of
from runner import results
from runner.hookspecs import hookimpl

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from pytest_offpipe.checks.case import Case
    from pytest_offpipe.faults.plan import Fault
    from pytest_offpipe.reports import RunReport, StageReport
    from pytest_offpipe.sandbox import Sandbox
    from runner.spec.model import Stage

    Call = Callable[..., Any]

NOTHING: Mapping[str, Any] = {}
SAME = "the same bytes as undisturbed"
PATIENCE = 30.0  # seconds that any run gets, however short it is undisturbed
LATER = 1.1  # seconds: more than the whole ones that many programs and file systems count in
FACTOR = 5.0  # times the undisturbed seconds come on top


def here(function: Callable[..., Any], *arguments: object) -> Any:
    """Call it in this process; Confined.call does so in one that sees other disks and names."""
    return function(*arguments)


class Bench:
    """The stage of a check, how it does undisturbed, and what a trial begins with.

    Raises, as the check, what Case.undisturbed does when there is nothing to compare trials with.
    """

    def __init__(self, case: Case, overrides: Mapping[str, Any] = NOTHING) -> None:
        """`overrides` are fields of the stage in every trial."""
        self.case = case
        self.undisturbed = case.undisturbed()
        self.volatile = extension_of(case.spec, case.stage).volatile
        self.spec = case.shared.laid
        self.stage = next(stage for stage in self.spec.stages if stage.name == case.stage.name)
        limit = PATIENCE + FACTOR * self.undisturbed.seconds
        retry = at_once(self.stage, self.stage.retry.attempts)
        limit = min(limit, self.stage.timeout_seconds or limit)
        self.overrides: dict[str, Any] = {"timeoutSeconds": limit, "retry": retry, **overrides}
        source = Source(self.spec)
        self.inputs = inputs_of(source.graph, self.stage)
        self._files = self.inputs | source.code_of(self.stage)
        case.clean()  # what a session that was killed left

    def lay(self, directory: Path, overrides: Mapping[str, Any]) -> Sandbox:
        """Lay the stage out alone, with what other stages made as plain input."""
        content = one_stage(self.spec, self.stage, overrides)
        return lay_out(self.spec, directory, self._files, content, origin=self.case.shared.sandbox.origin)

    def trial(self, name: str, overrides: Mapping[str, Any] | None = None) -> Trial:
        """Return a new sandbox of the stage, with a state directory, home and temporary directory of its own.

        Nothing is shared between trials: what a stage left where it should not is to show up in the one that made it.
        """
        return Trial(self, self.lay(self.case.directory / name, self.overrides if overrides is None else overrides))

    def compare(self, outputs: Mapping[str, str], when: str, call: Call = here) -> str | None:
        """Return how outputs (name -> path) differ from the undisturbed ones, which of a volatile stage nothing can.

        `call` makes calls where these paths mean something.
        """
        if not self.volatile:
            for name, path in self.undisturbed.outputs.paths.items():
                if text := call(difference, name, path, outputs[name], Sides("undisturbed", when)):
                    return str(text)
        return None

    def changed(self, outputs: Mapping[str, str], when: str, call: Call = here) -> str | None:
        """As compare; but bytes that differ with nothing done to the stage, too, say nothing of what was done to it.

        They are what `repeat` is about: skips where that is made as well, else fails with them. The launcher is another
        one than that of the undisturbed run, as it is of `full`: forks of one interpreter have one order of hashes.
        """
        text = self.compare(outputs, when, call)
        if text:
            await_moment(self.case.shared.stage(self.stage.name).ended + LATER)
            plain = {name: value for name, value in self.overrides.items() if name != "checkpoint"}
            control = self.trial("control", plain)
            report = control.run(is_apart=True)
            anyway = self.compare(report.outputs.paths, "once more") if report.status == results.SUCCEEDED else None
            if anyway:
                self.case.skip_if_reported(self.stage.name, "repeat", "its bytes differ even with nothing done to it:")
                control.fail("ran it once more, with nothing done to it", SAME, anyway, report)
            control.close()
        return text

    def close(self) -> None:
        """Say of a volatile stage that passed how little that means."""
        if self.volatile:
            self.case.note(f"compared existence only, since its bytes are said to be volatile: {self.volatile}")


class Trial(NamedTuple):
    """One sandbox, in which the stage may be run several times."""

    bench: Bench
    sandbox: Sandbox

    def run(self, *faults: Fault, is_apart: bool = False) -> StageReport:
        """Run the stage, with these faults, and return how it ended. Fails the check when it cannot even begin.

        `is_apart`: by a launcher of its own.
        """
        around = Around(self.sandbox.home, self.sandbox.temporary)
        if faults:
            around.alter = Injector(self.sandbox.directory / "faults", list(faults))
        launchers = None if is_apart else self.bench.case.shared.launchers
        return self.of_stage(run_sandbox(self.sandbox, around, UNSYNCED, (EndsWithFault(faults),), launchers=launchers))

    def of_stage(self, report: RunReport) -> StageReport:
        """Return the part of a run's report that is about the stage."""
        name = self.bench.stage.name
        if name not in report.stages:
            self.bench.case.fail("ran it alone, in a copy of what it declares", "that it runs", report.error)
        return report.stages[name]

    def require_same(self, report: StageReport, done: str, when: str, call: Call = here) -> None:
        """Fail the check unless a run succeeded and gave the bytes that it gives undisturbed; `call` as in compare."""
        if report.status != results.SUCCEEDED:
            self.fail(done, f"exit 0, and {SAME}", ended(report), report)
        if text := self.bench.changed(report.outputs.paths, when, call):
            self.fail(done, SAME, text, report)

    def close(self) -> None:
        """Remove it, after it showed nothing."""
        discard(self.sandbox.directory)

    def fail(self, done: str, expected: str, found: str, report: StageReport) -> NoReturn:
        """Fail the check; its sandbox stays, and is named."""
        case = self.bench.case
        again = shlex.join(["offpipe", self.sandbox.spec, "--force"])
        by_hand = f"{case.by_hand}\n{again}   (runs it once more where it was kept)"
        case.fail(done, expected, found, log=report.log, by_hand=by_hand)


class EndsWithFault:
    """Lets no attempt follow one that a fault has ended, so that it is the next run which goes on."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        self._faults = faults

    @hookimpl
    def offpipe_should_retry(self) -> bool | None:
        """Return False after a fault that is to end the run; else the stage's policy decides."""
        return False if any(fault.fired and fault.kind != "exit" for fault in self._faults) else None


class Budget:
    """The seconds that a check may take. Times are of the monotonic clock."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._began = time.monotonic()

    def allows(self, seconds: float) -> bool:
        """Whether so many more fit in."""
        return time.monotonic() - self._began + seconds <= self._case.settings.budget

    def require(self, runs: int, seconds: float) -> None:
        """Leave the check unmade if so many runs do not fit in."""
        if not self.allows(runs * seconds):
            limit = self._case.settings.budget
            self._case.unmade(f"{runs} runs of {seconds:.0f} s do not fit into the {limit:g} s of --offpipe-budget")


def at_once(stage: Stage, attempts: int) -> Mapping[str, Any]:
    """Return the stage's own policy of retries with so many `attempts`, and no delay between them."""
    signals = (Signals(number).name for number in sorted(stage.retry.retry_signals))
    codes = [*sorted(stage.retry.retry_exit_codes), *signals]
    return {"attempts": attempts, "delaySeconds": 0, "retryExitCodes": codes}


def ended(report: StageReport) -> str:
    """Return how a run of a stage ended, in the runner's words."""
    return report.error or f"it ended with exit {report.exit_code}"


def await_moment(moment: float) -> None:
    """Wait until time.time() has come to `moment`, which is soon; not for a clock that was set back."""
    time.sleep(min(max(0.0, moment - time.time()), LATER))
