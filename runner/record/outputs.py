"""The outputs that the commits of one log add up to, which the last record of a run seals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runner.canonical import digest

if TYPE_CHECKING:
    from collections.abc import Mapping


class CommittedOutputs:
    """Those of the last commit of each stage in a log, those of earlier parts of a run that went on included."""

    __slots__ = ("_outputs",)

    def __init__(self) -> None:
        self._outputs: dict[str, dict[str, str]] = {}

    def note(self, data: Mapping[str, Any]) -> None:
        """Take the payload of one more `stage.commit` into account."""
        made = {str(one["path"]): str(one["sha256"]) for one in data["outputs"].values()}
        self._outputs.pop(data["stage"], None)  # so that the newest commit of a path is the last
        self._outputs[data["stage"]] = made

    def totals(self) -> dict[str, object]:
        """Return how many outputs there are, and the SHA-256 of the canonical JSON of {path: sha256}."""
        made = {path: sha256 for outputs in self._outputs.values() for path, sha256 in outputs.items()}
        return {"outputs": len(made), "outputsSha256": digest(made)}
