"""The values of a spec, with defaults applied and paths normalised. Nothing here touches the disk."""

from __future__ import annotations

import os.path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

from runner.spec.fields import SPEC, SPEC_VERSION, STAGE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from runner.errors import Fault
    from runner.paths import StatePaths
    from runner.spec.kinds import Kind, Place

READY_MADE = "offpipe:"
OFF = "off"  # why a stage has no instances, if its `if` says so
_NOTHING: dict[Any, Any] = {}
_Number = TypeVar("_Number", int, float)


class Retry(NamedTuple):
    """When a failed stage is tried again, after exit codes and signals, which are names, or after any of them.

    `delay_seconds` is the first delay, or a list whose last value repeats.
    """

    attempts: int = 1
    delay_seconds: float | tuple[float, ...] = 1.0
    multiplier: float = 2.0
    max_delay_seconds: float = 60.0
    jitter: float = 1.0
    retry_exit_codes: tuple[int | str, ...] | Literal["any"] = (75,)
    max_total_seconds: float | None = None


class Checkpoint(NamedTuple):
    """How often the SDK takes a checkpoint. None leaves it to the SDK."""

    every_lines: int | None = None
    every_seconds: float | None = None


class Resources(NamedTuple):
    """What a stage needs of the machine. With `enforce` the kernel limits it to `cpus` and `memory_mib`.

    A list has a value for each attempt, see `value_at`.
    """

    cpus: float | tuple[float, ...] | None = None
    memory_mib: int | tuple[int, ...] | None = None
    io_concurrency: int | None = None
    enforce: bool = False


class Join(NamedTuple):
    """What a reference to a template means for a stage: `found` of its `total` instances, which agree `by` these names.

    `at` is the place below `inputs`. The stage may have several joins for the input called `label`.
    """

    label: str
    at: Place
    template: str
    found: int
    total: int
    by: tuple[str, ...]

    def __str__(self) -> str:
        """Return what `plan -v` says: `reads: 2 of 96 of trim, by sample`."""
        if not self.total:
            return f"{self.label}: {self.template} has no instances"
        by = f", by {', '.join(self.by)}" if self.by else ""
        return f"{self.label}: {self.found:,} of {self.total:,} of {self.template}{by}"


