"""The running stage: the content of its stage file, and the exit codes with which it ends."""

from __future__ import annotations

import os
import sys

from runner.errors import EXIT_RETRYABLE, Fault, InputError, OffpipeError, StateError, UsageError
from runner.record import files
from runner.sdk.checkpoints import Checkpoints, field
from runner.sdk.job import BLOCK_SIZE, Job

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, NoReturn, Self, TypeVar, overload

    Names = str | tuple[str, ...]
    T = TypeVar("T")

STAGE_FILE_VERSION = 1
STAGE_FILE_VARIABLE = "PIPELINE_STAGE_FILE"


class Transient(OffpipeError):  # noqa: N818 - reads well: `raise sdk.Transient("mirror is away")`
    """A failure that may go away: the stage exits with 75, and the pipeline's retry policy decides what happens."""

    exit_code = EXIT_RETRYABLE

    def __init__(self, why: str) -> None:
        super().__init__(Fault("", why))

    def __reduce__(self) -> tuple[type[Transient], tuple[str]]:
        return (Transient, (self.faults[0].what,))


class Stage:
    """The running stage: its files and parameters, and the jobs that read and write the files.

    `inputs` maps a name to absolute paths, `outputs` maps a name to the path to write to (a partial beside the real
    path).
    """

    def __init__(self, stage_file: Mapping[str, object]) -> None:
        self.name: str = field(stage_file, "name", str)
        self.run_id: str = field(stage_file, "runId", str)
        self.attempt: int = field(stage_file, "attempt", int)
        self.key: str = field(stage_file, "key", str)
        self.params: dict[str, object] = field(stage_file, "params", dict)
        self.inputs: dict[str, tuple[str, ...]] = {k: tuple(v) for k, v in field(stage_file, "inputs", dict).items()}
        self.outputs: dict[str, str] = field(stage_file, "outputs", dict)
        self.resources: dict[str, object] = stage_file.get("resources") or {}  # type: ignore[assignment] # an object of JSON
        self.scratch: str = field(stage_file, "scratch", str)
        self._checkpoints = Checkpoints(stage_file)

    def input(self, name: str) -> str:
        """Return the path of an input that is one file; InputError for several files or none."""
        paths = self._declared("input", self.inputs, name)
        if len(paths) != 1:
            hint = f'use stage.inputs["{name}"], or read them in order with stage.lines or stage.blocks'
            raise InputError(Fault(f'input "{name}"', f"has {len(paths)} files where one is expected", hint))
        return paths[0]

    @property
    def sole_input(self) -> str:
        """The name of the only input, for stages that accept any name."""
        return self._sole("input", self.inputs)

    @property
    def sole_output(self) -> str:
        """The name of the only output."""
        return self._sole("output", self.outputs)

    def take_params(self, **defaults: T) -> dict[str, T]:
        """Return the params, with `defaults` for missing ones; UsageError for unknown ones and for other types.

        Where the default is a float, a whole number is accepted and returned as a float: people write 5 for 5.0.
        """
        faults = []
        taken = {name: _like(defaults.get(name), value) for name, value in self.params.items()}
        for name, value in taken.items():
            where = f'stage "{self.name}", param "{name}"'
            if name not in defaults:
                faults.append(Fault(where, "is not known", _listed("params", defaults)))
            elif type(value) is not type(defaults[name]):
                what = f"is {value!r}, not of type {type(defaults[name]).__name__}"
                faults.append(Fault(where, what, f"the default is {defaults[name]!r}"))
        if faults:
            raise UsageError(*faults)
        return {**defaults, **taken}  # type: ignore[dict-item]  # checked above

    if TYPE_CHECKING:

        @overload
        def lines(self, source: str, to: Names = (), encoding: None = None, errors: str = "strict") -> Job[bytes]: ...
        @overload
        def lines(self, source: str, to: Names = (), *, encoding: str, errors: str = "strict") -> Job[str]: ...

    def lines(self, source: str, to: Names = (), encoding: str | None = None, errors: str = "strict") -> Job[Any]:
        """Return a job over the lines of the input `source`, with their line ends; only 0x0A ends a line.

        Lines are bytes, or str with an `encoding`. `to` names the outputs that `job.write` writes to.
        """
        return self._job(source, to, encoding, errors, None)

    if TYPE_CHECKING:

        @overload
        def blocks(
            self, source: str, to: Names = (), encoding: None = None, errors: str = "strict", size: int = BLOCK_SIZE
        ) -> Job[bytes]: ...
        @overload
        def blocks(
            self, source: str, to: Names = (), *, encoding: str, errors: str = "strict", size: int = BLOCK_SIZE
        ) -> Job[str]: ...

    def blocks(
        self, source: str, to: Names = (), encoding: str | None = None, errors: str = "strict", size: int = BLOCK_SIZE
    ) -> Job[bytes] | Job[str]:
        """Return a job over blocks of whole lines: about `size` bytes each, and at most `everyLines` lines."""
        return self._job(source, to, encoding, errors, size)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._checkpoints.close()
        if isinstance(error, OffpipeError):
            _leave(error)

    def _sole(self, what: str, names: Mapping[str, object]) -> str:
        if len(names) != 1:
            raise UsageError(Fault(f'stage "{self.name}"', f"takes exactly one {what}", _listed(f"{what}s", names)))
        return next(iter(names))

    def _declared(self, what: str, paths: Mapping[str, T], name: str) -> T:
        if name not in paths:
            raise UsageError(Fault(f'stage "{self.name}"', f'has no {what} "{name}"', _listed(f"{what}s", paths)))
        return paths[name]

    def _job(self, source: str, to: Names, encoding: str | None, errors: str, size: int | None) -> Job[Any]:
        paths = self._declared("input", self.inputs, source)
        names = (to,) if isinstance(to, str) else tuple(to)
        for name in names:
            self._declared("output", self.outputs, name)
        return Job(self._checkpoints, paths, names, encoding, errors, size)


