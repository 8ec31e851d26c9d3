"""Copies of files and directories. Links in them lead to what else was copied, never back to the user's files."""

from __future__ import annotations

import os
import shutil
import stat
from typing import TYPE_CHECKING

from runner.errors import Fault, InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    Relink = Callable[[str], str]


def copy(source: str, to: str, relink: Relink | None = None) -> None:
    """Copy a file or a directory with modes and times; a link is copied as what it leads to.

    A link within a directory stays one: with the same text, or, with `relink`, to the place that this gives for the
    absolute path which it means. Raises InputError for what cannot be copied.
    """
    try:
        os.makedirs(os.path.dirname(to), exist_ok=True)
        if os.path.isdir(source):
            _copy_directory(source, to, source, relink)
        else:
            shutil.copy2(source, to)
    except OSError as error:
        raise InputError(Fault(str(error.filename or source), f"cannot copy it: {error.strerror or error}")) from error


def _copy_directory(source: str, to: str, top: str, relink: Relink | None) -> None:
    os.makedirs(to, exist_ok=True)
    with os.scandir(source) as entries:
        for entry in entries:
            target = os.path.join(to, entry.name)
            mode = entry.stat(follow_symlinks=False).st_mode
            if stat.S_ISLNK(mode):
                os.symlink(_link_text(entry.path, target, top, relink), target)
            elif stat.S_ISDIR(mode):
                _copy_directory(entry.path, target, top, relink)
            elif stat.S_ISREG(mode):
                shutil.copy2(entry.path, target)
            else:
                what = "is no regular file, directory or link"
                raise InputError(Fault(entry.path, what, "nothing else can be an input"))
    shutil.copystat(source, to)


def _link_text(link: str, target: str, top: str, relink: Relink | None) -> str:
    text = os.readlink(link)
    meant = os.path.normpath(os.path.join(os.path.dirname(link), text))
    is_inside = f"{meant}/".startswith(f"{top}/")
    if relink is None or (is_inside and not os.path.isabs(text)):
        return text
    if is_inside:
        return os.path.relpath(meant, os.path.dirname(link))
    return os.path.relpath(relink(meant), os.path.dirname(target))
