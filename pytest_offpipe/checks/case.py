"""One check: its stage, the undisturbed run to compare with, and the report of a finding.

Most checks make trials: they run the stage alone, from nothing, with a fault, and compare it with the undisturbed run.
"""

from __future__ import annotations

import errno
import os
import shlex
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import pytest

from pytest_offpipe.compare import difference
from pytest_offpipe.faults.plan import Fault, Injector
from pytest_offpipe.normalise import FilterError, Normaliser
from pytest_offpipe.reports import RunReport, StageReport, tail
from pytest_offpipe.runs import UNSYNCED, Around, run_sandbox, undisturbed_env
from pytest_offpipe.sandbox import Sandbox, Source, discard, lay_out, one_stage
from pytest_offpipe.settings import SETTINGS, UNMADE, extension_of
from runner.display.text import printable, printable_lines
from runner.errors import OffpipeError
from runner.hookspecs import hookimpl
from runner.spec.fields import ANY

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_offpipe.shared import SharedRun
    from pytest_offpipe.usage import Fields
    from runner.engine import Options
    from runner.spec.model import Stage

Call = Callable[..., Any]
MODULES = {
    **{name: name for name in ("golden", "repeat", "reads", "hostile")},
    **dict.fromkeys(("retry", "stop", "resume", "full"), "interrupted"),
}
NOTE = "offpipe_note"  # a user property: the remarks of checks
RUN_IN_A_COPY = "run it in a copy that holds only what the spec declares"
SAME = "the same bytes as undisturbed"
PATIENCE = 30.0  # seconds that every run may take
LATER = 1.1  # seconds: many programs and file systems count whole seconds
FACTOR = 5.0  # and this many times its undisturbed seconds
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_ELSEWHERE = "checks are made below pytest's temporary directory: free some of it, or name another one (--basetemp)"


class CheckFailedError(AssertionError):
    """A check of a spec failed. Survives pickling, as reports of xdist workers must."""


class SpecItem(pytest.Function):
    """One check of one stage, or of the pipeline; `exempt`: why the spec skips it for this stage, or "".

    `turn` counts the repetitions of pytest-repeat. `whole` is the name without it.
    """

    stage: Stage | None
    check: str
    line: int
    exempt: str
    turn: int
    whole: str

    @property
    def id(self) -> Any:
        """The structured form of the node id, which pytest has from 9.2 on.

        --lf, --ff and --sw parse it from text, where brackets hold parameters. They would never find an id that is made
        of a name with brackets.
        """
        made = super().id
        return type(made).parse(str(made))

    def reportinfo(self) -> tuple[Path, int, str]:
        """Return the place of the stage in its spec; lines count from 0 here."""
        return self.path, self.line - 1, self.name

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], *arguments: Any) -> Any:
        """Return the text of a failed check, or of a full disk. Any other error is a bug of ours."""
        error = excinfo.value
        if isinstance(error, CheckFailedError):
            return str(error)
        if any(isinstance(cause, OSError) and cause.errno in _NO_ROOM for cause in (error, error.__cause__)):
            text = str(error) if isinstance(error, OffpipeError) else f"error: {error}"
            return printable_lines(f"{text}\nhint: {_ELSEWHERE}")
        return super().repr_failure(excinfo, *arguments)


