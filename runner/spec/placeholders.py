"""Placeholders in commands and arguments: exactly five forms, so that awk and jq programs need no escapes."""

from __future__ import annotations

import re
from functools import lru_cache
from json import dumps
from typing import TYPE_CHECKING

from runner.errors import Fault, InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

FIELDS = {"inputs": "inputs", "list": "inputs", "outputs": "outputs", "params": "params"}
"""The forms that name something, and the field of the stage that declares it."""

WORDS_KEPT = 1024  # most stages of a pipeline have some in common
_PLACEHOLDER = re.compile(r"\{(?:(inputs|list|outputs|params)\.([A-Za-z][A-Za-z0-9_-]*)|python)\}")


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

    def fill(match: re.Match[str]) -> str:
        form, name = match[1], match[2]
        if form is None:
            return python
        if form == "list":
            return lists[name]
        if form == "outputs":
            return outputs[name]
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
