"""The words of commands and arguments: placeholders, and warnings about likely mistakes.

There are only five placeholders: `{python}` and those of `FIELDS`. All other braces are text, so awk and jq programs
need no escapes.
"""

from __future__ import annotations

import os.path
import re
import sys
from json import JSONEncoder
from typing import TYPE_CHECKING, Any

from runner.errors import Fault
from runner.spec.kinds import pointer

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from runner.spec.model import Spec, Stage

FIELDS = {"inputs": "inputs", "list": "inputs", "outputs": "outputs", "params": "params"}
"""Form of a placeholder (`{inputs.NAME}`) -> the field of the stage that declares NAME."""

# Sorted, because the order of keys is not part of the up-to-date key and so must not change a command.
_COMPACT = JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True)
_PLACEHOLDER = re.compile(rf"\{{(?:({'|'.join(FIELDS)})\.([A-Za-z][A-Za-z0-9_-]*)|python)\}}")
REFERENCE = re.compile(r"\{outputs\.([^{}]+)\.([^{}.]+)\}")  # of an input, to an output of another stage
_NEAR = re.compile(r"(?<!\$)\{(?:([A-Za-z]+)[.\[])?[\"']?([A-Za-z][A-Za-z0-9_-]*)[\"']?\]?\}")  # also {config["NAME"]}
_ALIASES = {"": "each", "wildcards": "each", "config": "vars"}  # as in a Snakefile
_GUARD = "{\0"  # a brace of an inserted value, which begins no placeholder
_STRAY = re.compile(rf"(?!{_PLACEHOLDER.pattern})\{{")
_NO_PATH = re.compile(r"[-+@]|[^/]*[=:]")  # to some tools: an option, a list of words, awk's variable, tar's host
_SHELL_WORDS = frozenset({"<", ">", ">>", "2>", "2>&1", "|", "&&", "||", ";", "&"})
_TAKES_SHELL_WORDS = frozenset({"find", "expr", "test", "[", "sh", "bash", "dash", "zsh", "ksh", "fish"})
_HINTS = {
    "<": 'name the input to read from: "stdin"',
    ">": 'name the output to print into: "stdout"',
}


def references(word: str) -> tuple[tuple[str, str], ...]:
    """Return the (form, name) of each placeholder in `word` that has a name: `("inputs", "text")`."""
    return tuple((match[1], match[2]) for match in _PLACEHOLDER.finditer(word) if match[1])


def list_inputs(words: Iterable[str]) -> tuple[str, ...]:
    """Return the NAME of each `{list.NAME}`, once, in order."""
    names = (name for word in words for form, name in references(word) if form == "list")
    return tuple(dict.fromkeys(names))


def joined(literals: Sequence[str], values: Sequence[str]) -> str:
    """Return the text of literal parts with values between them."""
    return literals[0] + "".join(map("".join, zip(values, literals[1:], strict=True)))


def guarded(literals: Sequence[str], values: Sequence[str]) -> str:
    """Return the word of literal parts with values between them. No value becomes part of a placeholder.

    This is nearly always the plain text. Else a mark keeps braces apart until `expand` removes it.
    """
    word = joined(literals, values)
    if _known(word) == [placeholder for literal in literals for placeholder in _known(literal)]:
        return word
    return joined([_STRAY.sub(_GUARD, part) for part in literals], [value.replace("{", _GUARD) for value in values])


def _known(word: str) -> list[str]:
    return [match[0] for match in _PLACEHOLDER.finditer(word)]


def relative_path(path: str, root: str) -> str:
    """Return an absolute path as commands get it, which start in `root`: relative if it lies below root.

    Such a path begins with `./` if a tool could take its name for something else: `./-n.txt`, `./a=b.txt`, `./a:b.tar`.
    """
    relative = path.removeprefix(f"{root.rstrip('/')}/")
    return f"./{relative}" if _NO_PATH.match(relative) else relative


