"""A spec as a file of tests: flat items `STAGE[CHECK]` and `pipeline[CHECK]`, in the spec's order."""

from __future__ import annotations

import itertools
import re
import types
from typing import TYPE_CHECKING, Any

import pytest

from pytest_offpipe.checks.case import Case, SpecItem, run_check
from pytest_offpipe.inputs import require_some
from pytest_offpipe.sandbox import load
from pytest_offpipe.settings import PIPELINE_CHECKS, SETTINGS, STAGE_CHECKS, TABLES, extension_of
from pytest_offpipe.shared import chosen, close_run, shared_run
from pytest_offpipe.usage import shown_path
from runner.display.text import printable_lines
from runner.errors import OffpipeError
from runner.spec.graph import build_graph
from runner.spec.source import read_source

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from runner.spec.model import Spec, Stage

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\]\n]', re.DOTALL)


class SpecFile(pytest.Module):
    """A spec. It is a Module, so that fixtures of the scope `module` and `request.module` work as elsewhere."""

    spec: Spec

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.obj = types.ModuleType(self.path.stem)  # nothing is imported
        self.obj.__file__ = str(self.path)

    def collect(self) -> Iterator[pytest.Item]:
        """Yield an item for each check of the settings. Starts no process, and writes nothing."""
        settings = self.config.stash[SETTINGS]
        try:
            shown = shown_path(self.path)
            self.spec = load(shown, settings.inputs)
            stages = chosen(self.spec, self.config, runs=False).stages
            lines = _stage_lines(read_source(shown))
            extensions = {stage.name: extension_of(self.spec, stage) for stage in stages}
            hostile = _with_hostile(self.spec, stages, extensions)
            session: Any = self.config.pluginmanager.get_plugin("offpipe-session")  # it made this file
            if session.unused_inputs:  # large inputs would be copied instead
                require_some(self.spec, str(settings.inputs), session.unused_inputs)
        except OffpipeError as error:
            raise self.CollectError(printable_lines(str(error))) from error
        tags = {f"{tag}: a tag of stages" for extension in extensions.values() for tag in extension["tags"]}
        for tag in sorted(tags.difference(self.config.getini("markers"))):
            self.config.addinivalue_line("markers", tag)  # for --strict-markers
        checks = [
            (stage, check, lines[stage.index])
            for stage in stages
            for check in STAGE_CHECKS
            if (check != "golden" or extensions[stage.name]["golden"]) and (check != "hostile" or stage.name in hostile)
        ]
        first, *last = [(None, check, 1) for check in PIPELINE_CHECKS]
        count = self.config.getoption("count", 1) if self.config.pluginmanager.has_plugin("repeat") else 1
        for (subject, check, line), turn in itertools.product([first, *checks, *last], range(1, count + 1)):
            if check in settings.checks:
                whole = f"{subject.name if subject else 'pipeline'}[{check}]"
                name = f"{whole[:-1]}-{turn}-{count}]" if count > 1 else whole  # as pytest-repeat names them
                item: SpecItem = SpecItem.from_parent(self, name=name, callobj=_make_check)
                item.stage, item.check, item.line, item.turn, item.whole = subject, check, line, turn, whole
                extension: Mapping[str, Any] = extensions[subject.name] if subject else {}
                item.exempt = extension.get("skip_checks", {}).get(check, "")
                for marker in ("offpipe", *extension.get("tags", ())):
                    item.add_marker(marker)
                yield item

    def teardown(self) -> None:
        """End the shared launcher, because the next test is not a check of this spec."""
        close_run(self.config, self.spec)


def _make_check(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> None:
    item: SpecItem = request.node
    if item.exempt:
        pytest.skip(f"the spec skips it: {item.exempt}")
    shared = shared_run(item.config, tmp_path_factory, request.node.parent.spec, item.config.stash[SETTINGS].inputs)
    case = Case(item, shared)
    # By pytest-rerunfailures, and by pytest-repeat: but other workers may be comparing with the outputs.
    is_repeated = item.turn > 1 and not hasattr(item.config, "workerinput")
    if item.stage and (getattr(item, "execution_count", 1) > 1 or is_repeated):
        shared.run_again(case.stage.name)
    run_check(case)


def _with_hostile(spec: Spec, stages: Iterable[Stage], fields: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """Return the names of stages with the check `hostile`: by its field, or for a table that no stage makes."""
    given = {name for name, own in fields.items() if own["hostile"] is not None}
    tables = [(stage.name, path) for stage in stages for _, _, path in stage.entries() if path.endswith(tuple(TABLES))]
    outputs = build_graph(spec).outputs if tables else None
    return given | {name for name, path in tables if outputs and not outputs.matches(path)}


def _stage_lines(content: bytes) -> list[int]:
    """Return the line, from 1, on which each stage of a valid spec begins."""
    lines: list[int] = []
    depth, is_stages, line = 0, False, 1
    for token in _TOKEN.finditer(content):
        text = token.group()
        if text == b"\n":
            line += 1
        elif text in b"}]":
            depth -= 1
            is_stages = is_stages and depth >= 2
        elif text in b"{[":
            depth += 1
            if is_stages and depth == 3:
                lines.append(line)
        elif depth == 1 and text == b'"stages"':
            is_stages = True
    return lines
