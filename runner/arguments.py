"""What a command line asks for. The plain command lines of most runs are read here, without loading a parser."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

VERBS = frozenset({"clean", "plan", "status", "explain", "log", "verify", "validate", "graph", "doctor", "schema"})
_FLAGS = {"-k": "keep_going", "--keep-going": "keep_going", "-q": "quiet", "--quiet": "quiet"}
_VALUED = {"-j": "jobs", "--jobs": "jobs", "--workspace": "workspace", "--durability": "durability"}


class HelpRequested(Exception):  # noqa: N818 - nothing went wrong
    """The command line asks for a text about the program itself, which is the argument."""


class Arguments:
    """A verb, its spec (empty for a verb without one), the stages named, and the options.

    An option keeps its default if it is not given, or if the verb does not have it. `words` is the command line.
    """

    verb = "run"
    spec = ""
    stages: tuple[str, ...] = ()
    attempt: int | None = None
    dry_run = False
    durability = "full"
    exit_code = False
    expect_head: str | None = None
    force = False
    format = "text"
    jobs: int | None = None
    json = False
    keep_going = False
    offline = "strict"
    outputs = False
    param: Sequence[str] = ()
    paranoid = False
    quiet = False
    run: str | None = None
    run_id: str | None = None
    state = False
    verbose = False
    wait = 0.0
    workspace: str | None = None

    def __init__(self, words: Sequence[str], **given: object) -> None:
        self.words = tuple(words)
        for name, value in given.items():
            setattr(self, name, value)


def plain_arguments(words: Sequence[str]) -> Arguments | None:
    """Return what a run of an existing spec with the most common options asks for; None for any other command line."""
    given: dict[str, object] = {}
    pending = iter(words[1:] if words and words[0] == "run" else words)
    for word in pending:
        name, mark, value = word.partition("=")
        if word[:2] == "-j" and word[2:].isdecimal():
            name, mark, value = "-j", "=", word[2:]
        if word in _FLAGS:
            given[_FLAGS[word]] = True
        elif name in _VALUED:
            read = _value(_VALUED[name], value if mark else next(pending, ""))
            if read is None:
                return None
            given[_VALUED[name]] = read
        elif "spec" in given or word.startswith("-") or word in VERBS or word == "run":
            return None
        else:
            given["spec"] = word
    return Arguments(words, **given) if os.path.lexists(str(given.get("spec", ""))) else None


def _value(option: str, text: str) -> object:
    """Return the value of an option, or None if the parser must look at it."""
    if option == "jobs":
        return int(text) if len(text) < 10 and text.isascii() and text.isdigit() and int(text) else None
    if option == "durability":
        return text if text in ("full", "process") else None
    return text if text and not text.startswith("-") else None
