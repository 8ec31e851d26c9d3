"""The Python that a processor or a command starts: a script, a module after `-m`, the text after `-c`."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, NamedTuple

from runner.errors import raise_if_system_error
from runner.reading import NotRegularError, open_regular
from runner.spec.placeholders import references

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

SCRIPT = "script"
MODULE = "module"
TEXT = "text"

_PYTHON = re.compile(r"(python|pypy)[0-9.]*[td]?")
_OPTIONS = re.compile(r"-([^WXcm]*)([WXcm]?)(.*)", re.DOTALL)  # flags, an option with a value, the attached value
_SHEBANG_LENGTH = 256  # BINPRM_BUF_SIZE: the kernel reads no further
_PYTHON_FILES = (".py", ".pyc", ".pyz", ".pyzw")  # all but .py are refused later: their imports cannot be known


class Start(NamedTuple):
    """The code that an interpreter starts with: an absolute path, a module's name or a text.

    `entry` is the first entry of `sys.path`; "" with `-I` or `-P`.
    """

    kind: str
    value: str
    entry: str


def script_start(path: str) -> Start:
    """Return the start of a script. If it is a link, its imports are found beside the target, as in Python."""
    return Start(SCRIPT, path, os.path.dirname(os.path.realpath(path)))


def python_files_of_command(words: Sequence[str], root: str) -> tuple[Start, ...]:
    """Return the starts in a command's words, which are relative to `root`.

    The first is the code that its interpreter runs. Every other word that is a Python file follows. Words with a
    placeholder other than `{python}` count as no file.
    """
    starts: dict[tuple[str, str], Start] = {}
    at = next((index for index, word in enumerate(words) if _is_python(word)), None)
    start = _started(words[at + 1 :], root) if at is not None else None
    if start is not None:
        starts[start.kind, start.value] = start
    skipped = start.value if start is not None and start.kind != SCRIPT else None
    others = (word for index, word in enumerate(words) if index != at and word != skipped)
    for other in python_files_among(others, root):
        starts.setdefault((other.kind, other.value), other)
    return tuple(starts.values())


def python_files_among(words: Iterable[str], root: str) -> Iterator[Start]:
    """Yield the starts of the words that are Python files, by their name or shebang: a processor and its arguments.

    Words with a placeholder other than `{python}` count as no file.
    """
    for word in words:
        if "\0" in word or references(word):
            continue
        path = os.path.normpath(os.path.join(root, word))
        if os.path.isfile(path) and (word.endswith(_PYTHON_FILES) or has_python_shebang(path)):
            yield script_start(path)


def has_python_shebang(path: str) -> bool:
    """Whether the file at `path` begins with a `#!` line that starts Python, directly or through env."""
    words = shebang(path)
    is_env = bool(words) and os.path.basename(words[0]) == "env"
    return any(_is_python(word.removeprefix("-S").rstrip("\r")) for word in (words[1:] if is_env else words[:1]))


def shebang(path: str) -> list[str]:
    """Return the words of the `#!` line of the file at `path`; none if there is no such line or file."""
    try:
        with open(open_regular(path), "rb", buffering=0) as file:
            start = file.read(_SHEBANG_LENGTH)
    except (OSError, NotRegularError) as error:
        raise_if_system_error(error, path)
        return []
    line = os.fsdecode(start.partition(b"\n")[0])
    return re.findall(r"[^ \t\v\f]+", line[2:]) if line.startswith("#!") else []  # keeps \r, as the kernel does


def _is_python(word: str) -> bool:
    return word == "{python}" or bool(_PYTHON.fullmatch(os.path.basename(word)))


def _started(words: Sequence[str], root: str) -> Start | None:
    """Return the start that the interpreter's arguments name, or None for standard input or no code at all."""
    pending = iter(words)
    entry = root
    for word in pending:
        if word == "--":
            return _script(next(pending, ""), root, entry)
        if not word.startswith("-") or word == "-":
            return _script(word, root, entry)
        options = _OPTIONS.fullmatch(word)
        flags, option, value = options.groups() if options and word[1] != "-" else ("", "", "")
        if {"I", "P"} & set(flags):
            entry = ""
        if (option and not value) or word == "--check-hash-based-pycs":
            value = next(pending, "")
        if option in {"c", "m"}:
            return Start(TEXT if option == "c" else MODULE, value, entry)
    return None


def _script(word: str, root: str, entry: str) -> Start | None:
    if word in {"", "-"} or ("{" in word and not os.path.exists(os.path.join(root, word))):
        return None
    path = os.path.normpath(os.path.join(root, word))
    if os.path.isdir(path):
        mains = [os.path.join(path, f"__main__.{suffix}") for suffix in ("py", "pyc")]
        return Start(SCRIPT, next(filter(os.path.isfile, mains), mains[0]), path)
    return script_start(path) if entry else Start(SCRIPT, path, "")
