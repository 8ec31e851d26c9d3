"""A run that is asked for by a plain command line, as nearly all are: read before the parser is loaded."""

from __future__ import annotations

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


def _is_count(text: str) -> bool:
    return len(text) < 10 and text.isascii() and text.isdigit() and int(text) > 0
