"""What a command line asks for; the few plain forms that nearly all runs are asked for in need no parser of options."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import TYPE_CHECKING

from runner.cli.table import PROGRAM
from runner.glance import plain_run
from runner.values import Value

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence


class Invocation(Value):
    """What the command line asks for: a verb, the spec (empty for a verb without), the stages, and the options."""

    verb: str
    spec: str
    stages: tuple[str, ...]
    given: argparse.Namespace | SimpleNamespace
    words: tuple[str, ...]

    def flag(self, name: str) -> bool:
        """Whether an option is set; False where there is none such."""
        return bool(getattr(self.given, name, False))


def plain_invocation(words: Sequence[str]) -> Invocation | None:
    """Return what these words ask for as `parser.parse` does, which is slow to load; None where that has to say."""
    found = plain_run(words)
    if found is None or not os.path.lexists(found[0]):
        return None
    spec, workspace, durable, quiet, jobs, keep_going = found
    given = SimpleNamespace(
        workspace=workspace, durability="full" if durable else "process", quiet=quiet, jobs=jobs, keep_going=keep_going,
        dry_run=False,
    )  # fmt: skip
    return Invocation("run", spec, (), given, (PROGRAM, *words))
