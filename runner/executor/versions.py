"""The versions of programs: each `programVersion` is asked once a run, before the first attempt of a stage that has it.

Meanwhile the stages that have it wait, and all others go on.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from runner.errors import Fault, SpecError, StateError
from runner.executor.launches import VERSION_LIMIT, version_launch
from runner.reading import open_regular
from runner.record import files
from runner.results import AttemptResult, network_text
from runner.sandbox.environment import stage_path

if TYPE_CHECKING:
    from runner.executor.job import RunContext
    from runner.sandbox.launcher import Launch, Launcher, Report
    from runner.spec.model import Stage

    Question = tuple[tuple[str, ...], str]  # a programVersion, and the PATH of its stage

LONGEST = 200  # characters of a version
_READ = 1 << 16  # bytes of what a program prints


class Asked(NamedTuple):
    """A question on its way, and the stages that wait for the answer."""

    question: Question
    launch: Launch
    stages: list[Stage]


class Versions:
    """Asks programs for their versions, by launches with negative numbers, and keeps the answers for one run."""

    def __init__(self, run: RunContext, launcher: Launcher) -> None:
        self._run = run
        self._launcher = launcher
        self._known: dict[Question, str | None] = {}  # None: without an answer
        self._asked: dict[int, Asked] = {}  # by launch

    @property
    def is_asking(self) -> bool:
        """Whether a question is on its way."""
        return bool(self._asked)

    def of(self, stage: Stage) -> str | None:
        """Return the version of a stage's program, None if it is not known."""
        return self._known.get(_question(stage))

    def holds(self, stage: Stage, *, asks: bool = False) -> bool:
        """Whether a stage must wait for an answer that is on its way; then `take` returns it. `asks`, if none is."""
        question = _question(stage)
        if asks and question[0] and question not in self._known:
            self._ask(question, stage)
        for asked in self._asked.values():
            if asked.question == question:
                asked.stages.append(stage)
                return True
        return False

    def take(self, report: Report) -> list[Stage]:
        """Take a report about a question, and warn without an answer. Return the stages that waited for it."""
        if not isinstance(report, AttemptResult):
            return []  # the last report has all calls that it did not live long enough to report before
        question, launch, stages = self._asked.pop(report.launch)
        version, fault = _first_line(launch.log), ""
        if report.timed_out:
            fault = f"took longer than {VERSION_LIMIT:g} s"
        elif report.failed_to_start or report.lost:
            fault = report.describe()
        elif not (version or report.sent):
            fault = "printed no line"
        elif refused := [calls for calls in report.network if not calls.is_probe]:
            self._warn(stages[0], f"asked for a network, which was refused: {network_text(refused)}")
        if fault:
            self._warn(stages[0], f"{fault}, so no version is on record")
        self._known[question] = None if fault else version or None
        for path in (launch.log, launch.log.removesuffix(".log")):  # its scratch directory; TMPDIR may be the user's
            files.discard(path)
        return stages

    def _ask(self, question: Question, stage: Stage) -> None:
        number = -1 - len(self._known) - len(self._asked)
        try:
            launch = version_launch(self._run, stage, question[0], number)
        except SpecError as error:
            self._known[question] = None
            for fault in error.faults:
                self._run.warn(fault)
        else:
            self._asked[number] = Asked(question, launch, [])
            self._launcher.submit(launch)

    def _warn(self, stage: Stage, what: str) -> None:
        self._run.warn(Fault(f"stage {stage.name}, programVersion", what))


def _question(stage: Stage) -> Question:
    return stage.program_version or (), stage_path(stage.env, sys.executable)


def _first_line(log: str) -> str:
    """Return the first line that is not blank, cut to LONGEST characters; "" without one."""
    with suppress(OSError, StateError), open(open_regular(log, follow=False), "rb") as printed:
        lines = printed.read(_READ).decode("utf-8", "backslashreplace").splitlines()
        return next(filter(None, map(str.strip, lines)), "")[:LONGEST]
    return ""
