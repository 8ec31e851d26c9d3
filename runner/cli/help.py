"""The help texts of the program and of each verb, from `help.txt` and the tables of the parser."""

from __future__ import annotations

import os

from runner import __version__
from runner.cli.parser import OPTIONS, VERBS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_WIDTH, _COLUMN = 79, 31  # characters: of help, and where its second column begins
_TEXTS = os.path.join(os.path.dirname(__file__), "help.txt")  # of the program, then what each verb adds to the tables


def help_text(verb: str) -> str:
    """Return the help of a verb, of the program for "", or the version for `--version`."""
    if verb == "--version":
        return f"offpipe {__version__}\n"
    with open(_TEXTS, encoding="utf-8") as file:
        program, *texts = file.read().split("\n== ")
    if not verb:
        return program.format(verbs=_columns((each, summary) for each, (_, summary) in VERBS.items()))
    more = dict(each.split("\n", 1) for each in texts)
    words, summary = VERBS[verb]
    rows = ((f"{names.replace(' ', ', ')} {kind}", text) for names, kind, of, text in OPTIONS if verb in of.split())
    usage = f"usage: offpipe {verb} {words} [options]".replace("  ", " ")
    return f"{usage}\n\n{summary[0].upper()}{summary[1:]}.\n{more.get(verb, '')}\noptions:\n{_columns(rows)}"


def _columns(rows: Iterable[tuple[str, str]]) -> str:
    """Return the rows as two columns, wrapped to `_WIDTH`."""
    from textwrap import TextWrapper

    wrapper = TextWrapper(_WIDTH, subsequent_indent=" " * _COLUMN, break_on_hyphens=False)
    return "".join(wrapper.fill(f"  {name:<{_COLUMN - 3}} {text}") + "\n" for name, text in rows)
