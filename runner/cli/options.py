"""The options of each verb, and how their values are read."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING

from runner.levels import BEST_EFFORT, STRICT
from runner.paths import is_name

if TYPE_CHECKING:
    from collections.abc import Callable

_HEAD = re.compile(r"[0-9a-f]{64}")


def run(parser: argparse.ArgumentParser) -> None:
    """Add what `run` takes."""
    choice = parser.add_argument_group("what runs")
    choice.add_argument("-n", "--dry-run", action="store_true", help="only say what would run, as `plan` does")
    choice.add_argument("-f", "--force", action="store_true", help="run the named stages (or all) even if up to date")
    _param(choice)
    choice.add_argument("--paranoid", action="store_true", help="hash all files anew, trust no time stamps")
    how = parser.add_argument_group("how it runs")
    how.add_argument(
        "-j", "--jobs", metavar="N", type=_from_one, help="at most N stages at once; default: as many as processors"
    )
    how.add_argument("-k", "--keep-going", action="store_true", help="after a failure run what does not depend on it")
    how.add_argument(
        "--wait", metavar="[=S]", type=_seconds, default=0.0,
        help="wait for a lock that another run holds, at most S seconds; without S for ever",
    )  # fmt: skip
    how.add_argument(
        "--durability", choices=("full", "process"), default="full",
        help="what finished stages survive: full, a power cut (default); process, only the end of offpipe",
    )  # fmt: skip
    how.add_argument(
        "--offline", choices=(STRICT, BEST_EFFORT), default=STRICT,
        help="when the kernel cannot keep stages offline: strict, refuse (default); best-effort, run",
    )  # fmt: skip
    how.add_argument("--run-id", metavar="ID", type=_run_id, help="the run's name in the audit log")
    _places(parser)
    shown = parser.add_argument_group("what is shown")
    _json(shown)
    shown.add_argument("-q", "--quiet", action="store_true", help="nothing at all unless something fails")
    _verbose(shown, "also stages that had nothing to do, and tracebacks of bugs")


def plan(parser: argparse.ArgumentParser) -> None:
    """Add what `plan` takes."""
    parser.add_argument("-f", "--force", action="store_true", help="as if the named stages (or all) were out of date")
    parser.add_argument("--paranoid", action="store_true", help="hash all files anew, trust no time stamps")
    _param(parser)
    _places(parser)
    _json(parser)
    _verbose(parser, "all reasons, not just the first three")


def status(parser: argparse.ArgumentParser) -> None:
    """Add what `status` takes."""
    parser.add_argument("--exit-code", action="store_true", help="exit with 3 when a run would have work to do")
    _param(parser)
    _places(parser)
    _json(parser)


def explain(parser: argparse.ArgumentParser) -> None:
    """Add what `explain` takes."""
    _param(parser)
    _places(parser)


def validate(parser: argparse.ArgumentParser) -> None:
    """Add what `validate` takes."""
    _param(parser)
    _places(parser)


def graph(parser: argparse.ArgumentParser) -> None:
    """Add what `graph` takes."""
    parser.add_argument("--format", choices=("text", "mermaid", "dot"), default="text", help="default: text")
    _places(parser)


def log(parser: argparse.ArgumentParser) -> None:
    """Add what `log` takes."""
    parser.add_argument("--run", metavar="ID", type=_run_id, help="of this run; default: the last that has it")
    parser.add_argument("--attempt", metavar="N", type=_from_one, help="of this attempt of a stage; default: the last")
    _places(parser)


def verify(parser: argparse.ArgumentParser) -> None:
    """Add what `verify` takes."""
    parser.add_argument("--run", metavar="ID", type=_run_id, help="of the runs only this one, and the ledger")
    parser.add_argument("--outputs", action="store_true", help="read the outputs too: are they what was committed?")
    parser.add_argument("--expect-head", metavar="HEX", type=_head, help="the ledger must end with this record")
    _places(parser)
    _json(parser)


def clean(parser: argparse.ArgumentParser) -> None:
    """Add what `clean` takes."""
    parser.add_argument("-n", "--dry-run", action="store_true", help="only say what would be removed")
    parser.add_argument("--state", action="store_true", help="the state directory too: audit logs, metrics, logs")
    _places(parser)


def doctor(parser: argparse.ArgumentParser) -> None:
    """Add what `doctor` takes."""
    _json(parser)


def nothing(parser: argparse.ArgumentParser) -> None:
    """Add nothing."""


def _places(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("where")
    group.add_argument("--pipeline", metavar="FILE", help="the spec, instead of the argument SPEC")
    group.add_argument("--workspace", metavar="DIR", help="where everything is written; default: the spec's root")


def _param(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--param", metavar="STAGE.KEY=JSON", action="append", default=[],
        help="set a parameter of a stage (repeatable)",
    )  # fmt: skip


def _json(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")


def _verbose(parser: argparse._ActionsContainer, what: str) -> None:
    parser.add_argument("-v", "--verbose", action="store_true", help=what)


def _checked(read: Callable[[str], float], accept: Callable[[float], bool], what: str, text: str) -> float:
    try:
        number = read(text)
    except ValueError:
        number = float("nan")
    if not accept(number):
        raise argparse.ArgumentTypeError(f'"{text}" is not {what}')
    return number


def _from_one(text: str) -> int:
    return int(_checked(int, lambda number: number >= 1, "a whole number from 1 on", text))


def _seconds(text: str) -> float:
    return _checked(float, lambda number: number >= 0, "a number of seconds", text)


def _head(text: str) -> str:
    if not _HEAD.fullmatch(text.lower()):
        raise argparse.ArgumentTypeError(f'"{text}" is no head: that is 64 hex digits, as a run prints them')
    return text.lower()


def _run_id(text: str) -> str:
    if not is_name(text):
        rule = "letters, digits, `.`, `_`, `-`, at most 100, a letter or digit first"
        raise argparse.ArgumentTypeError(f'"{text}" is no run id: {rule}')
    if text.lower() == "ledger":  # its log would be the ledger, also where file names are told apart without case
        raise argparse.ArgumentTypeError(f'no run can be called "{text}": that is the list of all runs')
    return text


OF_VERBS = {
    "run": run,
    "clean": clean,
    "plan": plan,
    "status": status,
    "explain": explain,
    "log": log,
    "verify": verify,
    "validate": validate,
    "graph": graph,
    "doctor": doctor,
    "schema": nothing,
}