def stage() -> Stage:
    """Return the stage that this process runs, for a `with` statement.

    Outside a pipeline run, or if the stage file cannot be read, prints an error to stderr and exits.
    """
    try:
        path = os.environ.get(STAGE_FILE_VARIABLE)
        if not path:
            hint = f"run it as a stage of a spec: offpipe SPEC ({STAGE_FILE_VARIABLE} is set then)"
            raise UsageError(Fault(sys.argv[0] if sys.argv else "", "not started by a pipeline", hint))
        return Stage(_read_stage_file(path))
    except OffpipeError as error:
        _leave(error)


def _read_stage_file(path: str) -> dict[str, object]:
    import json  # here, because it takes longer to load than the SDK

    try:
        with files.naming(path, "read the stage file"), open(path, "rb") as stream:
            content = json.loads(stream.read())
        version = content["v"]
    except (ValueError, KeyError, TypeError) as error:
        raise StateError(Fault(path, "is not a stage file")) from error
    if version != STAGE_FILE_VERSION:
        what = f"is a stage file of version {version}, but this SDK reads version {STAGE_FILE_VERSION}"
        hint = "install the same offpipe for the runner and for the interpreter of the stage"
        raise StateError(Fault(path, what, hint))
    return dict(content)


def _like(default: object, value: object) -> object:
    return float(value) if type(default) is float and type(value) is int and abs(value) < 1 << 53 else value


def _listed(what: str, names: Mapping[str, object]) -> str:
    return f"its {what} are: {', '.join(sorted(names)) or 'none'}"


def _leave(error: OffpipeError) -> NoReturn:
    try:
        sys.stderr.write(f"{error}\n")
        sys.stderr.flush()
        sys.stdout.flush()
    except (OSError, ValueError, AttributeError):  # the disk is full, or a stream is closed or None
        sys.stdout = sys.stderr = None  # else the interpreter flushes them again, fails, and exits with 120
    raise SystemExit(error.exit_code) from None
