"""Reports on runs, on stages, and on the program itself. Plain values, which survive pickling."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_offpipe.usage import NoSuchNameError
from runner import results
from runner.errors import EXIT_OFFLINE
from runner.paths import stdout_path
from runner.spec.kinds import did_you_mean

if TYPE_CHECKING:
    from runner.spec.model import Spec, Stage


class Output(bytes):
    """The content of an output that is a file, and its `path`. A directory output is a pathlib.Path instead."""

    path: Path

    @property
    def text(self) -> str:
        """The content as UTF-8."""
        return self.decode()

    @property
    def lines(self) -> list[bytes]:
        """The lines, without their ends."""
        return self.splitlines()


class Outputs(Mapping[str, "Output | Path"]):
    """The outputs of a stage by name, without those that are missing. Each is read when you get it."""

    def __init__(self, paths: Mapping[str, str]) -> None:
        self.paths = dict(paths)

    def __getitem__(self, name: str) -> Output | Path:
        """Return the content of a file, or the path of a directory. KeyError if the stage did not make it."""
        __tracebackhide__ = True
        if name not in self.paths:
            raise NoSuchNameError(_no_such("output", name, self.paths))
        path = Path(self.paths[name])
        if not os.path.lexists(path):
            raise NoSuchNameError(f'the stage did not make its output "{name}" ({path})')
        if path.is_dir():
            return path
        output = Output(path.read_bytes())
        output.path = path
        return output

    def __iter__(self) -> Iterator[str]:
        return (name for name, path in self.paths.items() if os.path.lexists(path))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return f"Outputs({self.paths!r})"


class Stages(dict[str, "StageReport"]):
    """The reports of a run's stages by name; `error` says why a run could not begin."""

    error: str = ""

    def __missing__(self, name: str) -> StageReport:
        """Raise KeyError, and say which there are."""
        __tracebackhide__ = True
        text = _no_such("stage", name, self)
        raise NoSuchNameError(f"{text}\n{self.error}" if self.error else text)


def _no_such(kind: str, name: object, known: Mapping[str, object]) -> str:
    text = f'no {kind} named "{name}" in this report'
    hint = did_you_mean(str(name), known)
    return f"{text}\nhint: {hint}" if hint else text


@dataclass
class StageReport:
    """How a stage ended.

    `status` is succeeded, skipped, adopted, failed, blocked or interrupted. `exit_code` is that of its last attempt:
    128 plus the number of a signal, 4 after an attempt to reach a network; 0 if it was skipped. `attempts` lists those
    of this run, `log` is the text of the last log, `error` the runner's message, `key` the up-to-date key,
    `workspace` the directory in which it ran. `seconds` includes the waits between attempts. With `offpipe_clock`, it
    counts only these waits.
    """

    name: str
    status: str
    exit_code: int
    outputs: Outputs
    attempts: list[results.AttemptResult] = field(default_factory=list)
    log: str = ""
    key: str | None = None
    error: str = ""
    seconds: float = 0.0
    workspace: str = ""

    @property
    def succeeded(self) -> bool:
        """Whether the stage ran and made its outputs."""
        return self.status == results.SUCCEEDED

    @property
    def network(self) -> list[results.NetworkCalls]:
        """The attempts to reach a network, except those that never fail a stage (`is_probe`)."""
        return [calls for attempt in self.attempts for calls in attempt.network if not calls.is_probe]

    @classmethod
    def of(cls, result: results.StageResult, spec: Spec, stage: Stage) -> StageReport:
        """Return the report of a stage of this spec."""
        outputs = Outputs({name: spec.output_path(path) for name, path in stage.outputs.items()})
        return cls(
            name=stage.name,
            status=result.status,
            exit_code=_exit_code(result),
            outputs=outputs,
            attempts=list(result.attempts),
            log=read_log(result.log),
            key=result.key,
            error=str(result.fault or ""),
            seconds=result.seconds,
            workspace=spec.workspace,
        )


@dataclass
class RunReport:
    """How a run ended: the exit code of `offpipe run`, its id (None if no run began), and a report for each stage.

    `error` is the runner's message if the run could not begin. `workspace`, `state_dir` and `spec` are paths, as text.
    If each stage had a run of its own, `earlier` has the ids of these runs, in order.
    """

    exit_code: int
    run_id: str | None = None
    status: str = results.FAILED
    stages: dict[str, StageReport] = field(default_factory=dict)
    spec: str = ""
    workspace: str = ""
    state_dir: str = ""
    error: str = ""
    earlier: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Make `stages` list the known stages in the error for an unknown one."""
        self.stages = Stages(self.stages)
        self.stages.error = self.error

    @property
    def audit(self) -> list[dict[str, Any]]:
        """The records of the run's audit log: `ev` is the event, `data` its fields."""
        from runner.record.log import read_records

        logs = (f"{self.state_dir}/audit_{run}.jsonl" for run in (*self.earlier, self.run_id) if run)
        return [record for log in logs for record in read_records(log)]


def _exit_code(result: results.StageResult) -> int:
    if result.exit_code == EXIT_OFFLINE or not result.attempts:
        return result.exit_code or int(result.status not in results.GOOD)
    last = result.attempts[-1]
    if last.signal is not None:
        return 128 + last.signal
    return last.code or result.exit_code


def tail(log: str, most: int = 15) -> list[str]:
    """Return the last lines of a log, after a line with the number of those before."""
    lines = log.rstrip().splitlines()
    cut = [f"... {len(lines) - most:,} lines before"] if len(lines) > most else []
    return [*cut, *lines[-most:]]


def read_log(path: str | None) -> str:
    """Return the text of a log; if it is empty, that of the failed stage's standard output; "" if there is neither.

    Bytes that are not UTF-8 are escaped.
    """
    paths = filter(os.path.isfile, (path, stdout_path(path)) if path else ())
    contents = (Path(each).read_bytes() for each in paths if os.access(each, os.R_OK))
    return next(filter(None, contents), b"").decode("utf-8", "backslashreplace")


@dataclass(frozen=True)
class ProgramReport:
    """How the program ended, and its output; bytes that are not UTF-8 are escaped."""

    words: tuple[str, ...]
    exit_code: int
    stdout: str
    stderr: str


def run_program(
    words: Sequence[str], env: Mapping[str, str | None], cwd: str | os.PathLike[str], stdin: bytes, timeout: float
) -> ProgramReport:
    """Run `offpipe WORDS`. Raises subprocess.TimeoutExpired when it takes longer than `timeout` seconds."""
    ended = subprocess.run(
        # `offpipe` need not be on the PATH, and -P keeps a runner.py in cwd from being imported.
        [sys.executable, "-P", "-m", "runner", *words],
        cwd=cwd,
        input=stdin,
        capture_output=True,
        timeout=timeout,
        check=False,
        env={name: value for name, value in {**os.environ, **env}.items() if value is not None},
    )
    out, err = (stream.decode("utf-8", "backslashreplace") for stream in (ended.stdout, ended.stderr))
    return ProgramReport(tuple(words), ended.returncode, out, err)
