"""From the words of the command line to `Arguments`: the verbs, the options that each has, and their help."""

from __future__ import annotations

import argparse
import os
import re
from functools import partial
from itertools import pairwise

from runner.arguments import Arguments, HelpRequested
from runner.errors import Fault, UsageError
from runner.levels import BEST_EFFORT, STRICT
from runner.paths import is_name

TYPE_CHECKING = False  # `typing` takes half as long to load as argparse
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, NoReturn

PROGRAM = "offpipe"
WIDTH = 79
_STAGES_HINT = "name the stages after the spec"
_USAGE = f"{PROGRAM} SPEC [STAGE ...] [options]\n       {PROGRAM} VERB SPEC [options]"
_ABOUT = """\
Run a pipeline: a JSON file of stages. Each stage is a program that turns
declared inputs into declared outputs. Only what is out of date runs. After an
interruption, the same command continues where the run stopped."""
_EPILOG = """\
`offpipe VERB --help` shows the options of a verb.

examples:
  offpipe demo.json                  run what is out of date
  offpipe demo.json sort -j 4        only the stage sort and what it needs
  offpipe plan demo.json             what would run, and why
  offpipe explain demo.json upper    everything about one stage
  offpipe log demo.json upper        what the stage printed

exit codes:
  0 done, or nothing to do           9 another run holds the lock
  1 a stage failed                   70 internal error
  2 usage, or an invalid spec        74 state could not be read or written
  3 work pending, or incomplete      75 failed, but retrying may help
  4 the offline guard refused        129, 130, 143 interrupted
  5 an input is missing              6 damaged"""


VERBS = {  # the arguments of each, a summary, and more text for its help
    "run": ("SPEC [STAGE ...]", "run what is out of date", """\
Without STAGE, all stages run. `offpipe SPEC` is short for `offpipe run SPEC`.

examples:
  offpipe run demo.json sort -j 4 --keep-going
  offpipe run demo.json --param upper.simulateTransient=true
  offpipe run demo.json --param 'upper.mode="fast"'    text needs quotes"""),
    "clean": ("SPEC", "remove what the stages made, and their state", "Inputs are never removed."),
    "plan": ("SPEC [STAGE ...]", "show what a run would do, and why", """\
Each line is a stage: its name, the decision, and why. The decision is run,
skip, blocked, or depends (on what an earlier stage will make)."""),
    "status": ("SPEC", "show what is pending, running, and left undone", ""),
    "explain": ("SPEC STAGE", "show why one stage runs or not, and what made it", ""),
    "log": ("SPEC [STAGE]", "print a stage's newest log, or without STAGE a run's events", ""),
    "verify": ("SPEC|DIRECTORY", "check the audit log, metrics, markers and outputs", """\
DIRECTORY is a state directory, or a copy of one. If a whole log was rewritten,
only --expect-head or the key in OFFPIPE_AUDIT_KEY_FILE shows it: see
docs/audit.md.

exit codes: 0 intact, 2 no key to check with, 3 a run did not end, 6 damaged"""),
    "validate": ("SPEC", "check a spec and its inputs, reporting every fault", ""),
    "graph": ("SPEC", "print the stages and what each needs",
              "example:\n  offpipe graph demo.json --format dot | dot -Tsvg > demo.svg"),
    "doctor": ("", "show how well this machine can keep stages offline", ""),
    "schema": ("", "print the JSON Schema of specs", ""),
}  # fmt: skip
_WITH_SPEC = "run clean plan status explain log verify validate graph"


def _option(names: str, verbs: str, text: str, **how: object) -> tuple[list[str], list[str], dict[str, Any]]:
    return names.split(), verbs.split(), {"help": text, **(how or {"action": "store_true"})}


def _at_least(least: int, read: Callable[[str], float], what: str) -> Callable[[str], float]:
    def checked(text: str) -> float:
        try:
            number = read(text)
        except ValueError:
            number = float("nan")
        if number >= least:
            return number
        raise argparse.ArgumentTypeError(f'"{text}" is not {what}')

    return checked


def _run_id(text: str) -> str:
    if not is_name(text):
        rule = "use at most 100 letters, digits, `.`, `_` and `-`, and begin with a letter or digit"
        raise argparse.ArgumentTypeError(f'"{text}" is not a run id: {rule}')
    if text.lower() == "ledger":  # its log would be the ledger, also where file names ignore case
        raise argparse.ArgumentTypeError(f'no run can be called "{text}": that is the list of all runs')
    return text


