"""A run that has not succeeded yet, as the next one finds it: where its log ends, and what it is about."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.values import Value

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runner.record.audit import Position
    from runner.record.outputs import CommittedOutputs


class OpenRun(Value):
    """A run that may go on: the end of its log, the attempts that each stage had, how many torn bytes were cut.

    `selected` are the stages that it was asked for by name, in all of its parts; empty: all. `outputs` and `key_id` are
    its log's. `tags` are of the attempts of all open runs: stage -> tag -> key.
    """

    run: str
    last: Position | None
    attempts: dict[str, int]
    torn_bytes: int
    selected: tuple[str, ...] = ()
    outputs: CommittedOutputs | None = None
    key_id: str | None = None
    tags: Mapping[str, dict[str, str]] = {}

    def selected_with(self, named: tuple[str, ...]) -> tuple[str, ...]:
        """Return what `selected` is once it goes on with the stages `named`."""
        return named if self.last is None else together(self.selected, named)


def together(some: tuple[str, ...], more: tuple[str, ...]) -> tuple[str, ...]:
    """Return the stages that two parts of a run were asked for; none stands for all."""
    return tuple(dict.fromkeys((*some, *more))) if some and more else ()
