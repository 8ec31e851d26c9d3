from __future__ import annotations

import pytest

from pytest_offpipe.checks import case


@pytest.fixture
def whole_seconds():
    """Let checks in this process wait until clocks of whole seconds show another one, as they do for users."""


@pytest.fixture(autouse=True)
def no_wait_for_another_second(request, monkeypatch):
    """Spare checks in this process a second before each run that must differ in time: clocks tell it sooner."""
    if "whole_seconds" not in request.fixturenames:
        monkeypatch.setattr(case, "LATER", 0.0)
