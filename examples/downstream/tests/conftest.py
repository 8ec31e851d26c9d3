"""Fixtures for all tests of the project."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_offpipe import Offpipe, OffpipeSpec


@pytest.fixture
def offpipe_spec(offpipe_spec: OffpipeSpec) -> OffpipeSpec:
    """The plugin's fixture, with checkpoints that are frequent enough for small inputs."""
    offpipe_spec.stage("clean")["checkpoint"] = {"everyLines": 5}
    return offpipe_spec


@pytest.fixture
def cleaned(offpipe: Offpipe) -> Callable[[str], tuple[str, str]]:
    """The stage `clean` as a function: takes lines, and returns the readings and the rejected lines."""

    def clean(text: str) -> tuple[str, str]:
        report = offpipe.stage("specs/readings.json", "clean", inputs={"raw": text})
        assert report.status == "succeeded", report.log
        return report.outputs["readings"].text, report.outputs["rejected"].text

    return clean