class Case:
    """One check of one stage, or of the whole pipeline."""

    def __init__(self, item: SpecItem, shared: SharedRun) -> None:
        self.item = item
        self.shared = shared
        self.spec = shared.spec  # as the user has it; templates may be open
        self.settings = item.config.stash[SETTINGS]
        worker = getattr(item.config, "workerinput", {}).get("workerid")  # with --dist each, all make all checks
        self._subject = item.stage.name if item.stage else "pipeline"
        turn = str(item.turn) if item.turn > 1 else ""
        self.directory = shared.directory / ".".join(filter(None, (self._subject, item.check, worker, turn)))

    @property
    def stage(self) -> Stage:
        """The stage, or the instance that stands for a template."""
        assert self.item.stage is not None
        return self.shared.instance(self.item.stage)

    def undisturbed(self) -> StageReport:
        """Return the report of the undisturbed run. Fails, or skips, if it did not succeed."""
        undisturbed = self.shared.stage(self.stage.name)
        if undisturbed.succeeded and undisturbed.report:
            return undisturbed.report
        blocked = undisturbed.blocked
        self.skip_if_reported(blocked or self.stage.name)
        cause = self.shared.stage(blocked) if blocked else undisturbed
        log, error = (cause.report.log, cause.report.error) if cause.report else ("", "")
        error = self.in_users_words(cause.error or error or "it did not succeed")
        if f"time limit of {self.settings.timeout:g} s" in error:
            error += "\nhint: the ini offpipe_timeout says how long a run may take"
        if blocked:
            expected, lines = "what it needs is made", [f"{blocked} failed", error]
        else:  # only the stage writes in the sandbox, so it made these changes, whatever the runner suspects
            spoilt = self.described([change for change in cause.changes if change[0] != "written"])
            lines = [error, *(f"the stage itself has {text}" for text in spoilt)]
            lines.sort(key=lambda line: not line.startswith("the stage itself has removed"))  # the cause first
            expected = "exit 0, and every declared output"
        return self.fail(RUN_IN_A_COPY, expected, "\n".join(lines), log=log, kept=self.shared.place)

    def skip_if_reported(self, stage: str, check: str = "run", why: str = "") -> None:
        """Skip if another check of this session reports that the stage fails."""
        names = {f"{name}[{check}]" for name in (stage, stage.partition("@")[0])} - {self.item.whole}
        items: list[Any] = [
            item for item in self.item.session.items if isinstance(item, SpecItem) and item.whole in names
        ]
        for item in items:
            if item.path == self.item.path and not item.exempt and self.shared.instance(item.stage).name == stage:
                pytest.skip(f"{why} {item.name} fails".lstrip())

    def described(self, changes: Sequence[tuple[str, str]]) -> list[str]:
        """Return changes in the shared sandbox as text, with paths relative to the root, or to $HOME."""
        lines = []
        for what, path in changes:
            root, home = self.shared.sandbox.root, f"{self.shared.sandbox.home}/"
            shown = f"$HOME/{path.removeprefix(home)}" if path.startswith(home) else os.path.relpath(path, root)
            lines.append(printable(f"{what}: {shown}"))
        return lines

    def in_users_words(self, text: str) -> str:
        """Return a message of the runner with the path of the user's spec instead of its copy."""
        return text.replace(self.shared.sandbox.spec, self.spec.shown) if self.shared.laid_out.exists() else text

    def fail(
        self, done: str, expected: str, found: str, *, log: str = "", kept: str = "", by_hand: str = ""
    ) -> NoReturn:
        """Raise CheckFailedError. The workspace, if there is one, is kept, and the text names it.

        The text is made printable: names and logs may hold any bytes, but JUnit's XML may not.
        """
        found = found.removeprefix("error: ")
        rows = {
            "done": done,
            "expected": expected,
            "found": found,
            "log": "\n".join(tail(log)),
            "kept": kept or str(self.directory if self.directory.exists() else ""),
            "by hand": by_hand or self.by_hand,
        }
        own = f"stage {self.stage.name if self.item.stage else ''}: "  # the test's id names it
        lines = [(found or expected).splitlines()[0].removeprefix(own)]
        for name, text in rows.items():
            first, *others = text.splitlines() or [""]
            lines += [f"  {f'{name}:':<10}{first}", *(f"{'':<12}{line}" for line in others)] if text else []
        lines.append(f"{self.spec.shown}:{self.item.line}: {CheckFailedError.__name__}")
        raise CheckFailedError("\n".join(map(printable, lines)))

    @property
    def by_hand(self) -> str:
        """The command that makes the check again with the same seed, in the directory where pytest was called."""
        words = ["pytest", f"{self.spec.shown}::{self.item.whole}", "--offpipe-seed", str(self.settings.seed)]
        for option in ("--offpipe-inputs", "--offpipe-each"):
            if given := self.item.config.getoption(option):
                words += [option, given]
        return shlex.join(words)

    def note(self, text: str) -> None:
        """Add a remark about the check to its report, and to JUnit's as a property."""
        text = printable_lines(text)
        self.item.add_report_section("call", "offpipe", text)
        self.item.user_properties.append((NOTE, text))

    def warn(self, text: str) -> None:
        """Give a warning: pytest shows it after all tests, and nothing fails."""
        self.item.warn(pytest.PytestWarning(printable_lines(f"{self.item.name}: {text}")))

    def unmade(self, why: str) -> NoReturn:
        """Skip because this machine, or chance, kept the check from being made. Strict settings make it a failure."""
        self.clean()
        if self.settings.strict:
            self.fail("nothing", "a check that is made (--offpipe-strict)", why)
        why = printable_lines(why)
        self.item.user_properties.append((UNMADE, why))
        pytest.skip(why)

    def require_time(self, runs: int, seconds: float) -> None:
        """Leave the check unmade if this many runs, of `seconds` each, do not fit into the budget."""
        limit = self.settings.budget
        if runs * seconds > limit:
            self.unmade(f"{runs} runs of {seconds:.0f} s do not fit into the {limit:g} s of --offpipe-budget")

    def clean(self) -> None:
        """Remove the workspace."""
        discard(self.directory)


