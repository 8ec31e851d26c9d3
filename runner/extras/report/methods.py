"""A paragraph of methods: what spec and stages say of themselves, and the versions of what they ran."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from runner.extras.report.tables import marker_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from runner.extras.report.run_record import RunRecord
    from runner.extras.report.tables import Group
    from runner.paths import StatePaths


class Method(NamedTuple):
    """What a group of stages says of itself: its descriptions, versions of programs, and packages of its tools."""

    group: Group
    descriptions: Sequence[str]
    versions: Sequence[str]
    packages: Sequence[str]


def methods_of(
    record: RunRecord, given: Mapping[str, Any], groups: Sequence[Group], paths: StatePaths, *, is_newest: bool
) -> Iterator[Method]:
    """Yield what each group says of itself, if it does.

    `given` is the effective spec. `is_newest`: as for `marker_of`.
    """
    described = {stage["name"]: " ".join(stage.get("description", "").split()) for stage in given["stages"]}
    for group in groups:
        found = (marker_of(record, stage, paths, is_newest=is_newest) for stage in group.stages)
        markers = [marker for marker in found if marker]
        versions = dict.fromkeys(marker.program_version for marker in markers if marker.program_version)
        descriptions = dict.fromkeys(filter(None, map(described.get, group.stages)))
        components: list[Mapping[str, Any]] = [marker.components for marker in markers]
        tools = {_package(*each) for parts in components for each in parts.get("tools", {}).items()}
        if descriptions or versions or tools:
            yield Method(group, [*descriptions], [*versions], sorted(tools))


def _package(name: str, digits: str) -> str:
    """Return a package in the component `tools` as text; there, Python's version stands in the place of a digest."""
    bare = re.sub(r"^\d+: ", "", name)
    return f"{bare} {digits}" if bare == "python" else bare
