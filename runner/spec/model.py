"""What a spec says, as values: every default applied, every path normalised. Nothing here touches the disk."""

from __future__ import annotations

import os.path
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from runner.values import Value, made

if TYPE_CHECKING:
    from runner.paths import StatePaths

READY_MADE = "offpipe:"

PATHS_KEPT = 1024  # of those put together: a stage on its way asks for the same ones many times

OnAttempt = Literal["fail", "record"]
ProcessorIdentity = Literal["mtime", "content"]


class Retry(Value):
    """When a failed stage is tried again: `delays` is the first delay, or the list whose last value repeats."""

    attempts: int = 1
    delays: float | tuple[float, ...] = 1.0
    multiplier: float = 2.0
    max_delay_seconds: float = 60.0
    jitter: float = 1.0
    retry_exit_codes: frozenset[int] = frozenset({75})
    retry_signals: frozenset[int] = frozenset()
    max_total_seconds: float | None = None


class Checkpoint(Value):
    """How often the SDK commits; what is None the SDK decides."""

    every_lines: int | None = None
    every_seconds: float | None = None


class Resources(Value):
    """What a stage says it needs; `enforce` has the kernel hold it to `cpus` and `memory_mib`."""

    cpus: float | None = None
    memory_mib: int | None = None
    io_concurrency: int | None = None
    enforce: bool = False


class Stage(Value):
    """One program with its declared inputs and outputs.

    Paths are relative to root and use `/`; a directory's ends in `/`; an input may begin with `../` or be a glob.
    Exactly one of `processor` and `command` is set. `needs` holds names as the spec lists them, not the derived order.
    """

    index: int
    name: str
    outputs: dict[str, str]
    inputs: dict[str, str] = made(default_factory=dict)
    processor: str | None = None
    args: tuple[str, ...] = ()
    command: tuple[str, ...] | None = None
    needs: tuple[str, ...] = ()
    params: dict[str, object] = made(default_factory=dict)
    env: dict[str, str] = made(default_factory=dict)
    stdin: str | None = None
    stdout: str | None = None
    checkpoint: Checkpoint = Checkpoint()
    retry: Retry = Retry()
    resources: Resources = Resources()
    timeout_seconds: float | None = None
    retry_on_timeout: bool = False
    fresh_interpreter: bool = False
    on_attempt: OnAttempt = "fail"
    description: str = ""
    extensions: dict[str, object] = made(default_factory=dict)


class Spec(Value):
    """A whole pipeline. `path`, `root` and `workspace` are absolute; `shown` is the spec's path as it was given.

    `ready_made` is the directory of the stages that come with offpipe.
    """

    path: str
    shown: str
    name: str
    root: str
    workspace: str
    paths: StatePaths
    stages: tuple[Stage, ...]
    ready_made: str
    processor_identity: ProcessorIdentity = "mtime"
    banned_imports: tuple[str, ...] = ()
    allow_imports: tuple[str, ...] = ()
    description: str = ""
    extensions: dict[str, object] = made(default_factory=dict)

    @property
    def effective(self) -> dict[str, object]:
        """The spec as a JSON value, every default applied, all paths relative. Built anew each time it is asked for."""
        from runner.spec.effective import effective_spec

        return effective_spec(self)

    @property
    def canonical(self) -> str:
        """`effective` in the one spelling that is hashed. It holds floats, so records keep it as text."""
        from runner.canonical import canonical

        return canonical(self.effective).decode()

    def output_path(self, output: str) -> str:
        """Where a run writes `output`; a directory's path loses its `/`."""
        return _below(self.workspace, output)

    def source_path(self, path: str) -> str:
        """Where `path` is read from when no stage produces it; a directory's path loses its `/`."""
        return _below(self.root, path)

    def processor_path(self, stage: Stage) -> str | None:
        """The absolute path of the stage's processor, None for a command."""
        if stage.processor is None:
            return None
        if stage.processor.startswith(READY_MADE):
            return os.path.join(self.ready_made, stage.processor.removeprefix(READY_MADE))
        return self.source_path(stage.processor)


@lru_cache(PATHS_KEPT)
def _below(directory: str, path: str) -> str:
    return os.path.normpath(os.path.join(directory, path))
