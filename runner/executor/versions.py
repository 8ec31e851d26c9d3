"""The versions of programs: each `programVersion` is asked once a run, before the first attempt of a stage that has it.

Until it has ended, no other stage starts.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from runner.errors import Fault, SpecError, StateError
from runner.executor.launches import VERSION_LIMIT, version_launch
from runner.reading import open_regular
from runner.results import AttemptResult, network_text
from runner.sandbox.environment import stage_path

if TYPE_CHECKING:
    from runner.executor.job import RunContext
    from runner.sandbox.launcher import Launch, Launcher, Report
    from runner.spec.model import Stage

    Question = tuple[tuple[str, ...], str]  # a programVersion, and the PATH of its stage

LONGEST = 200  # characters of a version
_READ = 1 << 16  # bytes of what a program prints


class Versions:
    """Asks programs for their versions, by launches with negative numbers, and keeps the answers for one run."""

    def __init__(self, run: RunContext, launcher: Launcher) -> None:
        self._run = run
        self._launcher = launcher
        self._known: dict[Question, str | None] = {}  # None: without an answer, or without one yet
        self._asked: tuple[Stage, Launch] | None = None  # for whose stage, and how

    @property
    def is_asking(self) -> bool:
        """Whether a question is on its way. Then `ask` may not be called."""
        return self._asked is not None

    def of(self, stage: Stage) -> str | None:
        """Return the version of a stage's program, None if it is not known."""
        return self._known.get(self._question(stage))

    def ask(self, stage: Stage) -> None:
        """Ask the program of a stage that has a `programVersion`, unless this run has asked it.

        Call it when the stage's first attempt is about to start; `take` takes the answer.
        """
        question = self._question(stage)
        if not stage.program_version or question in self._known:
            return
        self._known[question] = None
        try:
            launch = version_launch(self._run, stage, stage.program_version, -len(self._known))
        except SpecError as error:
            for fault in error.faults:
                self._run.warn(fault)
        else:
            self._asked = stage, launch
            self._launcher.submit(launch)

    def take(self, report: Report) -> None:
        """Take a report about the question. Without an answer, warn."""
        if self._asked is None or not isinstance(report, AttemptResult):
            return  # the last report has all calls that it did not live long enough to report before
        (stage, launch), self._asked = self._asked, None
        version, fault = _first_line(launch.log), ""
        if report.timed_out:
            fault = f"took longer than {VERSION_LIMIT:g} s"
        elif report.failed_to_start or report.lost:
            fault = report.describe()
        elif not (version or report.sent):
            fault = "printed no line"
        elif refused := [calls for calls in report.network if not calls.is_probe]:
            self._warn(stage, f"asked for a network, which was refused: {network_text(refused)}")
        if fault:
            self._warn(stage, f"{fault}, so no version is on record")
        else:
            self._known[self._question(stage)] = version or None

    def _warn(self, stage: Stage, what: str) -> None:
        self._run.warn(Fault(f"stage {stage.name}, programVersion", what))

    def _question(self, stage: Stage) -> Question:
        path = stage_path(stage.env, sys.executable, self._run.spec.tools_of(stage))
        return stage.program_version or (), path


def _first_line(log: str) -> str:
    """Return the first line that is not blank, cut to LONGEST characters; "" without one."""
    with suppress(OSError, StateError), open(open_regular(log, follow=False), "rb") as printed:
        lines = printed.read(_READ).decode("utf-8", "backslashreplace").splitlines()
        return next(filter(None, map(str.strip, lines)), "")[:LONGEST]
    return ""
