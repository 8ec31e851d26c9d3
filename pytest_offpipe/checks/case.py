"""What a check works with: its stage, how that does undisturbed, and how it reports a finding.

Most checks make trials: the stage alone, from nothing, with something done to it, against how it does undisturbed.
"""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from signal import Signals
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import pytest

from pytest_offpipe.compare import Sides, difference
from pytest_offpipe.faults.plan import Fault, Injector
from pytest_offpipe.reports import RunReport, StageReport, tail
from pytest_offpipe.runs import UNSYNCED, Around, run_sandbox
from pytest_offpipe.sandbox import Sandbox, Source, discard, inputs_of, lay_out, one_stage
from pytest_offpipe.settings import BORROWED, SETTINGS, UNMADE, extension_of
from runner import results
from runner.display.text import printable, printable_lines
from runner.hookspecs import hookimpl

if TYPE_CHECKING:
    from pytest_offpipe.shared import SharedRun, Undisturbed
    from pytest_offpipe.usage import Fields
    from runner.spec.model import Stage

Call = Callable[..., Any]
MODULES = {"repeat": "repeat", "retry": "interrupted", "stop": "interrupted", "resume": "interrupted", "full": "full"}
NOTE = "offpipe_note"  # a user property: what a check that passed did not do, or how much of it
RUN_IN_A_COPY = "run it in a copy that holds only what the spec declares"
SAME = "the same bytes as undisturbed"
PATIENCE = 30.0  # seconds that any run gets, however short it is undisturbed
LATER = 1.1  # seconds: more than the whole ones that many programs and file systems count in
FACTOR = 5.0  # times the undisturbed seconds come on top


class CheckFailedError(AssertionError):
    """A check of a spec failed. Survives pickling, as reports of xdist workers must."""