def _head(text: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{64}", text.lower()):
        raise argparse.ArgumentTypeError(f'"{text}" is not a head: a run prints it as 64 hex digits')
    return text.lower()


_COUNT = _at_least(1, int, "a whole number of 1 or more")
OPTIONS = (  # the spellings of each, the verbs that have it, its help, and arguments for argparse
    _option("-n --dry-run", "run clean", "only show what would run, or what would be removed"),
    _option("-f --force", "run plan", "treat the named stages (or all) as out of date"),
    _option("-j --jobs", "run", "run at most N stages at once; default: one per processor", metavar="N", type=_COUNT),
    _option("-k --keep-going", "run", "after a failure, run what does not depend on it"),
    _option("--wait", "run", "wait for a lock that another run holds, at most S seconds; without S, forever",
            metavar="[=S]", type=_at_least(0, float, "a number of seconds")),
    _option("--param", "run plan status explain validate", "set a parameter of a stage (repeatable)",
            metavar="STAGE.KEY=JSON", action="append"),
    _option("--run-id", "run", "the run's name in the audit log", metavar="ID", type=_run_id),
    _option("--durability", "run", "what finished stages survive: full, a power cut (default); process, only a crash",
            choices=("full", "process")),
    _option("--offline", "run", "if the kernel cannot keep stages offline: strict, refuse (default); best-effort, run",
            choices=(STRICT, BEST_EFFORT)),
    _option("--paranoid", "run plan", "hash every file again, without trusting time stamps"),
    _option("--exit-code", "status", "exit with 3 if a run would have work to do"),
    _option("--format", "graph", "the language of the graph; default: text", choices=("text", "mermaid", "dot")),
    _option("--run", "log verify", "only this run; default: log, the last; verify, all", metavar="ID", type=_run_id),
    _option("--attempt", "log", "this attempt of the stage; default: the last", metavar="N", type=_COUNT),
    _option("--outputs", "verify", "read the outputs too, and compare them with the record"),
    _option("--expect-head", "verify", "the ledger must end with this record", metavar="HEX", type=_head),
    _option("--state", "clean", "also remove the audit logs, metrics and logs"),
    _option("--pipeline", _WITH_SPEC, "the spec, instead of the argument SPEC", metavar="FILE"),
    _option("--workspace", _WITH_SPEC, "where everything is written; default: the spec's root", metavar="DIR"),
    _option("--json", "run plan status verify doctor", "print one JSON object to standard output"),
    _option("-q --quiet", "run", "print nothing unless something fails"),
    _option("-v --verbose", "run plan", "show more: stages with nothing to do, all reasons, tracebacks of bugs"),
)  # fmt: skip


_VALUED = {name for names, _, how in OPTIONS if "metavar" in how or "choices" in how for name in names} - {"--wait"}


def parse(words: Sequence[str]) -> Arguments:
    """Return what the words ask for. Raises UsageError, or HelpRequested."""
    if not words:
        raise UsageError(Fault("", "no spec given", f"for example: {PROGRAM} pipeline.json; see {PROGRAM} --help"))
    end = words.index("--") if "--" in words else len(words)  # what is behind it is no option
    # Without its value, argparse would take the next word for that of --wait.
    options = ["--wait=inf" if word == "--wait" else word for word in words[:end]]
    place = _verb_place(options)
    verb = "run" if place is None else options.pop(place)
    program, parser = _parsers(verb)
    if words[0] in ("-h", "--help"):
        program.print_help()
    for word in options:
        if re.fullmatch("-.*=--|-j--", word):  # Python 3.11 drops such a value, and checks nothing then
            parser.error(f'{word.removesuffix("--")}: "--" is no value')
    given, named = parser.parse_known_args(options)
    for word in named:
        if word[:1] == "-" != word:
            parser.refuse(word, options)
    named += words[end + 1 :]
    values = vars(given)
    spec = values.pop("pipeline", None)
    if VERBS[verb][0] and spec is None:
        if not named:
            parser.error("no spec given")
        spec = named.pop(0)
        if not os.path.lexists(spec):
            _refuse_as_spec(spec, named, is_first=spec == words[0], force=values.get("force", False))
    _check_stages(parser, verb, spec, named)
    _check_wait(words, [spec, *named])
    return Arguments(words, verb=verb, spec=spec or "", stages=tuple(named), **values)


def _verb_place(words: Sequence[str]) -> int | None:
    """Return the place of the verb: the first word that is no option, nor the value of one, if it is a verb."""
    for place, word in enumerate(words):
        if (word[:1] != "-" or word == "-") and not (place and words[place - 1] in _VALUED):
            return place if word in VERBS else None
    return None


def _parsers(verb: str) -> tuple[_Parser, _Parser]:
    """Return the parser of the program, for its help, and that of a verb."""
    program = _Parser(prog=PROGRAM, usage=_USAGE, description=_ABOUT, epilog=_EPILOG)
    program.add_argument("--version", action="store_true", help="show the version and exit")
    verbs = program.add_subparsers(title="verbs", metavar="VERB")
    for name, (words, summary, more) in VERBS.items():
        usage = f"{PROGRAM} {name} {words} [options]".replace("  ", " ")
        about = f"{summary[0].upper()}{summary[1:]}."
        verbs.add_parser(name, help=summary, prog=f"{PROGRAM} {name}", usage=usage, description=about, epilog=more)
    for names, having, how in OPTIONS:
        if verb in having:
            verbs.choices[verb].add_argument(*names, default=argparse.SUPPRESS, **how)
    return program, verbs.choices[verb]


def _refuse_as_spec(spec: str, named: Sequence[str], *, is_first: bool, force: bool) -> None:
    """Raise UsageError if something else than a spec seems to be meant by a word that names no file."""
    if force and any(map(os.path.isfile, named)):
        raise UsageError(Fault("", f"-f/--force: takes no value, and {spec} is no spec file", _STAGES_HINT))
    if spec in VERBS:
        raise UsageError(Fault(spec, "no such spec file, but a verb", f"see {PROGRAM} {spec} --help"))
    if is_first:
        from runner.spec.kinds import did_you_mean
        from runner.spec.source import missing_hint

        near = "" if os.path.lexists(f"{spec}.json") else did_you_mean(spec, VERBS)
        hint = near or missing_hint(spec) or f"the verbs are: {', '.join(VERBS)}"
        raise UsageError(Fault(spec, "no such spec file, and no verb", hint))


def _check_stages(parser: _Parser, verb: str, spec: str, named: Sequence[str]) -> None:
    words = VERBS[verb][0]
    if "..." not in words and len(named) > ("STAGE" in words):
        parser.error(f'unexpected argument "{named[-1]}"')
    if words.endswith(" STAGE") and not named:
        raise UsageError(Fault("", "no stage given", f"{PROGRAM} plan {spec} lists them"))


def _check_wait(words: Sequence[str], named: Sequence[str | None]) -> None:
    """Raise UsageError for a number behind a bare `--wait`, which has become the spec or a stage."""
    for word, following in pairwise(words):
        if word == "--wait" and following in named and following.replace(".", "", 1).isdecimal():
            what = f"takes a value only with =, so {following} counts as a spec or a stage"
            hint = f"write --wait={following}, or put a stage of that name before --wait or after --"
            raise UsageError(Fault("--wait", what, hint))


class _Parser(argparse.ArgumentParser):
    """A parser of options only. Raises UsageError and HelpRequested, where argparse would print and exit."""

    def __init__(self, **given: object) -> None:
        formatter = partial(argparse.RawDescriptionHelpFormatter, max_help_position=26, width=WIDTH)
        super().__init__(allow_abbrev=False, formatter_class=formatter, **given)  # type: ignore[arg-type]
        self.color = False  # which Python 3.14 would add

    def refuse(self, word: str, words: Sequence[str]) -> NoReturn:
        """Raise UsageError for an option that this verb does not have."""
        rest = word[1:]
        if word not in words:  # since Python 3.13 argparse leaves "-slow" of "-fslow"
            whole = next(given for given in words if given[:1] == "-" != given[1:2] and given.endswith(rest))
            self.error(f"-{whole.removesuffix(rest)[-1]}: ignored explicit argument")
        from runner.spec.kinds import did_you_mean

        name = word.partition("=")[0]
        having = next((verbs for names, verbs, _ in OPTIONS if name in names), [])
        if having:
            hint = f"only these have it: {PROGRAM} {f', {PROGRAM} '.join(having)}"
        else:
            near = did_you_mean(name, (known for action in self._actions for known in action.option_strings))
            hint = near or f"see {self.prog} --help"
        raise UsageError(Fault("", f"no option {name}", hint))

    def error(self, message: str) -> NoReturn:
        where, _, what = message.removeprefix("argument ").partition(": ")
        hint = f"see {self.prog} --help"
        if what.startswith("ignored explicit argument"):
            message = f"{where}: takes no value"
            hint = _STAGES_HINT if where.startswith("-f") else hint
        raise UsageError(Fault("", message, hint))

    def print_help(self, file: object = None) -> NoReturn:  # noqa: ARG002 - argparse's signature
        raise HelpRequested(self.format_help())
