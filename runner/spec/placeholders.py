"""The words of commands and arguments: placeholders, and warnings about words that are likely to mean something else.

There are exactly five forms of placeholders, so that awk and jq programs need no escapes.
"""

from __future__ import annotations

import os.path
import re
from functools import lru_cache
from json import dumps
from typing import TYPE_CHECKING

from runner.errors import Fault, InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from runner.spec.model import Spec, Stage

FIELDS = {"inputs": "inputs", "list": "inputs", "outputs": "outputs", "params": "params"}
"""The forms that name something, and the field of the stage that declares it."""

WORDS_KEPT = 1024  # most stages of a pipeline have some in common
_PLACEHOLDER = re.compile(r"\{(?:(inputs|list|outputs|params)\.([A-Za-z][A-Za-z0-9_-]*)|python)\}")
_SHELLS_WORDS = frozenset({"<", ">", ">>", "2>", "2>&1", "|", "&&", "||", ";", "&"})
_OWN_WORDS = frozenset({"find", "expr", "test", "["})  # programs that take some of these as arguments
_SHELLS = frozenset({"sh", "bash", "dash", "zsh", "ksh", "fish"})
_HINTS = {
    "<": 'name the input that is read from: "stdin"', ">": 'name the output that it prints into: "stdout"',
}  # fmt: skip
_SHAPE = re.compile(r"\{([A-Za-z]+)\.([A-Za-z][A-Za-z0-9_-]*)\}")


@lru_cache(WORDS_KEPT)
def references(word: str) -> tuple[tuple[str, str], ...]:
    """Return the (form, name) of each placeholder in `word` that names something: `("inputs", "text")`."""
    return tuple((match[1], match[2]) for match in _PLACEHOLDER.finditer(word) if match[1])


def list_inputs(words: Iterable[str]) -> tuple[str, ...]:
    """Return the names of the inputs that `{list.NAME}` asks for, each once, in order."""
    return tuple(
        dict.fromkeys(name for word in words if "{list." in word for form, name in references(word) if form == "list")
    )


def spell_param(value: object) -> str:
    """Return a param as it stands in an argument: a string as it is, else compact JSON.

    Keys are sorted, because their order is not part of the up-to-date key and so must not change what runs.
    """
    if isinstance(value, str):
        return value
    return dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def expand(
    words: Iterable[str],
    *,
    inputs: Mapping[str, Sequence[str]],
    lists: Mapping[str, str],
    outputs: Mapping[str, str],
    params: Mapping[str, object],
    python: str,
) -> list[str]:
    """Return `words` with every placeholder filled in; a word that is just `{inputs.NAME}` gives one word a file.

    `lists` holds the path of the file that lists an input's files, `outputs` the partials. Raises InputError when
    an input of several files stands inside a longer word. Names are known to be declared: the spec was checked.
    """
    paths = {"list": lists, "outputs": outputs}

    def fill(match: re.Match[str]) -> str:
        form, name = match[1], match[2]
        if form is None:
            return python
        if form in paths:
            return paths[form][name]
        if form == "params":
            return spell_param(params[name])
        if len(inputs[name]) != 1:
            what = f'"{match.string}" needs one file, and {{inputs.{name}}} is {len(inputs[name])} files'
            hint = f"make {{inputs.{name}}} a word of its own, or use {{list.{name}}}, a file that lists them"
            raise InputError(Fault("", what, hint))
        return inputs[name][0]

    expanded: list[str] = []
    for word in words:
        if "{" not in word:
            expanded.append(word)
            continue
        whole = _PLACEHOLDER.fullmatch(word)
        if whole and whole[1] == "inputs":
            expanded.extend(inputs[whole[2]])
        else:
            expanded.append(_PLACEHOLDER.sub(fill, word))
    return expanded


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
