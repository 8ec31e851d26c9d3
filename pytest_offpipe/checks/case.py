"""What a check works with: its stage, how that stage does undisturbed, a workspace, and how to say what it found."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NoReturn

import pytest

from pytest_offpipe.failure import CheckFailedError, Finding
from pytest_offpipe.sandbox import discard
from pytest_offpipe.session import UNMADE
from pytest_offpipe.settings import SETTINGS
from pytest_offpipe.shared import SharedRun

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_offpipe.collect import SpecItem
    from pytest_offpipe.reports import StageReport
    from pytest_offpipe.shared import Undisturbed
    from runner.spec.model import Spec, Stage

RUNS = pytest.StashKey[dict[str, SharedRun]]()


class Case:
    """One check of one stage, or of the whole pipeline."""

    def __init__(self, item: SpecItem, spec: Spec, stage: Stage | None, check: str, base: Path) -> None:
        """`base` is a directory that all workers of this session share."""
        self.item = item
        self.spec = spec
        self.check = check
        self.settings = item.config.stash[SETTINGS]
        self._stage = stage
        runs = item.config.stash.setdefault(RUNS, {})
        if spec.path not in runs:
            runs[spec.path] = SharedRun(spec, base, self.settings.inputs)
        self.shared = runs[spec.path]
        self.directory = self.shared.directory / f"{stage.name if stage else 'pipeline'}.{check}"

    @property
    def is_pipeline(self) -> bool:
        """Whether it is about the pipeline as a whole."""
        return self._stage is None

    @property
    def stage(self) -> Stage:
        """The stage."""
        assert self._stage is not None
        return self._stage

    def undisturbed(self) -> StageReport:
        """Return how the stage does when nothing is done to it; fails, or skips, when it does not succeed."""
        found = self.shared.stage(self.stage.name)
        if found.succeeded and found.report:
            return found.report
        culprit = f"{found.blocked or self.stage.name}[run]"
        if any(one.name == culprit and one.path == self.item.path for one in self.item.session.items):
            pytest.skip(f"{culprit} fails")
        return self.fail_undisturbed(found)

    def fail_undisturbed(self, found: Undisturbed) -> NoReturn:
        """Fail since the stage does not succeed by itself."""
        report, kept = found.report, str(self.shared.directory / "run")
        if found.blocked:
            self.fail("run it in a copy of what the spec declares", "its inputs are made", f"{found.blocked} failed")
        self.fail(
            "run it in a copy that holds only what the spec declares", "exit 0, and every declared output",
            found.error or (report.error if report else "") or "it did not succeed",
            log=report.log if report else "", kept=kept,
        )  # fmt: skip

    def fail(
        self, done: str, expected: str, found: str, *, log: str = "", kept: str = "", by_hand: str = ""
    ) -> NoReturn:
        """Raise what was found; the workspace, if there is one, stays and is named."""
        where = f"{self.spec.shown}:{self.item.line}"
        subject = f"stage {self.stage.name}" if not self.is_pipeline else f"pipeline {self.spec.name}"
        kept = kept or (str(self.directory) if self.directory.exists() else "")
        command = by_hand or f"pytest '{self.item.nodeid}' --offpipe-seed {self.settings.seed}"
        found = found.removeprefix("error: ")
        raise CheckFailedError(Finding(where, f"{subject} [{self.check}]", done, expected, found, log, kept, command))

    def unmade(self, why: str) -> NoReturn:
        """Skip since this machine, or chance, kept the check from being made; strict settings make it a failure."""
        self.clean()
        if self.settings.strict:
            self.fail("nothing", "a check that is made (--offpipe-strict)", why)
        self.item.user_properties.append((UNMADE, why))
        pytest.skip(why)

    def clean(self) -> None:
        """Remove the workspace."""
        if os.path.lexists(self.directory):
            discard(self.directory)