def expand(words: Iterable[str], values: Mapping[str, Mapping[str, Any]], python: str = sys.executable) -> list[str]:
    """Return `words` with every placeholder filled in. The word `{inputs.NAME}` becomes a word for each file.

    `values`, by form and name: the paths of an input, the file that lists them, the partial of an output, a param. A
    param that is not a string becomes compact JSON. Earlier checks made sure that every name is declared, and that an
    input in a longer word is one file.
    """

    def fill(match: re.Match[str]) -> str:
        form, name = match[1], match[2]
        if form is None:
            return python
        value = values[form][name][0] if form == "inputs" else values[form][name]
        return value if isinstance(value, str) else _COMPACT.encode(value)

    expanded: list[str] = []
    for word in words:
        whole = _PLACEHOLDER.fullmatch(word)
        if whole and whole[1] == "inputs":
            expanded.extend(values["inputs"][whole[2]])
        else:
            expanded.append(_PLACEHOLDER.sub(fill, word).replace(_GUARD, "{"))
    return expanded


def remarks(spec: Spec, stages: Iterable[Stage]) -> Iterator[Fault]:
    """Yield the spec's own warnings, and one for each shell word, misspelled placeholder, and output like a glob.

    Only `stages` of the spec are checked.
    """
    yield from spec.warnings
    for stage in {stage.index: stage for stage in stages if not stage.is_unexpanded}.values():  # one of each template
        yield from _literal_text(f"{spec.shown}#/stages/{stage.index}", stage)
        yield from _vain_lists(f"{spec.shown}#/stages/{stage.index}", stage)
        for field, words in (("command", stage.command or ()), ("args", stage.args)):
            places = [pointer(spec.shown, stage.place(field, position)) for position in range(len(words))]
            if field == "command" and words and os.path.basename(words[0]) not in _TAKES_SHELL_WORDS:
                yield from _shell_words(places, words)
            for where, word in zip(places, words, strict=True):
                yield from _near_placeholders(where, word, spec, stage)


def _literal_text(at: str, stage: Stage) -> Iterator[Fault]:
    for name, path in stage.outputs.items():
        if "*" in path or "?" in path:
            what = f'"{path}" is one file with exactly this name: an output cannot be a glob'
            yield Fault(f"{at}/outputs/{name}", what, 'to write several files, declare a directory, such as "out/"')
    for name, value in stage.env.items():
        for form, reference in references(value):
            hint = 'only "command" and "args" have placeholders; use $PIPELINE_INPUT_... and $PIPELINE_OUTPUT_...'
            yield Fault(f"{at}/env/{name}", f"{{{form}.{reference}}} is passed on as it is", hint)


def _vain_lists(at: str, stage: Stage) -> Iterator[Fault]:
    """Yield a warning of each list with a value for each attempt that the stage's retries do not reach."""
    attempts, codes, lists = stage.retry.attempts, stage.retry.retry_exit_codes, stage.by_attempt
    for field, values in lists.items():
        if len(values) > attempts:
            what = f'"{field}" has {len(values)} values, more than "retry" has attempts ({attempts})'
            yield Fault(at, what, f'raise "attempts" in "retry" to {len(values)}')
    if "memoryMiB" in lists and not stage.resources.enforce and codes != "any" and "SIGKILL" not in codes:
        what = 'the next value of "memoryMiB" is for a stage that ran out of memory, but SIGKILL is not retried'
        yield Fault(at, what, 'add "SIGKILL" to "retryExitCodes", or say "any"')


def _shell_words(places: Sequence[str], words: tuple[str, ...]) -> Iterator[Fault]:
    for where, word in zip(places[1:], words[1:], strict=True):
        if word in _SHELL_WORDS:
            hint = _HINTS.get(word, 'name the shell: ["sh", "-c", "..."]')
            yield Fault(where, f'"{word}" is passed to {words[0]} as it is: no shell is involved', hint)
            return  # the other words have the same cause


def _near_placeholders(where: str, word: str, spec: Spec, stage: Stage) -> Iterator[Fault]:
    named: dict[str, Collection[str]] = {form: getattr(stage, field) for form, field in FIELDS.items()}
    named |= {"each": stage.values, "vars": spec.vars or ()}
    for match in _NEAR.finditer(word):
        form, name = match[1] or "", match[2]
        alias = _ALIASES.get(form, form).lower().rstrip("s")
        for known, names in named.items():
            near = f"{{{known}.{name}}}"
            if known.rstrip("s") == alias and name in names and near != match[0]:
                yield Fault(
                    where, f"{match[0]} is not a placeholder: it is passed on as it is", f"did you mean {near}?"
                )