class Case:
    """One check of one stage, or of the whole pipeline; `line` is that of the spec where the stage begins."""

    def __init__(self, item: pytest.Item, line: int, shared: SharedRun, stage: Stage | None, check: str) -> None:
        self.item = item
        self.line = line
        self.shared = shared
        self.check = check
        self.spec = shared.spec  # as the user has it
        self.settings = item.config.stash[SETTINGS]
        self.is_pipeline = stage is None
        self._stage = stage
        worker = getattr(item.config, "workerinput", {}).get("workerid")  # with --dist each, all make all checks
        subject = stage.name if stage else "pipeline"
        self.directory = shared.directory / ".".join(filter(None, (subject, check, worker)))

    @property
    def stage(self) -> Stage:
        """The stage."""
        assert self._stage is not None
        return self._stage

    def undisturbed(self) -> StageReport:
        """Return how the stage does when nothing is done to it; fails, or skips, when it does not succeed."""
        undisturbed = self.shared.stage(self.stage.name)
        if undisturbed.succeeded and undisturbed.report:
            return undisturbed.report
        self.skip_if_reported(undisturbed.blocked or self.stage.name)
        return self.fail_undisturbed(undisturbed)

    def skip_if_reported(self, stage: str, check: str = "run", why: str = "") -> None:
        """Skip when the check of a stage that fails is made in this session as well: it reports the failure."""
        if self._is_made(stage, check):
            pytest.skip(f"{why} {stage}[{check}] fails".lstrip())

    def borrowed(self, waited: Iterable[str]) -> float:
        """Return how many of the seconds that this check took are those of `run` of the stages `waited` for.

        Each stage is run once for all of its checks, by whichever comes first; its time is that of its `run`.
        """
        others = sum(self.shared.waited[stage] for stage in waited if self._is_made(stage))
        is_run = self.check == "run" and not self.is_pipeline
        return others - (self.shared.seconds(self.stage.name) if is_run else 0.0)

    def _is_made(self, stage: str, check: str = "run") -> bool:
        name, path = f"{stage}[{check}]", self.item.path
        items = (item for item in self.item.session.items if item.name == name and item.path == path)
        return any(not getattr(item, "exempt", "") for item in items)

    def fail_undisturbed(self, undisturbed: Undisturbed) -> NoReturn:
        """Fail since the stage does not succeed by itself."""
        blocked = undisturbed.blocked
        cause = self.shared.stage(blocked) if blocked else undisturbed
        log, error = (cause.report.log, cause.report.error) if cause.report else ("", "")
        error = self.in_users_words(cause.error or error or ("" if blocked else "it did not succeed"))
        if blocked:
            expected, lines = "what it needs is made", [f"{blocked} failed", error]
        else:  # Nobody else writes in there, so it has spoilt them itself, whatever the runner may guess.
            spoilt = [(what, path) for what, path in cause.changes if what != "written"]
            lines = [error, *(f"the stage itself has {what}: {self.shown(path)}" for what, path in spoilt)]
            expected = "exit 0, and every declared output"
        self.fail(RUN_IN_A_COPY, expected, "\n".join(lines), log=log, kept=str(self.shared.place))

    def shown(self, path: str) -> str:
        """Return a path of the shared sandbox as it is for a stage: from its root, or $HOME; in one line."""
        home = f"{self.shared.sandbox.home}/"
        if path.startswith(home):
            return printable(f"$HOME/{path.removeprefix(home)}")
        return printable(os.path.relpath(path, self.shared.sandbox.root))

    def in_users_words(self, text: str) -> str:
        """Return what the runner said of the shared sandbox, said of the spec itself."""
        return text.replace(self.shared.sandbox.spec, self.spec.shown) if self.shared.place.exists() else text

    def fail(
        self, done: str, expected: str, found: str, *, log: str = "", kept: str = "", by_hand: str = ""
    ) -> NoReturn:
        """Raise what was found; the workspace, if there is one, stays and is named.

        The text is one that terminals, JUnit's XML and the channels of xdist take: names and logs may be of any bytes.
        """
        subject = f"pipeline {self.spec.name}" if self.is_pipeline else f"stage {self.stage.name}"
        found = found.removeprefix("error: ")
        kept = kept or (str(self.directory) if self.directory.exists() else "")
        rows = {
            "done": done, "expected": expected, "found": found, "log": "\n".join(tail(log)), "kept": kept,
            "by hand": by_hand or self.by_hand,
        }  # fmt: skip
        lines = [f"{subject} [{self.check}]: {(found or expected).splitlines()[0]}"]
        for name, text in rows.items():
            first, *others = text.splitlines() or [""]
            lines += [f"  {f'{name}:':<10}{first}", *(f"{'':<12}{line}" for line in others)] if text else []
        lines.append(f"{self.spec.shown}:{self.line}: {CheckFailedError.__name__}")
        raise CheckFailedError("\n".join(map(printable, lines)))

    @property
    def by_hand(self) -> str:
        """The command that makes the check again, with the same chance, where pytest was called."""
        words = ["pytest", f"{self.spec.shown}::{self.item.name}", "--offpipe-seed", str(self.settings.seed)]
        if inputs := self.item.config.getoption("offpipe_inputs"):
            words += ["--offpipe-inputs", inputs]
        return shlex.join(words)

    def note(self, text: str) -> None:
        """Add more about a check than that it passed: a section of its report, and a property in JUnit's."""
        text = printable_lines(text)
        self.item.add_report_section("call", "offpipe", text)
        self.item.user_properties.append((NOTE, text))

    def unmade(self, why: str) -> NoReturn:
        """Skip since this machine, or chance, kept the check from being made; strict settings make it a failure."""
        self.clean()
        if self.settings.strict:
            self.fail("nothing", "a check that is made (--offpipe-strict)", why)
        why = printable_lines(why)
        self.item.user_properties.append((UNMADE, why))
        pytest.skip(why)

    def clean(self) -> None:
        """Remove the workspace."""
        discard(self.directory)


def run_check(case: Case) -> None:
    """Make one check; one that passes leaves no workspace. Raises CheckFailedError with what it found, or skips."""
    module = import_module(f"pytest_offpipe.checks.{MODULES.get(case.check, 'undisturbed')}")
    check: Callable[[Case], None] = getattr(module, f"check_{case.check}")
    waited = set(case.shared.waited)
    try:
        check(case)
        case.clean()
    finally:
        case.item.stash[BORROWED] = case.borrowed(case.shared.waited.keys() - waited)


def here(function: Call, *arguments: object) -> Any:
    """Call it in this process; Confined.call does so in one that sees other disks and names."""
    return function(*arguments)


