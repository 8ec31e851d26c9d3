"""Kills a run of a pipeline at one of its calls, runs it again, and reports what the next run did not repair."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from call_tracer import PATIENCE, Call, Traced, trace
from crash_checks import Place, StageCounts

from runner.errors import EXIT_OK, EXIT_PENDING

CHECKOUT = Path(__file__).resolve().parents[2]

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Sequence


class Kill(NamedTuple):
    """Where to kill, and whom; `again`: where to kill the next run, 0 for nowhere.

    Only calls count whose name begins with `name` (`rename` includes renameat2) and whose path contains `part`. They
    can be recognised in every run, whereas the numbers of all calls shift if stages run side by side.
    """

    position: int
    who: str = "all"
    again: int = 0
    torn: bool = False
    name: str = ""
    part: str = ""

    def counts(self, call: Call) -> bool:
        return call.name.startswith(self.name) and self.part in call.path

    def __str__(self) -> str:
        twice = f", then at {self.again} of the next run" if self.again else ""
        which = f" of {self.name} {self.part}".rstrip() if self.name or self.part else ""
        return f"call {self.position}{which} ({self.who}{', torn' if self.torn else ''}{twice})"


class Outcome(NamedTuple):
    """The result of a kill: whether a process was killed, at which call, and what was wrong afterwards."""

    kill: Kill
    struck: bool
    call: Call | None
    faults: list[str]


class Sweep:
    """Kills runs of `spec` in workspaces below `directory`."""

    def __init__(
        self,
        spec: str,
        directory: Path,
        *,
        words: Sequence[str] = (),
        fresh: bool = True,
        prepare: Callable[[Place], Hashable] = lambda _place: None,
        edit: Callable[[], Hashable] | None = None,
        repeats: Callable[[Kill, Place], Iterator[str]] = lambda _kill, _place: iter(()),
        checkout: Path = CHECKOUT,
    ) -> None:
        """Set up a sweep; `words` are options of the killed runs.

        `fresh`: each killed run is the first in its workspace. Otherwise all use one workspace, in which an undisturbed
        run came first. `prepare` is called before each killed run, and may change the workspace; `edit` is called
        between the kill and the next run. Both return a value that identifies the state of the inputs. `repeats` yields
        work done twice that only the author of the stages can detect. `checkout` contains the runner: tests of this
        sweep give one with a bug.
        """
        self.spec = spec
        self.directory = directory
        self.killed = 0
        self._words = words
        self._fresh = fresh
        self._prepare = prepare
        self._edit = edit
        self._repeats = repeats
        self._checkout = checkout
        self._log = directory / "log"
        self._number = 0
        self._used: Place | None = None
        self._inputs: Hashable = None
        self._made: dict[Hashable, dict[str, str]] = {}  # outputs of undisturbed runs, by state of the inputs
        self._passing: dict[Hashable, dict[str, str]] = {}  # and all that was there before temporary ones were removed

    # ---- runs ----

    def undisturbed(self) -> list[Call]:
        """Run like the killed runs, but without a kill, and return the calls. Raises SystemExit if the run fails.

        Another run comes first: the first run of a checkout also writes Python's byte code, so it has more calls.
        """
        place = self._place()
        self._inputs = self._prepare(place)
        self._wanted(self._inputs)
        traced = self._traced(place, Kill(0), words=self._words)
        if traced.code != 0 or traced.hung:
            raise SystemExit(
                f"error: the pipeline does not succeed undisturbed (exit {traced.code}):\n{self._last_words()}"
            )
        self._leave(place)
        return traced.calls

    def strike(self, kill: Kill) -> Outcome:
        """Kill a run, run again, and return the outcome with all faults."""
        place = self._place()
        before = place.outputs()
        inputs = self._prepare(place)
        wanted = self._wanted(inputs)
        is_edited, self._inputs = not self._fresh and inputs != self._inputs, inputs
        finished = (
            place.stage_counts().committed if is_edited else Counter[str]()
        )  # for other inputs, so it does not count
        traced = self._traced(place, kill, words=self._words)
        struck, call = bool(traced.victims), traced.calls[traced.struck - 1] if traced.struck else None
        faults = ["the killed run hangs"] if traced.hung else []
        if kill.again and struck:
            faults += place.faults_of_state()
            second = self._traced(place, Kill(kill.again))
            faults += ["the second run hangs"] if second.hung else []
        faults += self._faults(place, before, wanted, self._passing[inputs])
        if self._edit is not None:
            wanted = self._wanted(self._edit())
        faults += self._faults_of_next(place, wanted, finished)
        faults += self._repeats(kill, place)
        self.killed += struck
        if faults:
            place.workspace.rename(f"{place.workspace}-failed")  # kept for `--keep`, and not used again
            self._used = None
        else:
            self._leave(place)
        return Outcome(kill, struck, call, faults)

    def _faults(self, place: Place, *allowed: dict[str, str]) -> Iterator[str]:
        """Yield what is wrong before the next run."""
        yield from place.faults_of_state()
        yield from place.faults_of_outputs(*allowed)
        yield from place.faults_of_verify(EXIT_OK, EXIT_PENDING)

    def _faults_of_next(self, place: Place, wanted: dict[str, str], before: Counter[str]) -> Iterator[str]:
        seen, checkpoints = place.stage_counts(), place.checkpoints()
        code, output = self._run(place)
        if code != 0:
            yield f"the next run fails with exit code {code}: {output.strip()[-800:]}"
            return
        if place.outputs() != wanted:
            yield "the outputs are not those of an undisturbed run"
        after = place.stage_counts()
        if self._edit is None:
            yield from _repeated(seen, after, seen.committed - before, checkpoints, output)
        yield from place.faults_of_state()
        yield from place.faults_of_end()
        yield from place.faults_of_verify(EXIT_OK, outputs=True)

    def _run(self, place: Place, *words: str) -> tuple[int, str]:
        """Run undisturbed; return the exit code and the output, which has a line for each instance."""
        done = subprocess.run(
            [*self._command(place), "-v", *words], cwd=self._checkout, stdin=subprocess.DEVNULL, capture_output=True,
            text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    def _traced(self, place: Place, kill: Kill, words: Sequence[str] = ()) -> Traced:
        self._log.write_bytes(b"")
        return trace(
            [*self._command(place), "-q", *words], log=str(self._log), position=kill.position, who=kill.who,
            when=kill.counts, torn=kill.torn, cwd=str(self._checkout),
        )  # fmt: skip

    def _command(self, place: Place) -> list[str]:
        return [sys.executable, "-m", "runner", "run", self.spec, "--workspace", str(place.workspace)]

    def _last_words(self) -> str:
        return self._log.read_text("utf-8", "backslashreplace")[-2000:].rstrip()

    # ---- workspaces ----

    def _place(self) -> Place:
        if self._used is not None:
            return self._used
        place = self._new_place()
        if not self._fresh:
            self._used = place
            self._succeed(place)
        return place

    def _new_place(self) -> Place:
        self._number += 1
        workspace = self.directory / f"workspace-{self._number}"
        workspace.mkdir()
        return Place(self.spec, workspace)

    def _succeed(self, place: Place, *words: str) -> None:
        code, output = self._run(place, *words)
        if code != 0:
            raise SystemExit(f"error: the pipeline does not succeed undisturbed (exit {code}):\n{output.rstrip()}")

    def _wanted(self, inputs: Hashable) -> dict[str, str]:
        """Return the outputs of an undisturbed run with the current inputs; `inputs` identifies their state."""
        if inputs not in self._made:
            place = self._new_place()
            self._succeed(place, "--keep-temporary")
            self._passing[inputs] = place.outputs()
            self._succeed(place)
            self._made[inputs] = place.outputs()
            shutil.rmtree(place.workspace)
        return self._made[inputs]

    def _leave(self, place: Place) -> None:
        if place is not self._used:
            shutil.rmtree(place.workspace)


def _repeated(
    before: StageCounts,
    after: StageCounts,
    finished: Counter[str],
    checkpoints: dict[str, tuple[str, int]],
    output: str,
) -> Iterator[str]:
    """Yield what the next run did again: finished stages, and lines before a checkpoint."""
    started = after.started - before.started
    for stage in finished:
        if started[stage]:
            yield f"{stage} was finished, and ran again"
    for stage, (key, line) in checkpoints.items():
        if started[stage] and after.keys[stage] == key and f" {stage}: started" in output:
            first = next(text for text in output.splitlines() if f" {stage}: started" in text)
            if f"from line {line:,})" not in first:
                yield f"{stage} had a checkpoint at line {line:,}, and did not go on from it: {first}"
