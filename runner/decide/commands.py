"""Which Python a processor or the words of a command start: a script, a module after `-m`, the text after `-c`."""

from __future__ import annotations

import os
import re
from functools import lru_cache
from typing import TYPE_CHECKING

from runner.errors import raise_refusal
from runner.spec.placeholders import references
from runner.values import Value

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

SCRIPT = "script"
MODULE = "module"
TEXT = "text"

_PYTHON = re.compile(r"(python|pypy)[0-9.]*[td]?")
_PYTHON_FILES = (".py", ".pyc", ".pyz", ".pyzw")  # all but the first are refused later, because nobody can read them
_WITH_VALUE = "WXcm"  # of the interpreter's short options; the value may be attached
_LONG_WITH_VALUE = frozenset({"--check-hash-based-pycs"})
WORDS_KEPT = 1024  # of commands: most stages of a pipeline have some in common
_SHEBANG_LENGTH = 256  # BINPRM_BUF_SIZE: the kernel reads no further


class Start(Value):
    """Code that an interpreter begins with: an absolute path, a module's name or a text.

    And what comes first in `sys.path`: "" for nothing, with `-I` or `-P`.
    """

    kind: str
    value: str
    entry: str


def script_start(path: str) -> Start:
    """Return the start of a script; what it imports is looked for beside what it links to, as Python does."""
    return Start(SCRIPT, path, os.path.dirname(os.path.realpath(path)))


def processor_start(path: str) -> Start | None:
    """Return the start of a processor, or None when it is no Python: neither by its name nor by its shebang."""
    return script_start(path) if path.endswith(_PYTHON_FILES) or has_python_shebang(path) else None


def python_files_of_command(words: Sequence[str], root: str) -> tuple[Start, ...]:
    """Return the Python that a command's words name, relative to `root`, in order.

    That is what its interpreter starts, then every other word that is a Python file. Words that hold a placeholder but
    `{python}` name nothing.
    """
    starts: dict[tuple[str, str], Start] = {}
    at = next((index for index, word in enumerate(words) if _is_python(word)), None)
    if at is not None:
        start = _started(words[at + 1 :], root)
        if start is not None:
            starts[start.kind, start.value] = start
    skipped = next((start.value for start in starts.values() if start.kind != SCRIPT), None)
    others = (word for index, word in enumerate(words) if index != at and word != skipped)
    for start in python_files_among(others, root):
        starts.setdefault((start.kind, start.value), start)
    return tuple(starts.values())


def python_files_among(words: Iterable[str], root: str) -> Iterator[Start]:
    """Yield the words that are Python files, such as arguments of a processor; a placeholder names none."""
    for word in words:
        if references(word):
            continue
        path = _path(root, word)
        if "\0" not in word and _may_be_file(path) and (word.endswith(_PYTHON_FILES) or has_python_shebang(path)):
            yield script_start(path)


def has_python_shebang(path: str) -> bool:
    """Whether the file at `path` begins with a `#!` line that starts Python, directly or by way of env."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        raise_refusal(error, path)
        return False
    try:
        first = os.read(descriptor, _SHEBANG_LENGTH).partition(b"\n")[0]
    except OSError as error:
        raise_refusal(error, path)
        return False
    finally:
        os.close(descriptor)
    if not first.startswith(b"#!"):
        return False
    words = first[2:].decode("utf-8", "replace").split()
    if words and os.path.basename(words[0]) == "env":
        words = list(_after_env(words[1:]))
    return bool(words) and _is_python(words[0])


def _after_env(words: Sequence[str]) -> Iterator[str]:
    """Yield the words from the program on: behind env's options (`-S`, `-i`, `-u NAME`) and assignments."""
    pending = iter(words)
    for word in pending:
        if word in {"-u", "--unset", "-C", "--chdir"}:
            next(pending, None)
        elif word.startswith("-S") and len(word) > 2:
            yield word[2:]
            break
        elif not word.startswith("-") and "=" not in word:
            yield word
            break
    yield from pending


@lru_cache(WORDS_KEPT)
def _path(root: str, word: str) -> str:
    return os.path.normpath(os.path.join(root, word))


@lru_cache(WORDS_KEPT)
def _is_python(word: str) -> bool:
    return word == "{python}" or bool(_PYTHON.fullmatch(os.path.basename(word)))


def _may_be_file(path: str) -> bool:
    try:
        return os.path.isfile(path)
    except ValueError:
        return False


def _started(words: Sequence[str], root: str) -> Start | None:
    """Return what the interpreter's own arguments make it run, None for standard input or nothing."""
    pending = iter(words)
    flags = ""
    for word in pending:
        if word == "--":
            return _script(next(pending, ""), root, flags)
        if word.startswith("--"):
            if word in _LONG_WITH_VALUE:
                next(pending, None)
        elif word.startswith("-") and word != "-":
            plain, option, value = _split(word)
            flags += plain
            if option:
                value = value or next(pending, "")
            if option in {"c", "m"}:
                entry = "" if _is_isolated(flags) else root
                return Start(TEXT if option == "c" else MODULE, value, entry)
        else:
            return _script(word, root, flags)
    return None


def _split(word: str) -> tuple[str, str, str]:
    """Split `-Ic'text'` into flags before an option with a value, the option ("" for none), and what is attached."""
    for index, letter in enumerate(word[1:], 1):
        if letter in _WITH_VALUE:
            return word[1:index], letter, word[index + 1 :]
    return word[1:], "", ""


def _script(word: str, root: str, flags: str) -> Start | None:
    if word in {"", "-"} or ("{" in word and not os.path.exists(os.path.join(root, word))):
        return None
    path = os.path.normpath(os.path.join(root, word))
    if os.path.isdir(path):
        compiled = os.path.join(path, "__main__.pyc")
        main = os.path.join(path, "__main__.py")
        return Start(SCRIPT, compiled if os.path.isfile(compiled) and not os.path.isfile(main) else main, path)
    start = script_start(path)
    return start.replace(entry="") if _is_isolated(flags) else start


def _is_isolated(flags: str) -> bool:
    return "I" in flags or "P" in flags
