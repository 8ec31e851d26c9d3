"""From the words of the command line to a verb and its options. Knows no pipeline, and reads no file."""

from __future__ import annotations

import argparse
import os
import sys
from itertools import pairwise
from typing import TYPE_CHECKING, NoReturn

from runner.cli.help import EPILOGUES
from runner.cli.invocation import Invocation
from runner.cli.options import OF_VERBS
from runner.cli.table import PROGRAM, VERBS
from runner.errors import Fault, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runner.display.streams import Stream

WIDTH = 79
_STAGES_HINT = "name stages behind the spec"


class HelpShown(Exception):  # noqa: N818 - nothing went wrong
    """A verb's help was asked for, and is written."""


def parse(words: Sequence[str], stdout: Stream) -> Invocation:
    """Return what the words ask for. UsageError when they make no sense, HelpShown when it is answered already."""
    if not words:
        raise UsageError(Fault("", "no spec given", f"for example: {PROGRAM} pipeline.json; see {PROGRAM} --help"))
    place = _place_of_verb(words, stdout)
    verb = "run" if place is None else words[place]
    rest = _with_wait([word for index, word in enumerate(words) if index != place])
    end = rest.index("--") if "--" in rest else len(rest)  # what is behind it is no option, which 3.11 forgets
    parser = _Parser(verb, stdout)
    given, extras = parser.parse_known_intermixed_args(rest[:end])
    if extras:
        parser.refuse(extras, rest[:end])
    named = [*([given.spec] if given.spec is not None else []), *given.stages, *rest[end + 1 :]]
    spec = getattr(given, "pipeline", None)
    if VERBS[verb].words and spec is None:
        if not named:
            parser.error("no spec given")
        spec = named.pop(0)
        if getattr(given, "force", False) and not os.path.lexists(spec) and any(map(os.path.isfile, named)):
            raise UsageError(Fault("", f"-f/--force: takes no value, and {spec} is no spec file", _STAGES_HINT))
        if spec in VERBS and not os.path.lexists(spec):
            what = "no such spec file, but a verb, which only options of its own may stand before"
            raise UsageError(Fault(spec, what, f"see {PROGRAM} {spec} --help"))
        if words[0] == spec:
            _require_spec_or_verb(spec)
    _check_count(parser, verb, spec or "", named)
    _refuse_seconds_apart(words, [spec, *named])
    return Invocation(verb, spec or "", tuple(named), given, (PROGRAM, *words))


def _place_of_verb(words: Sequence[str], stdout: Stream) -> int | None:
    """Return which of the words is the verb: the first one, or one that only options of its own stand before."""
    for index, word in enumerate(words):
        if word in ("--", "-h", "--help"):
            break
        if word in VERBS and (index == 0 or _are_options(words[:index], _Parser(word, stdout))):
            return index
    return None


def _are_options(words: Sequence[str], parser: _Parser) -> bool:
    """Whether these are options that a verb's parser knows, and their values."""
    try:
        given, extras = parser.parse_known_args(_with_wait(list(words)))
    except UsageError:
        return False
    return not extras and given.spec is None and not given.stages


def _check_count(parser: _Parser, verb: str, spec: str, named: Sequence[str]) -> None:
    words = VERBS[verb].words
    if "..." not in words and len(named) > ("STAGE" in words):
        parser.error(f'unexpected argument "{named[-1]}"')
    if words.endswith(" STAGE") and not named:
        raise UsageError(Fault("", "no stage given", f"{PROGRAM} plan {spec} lists them"))


def _require_spec_or_verb(word: str) -> None:
    """Raise UsageError when the first word is neither a verb nor a file that is there."""
    if os.path.lexists(word):
        return
    from difflib import get_close_matches

    from runner.spec.source import missing_hint

    hint, near = missing_hint(word), get_close_matches(word, VERBS, 1)
    if near and not os.path.lexists(f"{word}.json"):
        hint = f'did you mean the verb "{near[0]}"?'
    if not hint:
        hint = f"the verbs are: {', '.join(VERBS)}"
    raise UsageError(Fault(word, "no such spec file, and no verb", hint))


def _with_wait(words: list[str]) -> list[str]:
    """Give a bare `--wait` its value, for ever, or argparse would take the next word for it."""
    end = words.index("--") if "--" in words else len(words)
    return ["--wait=inf" if word == "--wait" else word for word in words[:end]] + words[end:]