class Stage(NamedTuple):
    """A program with its declared inputs and outputs.

    `index` is the position in the spec as written, where pointers lead. An instance of a stage with `each` has values;
    its name is made of those that are `named_by`. `sources` are the stages that make them. If the instances are not
    known, one stage stands for them: something is `missing`, or the template `is_open` until its sources are up to
    date.

    Paths are relative to root. A directory's ends in `/`; an input may begin with `../` or be a glob, or a list of such
    paths. Either `processor` or `command` is set. `needs` are the names in the spec, without those that follow from
    files. `joins` are those of references to templates. `written`: place of a list in this stage -> the place of each
    member as written, if a list of a var or a reference gave another number of members. `timeout_seconds` may be a
    list, as in Resources. `seen_as`: where a sealed stage has inputs and outputs, by label. `tools` are environments;
    with the identity "name", what is installed there is not in the key. `program_version` is a command that prints a
    version. `results` are what a report shows: label of an output -> `title`, `caption`, `group` and `files`, if they
    are given.
    """

    index: int  # type: ignore[assignment] # hides a method of tuples that nothing calls
    name: str
    outputs: dict[str, str]
    inputs: dict[str, str | tuple[str, ...]] = _NOTHING
    optional: tuple[str, ...] = ()
    processor: str | None = None
    args: tuple[str, ...] = ()
    command: tuple[str, ...] | None = None
    needs: tuple[str, ...] = ()
    params: dict[str, object] = _NOTHING
    env: dict[str, str] = _NOTHING
    stdin: str | None = None
    stdout: str | None = None
    temporary: tuple[str, ...] = ()
    results: Mapping[str, Mapping[str, str]] | None = None
    checkpoint: Checkpoint = Checkpoint()
    retry: Retry = Retry()
    resources: Resources = Resources()
    timeout_seconds: float | tuple[float, ...] | None = None
    retry_on_timeout: bool = False
    fresh_interpreter: bool = False
    sealed: bool = False
    seen_as: dict[str, str] = _NOTHING
    on_attempt: Literal["fail", "record"] = "fail"
    program_identity: Literal["name", "content"] = "name"
    program_version: tuple[str, ...] | None = None
    tools: tuple[str, ...] | None = None
    tools_identity: Literal["name", "content"] = "content"
    description: str = ""
    extensions: dict[str, object] = _NOTHING
    values: Mapping[str, object] = _NOTHING
    named_by: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    is_open: bool = False
    missing: Fault | None = None
    joins: tuple[Join, ...] = ()
    written: Mapping[Place, Sequence[Place]] = _NOTHING

    @property
    def template(self) -> str:
        """The name of the template of an instance, empty for other stages."""
        return self.name.partition("@")[0] if "@" in self.name or self.is_unexpanded else ""

    @property
    def may_fork(self) -> bool:
        """Whether the stage is a Python program that a fork of the launcher may run."""
        return str(self.processor).endswith(".py") and not self.fresh_interpreter and not self.tools

    @property
    def is_unexpanded(self) -> bool:
        """Whether this stands for the instances of a template, which are not known."""
        return self.is_open or self.missing is not None

    @property
    def by_attempt(self) -> dict[str, tuple[float, ...]]:
        """The lists that have a value for each attempt, by field."""
        cpus, memory_mib, *_ = self.resources
        fields = {"cpus": cpus, "memoryMiB": memory_mib, "timeoutSeconds": self.timeout_seconds}
        return {name: value for name, value in fields.items() if isinstance(value, tuple)}

    def entries(self, *names: str) -> Iterator[tuple[str, Place, str]]:
        """Yield each path of the inputs `names`, or of all: the input's name, the place below `inputs`, the path."""
        for name in names or self.inputs:
            given, places = self.inputs[name], self.written.get(("inputs", name))
            if places is not None:
                paths = (given,) if isinstance(given, str) else given
                yield from ((name, at[1:], path) for at, path in zip(places, paths, strict=True))
            elif isinstance(given, str):
                yield name, (name,), given
            else:
                yield from ((name, (name, number), path) for number, path in enumerate(given))

    def place(self, field: str, number: int) -> Place:
        """Return the place in the spec, as written, of a word of `command` or `args`."""
        places = self.written.get((field,))
        return ("stages", self.index, *(places[number] if places else (field, number)))


class Empty(NamedTuple):
    """A stage as written that has no instances: with a `*` in its outputs for each value.

    `why`: it is off, or nothing gives it values. `directories`: absolute paths in which its patterns found no file.
    """

    stage: Stage
    why: str
    directories: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """What follows the stage's name in messages."""
        return self.why if self.why == OFF else f"without instances: {self.why}"


class MadeTable(NamedTuple):
    """A table that gives values to a template, and that a stage makes: that stage, and the path of the output.

    `sha256` is the digest of the table that was read; None if it is not what the stage's marker describes.
    """

    stage: str
    path: str
    sha256: str | None


