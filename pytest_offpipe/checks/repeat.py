"""`repeat`: a stage gives the same bytes from nothing, later and elsewhere. If not, it finds what they depend on."""

from __future__ import annotations

import math
import os
import random
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_offpipe.checks.case import SAME, Bench, Case, Trial, await_later, ended
from pytest_offpipe.checks.surroundings import Surroundings, is_static, library, other_language, other_user
from pytest_offpipe.compare import difference, files_below
from pytest_offpipe.runs import PRELOAD, PYTHON_SEED, UNSYNCED, Around, varied_env
from pytest_offpipe.sandbox import discard, one_stage
from runner.engine.programs import find_command
from runner.levels import RefusedError
from runner.results import listed
from runner.sandbox.forkserver import INTERPRETER_VARIABLES
from runner.spec.model import value_at

if TYPE_CHECKING:
    from collections.abc import Collection

    from pytest_offpipe.reports import StageReport

DIRECTORY, HASHES, INTERPRETER, LANGUAGE, USER = "directory", "hashes", "interpreter", "language", "user"
LIBRARIES = DATE, ENTRIES = "date", "entries"
WORDS = {  # what may differ between two runs of a stage, in the order in which it is tried
    DIRECTORY: "the directory",
    "home": "HOME",
    "files": "the files in HOME",
    "host": "the host name",
    HASHES: "the order of hashes (PYTHONHASHSEED, PERL_HASH_SEED)",
    "processors": "the processors that it may use",
    "online": "the number of processors of the machine (os.cpu_count)",
    "hint": "the number of processors in its environment (PIPELINE_CPUS, OMP_NUM_THREADS)",
    "umask": "the umask",
    USER: "the user",
    "zone": "TZ (set it in env to keep it)",
    LANGUAGE: "LANG (set it in env to keep it)",
    DATE: "the date",
    ENTRIES: "the order of directory entries",
    "modified": "the modification times of its inputs",
    INTERPRETER: "a fresh interpreter",
    "run_id": "the run's id, which is in the names of partial outputs too",
}
ZONE = "ELSE-13:45"  # needs no table of zones
ODD = "else where/ä/deeper"  # a space, a letter beyond ASCII, and more directories above
PLAIN = "elsewhere/and/deeper"
LONG_AGO = 1_000_000_000  # seconds: 2001-09-09
SEEDS = 4  # orders of hashes to try: with only two, a stage may still give the same bytes
MAY_FAIL = {  # where a stage may fail
    DIRECTORY: f'below a directory that is called "{ODD}"',
    USER: "for another user",
    DATE: "on another date",
    ENTRIES: "where directories list their entries in another order",
}
_SIDES = ("one run", "another")
_SAME_TIME = "the time, or chance (it differs between two runs that are the same in all else)"


