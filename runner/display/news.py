"""Hears the hooks of a run and words them, a line an event."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner import results
from runner.display.extent import extent_of, from_text, outgrown_text
from runner.display.failure import failure_text, unstarted_lines
from runner.display.offline import isolation_warnings
from runner.display.progress import Row
from runner.display.words import counted, printable, seconds
from runner.errors import StateError
from runner.hookspecs import hookimpl
from runner.interrupts import GRACE
from runner.record.checkpoints import read_progress
from runner.results import network_text

if TYPE_CHECKING:
    from runner.display.progress import Reporter
    from runner.record.checkpoints import Progress
    from runner.results import AttemptResult, NetworkCalls, RunResult, StageResult
    from runner.spec.model import Spec, Stage


class News:
    """Tells `reporter` what happens. Where there is a live display, its rows say what has started."""

    def __init__(self, reporter: Reporter) -> None:
        self._to = reporter
        self._left: dict[str, Progress] = {}  # checkpoints of earlier runs, of stages that have not been started yet

    def _say(self, text: str, *, bad: bool = False) -> None:
        if not self._to.quiet:
            self._to.line(text, bad=bad)

    @hookimpl
    def offpipe_run_started(
        self, spec: Spec, run_id: str, stages: int, resumed: bool, isolation: dict[str, str],
        checkpoints: dict[str, Progress],
    ) -> None:  # fmt: skip
        view = self._to.view
        view.pipeline, view.stages = spec.name, stages
        self._left = dict(checkpoints)
        verb = "goes on" if resumed else "started"
        self._say(f"{spec.name}: run {run_id} {verb}, {counted(stages, 'stage')}")
        for warning in isolation_warnings(isolation):
            self._say(f"warning: {printable(warning)}", bad=True)

    @hookimpl
    def offpipe_attempt_started(
        self, stage: Stage, attempt: int, progress: str, partials: dict[str, str], input_bytes: int, changed: str | None
    ) -> None:
        if changed is not None:
            self._say(f'{stage.name}: "{printable(changed)}" changed while it ran, so it is started once more')
        if (left := self._left.pop(stage.name, None)) is not None and not _goes_on(progress, left):
            self._say(f"{stage.name}: {outgrown_text(left.line_offset, left.byte_offset)}")
        if not self._to.is_live:
            if not self._to.quiet:
                self._say(f"{stage.name}: started (attempt {attempt}{_resumed_at(progress)})")
            return
        outputs = tuple(partials.values())
        first = extent_of(progress, outputs)
        row = Row(stage.name, attempt, self._to.clock(), progress, outputs, input_bytes, first)
        self._to.view.rows[stage.name] = row
        self._to.tick()

    @hookimpl
    def offpipe_network_refused(self, stage: Stage, calls: list[NetworkCalls], fails: bool) -> None:
        asked = [one for one in calls if not one.is_probe]
        if asked:
            then = "it fails when it ends" if fails else "it goes on"
            what = f"asked for a network, which was refused, and {then}: {printable(network_text(asked))}"
            self._say(f"{stage.name}: {what}", bad=fails)

    @hookimpl
    def offpipe_attempt_finished(self, stage: Stage, attempt: AttemptResult, next_delay: float | None) -> None:
        if attempt.left_behind and not attempt.sent:
            left = counted(attempt.left_behind, "process", "processes")
            self._say(f"warning: {stage.name}: {left} still ran when it ended, and had to be killed")
        row = self._to.view.rows.get(stage.name)
        if next_delay is None:
            return
        if row is not None:
            row.attempt, row.until = attempt.number + 1, self._to.clock() + next_delay
        self._say(f"{stage.name}: {printable(attempt.describe())}, next attempt in {seconds(next_delay)}")

    @hookimpl
    def offpipe_stage_finished(self, stage: Stage, result: StageResult) -> None:
        self._to.view.ended += 1
        self._to.view.rows.pop(stage.name, None)
        if result.status == results.FAILED:
            tried = f" after {len(result.attempts)} attempts" if len(result.attempts) > 1 else ""
            self._to.line(f"{stage.name}: failed in {seconds(result.seconds)}{tried}", bad=True)
            self._to.line(failure_text(result, self._to.log_command, tries=stage.retry.attempts).rstrip("\n"))
        elif result.status == results.SUCCEEDED:
            tried = f" (attempt {result.attempts[-1].number})" if len(result.attempts) > 1 else ""
            self._say(f"{stage.name}: succeeded in {seconds(result.seconds)}{tried}")
        elif result.status == results.INTERRUPTED:
            lines = result.attempts[-1].lines if result.attempts else None
            kept = f", {counted(lines, 'line')} kept" if lines else ""
            self._say(f"{stage.name}: interrupted{kept}", bad=True)
        elif self._to.verbose:
            what = (
                "up to date"
                if result.status == results.SKIPPED
                else printable(result.fault.what if result.fault else "")
            )
            self._say(f"{stage.name}: {what}")

    @hookimpl
    def offpipe_run_stopping(self, running: int, again: bool) -> None:
        if running:
            then = "killed" if again else f"asked to end, killed if not over in {GRACE:g} s, or by another signal"
            self._say(f"stopping: {counted(running, 'stage')} {then}")

    @hookimpl
    def offpipe_run_finished(self, result: RunResult) -> None:
        for line in unstarted_lines(result):
            self._say(line)
        self._to.close()


def _resumed_at(progress: str) -> str:
    """Return `, from line 1,200,000` when the attempt goes on from a checkpoint."""
    try:
        found = read_progress(progress)
    except StateError:  # what is only shown ends no run
        return ""
    if found is None:
        return ""
    return f", {from_text(found.line_offset)}"


def _goes_on(progress: str, left: Progress) -> bool:
    """Whether the attempt that was started just now has taken over the checkpoint that was `left`.

    One that does not fit is gone by now; what is there in its place is the attempt's own.
    """
    try:
        found = read_progress(progress)
    except StateError:  # what is only shown ends no run
        return True
    return found is not None and found.key == left.key
