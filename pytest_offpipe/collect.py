"""A spec as a file of tests: flat items `STAGE[CHECK]` and `pipeline[CHECK]`, in the spec's order."""

from __future__ import annotations

import errno
import re
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_offpipe.checks.case import Case, CheckFailedError, run_check
from pytest_offpipe.inputs import nothing_taken
from pytest_offpipe.settings import PIPELINE_CHECKS, SETTINGS, STAGE_CHECKS, exemptions
from pytest_offpipe.shared import end_runs, shared_directory
from runner.display.words import printable_lines
from runner.errors import OffpipeError, UsageError
from runner.spec.graph import build_graph
from runner.spec.load import load_spec
from runner.spec.source import read_source

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runner.spec.model import Spec, Stage

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\]]', re.DOTALL)
_STAGES = b'"stages"'


def stage_lines(content: bytes) -> list[int]:
    """Return the line, from 1, on which each stage of a valid spec begins."""
    lines: list[int] = []
    depth, is_stages, line, counted = 0, False, 1, 0
    for token in _TOKEN.finditer(content):
        text = token.group()
        if text in b"}]":
            depth -= 1
            is_stages = is_stages and depth >= 2
        elif text in b"{[":
            depth += 1
            if is_stages and depth == 3:
                line += content.count(b"\n", counted, token.start())
                counted = token.start()
                lines.append(line)
        elif depth == 1 and text == _STAGES:
            is_stages = True
    return lines


PIPELINE = "pipeline"
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_ELSEWHERE = "checks are made below pytest's temporary directory: free some of it, or name another one (--basetemp)"


class SpecFile(pytest.Module):
    """A spec. A Module, so that fixtures of the scope `module` and `request.module` are what they are elsewhere."""

    spec: Spec

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.obj = types.ModuleType(self.path.stem)  # nothing is imported
        self.obj.__file__ = str(self.path)

    def collect(self) -> Iterator[pytest.Item]:
        """Yield an item for each check that was asked for. Starts no process, and writes nothing."""
        try:
            shown = _shown(self.path)
            self.spec = load_spec(shown)
            build_graph(self.spec)  # which finds cycles
            lines = stage_lines(read_source(shown))
            exempt = {stage.name: exemptions(self.spec, stage) for stage in self.spec.stages}
            self._require_inputs()
        except OffpipeError as error:
            raise self.CollectError(printable_lines(str(error))) from error
        asked = self.config.stash[SETTINGS].checks
        for check in (one for one in PIPELINE_CHECKS[:1] if one in asked):
            yield self._item(PIPELINE, check, 1)
        for stage, line in zip(self.spec.stages, lines, strict=True):
            for check in (one for one in STAGE_CHECKS if one in asked):
                yield self._item(stage.name, check, line, stage, exempt[stage.name].get(check, ""))
        for check in (one for one in PIPELINE_CHECKS[1:] if one in asked):
            yield self._item(PIPELINE, check, 1)

    def _require_inputs(self) -> None:
        """Raise UsageError where a tree of inputs was given for nothing: large ones would be taken instead."""
        session = self.config.pluginmanager.get_plugin("offpipe-session")
        tree = self.config.stash[SETTINGS].inputs
        if session is not None and tree is not None and session.unused_inputs:
            raise UsageError(nothing_taken(self.spec, tree, session.unused_inputs))

    def teardown(self) -> None:
        """Leave no process behind when what comes next is no check of this spec."""
        end_runs(self.config, self.spec)

    def _item(self, subject: str, check: str, line: int, stage: Stage | None = None, exempt: str = "") -> SpecItem:
        def call(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> None:
            if exempt:
                pytest.skip(f"the spec skips it: {exempt}")
            run_check(Case(item, line, self.spec, stage, check, shared_directory(request.config, tmp_path_factory)))

        item = SpecItem.from_parent(self, name=f"{subject}[{check}]", callobj=call, line=line, exempt=exempt)
        item.add_marker("offpipe")
        return item


class SpecItem(pytest.Function):
    """One check of one stage, or of the pipeline; `exempt`: why the spec spares the stage that check."""

    def __init__(self, *, line: int, exempt: str, **given: Any) -> None:
        super().__init__(**given)
        self.line = line
        self.exempt = exempt

    @property
    def id(self) -> Any:
        """The structured form of the node id, which pytest has from 9.2 on.

        --lf, --ff and --sw look items up by it, parsed from text, where brackets hold parameters; one that was made of
        a name with brackets would never be found.
        """
        made = super().id
        return type(made).parse(str(made))

    def reportinfo(self) -> tuple[Path, int, str]:
        """Return the place of the stage in its spec; lines count from 0 here."""
        return self.path, self.line - 1, self.name

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], *arguments: Any) -> Any:
        """Return what a stage's author wants to read; anything else than that is our own fault."""
        error = excinfo.value
        if isinstance(error, CheckFailedError):
            return str(error)
        causes = (one for one in (error, error.__cause__) if isinstance(one, OSError))
        if any(one.errno in _NO_ROOM for one in causes):
            said = str(error) if isinstance(error, OffpipeError) else f"error: {error}"
            return printable_lines(f"{said}\nhint: {_ELSEWHERE}")
        return super().repr_failure(excinfo, *arguments)


def _shown(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
