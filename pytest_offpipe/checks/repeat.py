"""`repeat`: a stage gives the same bytes from nothing, later and elsewhere. If not, it finds what they depend on."""

from __future__ import annotations

import contextlib
import math
import os
import random
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_offpipe.checks.case import PYTHON_SEED, SAME, Bench, Case, Trial, await_later, ended, here
from pytest_offpipe.compare import difference, files_below
from pytest_offpipe.faults.namespace import Confined
from pytest_offpipe.runs import UNSYNCED, Around
from pytest_offpipe.sandbox import discard, one_stage
from runner.levels import RefusedError
from runner.results import listed
from runner.sandbox.forkserver import INTERPRETER_VARIABLES
from runner.spec.model import value_at

if TYPE_CHECKING:
    from collections.abc import Collection

    from pytest_offpipe.reports import StageReport

HASHES, INTERPRETER, HOST = "hashes", "interpreter", "host"
WORDS = {  # what may differ between two runs of a stage, in the order in which it is tried
    "directory": "the directory",
    "home": "HOME",
    HOST: "the host name",
    HASHES: "the order of hashes (PYTHONHASHSEED, PERL_HASH_SEED)",
    "processors": "the processors that it may use",
    "hint": "the number of processors in its environment (PIPELINE_CPUS, OMP_NUM_THREADS)",
    "modified": "the modification times of its inputs",
    INTERPRETER: "a fresh interpreter",
    "run_id": "the run's id, which is in the names of partial outputs too",
}
HOST_NAME = "offpipe-elsewhere"
ODD = "else where/ä/deeper"  # a space, a letter beyond ASCII, and more directories above
PLAIN = "elsewhere/and/deeper"
LONG_AGO = 1_000_000_000  # seconds: 2001-09-09
SEEDS = 4  # orders of hashes to try: with only two, a stage may still give the same bytes
_SIDES = ("one run", "another")
_SAME_TIME = "the time, or chance (it differs between two runs that are the same in all else)"


def check_repeat(case: Case) -> None:
    """Vary everything at once, then run once more in place. Only if bytes differ, vary one thing after the other."""
    repeats = _Repeats(case)
    await_later(case.shared.stage(case.stage.name).ended)
    different = repeats.everything()
    with contextlib.ExitStack() as until:
        try:
            repeats.call = until.enter_context(Confined(HOST_NAME)).call
        except RefusedError as error:
            case.note(f"the host name stayed as it is: {error}")
            different.remove(HOST)
        varied, report = repeats.elsewhere(different)
        done = f"ran it from nothing, later, with another value of: {listed([WORDS[name] for name in different], 2)}"
        repeats.judge(varied, report, done, "elsewhere", different)
        done = "ran it from nothing, later and elsewhere, then once more in place"
        repeats.judge(varied, repeats.once_more(varied), done, "in place", [HASHES])


