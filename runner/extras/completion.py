"""The completion scripts of shells, which shtab makes from the tables of the parser. Needs the extra `completion`."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from runner.cli.parser import OPTIONS, SHELLS, VERBS
from runner.extras.packages import packages_of

with packages_of("completion"):
    import shtab

# Text around the script, by shell. shtab knows only what argparse can parse, but our first word may also be a spec.
_BEFORE = {
    "bash": "_shtab_offpipe_pos_0_COMPGEN=_shtab_compgen_files",
    "zsh": "functions -c _shtab_offpipe_commands _offpipe_verbs\n"
    "_shtab_offpipe_commands() { _alternative 'verbs::_offpipe_verbs' 'specs::_files' }",
}
_PLACES: dict[str, Any] = {"FILE": shtab.FILE, "PROGRAM": shtab.FILE, "DIR": shtab.DIRECTORY}
_AFTER = {"fish": "complete -c offpipe -n '_shtab_offpipe_using; and test $_shtab_offpipe_npos -eq 0' -F\n"}


def completion_text(shell: str) -> str:
    """Return the script for `bash`, `zsh` or `fish`."""
    parser = ArgumentParser("offpipe", add_help=False)
    _add_options(parser, "run")
    verbs = parser.add_subparsers()
    for verb, (words, summary) in VERBS.items():
        of_verb: Any = verbs.add_parser(verb, help=summary, add_help=False)
        _add_options(of_verb, verb)
        if "SPEC" in words:
            many = "+" if words.endswith("DIRECTORY ...") else None
            of_verb.add_argument("spec", help=words, nargs=many).complete = shtab.FILE
            if words.endswith(" PATH"):
                of_verb.add_argument("path").complete = shtab.FILE
        elif words == SHELLS:
            of_verb.add_argument("shell", choices=words.split("|"))
        elif words:
            of_verb.add_argument("command", nargs="*").complete = shtab.FILE
    script = shtab.complete(parser, shell, preamble=_BEFORE.get(shell, ""))
    script = script.replace('"(*):', '"*:')  # of zsh: with its own form, shtab completes only the first of many words
    return f"{script}\n{_AFTER.get(shell, '')}"


def _add_options(parser: ArgumentParser, verb: str) -> None:
    for names, kind, having, text in OPTIONS:
        if verb in having.split():
            takes: dict[str, Any] = {"metavar": kind, "choices": kind.split("|") if "|" in kind else None}
            if kind[:1] in ("", "["):  # no value, or an optional one, behind a `=`
                takes = {"action": "store_true"}
            option: Any = parser.add_argument(*names.split(), help=text, **takes)
            if kind in _PLACES:
                option.complete = _PLACES[kind]
