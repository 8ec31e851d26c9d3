from __future__ import annotations

import pytest

from pytest_offpipe.checks import case


@pytest.fixture
def whole_seconds():
    """Let checks in this process wait for the next whole second, as they do for users."""


@pytest.fixture(autouse=True)
def no_wait_for_the_next_second(request, monkeypatch):
    """Save checks in this process a second before each run that must differ in time: here, a finer clock suffices."""
    if "whole_seconds" not in request.fixturenames:
        monkeypatch.setattr(case, "LATER", 0.0)