class _Repeats(Bench):
    """Runs of one stage that differ in chosen ways."""

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        self._random = random.Random(case.settings.seed)
        self._deadline = time.monotonic() + case.settings.budget
        self._first, self._varied = (case.directory / name for name in ("compared", "one-by-one"))

    def everything(self) -> list[str]:
        """Return the names of everything that can vary here."""
        stage = self.stage
        heeds = any(os.fsencode(name).startswith(INTERPRETER_VARIABLES) for name in stage.env)
        may_be_forked = stage.may_fork and not heeds
        impossible = {
            "home": "HOME" in stage.env,
            "processors": fewer_processors() is None,
            "modified": not self.inputs,
            INTERPRETER: not may_be_forked,
        }
        return [name for name in WORDS if not impossible.get(name)]

    def elsewhere(self, different: list[str]) -> tuple[Trial, StageReport]:
        """Run it with everything different, in a directory of an odd name, then of a plain name."""
        varied = self._laid("varied", different)
        odd = report = varied.run_apart(self.call)
        if not odd.succeeded:
            varied = self._laid("varied", different, PLAIN)
            report = varied.run_apart(self.call)
            if report.succeeded:
                self.case.note(f'it fails below a directory that is called "{ODD}": {ended(odd)}')
        return varied, report

    def once_more(self, varied: Trial) -> StageReport:
        """Run the same in place, with another order of hashes where there is one."""
        varied.around.env.update(self.seeds(self._random.randrange(1, 1 << 32)))
        return varied._replace(options=varied.options._replace(force=True, run_id="once-more")).run_apart(self.call)

    def judge(self, trial: Trial, report: StageReport, done: str, when: str, different: list[str]) -> None:
        """Fail the check unless a run gave the undisturbed bytes, and say what the difference depends on."""
        if found := self.compare(report, when) if report.succeeded else ended(report):
            text = f"{found}\nit depends on: {self._search(different)}"
            discard(self._first)
            discard(self._varied)
            trial.fail(done, SAME, text, report)

    def _search(self, different: list[str]) -> str:
        """Return which of `different` change the bytes alone, between runs that are the same in everything else."""
        first = self._compared()
        if not first.succeeded:
            return f"unknown, since it fails when run for comparison: {ended(first)}"
        self._varied.rename(self._first)
        paths = first.outputs.paths.items()
        self._expected = {name: f"{self._first}/{Path(path).relative_to(self._varied)}" for name, path in paths}
        await_later(time.time())
        if self._depends_on():
            return _SAME_TIME
        found, untried = [], []
        for name in different:
            if time.monotonic() + first.seconds > self._deadline:
                untried.append(WORDS[name])
            elif name == INTERPRETER and WORDS[HASHES] in found:
                continue  # a fork has an order of its own
            elif any(self._depends_on(name) for _ in range(SEEDS if name == HASHES else 1)):
                found.append(WORDS[name])
        others = "several of these together" if len(different) > 1 else "what its first run left"
        text = ", and on ".join(found) or f"{others}, or on chance"
        return f"{text} (not tried for lack of time: {', '.join(untried)})" if untried else text

    def _depends_on(self, *names: str) -> bool:
        """Whether a run with these different has other outputs than the first run, or fails."""
        report = self._compared(*names)
        if self.volatile or not report.succeeded:
            return not report.succeeded
        paths, of_files = report.outputs.paths, self.normaliser.of_files
        return any(difference("", path, paths[name], _SIDES, of_files) for name, path in self._expected.items())

    def _compared(self, *different: str) -> StageReport:
        varied = self._laid(self._varied.name, different)
        return varied.run_apart(self.call if HOST in different else here)

    def _laid(self, name: str, different: Collection[str], elsewhere: str = ODD) -> Trial:
        """Lay the stage out again in the directory `name`, where only what is `different` differs.

        A seed of hashes causes a fresh interpreter. So if only the interpreter should differ, the seed is left out.
        """
        directory = f"{self.case.directory}/{name}"
        discard(directory)
        place = elsewhere if "directory" in different else "here"
        overrides = {"resources": self._other_hint()} if "hint" in different else {}
        trial = self.trial(f"{name}/{place}", self.overrides | overrides)
        sandbox = trial.sandbox
        if "modified" in different:
            _modify([f"{sandbox.root}/{os.path.relpath(path, self.spec.root)}" for path in self.inputs])
        home = f"{directory}/other/home" if "home" in different else f"{directory}/home"
        os.makedirs(home)
        temporary = sandbox.temporary if "directory" in different else f"{directory}/tmp"
        env = self.seeds(self._random.randrange(1, 1 << 32) if HASHES in different else 0)
        if [*different] == [INTERPRETER]:
            del env[PYTHON_SEED]
        processors = fewer_processors() if "processors" in different else None
        return trial._replace(
            around=Around(home, temporary, env=env, affinity=processors),
            options=UNSYNCED._replace(
                run_id="another-run" if "run_id" in different else "the-run",
                jobs=2 if "hint" in different else None,  # so that two processors are not cut to one
            ),
        )

    def _other_hint(self) -> dict[str, Any]:
        """Return the stage's resources with another number of processors than it got undisturbed."""
        own: dict[str, Any] = one_stage(self.spec, self.stage, {})["stages"][0]["resources"]
        asked, most = value_at(self.stage.resources.cpus, 0), len(os.sched_getaffinity(0))
        return {**own, "cpus": 1 if asked is None or min(math.ceil(asked), most) > 1 else 2}


def fewer_processors() -> list[int] | None:
    """Return one of the processors that this process may use, as a list; None if it has only one."""
    processors = sorted(os.sched_getaffinity(0))
    return processors[-1:] if len(processors) > 1 else None


def _modify(paths: list[str]) -> None:
    """Give all files old modification times, in reverse order."""
    files = [file for path in paths for file in files_below(os.path.normpath(path))]
    files.sort(key=lambda path: os.lstat(path).st_mtime_ns, reverse=True)
    for number, path in enumerate(files):
        os.utime(path, (LONG_AGO + number, LONG_AGO + number), follow_symlinks=False)