def _refuse_seconds_apart(words: Sequence[str], named: Sequence[str | None]) -> None:
    """Raise UsageError for a number behind a bare `--wait`, where it was taken for the spec or a stage."""
    for word, following in pairwise(words):
        if word == "--wait" and following in named and following.replace(".", "", 1).isdecimal():
            what = f"takes its value joined by =, so {following} is taken for a spec or a stage"
            hint = f"write --wait={following}; a stage of that name comes before --wait, or behind --"
            raise UsageError(Fault("--wait", what, hint))


def _options_of(verb: str) -> set[str]:
    parser = argparse.ArgumentParser(add_help=False)
    OF_VERBS[verb](parser)
    return set(parser._option_string_actions)  # noqa: SLF001 - argparse names its options nowhere else


class _Parser(argparse.ArgumentParser):
    """The parser of one verb: complains by UsageError, and writes its help without raising."""

    def __init__(self, verb: str, stdout: Stream) -> None:
        what = VERBS[verb]
        more: dict[str, bool] = {"color": False} if sys.version_info >= (3, 14) else {}
        super().__init__(
            prog=f"{PROGRAM} {verb}", usage=f"{PROGRAM} {verb} {what.words} [options]".replace("  ", " "),
            description=f"{what.summary[0].upper()}{what.summary[1:]}.", epilog=EPILOGUES.get(verb), allow_abbrev=False,
            add_help=False,
            formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=26, width=WIDTH),
            **more,  # type: ignore[arg-type] # one of its options, which older versions have not
        )  # fmt: skip
        self._verb, self._stdout = verb, stdout
        if what.words:
            directory = ", or a state directory by itself" if "DIRECTORY" in what.words else ""
            self.add_argument("spec", metavar="SPEC", nargs="?", help=f"the pipeline: a JSON file{directory}")
        else:
            self.set_defaults(spec=None)
        if "STAGE" in what.words:
            named = "stages" if "..." in what.words else "the stage"
            more_help = f"{named} and what they need; default: all" if "..." in what.words else named
            self.add_argument("stages", metavar="STAGE", nargs="*", help=more_help)
        else:
            self.add_argument("stages", nargs="*", help=argparse.SUPPRESS)
        OF_VERBS[verb](self)
        self.add_argument("-h", "--help", action="help", help="show this help and exit")

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> object:
        """Refuse "--" as an option's value: Python 3.11 takes it away, and checks neither type nor choices then."""
        if action.option_strings and "--" in arg_strings:
            self.error(f'argument {"/".join(action.option_strings)}: "--" is no value')
        values: object = super()._get_values(action, arg_strings)
        return values

    def print_help(self, file: object = None) -> None:  # noqa: ARG002 - argparse's signature
        self._stdout.write(self.format_help())

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:  # noqa: ARG002 - argparse's signature
        raise HelpShown

    def error(self, message: str) -> NoReturn:
        where, _, what = message.removeprefix("argument ").partition(": ")
        if what.startswith("ignored explicit argument"):
            hint = _STAGES_HINT if where.endswith("--force") else f"see {self.prog} --help"
            raise UsageError(Fault("", f"{where}: takes no value", hint))
        if where.endswith("--jobs") and what.startswith("expected one"):
            message = f"{where}: expects a number"
        raise UsageError(Fault("", message, f"see {self.prog} --help"))

    def refuse(self, extras: Sequence[str], words: Sequence[str]) -> NoReturn:
        """Raise UsageError for `extras`, which are no option and no argument; tell which option may be meant."""
        from difflib import get_close_matches

        rest = extras[0][1:]
        if extras[0] not in words:  # since Python 3.13 argparse leaves "-slow" of "-fslow"
            whole = next(word for word in words if word[:1] == "-" != word[1:2] and word[2:].endswith(rest))
            names = self._option_string_actions[f"-{whole.removesuffix(rest)[-1]}"].option_strings
            self.error(f"{'/'.join(names)}: ignored explicit argument")
        word = extras[0].partition("=")[0]
        known = [name for action in self._actions for name in action.option_strings if name.startswith("--")]
        near = get_close_matches(word, known, 1) if word.startswith("--") else []
        others = [verb for verb in VERBS if verb != self._verb and word in _options_of(verb)]
        if others:
            raise UsageError(Fault("", f"no option {word}", f"it is one of {PROGRAM} {f', {PROGRAM} '.join(others)}"))
        hint = f"did you mean {near[0]}?" if near else f"see {self.prog} --help"
        raise UsageError(
            Fault("", f"no option {word}" if word.startswith("-") else f'unexpected argument "{word}"', hint)
        )
