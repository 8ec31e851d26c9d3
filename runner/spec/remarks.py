"""Warnings: what a valid spec says that is likely to mean something else. Pure."""

from __future__ import annotations

import os.path
import re
from typing import TYPE_CHECKING

from runner.errors import Fault
from runner.spec.placeholders import FIELDS, references

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from runner.spec.model import Spec, Stage

_SHELLS_WORDS = frozenset({"<", ">", ">>", "2>", "2>&1", "|", "&&", "||", ";", "&"})
_OWN_WORDS = frozenset({"find", "expr", "test", "["})  # programs that take some of these as arguments
_SHELLS = frozenset({"sh", "bash", "dash", "zsh", "ksh", "fish"})
_HINTS = {
    "<": 'name the input that is read from: "stdin"', ">": 'name the output that it prints into: "stdout"',
}  # fmt: skip
_SHAPE = re.compile(r"\{([A-Za-z]+)\.([A-Za-z][A-Za-z0-9_-]*)\}")


def remarks(spec: Spec, stages: Iterable[Stage]) -> Iterator[Fault]:
    """Yield a warning for each word that only a shell understands, placeholder that is none, and output like a glob.

    `stages` are those of `spec` to look at.
    """
    for stage in stages:
        yield from _taken_literally(f"{spec.shown}#/stages/{stage.index}", stage)
        for field, words in (("command", stage.command or ()), ("args", stage.args)):
            where = f"{spec.shown}#/stages/{stage.index}/{field}"
            if field == "command" and os.path.basename(words[0] if words else "") not in _OWN_WORDS | _SHELLS:
                yield from _shells_words(where, words)
            for position, word in enumerate(words):
                if "{" in word:
                    yield from _near_placeholders(f"{where}/{position}", word, stage)


def _taken_literally(at: str, stage: Stage) -> Iterator[Fault]:
    for name, path in stage.outputs.items():
        if "*" in path or "?" in path:
            what = f'"{path}" is one file of this very name: outputs are no globs'
            yield Fault(f"{at}/outputs/{name}", what, 'several files are a directory, such as "out/"')
    for name, value in stage.env.items():
        for form, of in references(value) if "{" in value else ():
            hint = '"command" and "args" have placeholders, and the stage has $PIPELINE_INPUT_..., $PIPELINE_OUTPUT_...'
            yield Fault(f"{at}/env/{name}", f"{{{form}.{of}}} is passed on as it is", hint)


def _shells_words(where: str, words: tuple[str, ...]) -> Iterator[Fault]:
    for position, word in enumerate(words):
        if position and word in _SHELLS_WORDS:
            hint = _HINTS.get(word, 'name the shell: ["sh", "-c", "..."]')
            yield Fault(f"{where}/{position}", f'"{word}" is passed to {words[0]} as it is: no shell is involved', hint)
            return  # the rest of the words follow from the same thought


def _near_placeholders(where: str, word: str, stage: Stage) -> Iterator[Fault]:
    for match in _SHAPE.finditer(word):
        form, name = match[1], match[2]
        if form in FIELDS:
            continue
        for near, field in FIELDS.items():
            if form.lower().rstrip("s") == near.rstrip("s") and name in getattr(stage, field):
                what = f"{match[0]} is no placeholder, and passed on as it is"
                yield Fault(where, what, f"did you mean {{{near}.{name}}}?")
