"""`repeat`: from nothing, later and elsewhere, it gives the same bytes; else it finds out what they depend on."""

from __future__ import annotations

import contextlib
import math
import os
import random
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_offpipe.checks.trial import LATER, SAME, Bench, Budget, Trial, await_moment, ended, here
from pytest_offpipe.compare import Sides, difference
from pytest_offpipe.faults.namespace import Confined
from pytest_offpipe.runs import UNSYNCED, Around, run_sandbox
from pytest_offpipe.sandbox import copy, discard, files_below
from runner import results
from runner.levels import RefusedError
from runner.sandbox.forkserver import INTERPRETER_VARIABLES

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from pytest_offpipe.checks.case import Case
    from pytest_offpipe.checks.trial import Call
    from pytest_offpipe.reports import StageReport
    from pytest_offpipe.sandbox import Sandbox
    from runner.engine import Options
    from runner.sandbox.client import Launch

HASHES, INTERPRETER, HOST = "hashes", "interpreter", "host"
WORDS = {  # what may differ between two runs of a stage, in the order in which it is tried
    "directory": "the directory",
    "home": "HOME",
    HOST: "the host name",
    HASHES: "the order of hashes (PYTHONHASHSEED, PERL_HASH_SEED)",
    "processors": "the processors that it may use",
    "hint": "the number of processors that it is told (PIPELINE_CPUS, OMP_NUM_THREADS)",
    "modified": "the modification times of its inputs",
    INTERPRETER: "a fresh interpreter",
    "run_id": "the run's id, which is in the names of partial outputs too",
}
HOST_NAME = "offpipe-elsewhere"
ODD = "else where/ä/deeper"  # a space, a letter beyond ASCII, and more directories above
PLAIN = "elsewhere/and/deeper"
PYTHON_SEED = "PYTHONHASHSEED"
LONG_AGO = 1_000_000_000  # seconds: 2001-09-09
SEEDS = 4  # orders of hashes that are tried, since two may agree in what a stage makes of them
_COMPARED, _VARIED = "compared", "one-by-one"
_SIDES = Sides("one run", "another")
_SAME_TIME = "the time, or chance (it differs between two runs that are the same in all else)"


@dataclass(frozen=True, slots=True)
class Altered:
    """Changes the environment and the processors of what a launcher is asked to start."""

    env: Mapping[str, str]
    affinity: list[int] | None

    def __call__(self, launch: Launch) -> Launch:
        """Return what to start instead."""
        return launch._replace(env={**launch.env, **self.env}, affinity=self.affinity or launch.affinity)


class Varied(NamedTuple):
    """A stage, laid out alone, and how to run it."""

    sandbox: Sandbox
    around: Around
    options: Options


def check_repeat(case: Case) -> None:
    """Vary all at once, then run once more in place; only when bytes differ, vary one thing after the other."""
    repeats = _Repeats(case)
    await_moment(case.shared.stage(case.stage.name).ended + LATER)
    different = repeats.everything()
    with contextlib.ExitStack() as until:
        call: Call = here
        try:
            call = until.enter_context(Confined(HOST_NAME)).call
        except RefusedError as error:
            case.note(f"the host name stayed as it is: {error}")
            different.remove(HOST)
        varied, report = repeats.elsewhere(different, call)
        done = f"ran it from nothing, later, with another value of: {', '.join(WORDS[name] for name in different)}"
        repeats.judge(varied, report, done, "elsewhere", different)
        done = "ran it from nothing, later and elsewhere, then once more in place"
        repeats.judge(varied, repeats.once_more(varied, call), done, "in place", [HASHES])
    repeats.bench.close()