def check_repeat(case: Case) -> None:
    """Vary everything at once, then run once more in place. Only if bytes differ, vary one thing after the other."""
    repeats = _Repeats(case)
    await_later(case.shared.stage(case.stage.name).ended)
    different = repeats.everything()
    with repeats.surroundings:
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
        self.modes = 0o7700  # the others are the umask's
        self.surroundings = Surroundings(str(case.directory))
        self._elsewhere = ODD
        self._values: dict[str, str] = {}  # of LANG, and paths of libraries
        self._first, self._varied = (case.directory / name for name in ("compared", "one-by-one"))

    def everything(self) -> list[str]:
        """Return the names of everything that can vary here. Notes what this machine cannot vary."""
        stage = self.stage
        heeds = any(os.fsencode(name).startswith(INTERPRETER_VARIABLES) for name in stage.env)
        may_be_forked = stage.may_fork and not heeds
        impossible = {
            "home": "HOME" in stage.env,
            "files": "HOME" in stage.env,
            "zone": "TZ" in stage.env,
            LANGUAGE: any(name.startswith(("LANG", "LC_")) for name in stage.env),
            DATE: PRELOAD in stage.env,
            ENTRIES: PRELOAD in stage.env,
            "hint": stage.resources.cpus is None,  # then it never has these variables
            "modified": not self.inputs,
            INTERPRETER: not may_be_forked,
        }
        different = [name for name in WORDS if not impossible.get(name)]
        if other_user() is None:
            self._leave_out(USER, "the system knows no other one", different)
        if fewer_processors() is None:
            self._leave_out("processors", "there is only one", different)
        for name in [name for name in different if name in (LANGUAGE, *LIBRARIES)]:
            try:
                self._values[name] = other_language() if name == LANGUAGE else self._library(name)
            except (RefusedError, OSError) as error:
                self._leave_out(name, str(error), different)
        return different

    def _library(self, name: str) -> str:
        program = find_command(self.spec, self.stage)[0]
        if program and is_static(program):
            raise RefusedError(f"{program} is linked statically", 0)
        return library(name, self.case.shared.directory)

    def _enter(self, different: list[str]) -> None:
        """Make later calls where these differ. Removes, and notes, what this machine cannot vary."""
        self.call, refused = self.surroundings.call(different)
        for name, why in refused.items():
            self._leave_out(name, why, different)

    def _leave_out(self, name: str, why: str, different: list[str]) -> None:
        self.case.note(f"not varied: {WORDS[name].partition(' (')[0]} ({why})")
        different.remove(name)

    def elsewhere(self, different: list[str]) -> tuple[Trial, StageReport]:
        """Run it with everything different. If it fails, run it without all that it MAY_FAIL for.

        If it then succeeds, add these one after the other, and keep those with which it still succeeds.
        Removes from `different` what did not differ in the run that is returned, and notes why.
        """
        everything = self._run("varied", different)
        if everything[1].succeeded:
            return everything
        self._elsewhere = PLAIN
        some = [name for name in different if name == DIRECTORY or name not in MAY_FAIL]
        best = self._run("plain", some)
        if not best[1].succeeded:
            self._elsewhere = ODD
            return everything
        for name, where in MAY_FAIL.items():
            if name not in different:
                continue
            if time.monotonic() > self._deadline:
                self.case.note(f"not tried {where}, because no time is left (--offpipe-budget)")
                continue
            before = self._elsewhere
            if name == DIRECTORY:
                self._elsewhere = ODD
            more = [each for each in different if each in (*some, name)]
            tried = self._run(f"with-{name}", more)
            if tried[1].succeeded:
                some, best = more, tried
            else:
                self._elsewhere = before
                self.case.note(f"it fails {where}: {ended(tried[1])}")
        different[:] = some
        self._enter(different)
        return best

    def _run(self, place: str, different: list[str]) -> tuple[Trial, StageReport]:
        self._enter(different)
        trial = self._laid(place, different)
        return trial, trial.run_apart(self.call)

    def once_more(self, varied: Trial) -> StageReport:
        """Run the same in place, with another order of hashes where there is one."""
        varied.around.env.update(varied_env(self.stage, self._random.randrange(1, 1 << 32)))
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
        return any(
            difference("", path, paths[name], _SIDES, of_files, self.modes) for name, path in self._expected.items()
        )

    def _compared(self, *different: str) -> StageReport:
        varied = self._laid(self._varied.name, different)
        return varied.run_apart(self.surroundings.call(different)[0])

    def _laid(self, name: str, different: Collection[str]) -> Trial:
        """Lay the stage out again in the directory `name`, where only what is `different` differs.

        A seed of hashes causes a fresh interpreter. So if only the interpreter should differ, the seed is left out.
        """
        directory = f"{self.case.directory}/{name}"
        discard(directory)
        place = self._elsewhere if DIRECTORY in different else "here"
        overrides = {"resources": self._other_hint()} if "hint" in different else {}
        trial = self.trial(f"{name}/{place}", self.overrides | overrides)
        sandbox = trial.sandbox
        if "modified" in different:
            _modify([f"{sandbox.root}/{os.path.relpath(path, self.spec.root)}" for path in self.inputs])
        home = f"{directory}/other/home" if "home" in different else f"{directory}/home"
        os.makedirs(home)
        if "files" in different:
            Path(home, ".offpipe-elsewhere").mkdir()
            Path(home, "offpipe-elsewhere.txt").write_text("a file of the user\n", encoding="ascii")
        temporary = sandbox.temporary if DIRECTORY in different else f"{directory}/tmp"
        env = trial.around.env | varied_env(
            self.stage, self._random.randrange(1, 1 << 32) if HASHES in different else 0
        )
        if [*different] == [INTERPRETER]:
            env[PYTHON_SEED] = ""
        if "zone" in different:
            env["TZ"] = ZONE
        if LANGUAGE in different:
            env["LANG"] = self._values[LANGUAGE]
        libraries = [self._values[name] for name in LIBRARIES if name in different]
        if libraries:
            env[PRELOAD] = ":".join(libraries)
        processors = fewer_processors() if "processors" in different else None
        return trial._replace(
            around=Around(home, temporary, env=env, affinity=processors, shown=tuple(libraries)),
            options=UNSYNCED._replace(
                run_id="another-run" if "run_id" in different else "the-run",
                jobs=2 if "hint" in different else None,  # so that two processors are not cut to one
            ),
        )

    def _other_hint(self) -> dict[str, Any]:
        """Return the stage's resources with another number of processors than it got undisturbed."""
        own: dict[str, Any] = one_stage(self.spec, self.stage, {})["stages"][0]["resources"]
        asked, most = value_at(self.stage.resources.cpus, 0) or 1, len(os.sched_getaffinity(0))
        return {**own, "cpus": 1 if min(math.ceil(asked), most) > 1 else 2}


def fewer_processors() -> list[int] | None:
    """Return one of the processors that this process may use, as a list; None if it has only one."""
    processors = sorted(os.sched_getaffinity(0))
    return processors[:1] if len(processors) > 1 else None


def _modify(paths: list[str]) -> None:
    """Give all files old modification times, in reverse order."""
    files = [file for path in paths for file in files_below(os.path.normpath(path))]
    files.sort(key=lambda path: os.lstat(path).st_mtime_ns, reverse=True)
    for number, path in enumerate(files):
        os.utime(path, (LONG_AGO + number, LONG_AGO + number), follow_symlinks=False)
