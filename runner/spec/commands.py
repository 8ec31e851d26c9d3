"""Checks of what a stage runs: its program, its streams, and what the words of its command refer to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.paths import variable_name
from runner.spec.graph import unknown_names
from runner.spec.kinds import Finding, Place, did_you_mean, show
from runner.spec.placeholders import FIELDS, REFERENCE, references
from runner.spec.values import references as value_references

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from runner.spec.model import Spec, Stage


def check_commands(spec: Spec, faulty: Mapping[int, Collection[str]]) -> Iterator[Finding]:
    """Check what each stage runs. `faulty`: index of a stage -> the fields that an earlier check refused."""
    for stage in spec.declared:
        yield from _check_stage(stage, faulty.get(stage.index, ()))
    for stage in spec.stages:  # the values of a stage without instances do not count
        if stage.command is not None and not (stage.command and stage.command[0]):
            yield Finding(("stages", stage.index, "command", 0), "is empty", "the first word names the program")
    yield from _check_references(spec, {stage.index: stage for stage in spec.declared}.values())


def _check_stage(stage: Stage, faulty: Collection[str]) -> Iterator[Finding]:
    at = ("stages", stage.index)
    if not ("processor" in faulty or "command" in faulty):
        if (stage.processor is None) == (stage.command is None):
            what = 'neither "processor" nor "command"' if stage.command is None else 'both "processor" and "command"'
            yield Finding(at, f"has {what}", "a stage runs exactly one of them")
        if stage.args and stage.processor is None:
            yield Finding((*at, "args"), '"args" are for a processor', 'add them to "command"')
    for stream, name, field in (("stdin", stage.stdin, "inputs"), ("stdout", stage.stdout, "outputs")):
        if name is not None and field not in faulty:
            paths = getattr(stage, field).get(name)
            directories = [path for path in ([paths] if isinstance(paths, str) else paths or ()) if path.endswith("/")]
            if paths is None:
                hint = did_you_mean(name, getattr(stage, field))
                yield Finding((*at, stream), f"no {field[:-1]} named {show(name)}", hint)
            elif directories:
                yield Finding((*at, stream), f'"{directories[0]}" is a directory', f"{stream} is connected to one file")
    if "inputs" not in faulty:
        yield from _check_optional(stage)
    for field, words in (("command", stage.command or ()), ("args", stage.args)):
        for position, word in enumerate(words):
            yield from _check_placeholders(stage.place(field, position), word, stage, faulty)


def _check_optional(stage: Stage) -> Iterator[Finding]:
    """Refuse an optional input that does not exist, or where something must be in its place while it is empty."""
    for number, name in enumerate(stage.optional):
        at = ("stages", stage.index, "optional", number)
        if name not in stage.inputs:
            yield Finding(at, f"no input named {show(name)}", did_you_mean(name, stage.inputs))
        elif name == stage.stdin:
            yield Finding(at, f'"{name}" is standard input, which is always one file', "leave it out of the list")
    texts = {f"{{inputs.{name}}}": name for name in stage.optional}
    for field, words in (("command", stage.command or ()), ("args", stage.args)) if texts else ():
        for position, word in enumerate(words):
            if word not in texts or (field, position) == ("command", 0):
                for text in filter(word.__contains__, texts):
                    what = f"{show(word)} needs {text}, which is optional"
                    hint = f"make {text} a word of its own, or use $PIPELINE_INPUT_{variable_name(texts[text])}"
                    yield Finding(stage.place(field, position), what, hint)


def check_version(at: Place, words: Sequence[str]) -> Iterator[Finding]:
    """Check the words of `programVersion`, which starts once for many stages, before any of their attempts."""
    for position, word in enumerate(words):
        of_stages = (("outputs", f"{stage}.{label}") for stage, label in REFERENCE.findall(word))
        for form, name in (*references(word), *(("each", name) for name in value_references(word, "each")), *of_stages):
            what = f"{{{form}.{name}}} has no value when a program is asked for its version"
            yield Finding((*at, position), what, "only {vars.NAME} and {python} have one")


def _check_placeholders(at: Place, word: str, stage: Stage, faulty: Collection[str]) -> Iterator[Finding]:
    for form, name in references(word):
        field = FIELDS[form]
        declared: Mapping[str, object] = getattr(stage, field)
        if field not in faulty and name not in declared:
            hint = did_you_mean(name, declared) or f'declare it in "{field}"'
            yield Finding(at, f"{{{form}.{name}}}: no {field[:-1]} named {show(name)}", hint)
        elif form == "params" and "\0" in str(declared.get(name)):
            yield Finding(at, f"{{params.{name}}} holds a NUL, which is not allowed in an argument")


def _check_references(spec: Spec, stages: Iterable[Stage]) -> Iterator[Finding]:
    """Refuse references to outputs of other stages in commands: only inputs have them."""
    found = [
        (match, stage, stage.place(field, position))
        for stage in stages
        for field, words in (("command", stage.command or ()), ("args", stage.args))
        for position, word in enumerate(words)
        if "{outputs." in word
        for match in REFERENCE.finditer(word)
    ]
    unknown = unknown_names(spec, {match[1] for match, _, _ in found})  # that is other text with braces
    for match, stage, at in found:
        if match[1] not in unknown:
            is_own = match[1] in {stage.name, stage.template}
            hint = f"write {{outputs.{match[2]}}}" if is_own else "declare it as an input"
            yield Finding(at, f"{match[0]} is an output of a stage", hint)
