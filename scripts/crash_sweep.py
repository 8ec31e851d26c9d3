"""Kills runs of a pipeline at one state-changing system call after the other, and looks whether the next run mends it.

    python scripts/crash_sweep.py SPEC [--who all|runner|launcher|stage] [--every K] [--scenario first|again|noop]

The pipeline runs in workspaces of its own below a temporary directory; its inputs are read where they are, and nothing
of yours is written. A line for each position that fails, then a summary; exit code 1 when there was a failure.
docs/durability.md says what is checked.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(CHECKOUT), str(CHECKOUT / "scripts")]

from call_tracer import PATIENCE, WHO, Call, Traced, trace, why_not  # noqa: E402 - found by the line above
from crash_checks import Place, Seen  # noqa: E402

from runner.errors import OffpipeError  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Sequence

SCENARIOS = ("first", "again", "noop")
VERIFIED = {0: "intact", 3: "incomplete", 6: "damaged"}
NO_SUCH_VERB = 2


class Kill(NamedTuple):
    """Where to kill, and whom; `again`: where to kill the run after that, 0 for nowhere."""

    position: int
    who: str = "all"
    again: int = 0
    torn: bool = False

    def __str__(self) -> str:
        twice = f", then at {self.again} of the next run" if self.again else ""
        return f"call {self.position} ({self.who}{', torn' if self.torn else ''}{twice})"


class Outcome(NamedTuple):
    """What a kill came to: whether somebody was killed, the call it was at, and what was wrong afterwards."""

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
        """`words` are options of the runs that are killed.

        `fresh`: each run that is killed is the first in its workspace; else it works on what an earlier one made, and
        the workspace is used again. `prepare` is called before each of them, and may change what it finds; `edit`
        between the kill and the next run. They return what tells one state of the inputs from another. `repeats` yields
        what only the author of the stages can see was done twice. `checkout` holds the runner: one with a fault of its
        own, for tests of this sweep.
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
        self._program = (sys.executable, "-m", "runner")
        self._log = directory / "log"
        self._number = 0
        self._used: Place | None = None
        self._inputs: Hashable = None
        self._made: dict[Hashable, dict[str, str]] = {}  # by undisturbed runs, of each state of the inputs

    # ---- runs ----

    def undisturbed(self) -> list[Call]:
        """Run without a kill, as the killed ones will be; return its calls. SystemExit when that fails."""
        place = self._place()
        self._inputs = self._prepare(place)
        traced = self._traced(place, 0, "all", words=self._words)
        if traced.code != 0 or traced.hung:
            raise SystemExit(
                f"error: the pipeline does not succeed undisturbed (exit {traced.code}):\n{self._last_words()}"
            )
        self._leave(place)
        return traced.calls

    def strike(self, kill: Kill) -> Outcome:
        """Kill a run as told, run again, and return all that is not as it must be."""
        place = self._place()
        before = place.outputs()
        inputs = self._prepare(place)
        wanted = self._wanted(inputs)
        is_edited, self._inputs = not self._fresh and inputs != self._inputs, inputs
        finished = place.seen().committed if is_edited else Counter[str]()  # for other inputs, which does not count
        traced = self._traced(place, kill.position, kill.who, torn=kill.torn, words=self._words)
        struck, call = bool(traced.victims), traced.calls[kill.position - 1] if traced.victims else None
        faults = ["the killed run hangs"] if traced.hung else []
        if kill.again and struck:
            faults += place.faults_of_state()
            second = self._traced(place, kill.again, "all")
            faults += ["the second run hangs"] if second.hung else []
        faults += self._faults(place, before, wanted)
        if self._edit is not None:
            wanted = self._wanted(self._edit())
        faults += self._faults_of_next(place, wanted, finished)
        faults += self._repeats(kill, place)
        self.killed += struck
        if faults:
            place.workspace.rename(f"{place.workspace}-failed")  # kept, if asked for, and not used again
            self._used = None
        else:
            self._leave(place)
        return Outcome(kill, struck, call, faults)

    def _faults(self, place: Place, *allowed: dict[str, str]) -> Iterator[str]:
        """What is wrong while the run is dead."""
        yield from place.faults_of_state()
        yield from place.faults_of_outputs(*allowed)
        yield from self._faults_of_verify(place, 0, 3)

    def _faults_of_next(self, place: Place, wanted: dict[str, str], before: Counter[str]) -> Iterator[str]:
        seen, checkpoints = place.seen(), place.checkpoints()
        code, said = self._run(place, "run")
        if code != 0:
            yield f"the next run fails with exit code {code}: {said.strip()[-800:]}"
            return
        if place.outputs() != wanted:
            yield "the outputs are not those of an undisturbed run"
        after = place.seen()
        if self._edit is None:
            yield from _repeated(seen, after, seen.committed - before, checkpoints, said)
        yield from place.faults_of_state()
        yield from place.faults_of_end()
        yield from self._faults_of_verify(place, 0)

    def _faults_of_verify(self, place: Place, *allowed: int) -> Iterator[str]:
        if not place.logs():
            return
        code, said = self._run(place, "verify")
        if code not in (*allowed, NO_SUCH_VERB):
            yield f"verify says {VERIFIED.get(code, code)}: {said.strip()[-800:]}"

    def _run(self, place: Place, verb: str) -> tuple[int, str]:
        words = [*self._program, verb, self.spec, "--workspace", str(place.workspace)]
        done = subprocess.run(
            words,
            cwd=self._checkout,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        return done.returncode, done.stdout + done.stderr

    def _traced(
        self, place: Place, position: int, who: str, *, torn: bool = False, words: Sequence[str] = ()
    ) -> Traced:
        argv = [*self._program, "run", self.spec, "--workspace", str(place.workspace), "-q", *words]
        self._log.write_bytes(b"")
        return trace(argv, log=str(self._log), position=position, who=who, torn=torn, cwd=str(self._checkout))

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

    def _succeed(self, place: Place) -> None:
        code, said = self._run(place, "run")
        if code != 0:
            raise SystemExit(f"error: the pipeline does not succeed undisturbed (exit {code}):\n{said.rstrip()}")

    def _wanted(self, inputs: Hashable) -> dict[str, str]:
        """What an undisturbed run makes of the inputs as they are now; `inputs` tells that state from others."""
        if inputs not in self._made:
            place = self._new_place()
            self._succeed(place)
            self._made[inputs] = place.outputs()
            shutil.rmtree(place.workspace)
        return self._made[inputs]

    def _leave(self, place: Place) -> None:
        if place is not self._used:
            shutil.rmtree(place.workspace)


def _repeated(
    before: Seen, after: Seen, finished: Counter[str], checkpoints: dict[str, tuple[str, int]], said: str
) -> Iterator[str]:
    """What the next run did that was done already: finished stages, and lines that a checkpoint vouched for."""
    started = after.started - before.started
    for stage in finished:
        if started[stage]:
            yield f"{stage} was finished, and ran again"
    for stage, (key, line) in checkpoints.items():
        if started[stage] and after.keys[stage] == key and f"{stage}: started (attempt" in said:
            first = next(text for text in said.splitlines() if text.startswith(f"{stage}: started (attempt"))
            if f", from line {line:,})" not in first:
                yield f"{stage} had a checkpoint at line {line:,}, and did not go on from it: {first}"


# ---- the command -----------------------------------------------------------------------------------------------------


def chosen(calls: Sequence[Call], who: str, *, first: int, every: int) -> list[int]:
    """The positions at which there is somebody to kill, from `first` on every `every`th of them."""
    wanted = "runner" if who == "all" else who
    return [number for number, call in enumerate(calls, 1) if wanted in call.alive][first - 1 :: every]


def kills(calls: Sequence[Call], asked: argparse.Namespace) -> Iterator[Kill]:
    if asked.position:
        yield from (Kill(position, asked.who, asked.then, asked.torn) for position in asked.position)
        return
    draw = random.Random(asked.seed)
    for position in chosen(calls, asked.who, first=asked.first, every=asked.every):
        again = draw.randint(1, len(calls)) if asked.twice else asked.then
        if not asked.torn or calls[position - 1].name in ("write", "pwrite"):
            yield Kill(position, asked.who, again, asked.torn)


def parsed(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python scripts/crash_sweep.py", description=__doc__, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("spec", metavar="SPEC")
    parser.add_argument("--who", choices=WHO, default="all", help="whom to kill; default: all at once")
    parser.add_argument("--scenario", choices=SCENARIOS, default="first", help=(
        "which run is killed: the first in an empty workspace (default), one of all stages over what is there, "
        "one that has nothing to do"
    ))  # fmt: skip
    parser.add_argument("--every", type=int, default=1, metavar="K", help="only every Kth position (default: all)")
    parser.add_argument("--first", type=int, default=1, metavar="N", help="begin with the Nth position")
    parser.add_argument("--position", type=int, action="append", metavar="N", help="kill at call N only")
    parser.add_argument("--then", type=int, default=0, metavar="N", help="kill the next run too, at its call N")
    parser.add_argument("--twice", action="store_true", help="the same at a call drawn anew each time")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="what --twice draws from")
    parser.add_argument(
        "--torn", action="store_true", help="kill in the middle of writes, of which half is let through"
    )
    parser.add_argument("--list", action="store_true", help="list the calls of an undisturbed run, and kill nothing")
    parser.add_argument("--workspace", metavar="DIR", help="make the workspaces in DIR, not in the temporary directory")
    parser.add_argument("--keep", action="store_true", help="keep the workspaces of positions that failed")
    asked = parser.parse_args(words)
    if min(asked.every, asked.first) < 1:
        parser.error("--every and --first count from 1")
    asked.spec = os.path.abspath(asked.spec)
    return asked


def sweep(asked: argparse.Namespace, directory: Path) -> int:
    words = {"first": (), "again": ("-f",), "noop": ()}[asked.scenario]
    one = Sweep(asked.spec, directory, words=words, fresh=asked.scenario == "first")
    calls = one.undisturbed()
    if asked.list:
        print("\n".join(f"{number} {call}" for number, call in enumerate(calls, 1)))
        return 0
    began, positions, failed = time.monotonic(), 0, 0
    for outcome in map(one.strike, kills(calls, asked)):
        positions += 1
        if outcome.faults:
            failed += 1
            print(f"FAILED {outcome.kill}, {outcome.call}: {'; '.join(outcome.faults)}", flush=True)
    print(
        f"{positions} positions of {len(calls)} calls, {one.killed} kills of {asked.who}, {failed} failed, "
        f"{time.monotonic() - began:.0f} s"
    )
    return 1 if failed else 0


def main(words: Sequence[str] | None = None) -> int:
    asked = parsed(words)
    if reason := why_not():
        print(f"error: cannot trace here: {reason}", file=sys.stderr)
        return 2
    directory = Path(tempfile.mkdtemp(prefix="offpipe-crash-sweep-", dir=asked.workspace))
    try:
        return sweep(asked, directory)
    except OffpipeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    finally:
        failed = sorted(directory.glob("*-failed"))
        if asked.keep and failed:
            print(f"kept: {directory}")
        else:
            shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
