"""Parses the command line: the verbs and their options. The help texts are in `help`.

`argparse` takes longer to load than a run with nothing to do, so the parser is written by hand.
"""

from __future__ import annotations

import os

from runner.errors import Fault, OffpipeError, UsageError
from runner.paths import is_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_SECONDS = "[=S]"  # the only value that may be left out
_STAGES_HINT = "name the stages after the spec"
SHELLS = "bash|zsh|fish"
VERBS = {  # the one list of verbs, each with its arguments and a summary; `Commands` has a method for each
    "run": ("SPEC [STAGE ...]", "run what is out of date"),
    "clean": ("SPEC", "remove what the stages made, and their state"),
    "prune": ("SPEC", "remove the records of old runs; the ledger keeps the proof"),
    "plan": ("SPEC [STAGE ...]", "show what a run would do, and why"),
    "status": ("SPEC|DIRECTORY [STAGE ...]", "show what is pending, running, and left undone"),
    "runs": ("SPEC|DIRECTORY ...", "list what ran, was refused or failed; or sum up pipelines"),
    "explain": ("SPEC|DIRECTORY STAGE", "show why one stage runs or not, and what made it"),
    "who": ("SPEC PATH", "say which stages make and read a file"),
    "log": ("SPEC|DIRECTORY [STAGE]", "print a stage's newest log, or a run's events"),
    "verify": ("SPEC|DIRECTORY", "check the audit log, metrics, markers, outputs"),
    "report": ("SPEC|DIRECTORY ...", "write what the record says of a run as an HTML page"),
    "export": ("SPEC|DIRECTORY", "attest what runs made, for other tools to check"),
    "validate": ("SPEC", "check a spec and its inputs, and list all faults"),
    "learn": ("-- COMMAND ...", "run a command once, and print a stage that does the same"),
    "graph": ("SPEC", "print the stages and what each needs"),
    "doctor": ("", "show how well this machine keeps stages offline"),
    "schema": ("", "print the JSON Schema of specs"),
    "completion": (SHELLS, "print the script that lets a shell complete commands"),
}
_ALL = " ".join(VERBS)
_WITH_SPEC = " ".join(verb for verb, (words, _) in VERBS.items() if "SPEC" in words)
_WITH_VARS = " ".join(verb for verb in _WITH_SPEC.split() if verb not in {"prune", "runs", "export"})
ON_FAILURE = "OFFPIPE_ON_FAILURE"  # names the program of --on-failure
OPTIONS = (  # spellings, the kind of value (see `_value`; empty for none), verbs, help
    ("-n --dry-run", "", "run clean prune", "only show what would run, or be removed"),
    ("-f --force", "", "run plan", "treat the named stages (or all) as out of date"),
    ("-j --jobs", "N", "run", "run at most N stages at once; default: all CPUs"),
    ("--cluster", "ADDRESS", "run", "run the stages on a Dask cluster: local:N, tcp://..., or a scheduler file"),
    ("--cluster-wait", "S", "run", "wait at most S seconds for a scheduler or worker; default: 60"),
    ("--cluster-latency", "S", "run", "wait at most S seconds until all machines see the same files; default: 60"),
    ("-k --keep-going", "", "run", "after a failure, run what does not depend on it"),
    ("--keep-temporary", "", "run plan", "remove no temporary outputs"),
    ("--wait", _SECONDS, "run", "wait for another run's lock (at most S seconds)"),
    ("--param", "STAGE.KEY=JSON", "run plan status explain validate", "set a parameter of a stage (repeatable)"),
    ("--var", "NAME=VALUE", _WITH_VARS, "set a var of the spec (repeatable)"),
    ("--vars", "FILE", _WITH_VARS, "set vars from a file: a JSON object"),
    ("--run-id", "ID", "run", "the run's name in the audit log"),
    ("--on-failure", "PROGRAM", "run verify", "start this program if the exit code is not 0"),
    ("--events", "FILE", "run", "append each event to this file, as a line of JSON"),
    ("--durability", "full|process", "run", "what stages survive: a power cut (default), or only a crash"),
    ("--offline", "strict|best-effort", "run", "without the kernel's guard: refuse (default), or run"),
    ("--sealed", "strict|best-effort", "run", "if sealed stages get no views: refuse (default), or run them unsealed"),
    ("--paranoid", "", "run plan", "hash every file, and trust no time stamps"),
    ("--exit-code", "", "status", "exit with 3 if a run would have work to do"),
    ("--format", "text|mermaid|dot", "graph", "the language of the graph; default: text"),
    ("--expand", "", "graph", "every instance, instead of a box for all"),
    ("--run", "ID", "log verify report export", "this run; default: the last (log, report), all (others)"),
    ("--logs", "", "report", "also show the last 20 lines of the log of each failed attempt"),
    ("--attempt", "N", "log", "this attempt of the stage; default: the last"),
    ("--since", "DATE", "runs", "only those after a date (UTC), or in so many days: 7d"),
    ("--failed", "", "runs", "only those that were refused, failed, or did not end"),
    ("--limit", "N", "runs", "at most N"),
    ("--summary", "", "runs", "a line for each pipeline: last success, last failure, record"),
    ("--prometheus", "FILE", "runs", "with --summary: also write it as Prometheus reads it"),
    ("--outputs", "", "verify", "also compare the outputs with the record"),
    ("--expect-head", "HEX", "verify", "the ledger must end with this record"),
    ("--public-key", "FILE", "verify report export", "the ledger must be signed with this key (repeatable)"),
    ("--builder-id", "URI", "export", "who you say runs offpipe here"),
    (
        "-o --output",
        "FILE",
        "report export",
        "write to this file (report of several: directory); `-` is standard output",
    ),
    ("--keep", "N", "prune", "keep the records of the newest N runs"),
    ("--before", "DATE", "prune", "remove runs that began before a date (UTC), or so many days ago: 90d"),
    ("--name", "NAME", "learn", "the name of the stage; default: that of the script or program"),
    ("--into", "FILE", "learn", "add the stage to this spec"),
    ("--orphans", "", "clean", "only remove outputs that no stage declares any more"),
    ("--state", "", "clean", "also remove the audit logs, metrics and logs"),
    ("--pipeline", "FILE", _WITH_SPEC, "the spec, instead of the argument SPEC"),
    ("--workspace", "DIR", _WITH_SPEC, "where runs write; default: the spec's root"),
    ("--json", "", "run plan status runs who log verify doctor", "print one JSON object to standard output"),
    ("-q --quiet", "", "run prune", "print nothing unless something fails"),
    ("-v --verbose", "", "run plan status", "show more: instances, idle stages, all reasons, tracebacks of bugs"),
    ("-h --help", "", _ALL, "show this help"),
)
_VALUES = {
    "N": "a whole number of 1 or more",
    _SECONDS: "a number of seconds of 0 or more",
    "S": "a number of seconds of 0 or more",
    "ID": "a run id: up to 100 of a-z, A-Z, 0-9, `._-`, a letter or digit first; `ledger` is the list of all runs",
    "HEX": "a head: 64 hex digits, as a run prints them",
    "URI": "a URI with a scheme: https://example.org/builders/1",
    "DATE": "a date: 2026-11-24, 2026-11-24T02:00, or 7d for seven days ago",
}
_BY_NAME = {name: option for option in OPTIONS for name in option[0].split()}
_UNKNOWN = ("", "", "", "")
HELP, _HELP_NAMES = "help", ("-h", "--help")
_REPEATED = ("param", "var", "public_key")
_PLAIN = {"jobs", "keep_going", "quiet", "workspace", "durability", "on_failure", "var", "vars"}