class Bench:
    """The stage of a check, how it does undisturbed, and what a trial begins with.

    Raises, as the check, what Case.undisturbed does when there is nothing to compare trials with.
    """

    def __init__(self, case: Case, overrides: Fields | None = None) -> None:
        """`overrides` are fields of the stage in every trial."""
        self.case = case
        self.call: Call = here  # makes calls where the paths of outputs mean something
        self.undisturbed = case.undisturbed()
        self.volatile = extension_of(case.spec, case.stage).volatile
        self.spec = case.shared.laid
        self.stage = next(stage for stage in self.spec.stages if stage.name == case.stage.name)
        limit = PATIENCE + FACTOR * self.undisturbed.seconds
        limit = min(limit, self.stage.timeout_seconds or limit)
        retry = at_once(self.stage, self.stage.retry.attempts)
        self.overrides: dict[str, Any] = {"timeoutSeconds": limit, "retry": retry, **(overrides or {})}
        source = Source(self.spec)
        self.inputs = inputs_of(source.graph, self.stage)
        self._files = self.inputs | source.code_of(self.stage)
        case.clean()  # what a session that was killed left

    def trial(self, name: str, overrides: Fields | None = None) -> Trial:
        """Return a new sandbox of the stage alone, with what other stages made as plain input.

        State directory, home and temporary directory are its own too. Nothing is shared between trials: what a stage
        left where it should not is to show up in the one that made it.
        """
        directory, origin = self.case.directory / name, self.case.shared.sandbox.origin
        content = one_stage(self.spec, self.stage, self.overrides if overrides is None else overrides)
        return Trial(self, lay_out(self.spec, directory, self._files, content, origin=origin))

    def compare(self, report: StageReport, when: str) -> str:
        """Return how outputs differ from the undisturbed ones, which of a volatile stage nothing can; "" for not."""
        paths, sides = report.outputs.paths, Sides("undisturbed", when)
        for name, path in self.undisturbed.outputs.paths.items() if not self.volatile else ():
            if text := self.call(difference, name, path, paths[name], sides):
                return str(text)
        return ""

    def changed(self, report: StageReport, when: str) -> str:
        """As compare; but bytes that differ with nothing done to the stage, too, say nothing of what was done to it.

        They are what `repeat` is about: skips where that is made as well, else fails with them. The launcher is another
        one than that of the undisturbed run, as it is of `full`: forks of one interpreter have one order of hashes.
        """
        if text := self.compare(report, when):
            await_moment(self.case.shared.stage(self.stage.name).ended + LATER)
            plain = {name: value for name, value in self.overrides.items() if name != "checkpoint"}
            control = self.trial("control", plain)
            once_more = control.run(is_apart=True)
            if once_more.status == results.SUCCEEDED and (anyway := self.compare(once_more, "once more")):
                self.case.skip_if_reported(self.stage.name, "repeat", "its bytes differ even with nothing done to it:")
                control.fail("ran it once more, with nothing done to it", SAME, anyway, once_more)
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

    def require_same(self, report: StageReport, done: str, when: str) -> None:
        """Fail the check unless a run succeeded and gave the bytes that it gives undisturbed."""
        if report.status != results.SUCCEEDED:
            self.fail(done, f"exit 0, and {SAME}", ended(report), report)
        if text := self.bench.changed(report, when):
            self.fail(done, SAME, text, report)

    def lack(self, report: StageReport, when: str, done: str, complete: str) -> str:
        """Return what the outputs of a success lack. Leaves the check unmade where that is nothing, or unknown."""
        case = self.bench.case
        if self.bench.volatile:
            case.unmade(f"it ended with 0, and whether all of {done} cannot be told from volatile bytes")
        return self.bench.changed(report, when) or case.unmade(complete)

    def close(self) -> None:
        """Remove it, after it showed nothing."""
        discard(self.sandbox.directory)

    def fail(self, done: str, expected: str, found: str, report: StageReport) -> NoReturn:
        """Fail the check; its sandbox stays, and is named."""
        case = self.bench.case
        again = shlex.join(["offpipe", self.sandbox.spec, "--force"])
        by_hand = f"{case.by_hand}\n{again}   (runs it once more where it was kept)"
        case.fail(done, expected, found, log=report.log, by_hand=by_hand)


@dataclass(eq=False)
class EndsWithFault:
    """Lets no attempt follow one that a fault has ended, so that it is the next run which goes on."""

    faults: tuple[Fault, ...]

    @hookimpl
    def offpipe_should_retry(self) -> bool | None:
        """Return False after a fault that is to end the run; else the stage's policy decides."""
        return False if any(fault.fired and fault.kind != "exit" for fault in self.faults) else None


class Budget:
    """The seconds that a check may take. Times are of the monotonic clock."""

    def __init__(self, case: Case) -> None:
        self._case, self._limit = case, case.settings.budget
        self._end = time.monotonic() + self._limit

    def allows(self, seconds: float) -> bool:
        """Whether so many more fit in."""
        return time.monotonic() + seconds <= self._end

    def require(self, runs: int, seconds: float) -> None:
        """Leave the check unmade if so many runs do not fit in."""
        if not self.allows(runs * seconds):
            what = f"{runs} runs of {seconds:.0f} s do not fit into the {self._limit:g} s of --offpipe-budget"
            self._case.unmade(what)


def at_once(stage: Stage, attempts: int) -> dict[str, Any]:
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
