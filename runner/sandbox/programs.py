"""Finds the program of a stage, or says why there is none, before the stage starts."""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING

from runner.errors import Fault

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

_SHELLS_WORK = re.compile(r"[\s<>|&;$*?`]")


def find_program(word: str, path: str, cwd: str) -> str | None:
    """Return the absolute path of the program that `word` names, or None: with a "/" below `cwd`, else along `path`.

    As execvp does, an empty or relative entry of `path` means below `cwd`.
    """
    return next((candidate for candidate in candidates(word, path, cwd) if _is_program(candidate)), None)


def candidates(word: str, path: str, cwd: str) -> Iterator[str]:
    """Yield the places where `find_program` looks, in order."""
    for directory in [""] if "/" in word else path.split(":"):
        yield os.path.join(cwd, directory, word)


def _is_program(path: str) -> bool:
    try:
        return stat.S_ISREG(os.stat(path).st_mode) and os.access(path, os.X_OK)
    except (OSError, ValueError):
        return False


def missing_program(word: str, path: str, outer_path: str, cwd: str, where: str) -> Fault:
    """Return the fault of a `word` that names no program on the stage's `path`; `outer_path` is the caller's PATH."""
    if _SHELLS_WORK.search(word):
        words = ", ".join(f'"{each}"' for each in word.split()[:2])
        hint = f'no shell is involved: write [{words}, ...], a word each, or name the shell, ["sh", "-c", ...]'
        return Fault(where, f'no program "{word}"', hint)
    elsewhere = find_program(word, outer_path, cwd)
    if elsewhere is not None:
        directory = os.path.dirname(elsewhere)
        hint = f'stages do not see your shell\'s PATH; add to the stage: "env": {{"PATH": "{directory}:{path}"}}'
        return Fault(where, f'program "{word}" is only on the PATH of your shell, as {elsewhere}', hint)
    if "/" in word:
        return Fault(where, f'"{word}" is no program', "it is relative to root, and must be executable")
    return Fault(where, f'no program "{word}" on the stage\'s PATH', f"PATH is {path}")


def may_be_made(word: str, path: str, cwd: str, outputs: Collection[str]) -> bool:
    """Whether one of the `outputs`, absolute paths, is a place of the program, or a directory above one."""
    for candidate in candidates(word, path, cwd):
        above = os.path.normpath(candidate)
        while above != os.path.dirname(above):
            if above in outputs:
                return True
            above = os.path.dirname(above)
    return False
