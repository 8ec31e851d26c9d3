"""What the plan decides: for each stage a decision, with the reasons of one that runs. All are plain values."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runner.errors import Fault

NO_RUN = "no completed run"
MODIFIED = "modification time"  # the part of `code` under "processorIdentity": "mtime"; nanoseconds since 1970
NEEDED = "needed"  # the component of the reason of a stage that is up to date, and makes absent outputs again
AGAIN = "again"  # the component of the reason of a stage that runs again because an input changed while it ran


class Reason(NamedTuple):
    """A difference that makes a stage run: the component, the part of it, its old and its new value (or None)."""

    component: str
    what: str
    old: object = None
    new: object = None

    def as_json(self) -> list[object]:
        """Return a list for records. They hold no floats, so a value other than text becomes its JSON text."""
        from json import dumps

        values = (self.old, self.new)
        spelled = (value if isinstance(value, str | None) else dumps(value, sort_keys=True) for value in values)
        return [self.component, self.what, *spelled]


class Run(NamedTuple):
    """The stage is out of date."""

    reasons: tuple[Reason, ...]


class Skip(NamedTuple):
    """The stage is up to date; `key` is its key."""

    key: str


class Adopt(NamedTuple):
    """The stage adopts the outputs of a stage that is gone: same key, outputs unchanged. Nothing has to run."""

    key: str
    origin: str


class Blocked(NamedTuple):
    """The stage cannot run: an input is missing, or a stage that it needs is blocked."""

    by: tuple[str, ...]


class Depends(NamedTuple):
    """The stage is up to date so far. These upstream stages will run, and their new outputs decide.

    `needed`: which stages may need its absent outputs again, as text; see `plan.temporary`.
    """

    upstream: tuple[str, ...]
    needed: tuple[str, ...] = ()


Decision = Run | Skip | Adopt | Blocked | Depends


class Plan(NamedTuple):
    """A decision for each stage, in order, and the faults of inputs that block some of them.

    `removes`: the temporary outputs that a run removes if all of its stages succeed. `refused`: the faults of code that
    is banned or cannot be parsed, by stage.
    """

    decisions: dict[str, Decision]
    faults: tuple[Fault, ...]
    removes: tuple[str, ...] = ()
    refused: Mapping[str, tuple[Fault, ...]] = {}

    @property
    def is_noop(self) -> bool:
        """Whether every stage is up to date, and nothing is to be removed."""
        return not self.removes and all(isinstance(decision, Skip) for decision in self.decisions.values())