def run_check(case: Case) -> None:
    """Make one check, and remove its workspace if it passes. Raises CheckFailedError with its finding, or skips."""
    module = import_module(f"pytest_offpipe.checks.{MODULES.get(case.item.check, 'undisturbed')}")
    check: Callable[[Case], None] = getattr(module, f"check_{case.item.check}")
    try:
        check(case)
    except FilterError as error:
        case.fail("filtered outputs (normalise)", "that the filter exits with 0", str(error))
    case.clean()


def here(function: Call, *arguments: object) -> Any:
    """Call a function in this process. `Confined.call` does it in a process with other disks or surroundings."""
    return function(*arguments)


class Bench:
    """The stage of a check, its undisturbed run, and the files and fields that a trial begins with.

    Fails or skips the check, as Case.undisturbed does, if there is no undisturbed run to compare with.
    """

    def __init__(self, case: Case, overrides: Fields | None = None) -> None:
        """`overrides` are fields of the stage in every trial."""
        self.case = case
        self.call: Call = here  # `full` calls on another disk, `repeat` in other surroundings
        self.modes = 0o7777  # the bits of modes that count
        self.undisturbed = case.undisturbed()
        self.extension = extension_of(case.spec, case.stage)
        self.volatile = self.extension["volatile"]
        self.spec = case.shared.laid
        self.stage = next(stage for stage in self.spec.stages if stage.name == case.stage.name)
        filters, place = self.extension["normalise"], f"{case.directory}/normalise"
        self.normaliser = Normaliser(filters, self.spec, self.stage, case.spec.root, place, case.settings.timeout)
        limit = PATIENCE + FACTOR * self.undisturbed.seconds
        own = self.stage.timeout_seconds
        limit = min(limit, max(own) if isinstance(own, tuple) else own or limit)
        retry = at_once(self.stage, self.stage.retry.attempts)
        self.overrides: dict[str, Any] = {"timeoutSeconds": limit, "retry": retry, **(overrides or {})}
        source = Source(self.spec)
        self.inputs = source.inputs_of(self.stage)
        self._files = self.inputs | source.code_of(self.stage)
        case.clean()  # a session that was killed may have left files
        if self.volatile:
            case.note(f"compared existence only, because the spec calls its bytes volatile: {self.volatile}")

    def trial(self, name: str, overrides: Fields | None = None) -> Trial:
        """Return a new sandbox of the stage alone, with the outputs of other stages as plain input.

        It has its own state directory, home and temporary directory, so that a file in the wrong place disturbs no
        other trial.
        """
        directory, origin = f"{self.case.directory}/{name}", self.case.shared.sandbox.origin
        content = one_stage(self.spec, self.stage, self.overrides if overrides is None else overrides)
        sandbox = lay_out(self.spec, directory, self._files, content, origin=origin)
        return Trial(self, sandbox, Around(sandbox.home, sandbox.temporary, env=undisturbed_env(self.stage)))

    def compare(self, report: StageReport, when: str) -> str:
        """Return how outputs differ from the undisturbed ones; "" if they do not, or if the stage is volatile."""
        for name, path in self.undisturbed.outputs.paths.items() if not self.volatile else ():
            sides, of_files = ("undisturbed", when), self.normaliser.of_files
            if text := self.call(difference, name, path, report.outputs.paths[name], sides, of_files, self.modes):
                return str(text)
        return ""

    def changed(self, report: StageReport, when: str) -> str:
        """Do as `compare`, but rule out that the bytes differ even without a fault.

        If they do, skip if `repeat` reports that in this session, else fail. The run without a fault has its own
        launcher, because all forks of one interpreter have the same order of hashes.
        """
        if text := self.compare(report, when):
            await_later(self.case.shared.stage(self.stage.name).ended)
            overrides = {name: value for name, value in self.overrides.items() if name != "checkpoint"}
            control = self.trial("control", overrides)
            once_more = control.run_apart()
            if once_more.succeeded and (anyway := self.compare(once_more, "once more")):
                self.case.skip_if_reported(self.stage.name, "repeat", "its bytes differ even with nothing done to it:")
                control.fail("ran it once more, with nothing done to it", SAME, anyway, once_more)
            control.close()
        return text


