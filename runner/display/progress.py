"""Listens to a run and tells of it on stderr: one line an event, or a live display on a terminal."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from runner.display.words import printable, warning_text
from runner.values import Record, made

if TYPE_CHECKING:
    from collections.abc import Callable

    from runner.display.extent import Extent
    from runner.display.live import Live
    from runner.display.streams import Stream
    from runner.errors import Fault

REDRAW_SECONDS = 0.125
_HASHING_PATIENCE = 0.5


class Row(Record):
    """A stage on the live display: its present attempt, or the next one, which begins at `until` on the clock."""

    stage: str
    attempt: int
    began: float
    progress: str
    partials: tuple[str, ...]
    input_bytes: int
    first: Extent
    until: float | None = None


class Hashing(Record):
    """The file whose digest is being computed; `began` when hashing began that nothing else interrupted."""

    path: str = ""
    done: int = 0
    total: int = 0
    began: float = 0.0
    latest: float = float("-inf")


class View(Record):
    """What the live display shows."""

    pipeline: str = ""
    stages: int = 0
    ended: int = 0
    began: float = 0.0
    rows: dict[str, Row] = made(default_factory=dict)
    hashing: Hashing = made(default_factory=Hashing)


class Reporter:
    """The listener of a run. `quiet` leaves failures only, `verbose` adds the stages that had nothing to do."""

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
        self.log_command = log_command
        self.quiet = quiet
        self.verbose = verbose
        self.view = View(began=clock())
        self.clock = clock
        self._stderr = stderr
        self._wants_live = live
        self._live: Live | None = None
        self._said: list[tuple[str, bool]] = []
        self._drawn = float("-inf")

    @property
    def interval(self) -> float | None:
        """How often the run should `tick`, in seconds; None for never."""
        return REDRAW_SECONDS if self._wants_live else None

    @property
    def is_live(self) -> bool:
        """Whether rows tell what is going on."""
        return self._wants_live

    def hooks(self) -> tuple[object, ...]:
        """Return what implements the hooks; loads what the display needs while nothing runs yet."""
        from runner.display.news import News

        if self._wants_live:
            self.redraw()
        return (News(self),)

    def tick(self) -> None:
        """Redraw when it is time."""
        if self._wants_live and self.clock() - self._drawn >= REDRAW_SECONDS * 0.9:
            self.redraw()

    def hashed(self, path: str, total: int, size: int) -> None:
        """Count bytes of a file that is being hashed; shown once that takes long."""
        if not self._wants_live:
            return
        now, hashing = self.clock(), self.view.hashing
        if now - hashing.latest > _HASHING_PATIENCE:
            hashing.began = now
        if path != hashing.path or hashing.done >= hashing.total:
            hashing.path, hashing.done = path, 0
        hashing.done, hashing.total, hashing.latest = hashing.done + size, total, now
        if now - hashing.began >= _HASHING_PATIENCE and now - self._drawn >= REDRAW_SECONDS:
            self.redraw()

    def waiting(self, holder: dict[str, object]) -> None:
        """Say who holds the lock that is waited for."""
        from runner.record.locks import describe

        if not self.quiet:
            self.line(f"waiting for the lock held by {printable(describe(holder))}")

    def warn(self, fault: Fault) -> None:
        """Tell of what stops nothing."""
        if not self.quiet:
            self.line(warning_text(fault))

    def line(self, text: str, *, bad: bool = False) -> None:
        """Say something that stays: above the live display, where there is one. `text` is printable."""
        if self._live is None:
            self._stderr.write(f"{text}\n")
            return
        self._said.append((text, bad))  # together with those of the next moment, as a thousand stages may end in it
        self.tick()

    def redraw(self) -> None:
        """Draw the live display, starting it the first time."""
        self._drawn = self.clock()
        try:
            if self._live is None:
                from runner.display.live import Live

                self._live = Live(self._stderr)
            self._live.draw(self.view, self._drawn, self._said)
            self._said.clear()
        except Exception:  # noqa: BLE001 - whatever a terminal does to rich, the run goes on, with plain lines
            self.close()

    def close(self) -> None:
        """Take the live display off the terminal, and go on with plain lines."""
        self._wants_live = False
        live, self._live = self._live, None
        if live is not None:
            try:
                live.stop()
            except Exception:  # noqa: BLE001 - nothing is left to do for it
                pass
        for text, _ in self._said:
            self._stderr.write(f"{text}\n")
        self._said.clear()


def live_is_possible(stderr: Stream) -> bool:
    """Whether stderr is a terminal whose cursor can be moved."""
    return stderr.isatty() and os.environ.get("TERM", "") not in {"", "dumb", "unknown"}
