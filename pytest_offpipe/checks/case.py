"""What a check works with: its stage, how that does undisturbed, a workspace, and how it reports a finding."""

from __future__ import annotations

import os
import shlex
from importlib import import_module
from typing import TYPE_CHECKING, NoReturn

import pytest

from pytest_offpipe.sandbox import discard
from pytest_offpipe.settings import BORROWED, SETTINGS, UNMADE
from runner.display.text import printable, printable_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pytest_offpipe.reports import StageReport
    from pytest_offpipe.shared import SharedRun, Undisturbed
    from runner.spec.model import Spec, Stage

LOG_LINES = 15
MODULES = {
    "outputs": "run", "retry": "interrupted", "stop": "interrupted", "resume": "interrupted",
    "offline": "pipeline", "skip": "pipeline", "audit": "pipeline",
}  # fmt: skip
NOTE = "offpipe_note"  # a user property: what a check that passed did not do, or how much of it
RUN_IN_A_COPY = "run it in a copy that holds only what the spec declares"


class CheckFailedError(AssertionError):
    """A check of a spec failed. Survives pickling, as reports of xdist workers must."""


def _tail(log: str) -> str:
    lines = log.rstrip().splitlines()
    cut = [f"... {len(lines) - LOG_LINES:,} lines before"] if len(lines) > LOG_LINES else []
    return "\n".join([*cut, *lines[-LOG_LINES:]])


class Case:
    """One check of one stage, or of the whole pipeline; `line` is that of the spec where the stage begins."""

    def __init__(self, item: pytest.Item, line: int, shared: SharedRun, stage: Stage | None, check: str) -> None:
        self.item = item
        self.line = line
        self.shared = shared
        self.check = check
        self.settings = item.config.stash[SETTINGS]
        self.is_pipeline = stage is None
        self._stage = stage
        worker = getattr(item.config, "workerinput", {}).get("workerid")  # with --dist each, all make all checks
        subject = stage.name if stage else "pipeline"
        self.directory = shared.directory / ".".join(filter(None, (subject, check, worker)))

    @property
    def spec(self) -> Spec:
        """The spec, as the user has it."""
        return self.shared.spec

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
        self.fail(RUN_IN_A_COPY, expected, "\n".join(lines), log=log, kept=str(self.shared.directory / "run"))

    def shown(self, path: str) -> str:
        """Return a path of the shared sandbox as it is for a stage: from its root, or $HOME; in one line."""
        sandbox = self.shared.sandbox
        if path.startswith(f"{sandbox.home}/"):
            path = f"$HOME{path.removeprefix(sandbox.home)}"
        else:
            path = os.path.relpath(path, sandbox.root)
        return printable(path)

    def in_users_words(self, text: str) -> str:
        """Return what the runner said of the shared sandbox, said of the spec itself."""
        is_laid_out = (self.shared.directory / "run").exists()
        return text.replace(self.shared.sandbox.spec, self.spec.shown) if is_laid_out else text

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
            "done": done, "expected": expected, "found": found, "log": _tail(log), "kept": kept,
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
    module = import_module(f"pytest_offpipe.checks.{MODULES.get(case.check, case.check)}")
    check: Callable[[Case], None] = getattr(module, f"check_{case.check}")
    waited = set(case.shared.waited)
    try:
        check(case)
        case.clean()
    finally:
        case.item.stash[BORROWED] = case.borrowed(case.shared.waited.keys() - waited)