class Arguments:
    """The parsed command line: verb, spec (may be empty), stages, and the given options by their long names.

    `words` is the command line itself. `run --dry-run` becomes the verb `plan`. `--help` and `--version` become the
    verb HELP, with the argument of `help.help_text` as stage. If there is a `failure`, the caller only reports it. If
    that is a UsageError, the values of options are unchecked texts.
    """

    def __init__(
        self,
        words: Sequence[str],
        verb: str,
        spec: str,
        stages: list[str],
        given: dict[str, Any],
        failure: OffpipeError | None = None,
    ) -> None:
        self.words = tuple(words)
        self.verb = "plan" if verb == "run" and "dry_run" in given else verb
        self.spec = spec
        self.stages = tuple(stages)
        self.given = given
        self.failure = failure

    @property
    def is_plain(self) -> bool:
        """Whether this is a run that the no-op record can answer."""
        return self.verb == "run" and not (self.failure or self.stages) and self.given.keys() <= _PLAIN

    @property
    def failure_program(self) -> str | None:
        """The program to start if the verb fails, or None."""
        named = self.given.get("on_failure") or os.environ.get(ON_FAILURE)
        return named if self.verb in _BY_NAME["--on-failure"][2].split() else None


def read(words: Sequence[str]) -> Arguments:
    """Return the parsed command line. If it has a fault, return the failure, and the options that its report needs."""
    try:
        return parse(words)
    except UsageError as error:
        verb, options, operands = _split(words)
        known = ((*_BY_NAME[name][:2], text) for name, text in options if name in _BY_NAME)
        given = {_attribute(names): text for names, kind, text in known if bool(kind) == (text is not None)}
        spec = given.pop("pipeline", "") or next(iter(operands), "")
        return Arguments(words, verb, spec, [], given, error)


