"""What the names in a spec refer to: stages, inputs, outputs, params. Pure; each check adds findings with pointers."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from runner.paths import variable_name
from runner.spec.globs import hidden_name, is_glob, literal_directory
from runner.spec.kinds import Finding
from runner.spec.placeholders import FIELDS, references
from runner.spec.words import did_you_mean, show

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from runner.spec.model import Stage

RESERVED = "pipeline"


def check_stage_names(stages: Sequence[Stage]) -> Iterator[Finding]:
    """Names are files and may meet on file systems without case, so they are told apart without it."""
    first: dict[str, Stage] = {}
    for stage in stages:
        at = ("stages", stage.index, "name")
        lowered = stage.name.lower()
        if lowered == RESERVED:
            yield Finding(at, f'no stage may be called "{stage.name}"', "the name stands for the whole pipeline")
            continue
        other = first.setdefault(lowered, stage)
        if stage.name and other is not stage:
            differs = "" if other.name == stage.name else f', differing from "{other.name}" by case only'
            yield Finding(at, f'a second stage called "{stage.name}"{differs}', f"the first is #/stages/{other.index}")


def check_needs(stages: Sequence[Stage]) -> Iterator[Finding]:
    names = dict.fromkeys(stage.name for stage in stages)  # in the spec's order, so that hints are the same every time
    for stage in stages:
        for position, needed in enumerate(stage.needs):
            if needed not in names:
                at = ("stages", stage.index, "needs", position)
                others = [name for name in names if name != stage.name]
                yield Finding(at, f"no stage named {show(needed)}", did_you_mean(needed, others))


def check_stage(stage: Stage, given: Mapping[str, object], faulty: Collection[str]) -> Iterator[Finding]:
    """Check one stage in itself; `given` is as written, `faulty` the fields that were left out for faults of theirs."""
    at = ("stages", stage.index)
    if not ("processor" in faulty or "command" in faulty):
        if stage.processor is None and stage.command is None:
            yield Finding(at, 'has neither "processor" nor "command"', "a stage runs exactly one of them")
        elif stage.processor is not None and stage.command is not None:
            yield Finding(at, 'has both "processor" and "command"', "a stage runs exactly one of them")
        if stage.args and stage.processor is None:
            yield Finding((*at, "args"), '"args" are for a processor', 'add them to "command"')
    for field, paths in (("inputs", stage.inputs), ("outputs", stage.outputs)):
        if len(paths) > 1:
            yield from _check_variables((*at, field), paths, given, field)
    for name, written in zip(stage.inputs, _written(given, "inputs"), strict=False):
        if is_glob(written):
            yield from _check_glob(
                (*at, "inputs", step(given, "inputs", stage.inputs, name)), written, stage.inputs[name]
            )
    if stage.stdin is not None or stage.stdout is not None:
        yield from _check_streams(stage, at, faulty)
    for field, words in (("command", stage.command or ()), ("args", stage.args)):
        for position, word in enumerate(words):
            if "{" in word:
                yield from _check_word((*at, field, position), word, stage, faulty)
    if stage.command and not stage.command[0]:
        yield Finding((*at, "command", 0), "is empty", "the first word names the program")


def step(given: Mapping[str, object], field: str, paths: Mapping[str, str], name: str) -> str | int:
    """Return how a pointer goes on to an input or output: by its name, or by its place if they are a list."""
    return list(paths).index(name) if isinstance(given.get(field), list) else name


def _check_variables(
    at: tuple[str | int, ...], paths: Mapping[str, str], given: Mapping[str, object], field: str
) -> Iterator[Finding]:
    first: dict[str, str] = {}
    for name in paths:
        other = first.setdefault(variable_name(name), name)
        if other != name:
            what = f'"{other}" and "{name}" become the same variable, {variable_name(name)}'
            yield Finding((*at, step(given, field, paths, name)), what, "rename one of them")


def _written(given: Mapping[str, object], field: str) -> Iterable[str]:
    """Return the paths of inputs or outputs as the spec spells them."""
    paths = given.get(field, ())
    return cast("Iterable[str]", paths.values() if isinstance(paths, dict) else paths)


def _check_glob(at: tuple[str | int, ...], written: str, pattern: str) -> Iterator[Finding]:
    if ".." in written[len(literal_directory(written)) :].split("/"):
        yield Finding(at, '".." after a wildcard', "say where the files are without it")
    elif hidden := hidden_name(pattern):
        yield Finding(at, f"{show(hidden)} can match nothing", "a glob never matches hidden files")


def _check_streams(stage: Stage, at: tuple[str | int, ...], faulty: Collection[str]) -> Iterator[Finding]:
    for stream, field, paths in (("stdin", "inputs", stage.inputs), ("stdout", "outputs", stage.outputs)):
        name = stage.stdin if stream == "stdin" else stage.stdout
        if name is None or field in faulty:
            continue
        if name not in paths:
            what = f"no {field[:-1]} named {show(name)}"
            yield Finding((*at, stream), what, did_you_mean(name, paths))
        elif paths[name].endswith("/"):
            yield Finding((*at, stream), f'"{paths[name]}" is a directory', f"{stream} is connected to one file")


def _check_word(at: tuple[str | int, ...], word: str, stage: Stage, faulty: Collection[str]) -> Iterator[Finding]:
    for form, name in references(word):
        field = FIELDS[form]
        declared: Mapping[str, object] = getattr(stage, field)
        if field in faulty:
            continue
        if name not in declared:
            hint = did_you_mean(name, declared) or f'declare it in "{field}"'
            yield Finding(at, f"{{{form}.{name}}}: no {field[:-1]} named {show(name)}", hint)
        elif form == "params" and "\0" in str(declared[name]):
            yield Finding(at, f"{{params.{name}}} holds a NUL, which no argument can")