class _Repeats:
    """Runs of one stage, in which this or that is different."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.bench = Bench(case)
        self._random = random.Random(case.settings.seed)
        self._budget = Budget(case)

    def everything(self) -> list[str]:
        """Return all that can be different here."""
        stage = self.bench.stage
        heeds = any(os.fsencode(name).startswith(INTERPRETER_VARIABLES) for name in stage.env)
        may_be_forked = str(stage.processor).endswith(".py") and not stage.fresh_interpreter and not heeds
        impossible = {
            "home": "HOME" in stage.env,
            "processors": fewer_processors() is None,
            "modified": not self.bench.inputs,
            INTERPRETER: not may_be_forked,
        }
        return [name for name in WORDS if not impossible.get(name)]

    def elsewhere(self, different: list[str], call: Call) -> tuple[Varied, StageReport]:
        """Run it with all that is different; in a directory of a plainer name if it fails in that of an odd one."""
        place = self.case.directory / "varied"
        varied = self._laid(place, different, ODD)
        report = self._run(varied, call)
        if report.status != results.SUCCEEDED:
            failed = ended(report)
            varied = self._laid(place, different, PLAIN)
            report = self._run(varied, call)
            if report.status == results.SUCCEEDED:
                self.case.note(f'it fails below a directory that is called "{ODD}": {failed}')
        return varied, report

    def once_more(self, varied: Varied, call: Call) -> StageReport:
        """Run the same in place, with another order of hashes where it is to be had."""
        alter = varied.around.alter
        assert isinstance(alter, Altered)
        env = {**alter.env, **{name: value for name, value in self._seeded().items() if name in alter.env}}
        varied.around.alter = replace(alter, env=env)
        return self._run(varied._replace(options=varied.options._replace(force=True, run_id="once-more")), call)

    def judge(self, varied: Varied, report: StageReport, done: str, when: str, different: list[str]) -> None:
        """Fail the check unless a run gave the undisturbed bytes, with what the difference depends on."""
        is_done = report.status == results.SUCCEEDED
        found = self.bench.compare(report.outputs.paths, when) if is_done else ended(report)
        if found:
            text = f"{found}\nit depends on: {self._search(different)}"
            for made in (_COMPARED, _VARIED):
                discard(self.case.directory / made)
            Trial(self.bench, varied.sandbox).fail(done, SAME, text, report)

    def _seeded(self) -> dict[str, str]:
        """Return what makes an order of hashes, drawn anew."""
        seed = str(self._random.randrange(1, 1 << 32))
        return {PYTHON_SEED: seed, "PERL_HASH_SEED": seed, "PERL_PERTURB_KEYS": "2"}

    def _search(self, different: list[str]) -> str:
        """Return what of `different` makes a difference by itself, between runs that are the same in all else."""
        first = self._compared()
        if first.status != results.SUCCEEDED:
            return f"cannot be told, since it fails when run for comparison: {ended(first)}"
        kept = self._kept(first, "first")
        await_moment(time.time() + LATER)
        if self._differs(self._compared(), kept):
            return _SAME_TIME
        found, untried = [], []
        for name in different:
            if not self._budget.allows((4 if name == INTERPRETER else 1) * first.seconds):
                untried.append(WORDS[name])
            elif name == INTERPRETER:
                if WORDS[HASHES] not in found and self._depends_on_fork():
                    found.append(WORDS[name])
            elif any(self._differs(self._compared(name), kept) for _ in range(SEEDS if name == HASHES else 1)):
                found.append(WORDS[name])
        others = "several of these together" if len(different) > 1 else "what its first run left"
        text = ", and on ".join(found) or f"{others}, or on chance"
        return f"{text} (not tried for lack of time: {', '.join(untried)})" if untried else text

    def _depends_on_fork(self) -> bool:
        """Whether forks of an interpreter that is there give one thing, and new interpreters another.

        No order of hashes is set for these runs, since none is forked with one; so each kind has to agree with itself.
        """
        forked = self._compared(is_seeded=False)
        if forked.status != results.SUCCEEDED:
            return False
        kept = self._kept(forked, "forked")
        if self._differs(self._compared(is_seeded=False), kept):
            return False
        fresh = self._compared(INTERPRETER, is_seeded=False)
        if fresh.status != results.SUCCEEDED or not self._differs(fresh, kept):
            return fresh.status != results.SUCCEEDED
        return not self._differs(self._compared(INTERPRETER, is_seeded=False), self._kept(fresh, "fresh"))

    def _kept(self, report: StageReport, by: str) -> dict[str, str]:
        """Keep the outputs of a run, which the next one would remove."""
        kept = {name: str(self.case.directory / _COMPARED / by / name) for name in report.outputs.paths}
        for name, path in report.outputs.paths.items():
            copy(path, kept[name])
        return kept

    def _differs(self, report: StageReport, kept: Mapping[str, str]) -> bool:
        if report.status != results.SUCCEEDED:
            return True
        pairs = ((kept[name], path) for name, path in report.outputs.paths.items())
        return not self.bench.volatile and any(difference("", one, other, _SIDES) for one, other in pairs)

    def _compared(self, *different: str, is_seeded: bool = True) -> StageReport:
        varied = self._laid(self.case.directory / _VARIED, different, ODD, is_seeded=is_seeded)
        if HOST not in different:
            return self._run(varied, here)
        with Confined(HOST_NAME) as confined:
            return self._run(varied, confined.call)

    def _run(self, varied: Varied, call: Call) -> StageReport:
        return Trial(self.bench, varied.sandbox).of_stage(call(run_sandbox, *varied))

    def _laid(self, directory: Path, different: Collection[str], elsewhere: str, *, is_seeded: bool = True) -> Varied:
        """Lay the stage out anew below `directory`, where all that is not `different` is the same each time.

        But for the order of hashes in Python where that is not `is_seeded`: a seed would start a new interpreter.
        """
        discard(directory)
        bench = self.bench
        place = directory / (elsewhere if "directory" in different else "here")
        sandbox = bench.lay(place, bench.overrides | self._overrides(different))
        if "modified" in different:
            root = bench.spec.root
            _modify([os.path.join(sandbox.root, os.path.relpath(path, root)) for path in bench.inputs])
        home = str(directory / ("other/home" if "home" in different else "home"))
        os.makedirs(home)
        temporary = sandbox.temporary if "directory" in different else str(directory / "tmp")
        env = self._seeded()
        if HASHES not in different:
            env |= dict.fromkeys((PYTHON_SEED, "PERL_HASH_SEED"), "0")
        env = {name: value for name, value in env.items() if name not in bench.stage.env}
        if not is_seeded:
            env.pop(PYTHON_SEED, None)
        alter = Altered(env, fewer_processors() if "processors" in different else None)
        options = UNSYNCED._replace(run_id="another-run" if "run_id" in different else "the-run")
        return Varied(sandbox, Around(home, temporary, alter), options)

    def _overrides(self, different: Collection[str]) -> dict[str, Any]:
        """Return the fields of the stage that make it see something else."""
        overrides: dict[str, Any] = {"freshInterpreter": True} if INTERPRETER in different else {}
        if "hint" in different:
            own = self.bench.stage.resources
            given = {"memoryMiB": own.memory_mib, "ioConcurrency": own.io_concurrency, "enforce": own.enforce}
            given["cpus"] = 2 if own.cpus is not None and math.ceil(own.cpus) == 1 else 1
            overrides["resources"] = {name: value for name, value in given.items() if value is not None}
        return overrides


def fewer_processors() -> list[int] | None:
    """Return one of the processors that this process may use; None where it has one only."""
    processors = sorted(os.sched_getaffinity(0))
    return processors[-1:] if len(processors) > 1 else None


def _modify(paths: list[str]) -> None:
    """Let all have been modified long ago, and the newest before all others."""
    files = [file for path in paths for file in files_below(os.path.normpath(path))]
    files.sort(key=lambda path: os.lstat(path).st_mtime_ns, reverse=True)
    for number, path in enumerate(files):
        os.utime(path, (LONG_AGO + number, LONG_AGO + number), follow_symlinks=False)
