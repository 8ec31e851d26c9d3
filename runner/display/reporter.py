"""Reports a run on stderr: a line for each event. On a terminal, lines have no time, and a live display is below."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from contextlib import suppress
from typing import TYPE_CHECKING

from runner.display.live import Live, Row, RunningStage, elapsed
from runner.display.plan_text import from_text, outgrown_text, shown_checkpoint
from runner.display.summary import counts_text, failure_text, unstarted_lines
from runner.display.text import attempt_text, counted, fault_text, near_path, printable, seconds, size, stamped
from runner.interrupts import GRACE
from runner.listener import Listener
from runner.results import (
    FAILED,
    GOOD,
    INTERRUPTED,
    SKIPPED,
    SUCCEEDED,
    AttemptResult,
    NetworkCalls,
    RunResult,
    StageResult,
    network_text,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from runner.display.streams import Stream
    from runner.errors import Fault
    from runner.record.checkpoints import Progress
    from runner.spec.model import Spec, Stage

REDRAW_SECONDS = 0.125
_HASHING_PATIENCE = 0.5  # seconds of hashing before it is shown, and for which its row stays afterwards


class Reporter(Listener):
    """Reports a run to the user: with `quiet` only failures, with `verbose` also stages without work.

    The methods `offpipe_...` implement hooks.
    """

    def __init__(
        self,
        stderr: Stream,
        log_command: str,
        *,
        quiet: bool,
        verbose: bool,
        live: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stderr = stderr
        self._log_command = log_command
        self._quiet = quiet
        self._verbose = verbose
        self._clock = clock
        self._began = clock()
        self._checkpoints: dict[str, Progress] = {}  # of earlier runs, for stages that have not started yet
        self.subject = ""  # the run, once it has begun
        self.warnings: list[Fault] = []
        self._pipeline = ""
        self._stages = self._failed = 0
        self._done: set[str] = set()  # stages, some of which run again
        self._tries: dict[str, int] = {}  # the attempts of each stage, as its retries count them
        self._running: dict[str, RunningStage] = {}
        self._instances = Counter[str]()  # of templates, to be counted
        self._ended = defaultdict[str, Counter[str]](Counter)  # instances of a template by status
        self._hashing = "", 0, 0  # a file, its bytes hashed so far, and its size
        self._drawn = self._hashing_began = self._hashed_last = float("-inf")
        self._is_stamped = not stderr.isatty()
        self._is_live = live
        self._live: Live | None = None  # None until it is drawn for the first time
        self._lines: list[tuple[str, bool]] = []  # the next ones above its rows; whether each is bad news

    @property
    def interval(self) -> float | None:
        """The seconds between calls of `tick`; None for no calls."""
        return REDRAW_SECONDS if self._is_live or self._stderr.pending else None

    def hooks(self) -> tuple[object, ...]:
        """Return this reporter, with its hooks marked. Loads pluggy, and rich if needed, before any stage runs."""
        from runner.hookspecs import hookimpl

        for name, method in vars(Reporter).items():
            if name.startswith("offpipe_"):
                hookimpl(method)
        if self._is_live:
            self.redraw()
        return (self,)

    # ---- hooks -------------------------------------------------------------------------------------------------------

    def offpipe_run_started(
        self, spec: Spec, run_id: str, stages: int, resumed: bool, checkpoints: dict[str, Progress]
    ) -> None:
        self._pipeline, self._stages, self._checkpoints = spec.name, stages, dict(checkpoints)
        self.subject = f"{spec.name} (run {run_id})"
        self._instances.update(stage.template for stage in spec.stages if stage.values and not self._verbose)
        verb = "goes on" if resumed else "started"
        least = "at least " if any(stage.is_open for stage in spec.stages) else ""
        self._say(f"{spec.name}: run {run_id} {verb}, {least}{counted(stages, 'stage')}")

    def offpipe_run_expanded(self, spec: Spec, templates: list[str], stages: int) -> None:
        self._stages = stages
        self._instances.update(stage.template for stage in spec.stages if stage.values and not self._verbose)
        for template in templates:
            if count := sum(stage.template == template and bool(stage.values) for stage in spec.stages):
                self._say(f"{template}: {counted(count, 'instance')}")

    def offpipe_attempt_started(
        self, stage: Stage, progress: str, partials: dict[str, str], input_bytes: int, changed: str | None
    ) -> None:
        if changed is not None:
            self._say(f'{stage.name}: "{printable(changed)}" changed while it ran, so it is started once more')
        old, current = self._checkpoints.pop(stage.name, None), shown_checkpoint(progress)
        if old is not None and (current is None or current.key != old.key):
            self._say(f"{stage.name}: {outgrown_text(old)}")
        tries = self._tries[stage.name] = self._tries.get(stage.name, 0) + 1 if changed is None else 1
        most = stage.retry.attempts
        if self._is_live:
            began, partial_paths = self._clock(), tuple(partials.values())
            self._running[stage.name] = RunningStage(tries, most, began, progress, partial_paths, input_bytes)
        elif stage.template not in self._instances:
            notes = [attempt_text(tries, most)] if most > 1 else []
            notes += [from_text(current)] if current else []
            self._say(f"{stage.name}: started ({', '.join(notes)})" if notes else f"{stage.name}: started")

    def offpipe_network_refused(self, stage: Stage, calls: list[NetworkCalls], fails: bool) -> None:
        intended = [call for call in calls if not call.is_probe]
        if intended and not fails:  # else it is ended at once, and its failure says why
            asked = printable(network_text(intended))
            self._say(f"{stage.name}: asked for a network, which was refused, and it goes on: {asked}")

    def offpipe_attempt_finished(self, stage: Stage, attempt: AttemptResult, next_delay: float | None) -> None:
        if attempt.left_behind and not attempt.sent:
            left = counted(attempt.left_behind, "process", "processes")
            self._say(f"warning: {stage.name}: {left} still ran when it ended, and had to be killed")
        if attempt.lost:
            self._tries[stage.name] -= 1  # it counts as no try
        if next_delay is not None:
            if running := self._running.get(stage.name):
                running.until = self._clock() + next_delay
            self._say(f"{stage.name}: {printable(attempt.describe())}, next attempt in {seconds(next_delay)}")

    def offpipe_stage_finished(self, stage: Stage, result: StageResult) -> None:
        if result.status in GOOD:
            self._done.add(stage.name)
        self._failed += result.status == FAILED
        self._running.pop(stage.name, None)
        attempts, is_counted = result.attempts, stage.template in self._instances
        if result.exit_code:
            if has_run := result.status == FAILED:
                tried = f" after {len(attempts)} attempts" if len(attempts) > 1 else ""
                self._print(f"{stage.name}: failed in {seconds(result.seconds)}{tried}", bad=True)
            self._print(failure_text(result, self._log_command, tries=stage.retry.attempts), continues=has_run)
        elif result.status == SUCCEEDED and not is_counted:
            tries = self._tries.pop(stage.name, 0)
            tried = f" ({attempt_text(tries, stage.retry.attempts)})" if tries > 1 else ""
            self._say(f"{stage.name}: succeeded in {seconds(result.seconds)}{tried}")
        elif result.status == INTERRUPTED:
            lines = attempts[-1].lines if attempts else None
            kept = f", {counted(lines, 'line')} kept" if lines else ""
            self._say(f"{stage.name}: interrupted{kept}", bad=True)
        elif self._verbose:
            status = "up to date" if result.status == SKIPPED else result.status
            what = result.fault.what if result.fault else status
            self._say(f"{stage.name}: {printable(what)}")
        if is_counted:
            self._ended[stage.template][result.status] += 1
            if self._ended[stage.template].total() == self._instances[stage.template]:
                self._say_counts(stage.template)

    def _say_counts(self, template: str) -> None:
        """Say how many instances ended how, unless all were up to date."""
        counts = self._ended.pop(template)
        if counts.keys() != {SKIPPED}:
            self._say(f"{template}: {counts_text(counts)}")

    def offpipe_run_stopping(self, running: int, again: bool) -> None:
        if running:
            then = (
                "killed" if again else f"asked to end, killed if still running after {GRACE:g} s, or at another signal"
            )
            self._say(f"stopping: {counted(running, 'stage')} {then}")

    def offpipe_run_finished(self, result: RunResult) -> None:
        for template in [*self._ended]:
            self._say_counts(template)
        for line in unstarted_lines(result):
            self._say(line)
        self.close()

    # ---- events without a hook ---------------------------------------------------------------------------------------

    def hashed(self, path: str, total: int, size: int) -> None:
        """Count the hashed bytes of a file. Long hashing gets a row."""
        now, (hashing, done, _) = self._clock(), self._hashing
        if now - self._hashed_last > _HASHING_PATIENCE:
            self._hashing_began = now
        self._hashing = path, size + (done if path == hashing else 0), total
        self._hashed_last = now
        if now - self._hashing_began >= _HASHING_PATIENCE:
            self.tick()

    def waiting(self, holder: dict[str, object]) -> None:
        """Report the holder of the lock that the run waits for."""
        from runner.record.locks import describe

        self._say(f"waiting for the lock held by {printable(describe(holder))}")

    def warn(self, fault: Fault) -> None:
        """Report a warning."""
        self.warnings.append(fault)
        self._say(fault_text(fault, "warning"))

    # ---- the terminal ------------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Write the pending output of stderr. If none is left, redraw when it is time."""
        if self._stderr.pending:
            self._stderr.write("")
        if self._is_live and not self._stderr.pending and self._clock() - self._drawn >= REDRAW_SECONDS * 0.9:
            self.redraw()

    def redraw(self) -> None:
        """Draw the live display, which starts at the first call."""
        now = self._drawn = self._clock()
        try:
            self._live = self._live or Live(self._stderr)
            rows = [running.row(name, now) for name, running in self._running.items()]
            self._live.draw(self._lines, rows, list(self._foot(now)))
            self._lines.clear()
        except Exception:  # noqa: BLE001 - if rich fails on this terminal, the run goes on with plain lines
            self.close()

    def _foot(self, now: float) -> Iterator[Row]:
        """Yield the rows below those of stages: the file being hashed, and how many stages are done or failed."""
        if now - self._hashed_last < _HASHING_PATIENCE:
            path, done, total = self._hashing
            yield Row("hashing", [f"{size(done)} of {size(total)}", near_path(path)], "cyan")
        if self._stages:
            failed = f", {self._failed} failed" if self._failed else ""
            counts = f"{len(self._done)} of {self._stages} done{failed}"
            yield Row(self._pipeline, [elapsed(now - self._began), counts], "dim")

    def close(self) -> None:
        """Remove the live display from the terminal, and go on with plain lines."""
        self._is_live = False
        live, self._live = self._live, None
        if live is not None:
            with suppress(Exception):  # it failed already, or is no longer needed
                live.stop()
        for text, _ in self._lines:
            self._stderr.write(f"{text}\n")
        self._lines.clear()

    def _say(self, text: str, *, bad: bool = False) -> None:
        if not self._quiet:
            self._print(text, bad=bad)

    def _print(self, text: str, *, bad: bool = False, continues: bool = False) -> None:
        """Print text that stays, above the rows if there are any. Text that `continues` a message has no time stamp."""
        if self._live is None:
            self._stderr.write(f"{stamped(text) if self._is_stamped and not continues else text}\n")
        else:
            self._lines.append((text, bad))  # printed at the next redraw, before which a thousand stages may end
            self.tick()
