"""What nearly all runs are asked for by, a plain command line and a spec, told before what reads either is loaded."""

from __future__ import annotations

import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NamedTuple

    class PlainRun(NamedTuple):
        """Of which spec, below which workspace, and how the run is to be recorded, told, and gone about."""

        spec: str
        workspace: str | None
        durable: bool
        quiet: bool
        jobs: int | None
        keep_going: bool


VERBS = frozenset({"clean", "plan", "status", "explain", "log", "verify", "validate", "graph", "doctor", "schema"})
_KEEP_GOING = {"-k", "--keep-going"}
_QUIET = {"-q", "--quiet"}
_VALUED = ("-j", "--jobs", "--workspace", "--durability")
_LOOKED_AT = 1 << 20  # bytes of a file
_PROCESSORS = 4  # that are looked at
_NAMES, _NAME = 100, 100  # that are returned, and how long one may be


def plain_run(given: Sequence[str]) -> PlainRun | None:
    """Return what a command line of a few plain forms asks for: a run; any other is for the parser."""
    words = list(given)
    if words[:1] == ["run"]:
        del words[0]
    elif words and words[0] in VERBS:
        return None
    spec, workspace, durability, quiet = "", None, "full", False
    jobs, keep_going = None, False
    pending = iter(words)
    for word in pending:
        name, mark, value = word.partition("=")
        if word in _QUIET:
            quiet = True
        elif word in _KEEP_GOING:
            keep_going = True
        elif word[:2] == "-j" and _is_count(word[2:]):
            jobs = int(word[2:])
        elif name in _VALUED:
            value = value if mark else next(pending, "")
            if value.startswith("-"):
                return None
            if name == "--workspace" and value:
                workspace = value
            elif name == "--durability" and value in ("full", "process"):
                durability = value
            elif name in ("-j", "--jobs") and _is_count(value):
                jobs = int(value)
            else:
                return None
        elif spec or not word or word.startswith("-"):
            return None
        else:
            spec = word
    found = (spec, workspace, durability == "full", quiet, jobs, keep_going)
    return found if spec else None  # type: ignore[return-value] # no class here


def python_processors(spec: str) -> list[str] | None:
    """Return what a spec that nobody has read seems to have of stages to be forked; None where it seems to be no spec.

    A glance at its text, which is to be right nearly always: what is wrong is noticed once the spec is read.
    """
    text = _text(spec)
    if text is None or b'"stages"' not in text:
        return None
    names = (part.partition(b'"')[2].partition(b'"')[0] for part in text.split(b'"processor"')[1:])
    found = [os.fsdecode(name) for name in names if name.endswith(b".py")]
    return list(dict.fromkeys(found)) if text.count(b'"freshInterpreter"') < len(found) else []


def imported_by(spec: str, processors: Sequence[str]) -> list[str]:
    """Return names that the first of these seem to import as soon as they start, where they lie beside the spec."""
    names: dict[str, None] = {}
    for processor in processors[:_PROCESSORS]:
        for line in (_text(os.path.join(os.path.dirname(spec), processor)) or b"").split(b"\n"):
            if line.startswith((b"import ", b"from ")):
                kind, *words = line.decode("utf-8", "replace").replace(",", " ").split()
                if kind == "from" and words:
                    words = [words[0], *(f"{words[0]}.{word}" for word in words[2:])]
                names.update(dict.fromkeys(word for word in words if len(word) < _NAME))
    return list(names)[:_NAMES]


def _text(path: str) -> bytes | None:
    """Return the beginning of a regular file, None where there is none to be read."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # to open a pipe or a device can do anything
            return None
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except (OSError, ValueError):
        return None
    try:
        return os.read(descriptor, _LOOKED_AT) if stat.S_ISREG(os.fstat(descriptor).st_mode) else None
    except OSError:
        return None
    finally:
        os.close(descriptor)


def _is_count(text: str) -> bool:
    return len(text) < 10 and text.isascii() and text.isdigit() and int(text) > 0