class Spec(NamedTuple):
    """A pipeline. `path`, `root` and `workspace` are absolute; `shown` is the spec's path as the user gave it.

    `ready_made` is the directory of the stages that come with offpipe. `empty` are the stages as written that have no
    instances, and so are not among the stages. `vars` are those in use (None: the spec declares
    none), `warnings` come from loading it. `expanded_from` are the tables, directories and files on disk that `each`
    depends on, and `matches` those that its patterns matched; they are absolute. `each_globs` are templates, each with
    the glob of a pattern or table of its `each`. `made_tables` are the tables that stages make; if there are any,
    `content` is that of the file, from which a run expands templates again.
    """

    path: str
    shown: str
    name: str
    root: str
    workspace: str
    paths: StatePaths
    stages: tuple[Stage, ...]
    ready_made: str
    empty: tuple[Empty, ...] = ()
    processor_identity: Literal["mtime", "content"] = "mtime"
    banned_imports: tuple[str, ...] = ()
    allow_imports: tuple[str, ...] = ()
    vars: Mapping[str, object] | None = None
    warnings: tuple[Fault, ...] = ()
    expanded_from: frozenset[str] = frozenset()
    each_globs: tuple[tuple[str, str], ...] = ()
    matches: frozenset[str] = frozenset()
    made_tables: tuple[MadeTable, ...] = ()
    content: bytes | None = None
    description: str = ""
    extensions: dict[str, object] = _NOTHING

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all stages, in order."""
        return tuple(stage.name for stage in self.stages)

    @property
    def declared(self) -> tuple[Stage, ...]:
        """All stages, and those as written that have no instances."""
        return (*self.stages, *(empty.stage for empty in self.empty))

    @property
    def has_sealed(self) -> bool:
        """Whether a stage is sealed."""
        return any(stage.sealed for stage in self.stages)

    def output_path(self, output: str) -> str:
        """Return the absolute path of an output, without a final `/`."""
        return os.path.normpath(os.path.join(self.workspace, output))

    def source_path(self, path: str) -> str:
        """Return the absolute path of an input that no stage makes, without a final `/`."""
        return os.path.normpath(os.path.join(self.root, path))

    def tools_of(self, stage: Stage) -> tuple[str, ...]:
        """Return the absolute paths of a stage's environments of tools."""
        return tuple(map(self.source_path, stage.tools or ()))

    def processor_path(self, stage: Stage) -> str | None:
        """Return the absolute path of the stage's processor, None for a command."""
        if stage.processor is None:
            return None
        if stage.processor.startswith(READY_MADE):
            return os.path.join(self.ready_made, stage.processor.removeprefix(READY_MADE))
        return self.source_path(stage.processor)


def value_at(value: _Number | tuple[_Number, ...] | None, position: int) -> _Number | None:
    """Return a value for the attempt at a position, from 0: of a list, whose last value repeats, the one there."""
    return value[min(position, len(value) - 1)] if isinstance(value, tuple) else value


def effective_spec(spec: Spec) -> dict[str, object]:
    """Return the spec as a JSON value with all defaults. Its paths are relative, so it is the same on every machine."""
    return {
        **_fields(SPEC, spec, spec.extensions),
        "specVersion": SPEC_VERSION,
        "root": os.path.relpath(spec.root, os.path.dirname(spec.path)),
        "stateDir": os.path.relpath(spec.paths.state_dir, spec.workspace),
        "locksDir": os.path.relpath(spec.paths.locks_dir, spec.workspace),
        "offline": {"bannedImports": list(spec.banned_imports), "allowImports": list(spec.allow_imports)},
        "stages": [_effective_stage(stage) for stage in spec.stages],
    }


def _effective_stage(stage: Stage) -> dict[str, object]:
    effective = {**_fields(STAGE, stage, stage.extensions), "offline": {"onAttempt": stage.on_attempt}}
    if stage.command is not None:
        del effective["args"]
    return effective


def _fields(table: Kind, value: Any, extensions: Mapping[str, object] = _NOTHING) -> dict[str, object]:  # noqa: ANN401 - any NamedTuple
    """Return the members of `value` that are fields of the table, without None and empty text, and `extensions`."""
    fields = {name: member for name, member in extensions.items() if member is not None}
    for attribute, member in zip(value._fields, value, strict=True):
        name = table.names.get(attribute)
        if name is None or member is None or member == "":
            continue
        if isinstance(member, tuple):
            kind = table.fields[name].kind
            fields[name] = _fields(kind, member) if kind.fields else list(member)
        else:
            fields[name] = member
    return fields