def parse(words: Sequence[str]) -> Arguments:
    """Return the parsed command line. Raises UsageError."""
    if not words:
        raise UsageError(Fault("", "no spec given", "for example: offpipe pipeline.json; see offpipe --help"))
    if words[0] == "--version" or words[0] in _HELP_NAMES:
        return Arguments(words, HELP, "", ["--version" if words[0] == "--version" else ""], {})
    verb, options, operands = _split(words)
    if any(name in _HELP_NAMES for name, _ in options):
        return Arguments(words, HELP, "", [verb], {})
    given: dict[str, Any] = {}
    for name, text in options:
        names, kind, verbs, _ = _BY_NAME.get(name, _UNKNOWN)
        if verb not in verbs.split():
            raise _no_option(verb, name)
        if kind == _SECONDS and text is None:
            _refuse_value_apart(name, words[words.index(name) + 1 :])
        value = _checked(verb, names.replace(" ", "/"), kind, text)
        attribute = _attribute(names)
        given[attribute] = [*given.get(attribute, ()), value] if attribute in _REPEATED else value
    spec = given.pop("pipeline", None)
    if "SPEC" in VERBS[verb][0] and spec is None:
        if not operands:
            raise _usage_error(verb, "no spec given")
        spec = operands.pop(0)
        if not os.path.lexists(spec):
            _refuse_as_spec(spec, operands, is_first=spec == words[0], force="force" in given)
    _check_stages(verb, spec, operands, is_open=verb != "runs" or "summary" in given)
    return Arguments(words, verb, spec or "", operands, given)


def _split(words: Sequence[str]) -> tuple[str, list[tuple[str, str | None]], list[str]]:
    """Return the verb, the options (each as spelled, with its value or None), and the other words."""
    verb = ""
    options: list[tuple[str, str | None]] = []
    operands: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--":
            operands += rest
            break
        if not _is_option(word):
            if word in VERBS and not verb and not operands:
                verb = word
            else:
                operands.append(word)
            continue
        name, equals, value = word.partition("=")
        text = value if equals else None
        kind = _BY_NAME.get(name, _UNKNOWN)[1]
        if name not in _BY_NAME and word[:2] in _BY_NAME:  # `-kj3`: several options, or one with its value
            name, text = word[:2], word[2:]
            if not _BY_NAME[name][1] and f"-{text[0]}" in _BY_NAME:
                rest.insert(0, f"-{text}")
                text = None
        elif kind and text is None and rest:
            is_apart = kind != _SECONDS and not _is_option(rest[0])
            is_negative = rest[0][:1] == "-" and rest[0][1:2].isdecimal()  # neither an option nor a valid value
            text = rest.pop(0) if is_apart or is_negative else None
        options.append((name, text))
    return verb or "run", options, operands


def _attribute(names: str) -> str:
    """Return the name of an option in `Arguments.given`; `names` are its spellings."""
    return names.rsplit(maxsplit=1)[-1][2:].replace("-", "_")


def _refuse_value_apart(name: str, rest: Sequence[str]) -> None:
    """Raise UsageError if a number follows an option whose value needs a `=`."""
    if rest and rest[0].replace(".", "", 1).isdecimal():
        what = f"takes a value only with =, so {rest[0]} counts as a spec or a stage"
        hint = f"write {name}={rest[0]}, or put a stage of that name before {name} or after --"
        raise UsageError(Fault(name, what, hint))


def _is_option(word: str) -> bool:
    return word[:1] == "-" != word


def _checked(verb: str, option: str, kind: str, text: str | None) -> object:
    """Return the value of an option. Raises UsageError for a text that is not of this kind."""
    if not kind:
        if text is not None:
            raise _usage_error(verb, f"argument {option}: takes no value", _STAGES_HINT if "-f" in option else "")
        return True
    if text is None and kind == _SECONDS:
        return float("inf")
    if text is None or text == "--":
        raise _usage_error(verb, f"argument {option}: expected one argument")
    if kind in {"DIR", "FILE", "PROGRAM"} and not text:
        raise _usage_error(verb, f"argument {option}: the path is empty", "a shell variable may be unset")
    if option in {"--events", "--prometheus"} and text == "-":  # a file of this name would surprise everyone
        raise _usage_error(verb, f"argument {option}: - is not a file", "standard output is /dev/stdout")
    try:
        return _value(kind, text)
    except (ValueError, OverflowError):
        expected = _VALUES.get(kind, f"one of {kind}")
        raise _usage_error(verb, f'argument {option}: "{text}" is not {expected}') from None


