"""What a record must look like for those who act on it: a hash that fits shows only who computed it last.

Whoever can write to the state directory can chain records of their own. So what is taken apart, and what becomes part
of a path, is looked at first; a record of another shape is damaged.
"""

from __future__ import annotations

from json import loads
from typing import TYPE_CHECKING, Any

from runner.marker import OutputIdentity
from runner.paths import is_name, is_relative

if TYPE_CHECKING:
    from collections.abc import Mapping

_TAG_DIGITS = frozenset("0123456789abcdef")


def is_record(value: object) -> bool:
    """Whether a JSON value has what every record has, as logs and the ledger spell it."""
    return (
        isinstance(value, dict)
        and type(value.get("v")) is int
        and type(value.get("seq")) is int
        and isinstance(value.get("data"), dict)
        and all(isinstance(value.get(name), str) for name in ("ev", "ts", "prev", "hash"))
        and is_name(value.get("run"))
    )


def is_head(data: Mapping[str, object]) -> bool:
    """Whether the payload of a record of the ledger names a pipeline, and the runs that are open."""
    runs = data.get("open")
    return isinstance(data.get("pipeline"), str) and isinstance(runs, list) and all(map(is_name, runs))


def is_opening(data: Mapping[str, object]) -> bool:
    """Whether the payload of `run.start` or `run.resumed` has the stages that were asked for."""
    stages = data.get("stages", [])
    return isinstance(stages, list) and all(map(is_name, stages))


def is_attempt(data: Mapping[str, object]) -> bool:
    """Whether the payload of `attempt.started` names stage, attempt, and the outputs' paths."""
    outputs, number = data.get("outputs"), data.get("attempt")
    return (
        is_name(data.get("stage"))
        and type(number) is int
        and number >= 0
        and isinstance(outputs, dict)
        and all(map(is_relative, outputs.values()))
    )


def _is_place(value: object) -> bool:
    """Whether a value names a commit, as [run, record], or none."""
    return value is None or (
        isinstance(value, list) and len(value) == len(("run", "seq")) and is_name(value[0]) and type(value[1]) is int
    )


def is_commit(data: Mapping[str, Any]) -> bool:
    """Whether the payload of `stage.commit` has all that its outputs and its marker are made from."""
    try:
        identities = [OutputIdentity.from_json(value) for value in data["outputs"].values()]
        tag, reasons = data["tag"], data["reasons"]
        return (
            is_name(data["stage"])
            and all(is_relative(identity.path) for identity in identities)
            and isinstance(tag, str)
            and len(tag) == 6
            and _TAG_DIGITS.issuperset(tag)
            and isinstance(data["key"], str)
            and type(data["keyVersion"]) is int
            and isinstance(reasons, list)
            and _is_place(data.get("replaces"))
            and isinstance(loads(data["components"]), dict)
        )
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return False