class Trial(NamedTuple):
    """One sandbox, in which the stage may be run several times."""

    bench: Bench
    sandbox: Sandbox
    around: Around
    options: Options = UNSYNCED

    def run(self, *faults: Fault) -> StageReport:
        """Run the stage, with these faults, by the launcher that checks share, and return how it ended."""
        injector = TrialInjector(f"{self.sandbox.directory}/faults", [*faults])
        self.around.alter = injector
        launchers = self.bench.case.shared.launchers
        return self.of_stage(run_sandbox(self.sandbox, self.around, self.options, (injector,), launchers=launchers))

    def run_apart(self, call: Call = here) -> StageReport:
        """Run the stage by a launcher of its own; `call` may make the call in other surroundings."""
        return self.of_stage(call(run_sandbox, self.sandbox, self.around, self.options))

    def of_stage(self, report: RunReport) -> StageReport:
        """Return the part of a run's report that is about the stage. Fails the check if the run could not begin."""
        name = self.bench.stage.name
        if name not in report.stages:
            self.bench.case.fail("ran it alone, in a copy of what it declares", "that it runs", report.error)
        return report.stages[name]

    def require_same(self, report: StageReport, done: str, when: str) -> None:
        """Fail the check unless a run succeeded and gave the bytes that it gives undisturbed."""
        if not report.succeeded:
            self.fail(done, f"exit 0, and {SAME}", ended(report), report)
        if text := self.bench.changed(report, when):
            self.fail(done, SAME, text, report)

    def lack(self, report: StageReport, when: str, done: str, complete: str) -> str:
        """Return what the outputs of a successful run lack. Leaves the check unmade if that is nothing or unknown."""
        case = self.bench.case
        if self.bench.volatile:
            case.unmade(f"it ended with 0, and volatile bytes do not show whether all of {done}")
        return self.bench.changed(report, when) or case.unmade(complete)

    def close(self) -> None:
        """Remove the sandbox."""
        discard(self.sandbox.directory)

    def fail(self, done: str, expected: str, found: str, report: StageReport) -> NoReturn:
        """Fail the check; its sandbox is kept, and the text names it."""
        case = self.bench.case
        again = shlex.join(["offpipe", self.sandbox.spec, "--force"])
        by_hand = f"{case.by_hand}\n{again}   (runs it once more where it was kept)"
        case.fail(done, expected, found, log=report.log, by_hand=by_hand)


class TrialInjector(Injector):
    """Injects the faults of a trial. After a kill there is no further attempt, so that the next run continues."""

    @hookimpl
    def offpipe_should_retry(self) -> bool | None:
        """Return False after a fault that should end the run; else the stage's policy decides."""
        return False if any(fault.fired and fault.kind != "exit" for fault in self.faults) else None


def at_once(stage: Stage, attempts: int) -> dict[str, Any]:
    """Return the stage's own policy of retries with so many `attempts`, and no delay between them."""
    codes = stage.retry.retry_exit_codes
    return {"attempts": attempts, "delaySeconds": 0, "retryExitCodes": codes if codes == ANY else list(codes)}


def ended(report: StageReport) -> str:
    """Return how a run of a stage ended, in the runner's words."""
    return report.error or f"it ended with exit {report.exit_code}"


def await_later(moment: float) -> None:
    """Wait until clocks that count in seconds show another second than at `moment`, or for LATER."""
    time.sleep(min(max(0.0, moment + LATER - time.time()), LATER))
