"""What may be different about two runs of a stage whose outputs are to be the same, and runs that differ in it."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from pytest_offpipe.alone import alone
from pytest_offpipe.below import files_below
from pytest_offpipe.running import Around
from pytest_offpipe.sandbox import discard
from runner.api import Options
from runner.sandbox.warmth import HEEDED

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pytest_offpipe.sandbox import Sandbox
    from pytest_offpipe.trial import Bench
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
