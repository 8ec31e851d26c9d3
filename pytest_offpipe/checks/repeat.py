"""`repeat`: from nothing, later and elsewhere, it gives the same bytes; else it finds out what they depend on."""

from __future__ import annotations

import contextlib
import math
import os
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_offpipe.checks.case import LATER, SAME, Bench, Budget, Call, Case, Trial, await_moment, ended, here
from pytest_offpipe.compare import Sides, difference
from pytest_offpipe.faults.namespace import Confined
from pytest_offpipe.runs import UNSYNCED, Around, run_sandbox
from pytest_offpipe.sandbox import copy, discard, files_below
from runner import results
from runner.levels import RefusedError
from runner.sandbox.forkserver import INTERPRETER_VARIABLES

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from pytest_offpipe.reports import StageReport
    from runner.engine import Options
    from runner.sandbox.client import Launch
    from runner.spec.model import Resources

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

    env: dict[str, str]
    affinity: list[int] | None

    def __call__(self, launch: Launch) -> Launch:
        """Return what to start instead."""
        return launch._replace(env={**launch.env, **self.env}, affinity=self.affinity or launch.affinity)


class Varied(NamedTuple):
    """A stage, laid out alone, and how to run it."""

    trial: Trial
    around: Around
    options: Options

    def run(self, call: Call = here) -> StageReport:
        """Run it; `call` makes calls where the host has another name."""
        return self.trial.of_stage(call(run_sandbox, self.trial.sandbox, self.around, self.options))


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
        repeats.judge(varied.trial, report, done, "elsewhere", different)
        done = "ran it from nothing, later and elsewhere, then once more in place"
        repeats.judge(varied.trial, repeats.once_more(varied, call), done, "in place", [HASHES])
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
        varied = self._laid(place, different)
        report = varied.run(call)
        if report.status != results.SUCCEEDED:
            failed = ended(report)
            varied = self._laid(place, different, PLAIN)
            report = varied.run(call)
            if report.status == results.SUCCEEDED:
                self.case.note(f'it fails below a directory that is called "{ODD}": {failed}')
        return varied, report

    def once_more(self, varied: Varied, call: Call) -> StageReport:
        """Run the same in place, with another order of hashes where it is to be had."""
        alter = varied.around.alter
        assert isinstance(alter, Altered)
        alter.env.update(self._seeds(str(self._random.randrange(1, 1 << 32))))
        return varied._replace(options=varied.options._replace(force=True, run_id="once-more")).run(call)

    def judge(self, trial: Trial, report: StageReport, done: str, when: str, different: list[str]) -> None:
        """Fail the check unless a run gave the undisturbed bytes, with what the difference depends on."""
        is_done = report.status == results.SUCCEEDED
        found = self.bench.compare(report, when) if is_done else ended(report)
        if found:
            text = f"{found}\nit depends on: {self._search(different)}"
            for made in (_COMPARED, _VARIED):
                discard(self.case.directory / made)
            trial.fail(done, SAME, text, report)

    def _seeds(self, seed: str) -> dict[str, str]:
        """Return what makes an order of hashes, but for what the spec sets."""
        env = {PYTHON_SEED: seed, "PERL_HASH_SEED": seed, "PERL_PERTURB_KEYS": "2"}
        return {name: value for name, value in env.items() if name not in self.bench.stage.env}

    def _search(self, different: list[str]) -> str:
        """Return what of `different` makes a difference by itself, between runs that are the same in all else."""
        first = self._compared()
        if first.status != results.SUCCEEDED:
            return f"cannot be told, since it fails when run for comparison: {ended(first)}"
        kept = {name: str(self.case.directory / _COMPARED / name) for name in first.outputs.paths}
        for name, path in first.outputs.paths.items():
            copy(path, kept[name])  # the next run would remove it

        def depends_on(*names: str) -> bool:
            report = self._compared(*names)
            if report.status != results.SUCCEEDED:
                return True
            pairs = ((kept[name], path) for name, path in report.outputs.paths.items())
            return not self.bench.volatile and any(difference("", one, other, _SIDES) for one, other in pairs)

        await_moment(time.time() + LATER)
        if depends_on():
            return _SAME_TIME
        found, untried = [], []
        for name in different:
            if not self._budget.allows(first.seconds):
                untried.append(WORDS[name])
            elif name == INTERPRETER and WORDS[HASHES] in found:
                continue  # a fork has an order of its own
            elif any(depends_on(name) for _ in range(SEEDS if name == HASHES else 1)):
                found.append(WORDS[name])
        others = "several of these together" if len(different) > 1 else "what its first run left"
        text = ", and on ".join(found) or f"{others}, or on chance"
        return f"{text} (not tried for lack of time: {', '.join(untried)})" if untried else text

    def _compared(self, *different: str) -> StageReport:
        varied = self._laid(self.case.directory / _VARIED, different)
        if HOST not in different:
            return varied.run()
        with Confined(HOST_NAME) as confined:
            return varied.run(confined.call)

    def _laid(self, directory: Path, different: Collection[str], elsewhere: str = ODD) -> Varied:
        """Lay the stage out anew below `directory`, where all that is not `different` is the same each time.

        A seed of hashes makes a fresh interpreter. A Python stage that is forked undisturbed has none only where the
        interpreter alone is different.
        """
        discard(directory)
        bench = self.bench
        place = directory / (elsewhere if "directory" in different else "here")
        overrides = {"resources": _other_hint(bench.stage.resources)} if "hint" in different else {}
        trial = bench.trial(str(place), bench.overrides | overrides)
        sandbox = trial.sandbox
        if "modified" in different:
            root = bench.spec.root
            _modify([os.path.join(sandbox.root, os.path.relpath(path, root)) for path in bench.inputs])
        home = str(directory / ("other/home" if "home" in different else "home"))
        os.makedirs(home)
        temporary = sandbox.temporary if "directory" in different else str(directory / "tmp")
        env = self._seeds(str(self._random.randrange(1, 1 << 32)) if HASHES in different else "0")
        if [*different] == [INTERPRETER]:
            del env[PYTHON_SEED]
        alter = Altered(env, fewer_processors() if "processors" in different else None)
        options = UNSYNCED._replace(run_id="another-run" if "run_id" in different else "the-run")
        return Varied(trial, Around(home, temporary, alter), options)


def _other_hint(own: Resources) -> dict[str, Any]:
    """Return resources with another number of processors."""
    given = {"memoryMiB": own.memory_mib, "ioConcurrency": own.io_concurrency, "enforce": own.enforce}
    given["cpus"] = 2 if own.cpus is not None and math.ceil(own.cpus) == 1 else 1
    return {name: value for name, value in given.items() if value is not None}


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
