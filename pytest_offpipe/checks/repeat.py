"""`repeat`: from nothing, later and elsewhere, it gives the same bytes; else it finds out what they depend on."""

from __future__ import annotations

import contextlib
import math
import os
import random
import time
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from pytest_offpipe.checks.trial import LATER, SAME, Bench, Budget, Trial, await_moment, ended, here
from pytest_offpipe.compare import Sides, difference
from pytest_offpipe.faults.namespace import Confined
from pytest_offpipe.runs import Around, run_sandbox
from pytest_offpipe.sandbox import alone, copy, discard, files_below
from runner import results
from runner.api import Options
from runner.levels import RefusedError
from runner.sandbox.warmth import HEEDED

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pytest_offpipe.checks.case import Case
    from pytest_offpipe.checks.trial import Call
    from pytest_offpipe.reports import StageReport
    from pytest_offpipe.sandbox import Sandbox
    from runner.sandbox.launch import Launch
    from runner.spec.model import Stage

HOST_NAME = "offpipe-elsewhere"
ODD = "else where/ä/deeper"  # a space, a letter beyond ASCII, and more directories above
PLAIN = "elsewhere/and/deeper"
PYTHON_SEED = "PYTHONHASHSEED"
LONG_AGO = 1_000_000_000  # seconds: 2001-09-09


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What differs from how a stage is run for comparison; `directory` is where it is run instead."""

    directory: str = field(default="", metadata={"is": "the directory"})
    home: bool = field(default=False, metadata={"is": "HOME"})
    host_name: bool = field(default=False, metadata={"is": "the host name"})
    hash_seed: int = field(default=0, metadata={"is": "the order of hashes (PYTHONHASHSEED, PERL_HASH_SEED)"})
    processors: bool = field(default=False, metadata={"is": "the processors that it may use"})
    hint: bool = field(
        default=False, metadata={"is": "the number of processors that it is told (PIPELINE_CPUS, OMP_NUM_THREADS)"}
    )
    modified: bool = field(default=False, metadata={"is": "the modification times of its inputs"})
    interpreter: bool = field(default=False, metadata={"is": "a fresh interpreter"})
    run_id: bool = field(default=False, metadata={"is": "the run's id, which is in the names of partial outputs too"})

    @property
    def names(self) -> list[str]:
        """What is different, in words."""
        return [one.metadata["is"] for one in fields(self) if getattr(self, one.name)]

    def each(self) -> list[Circumstances]:
        """Return what is different one by one."""
        return [Circumstances(**{one.name: value}) for one in fields(self) if (value := getattr(self, one.name))]


@dataclass(frozen=True, slots=True)
class Altered:
    """Changes the environment and the processors of what a launcher is asked to start."""

    env: Mapping[str, str]
    affinity: list[int] | None = None

    def __call__(self, launch: Launch) -> Launch:
        """Return what to start instead."""
        return launch.replace(env={**launch.env, **self.env}, affinity=self.affinity or launch.affinity)


@dataclass(frozen=True, slots=True)
class Varied:
    """A stage, laid out alone, and how to run it."""

    sandbox: Sandbox
    around: Around
    options: Options

    def once_more(self, hash_seed: int) -> Varied:
        """Return the same in place, with another order of hashes where it is to be had."""
        assert isinstance(self.around.alter, Altered)
        alter = replace(self.around.alter, env=seeded(self.around.alter.env, hash_seed))
        around = replace(self.around, alter=alter)
        return replace(self, around=around, options=self.options.replace(force=True, run_id="once-more"))


def lay_varied(bench: Bench, directory: Path, different: Circumstances, *, is_seeded: bool = True) -> Varied:
    """Lay the stage out anew below `directory`, where all that is not `different` is the same each time.

    But for the order of hashes in Python where that is not `is_seeded`: a seed would start a new interpreter.
    """
    discard(directory)
    overrides = bench.overrides | _overrides(bench, different)
    sandbox = alone(bench.spec, bench.stage, bench.files, directory / (different.directory or "here"), overrides)
    if different.modified:
        _modify([_placed(bench, sandbox, path) for path in bench.inputs])
    home = str(directory / ("other/home" if different.home else "home"))
    os.makedirs(home)
    temporary = sandbox.temporary if different.directory else str(directory / "tmp")
    free = {name: value for name, value in seeded({}, different.hash_seed).items() if name not in bench.stage.env}
    if not is_seeded:
        free.pop(PYTHON_SEED, None)
    alter = Altered(free, fewer_processors() if different.processors else None)
    options = Options(durability="process", run_id="another-run" if different.run_id else "the-run")
    return Varied(sandbox, Around(home, temporary, alter), options)


def seeded(env: Mapping[str, str], seed: int) -> dict[str, str]:
    """Return an environment with what decides the order of hashes; of one that has any of it, only what it has."""
    found = {PYTHON_SEED: str(seed), "PERL_HASH_SEED": str(seed), "PERL_PERTURB_KEYS": "2"}
    return {**env, **{name: value for name, value in found.items() if not env or name in env}}


def may_be_forked(stage: Stage) -> bool:
    """Whether a stage may be run in a fork of an interpreter that is there, where nothing is varied."""
    is_like = not any(os.fsencode(name).startswith(HEEDED) for name in stage.env)
    return str(stage.processor).endswith(".py") and not stage.fresh_interpreter and is_like


def fewer_processors() -> list[int] | None:
    """Return one of the processors that this process may use; None where it has one only."""
    there = sorted(os.sched_getaffinity(0))
    return there[-1:] if len(there) > 1 else None


def _overrides(bench: Bench, different: Circumstances) -> dict[str, Any]:
    stage = bench.stage
    found: dict[str, Any] = {}
    if different.hint:
        told = stage.resources.cpus
        own = {"memoryMiB": stage.resources.memory_mib, "ioConcurrency": stage.resources.io_concurrency}
        given = {name: value for name, value in own.items() if value is not None}
        cpus = 2 if told is not None and math.ceil(told) == 1 else 1
        found["resources"] = {**given, "enforce": stage.resources.enforce, "cpus": cpus}
    if different.interpreter:
        found["freshInterpreter"] = True
    return found


def _placed(bench: Bench, sandbox: Sandbox, path: str) -> str:
    """Return where in a sandbox lies what belongs at `path`."""
    return os.path.normpath(os.path.join(sandbox.root, os.path.relpath(path, bench.spec.root)))


def _modify(paths: list[str]) -> None:
    """Let all have been modified long ago, and the newest before all others."""
    files = [one for path in paths for one in files_below(path)]
    files.sort(key=lambda path: os.lstat(path).st_mtime_ns, reverse=True)
    for number, path in enumerate(files):
        os.utime(path, (LONG_AGO + number, LONG_AGO + number), follow_symlinks=False)


SEEDS = 4  # orders of hashes that are tried, since two may agree in what a stage makes of them
_COMPARED, _VARIED = "compared", "one-by-one"
_SIDES = Sides("one run", "another")


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
            different = replace(different, host_name=False)
        varied, report, different = repeats.elsewhere(different, call)
        done = f"ran it from nothing, later, with another value of: {', '.join(different.names)}"
        repeats.judge(varied, report, done, "elsewhere", different)
        again = repeats.run(varied.once_more(repeats.seed()), call)
        done = "ran it from nothing, later and elsewhere, then once more in place"
        repeats.judge(varied, again, done, "in place", Circumstances(hash_seed=repeats.seed()))
    repeats.bench.close()


class _Repeats:
    """Runs of one stage in circumstances that differ."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.bench = Bench(case)
        self._chance = random.Random(case.settings.seed)
        self._budget = Budget(case.settings.budget)

    def seed(self) -> int:
        """Draw an order of hashes."""
        return self._chance.randrange(1, 1 << 32)

    def everything(self) -> Circumstances:
        """Return all that can be different here."""
        return Circumstances(
            directory=ODD, home="HOME" not in self.bench.stage.env, host_name=True, hash_seed=self.seed(),
            processors=fewer_processors() is not None, hint=True, modified=bool(self.bench.inputs),
            interpreter=may_be_forked(self.bench.stage), run_id=True,
        )  # fmt: skip

    def elsewhere(self, different: Circumstances, call: Call) -> tuple[Varied, StageReport, Circumstances]:
        """Run it with all that is different; in a directory of a plainer name if it fails in that of an odd one."""
        place = self.case.directory / "varied"
        varied = lay_varied(self.bench, place, different)
        report = self.run(varied, call)
        if report.status == results.SUCCEEDED:
            return varied, report, different
        plainer = replace(different, directory=PLAIN)
        varied, failed = lay_varied(self.bench, place, plainer), ended(report)
        report = self.run(varied, call)
        if report.status == results.SUCCEEDED:
            self.case.note(f'it fails below a directory that is called "{ODD}": {failed}')
        return varied, report, plainer

    def run(self, varied: Varied, call: Call) -> StageReport:
        """Run what is laid out."""
        report = call(run_sandbox, varied.sandbox, varied.around, varied.options)
        return Trial(self.bench, varied.sandbox).of_stage(report)

    def judge(self, varied: Varied, report: StageReport, done: str, when: str, different: Circumstances) -> None:
        """Fail the check unless a run gave the undisturbed bytes, with what the difference depends on."""
        if report.status == results.SUCCEEDED:
            found = self.bench.compare(report.outputs.paths, when)
        else:
            found = ended(report)
        if found:
            text = f"{found}\nit depends on: {self._search(different)}"
            for made in (_COMPARED, _VARIED):
                discard(self.case.directory / made)
            Trial(self.bench, varied.sandbox).fail(done, SAME, text, report)

    def _search(self, different: Circumstances) -> str:
        """Return what of `different` makes a difference by itself, between runs that are the same in all else."""
        first = self._compared(Circumstances())
        if first.status != results.SUCCEEDED:
            return f"cannot be told, since it fails when run for comparison: {ended(first)}"
        kept = self._kept(first, "first")
        await_moment(time.time() + LATER)
        if self._differs(self._compared(Circumstances()), kept):
            return "the time, or chance (it differs between two runs that are the same in all else)"
        found, untried, is_hashed = [], [], False
        for one in different.each():
            runs = 4 if one.interpreter else 1
            if not self._budget.allows(runs * first.seconds):
                untried += one.names
            elif one.interpreter:
                found += one.names if not is_hashed and self._tells_forks() else []
            elif any(self._differs(self._compared(each), kept) for each in self._orders(one)):
                found += one.names
                is_hashed = is_hashed or bool(one.hash_seed)
        others = "several of these together" if len(different.names) > 1 else "what its first run left"
        text = ", and on ".join(found) or f"{others}, or on chance"
        return f"{text} (not tried for lack of time: {', '.join(untried)})" if untried else text

    def _orders(self, one: Circumstances) -> list[Circumstances]:
        return [replace(one, hash_seed=self.seed()) for _ in range(SEEDS)] if one.hash_seed else [one]

    def _tells_forks(self) -> bool:
        """Whether forks of an interpreter that is there give one thing, and new interpreters another.

        No order of hashes is set for these runs, since none is forked with one; so each kind has to agree with itself.
        """
        forked, fresh = Circumstances(), Circumstances(interpreter=True)
        report = self._compared(forked, is_seeded=False)
        if report.status != results.SUCCEEDED:
            return False
        kept = self._kept(report, "forked")
        if self._differs(self._compared(forked, is_seeded=False), kept):
            return False
        report = self._compared(fresh, is_seeded=False)
        if report.status != results.SUCCEEDED:
            return True
        if not self._differs(report, kept):
            return False
        return not self._differs(self._compared(fresh, is_seeded=False), self._kept(report, "fresh"))

    def _kept(self, report: StageReport, by: str) -> dict[str, str]:
        """Keep the outputs of a run, which the next one would remove."""
        kept = {}
        for name, path in report.outputs.paths.items():
            kept[name] = str(self.case.directory / _COMPARED / by / name)
            copy(path, kept[name])
        return kept

    def _compared(self, different: Circumstances, *, is_seeded: bool = True) -> StageReport:
        varied = lay_varied(self.bench, self.case.directory / _VARIED, different, is_seeded=is_seeded)
        if not different.host_name:
            return self.run(varied, here)
        with Confined(HOST_NAME) as confined:
            return self.run(varied, confined.call)

    def _differs(self, report: StageReport, kept: Mapping[str, str]) -> bool:
        if report.status != results.SUCCEEDED:
            return True
        pairs = ((kept[name], path) for name, path in report.outputs.paths.items())
        return not self.bench.volatile and any(difference("", one, other, _SIDES) for one, other in pairs)