def _value(kind: str, text: str) -> object:
    """Convert a text of this kind to its value. Raises ValueError."""
    is_plain = text.isascii() and "_" not in text  # int() and float() also accept 1_0, and digits of other scripts
    if kind == "N" and is_plain and int(text) >= 1:
        return min(int(text), 1 << 62)  # islice takes no more
    if kind in {_SECONDS, "S"} and is_plain and float(text) >= 0:
        return float(text)
    if kind == "ID" and is_name(text) and text.lower() != "ledger":  # its log would be the ledger
        return text
    if kind == "HEX" and len(text) == 64 and set(text.lower()) <= set("0123456789abcdef"):
        return text.lower()
    scheme, _, rest = text.partition(":")
    if kind == "URI" and scheme[:1].isalpha() and rest and text.isascii() and text.isprintable() and " " not in text:
        return text
    if kind == "DATE" and is_plain:
        return _time_of(text)
    if kind not in _VALUES and ("|" not in kind or text in kind.split("|")):
        return text
    raise ValueError(text)


def _time_of(date: str) -> str:
    """Return a time in the form of records, given an ISO date (UTC if it has no zone), or days before now: 7d."""
    from datetime import UTC, datetime, timedelta

    days = date.removesuffix("d")
    if days.isdecimal() and days != date:
        time = datetime.now(UTC) - timedelta(days=int(days))
    else:
        time = datetime.fromisoformat(date)
        time = time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    return time.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _usage_error(verb: str, what: str, hint: str = "") -> UsageError:
    return UsageError(Fault("", what, hint or f"see offpipe {verb} --help"))


def _no_option(verb: str, name: str) -> UsageError:
    """Return the error for an option that the verb does not have."""
    from runner.spec.kinds import did_you_mean

    if VERBS[verb][0].startswith("--"):
        hint = f"what follows -- is the command: offpipe {verb} -- sort -o sorted.txt words.txt"
    elif name in _BY_NAME:
        hint = "only these have it: " + ", ".join(f"offpipe {having}" for having in _BY_NAME[name][2].split())
    else:
        hint = did_you_mean(name, (known for known, option in _BY_NAME.items() if verb in option[2].split()))
    return _usage_error(verb, f"no option {name}", hint)


def _refuse_as_spec(spec: str, operands: Sequence[str], *, is_first: bool, force: bool) -> None:
    """Raise UsageError if a word that names no file was probably not meant as a spec."""
    if force and any(map(os.path.isfile, operands)):
        raise UsageError(Fault("", f"-f/--force: takes no value, and {spec} is not a spec file", _STAGES_HINT))
    if spec in VERBS:
        raise UsageError(Fault(spec, "is a verb, not a spec file", f"see offpipe {spec} --help"))
    if is_first:
        from runner.spec.kinds import did_you_mean
        from runner.spec.source import missing_hint

        near = "" if os.path.lexists(f"{spec}.json") else did_you_mean(spec, VERBS)
        hint = near or missing_hint(spec) or f"the verbs are: {_ALL.replace(' ', ', ')}"
        raise UsageError(Fault(spec, "no such spec file or verb", hint))


def _check_stages(verb: str, spec: str, operands: Sequence[str], *, is_open: bool) -> None:
    """Raise UsageError for too many words or too few. `is_open`: the verb takes any number if its arguments say so."""
    words = VERBS[verb][0]
    if not (is_open and "..." in words) and len(operands) > (
        "STAGE" in words or words == SHELLS or words.endswith(" PATH")
    ):
        raise _usage_error(verb, f'unexpected argument "{operands[-1]}"')
    if words == SHELLS and "".join(operands) not in words.split("|"):
        raise _usage_error(verb, f"name one of the shells {words.replace('|', ', ')}")
    if words.startswith("--") and not operands:
        raise UsageError(Fault("", "no command given", f"offpipe {verb} -- sort -o sorted.txt words.txt"))
    if words.endswith(" STAGE") and not operands:
        raise UsageError(Fault("", "no stage given", f"offpipe plan {spec} lists them"))
    if words.endswith(" PATH") and not any(operands):
        raise UsageError(Fault("", "no path given", f"for example: offpipe {verb} {spec} out/result.txt"))
