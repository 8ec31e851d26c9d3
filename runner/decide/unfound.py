"""What a module that a stage imports, and that is found nowhere, could be had by."""

from __future__ import annotations

import json
import os


def how_to_find(module: str, root: str, pythonpath: str) -> str:
    """Return a hint: where it lies below root, if it does, for a stage with this PYTHONPATH."""
    tried = {os.path.normpath(entry) for entry in pythonpath.split(":")} if pythonpath else set()
    for directory in (".", *_directories(root)) if module[:1] != "." else ():  # one that is relative begins with a dot
        path = os.path.normpath(os.path.join(directory, *module.split(".")))
        shown = path if _holds_python(os.path.join(root, path)) else f"{path}.py"
        if directory not in tried and (shown == path or os.path.isfile(os.path.join(root, shown))):
            both = json.dumps(":".join(filter(None, (pythonpath, directory))))
            return f'{shown} is there: "env": {{"PYTHONPATH": {both}}}'
    return (
        "install it for the interpreter that runs offpipe, or put it beside the processor, or name its directory, "
        'relative to root: "env": {"PYTHONPATH": "lib"}'
    )


def _directories(root: str) -> list[str]:
    """Those in root that can be entries of PYTHONPATH."""
    names = (name for name in _names(root) if not name.startswith(".") and ":" not in name)
    return sorted(name for name in names if os.path.isdir(os.path.join(root, name)))


def _holds_python(directory: str) -> bool:
    return any(name.endswith(".py") for name in _names(directory))


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except (OSError, ValueError):
        return []  # it is no directory, not to be read, or no name of a file
