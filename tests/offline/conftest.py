from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

import offline_run
import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave root to --full: a user without rights meets the same guard, and more of it."""
    here = Path(__file__).parent
    for item in items:
        parameters = getattr(getattr(item, "callspec", None), "params", {})
        if item.path.is_relative_to(here) and parameters.get("user") == "root":
            item.add_marker("full")


@pytest.fixture(scope="session")
def shared(tmp_path_factory, request):
    """A folder that all processes of this test session share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if hasattr(request.config, "workerinput") else base


@pytest.fixture(autouse=True)
def _linux():
    if sys.platform != "linux":
        pytest.skip("the guard is Linux's; other systems have the scan alone")


@cache
def once(shared, name, ask, *arguments):
    """The answer, which a process reads once: hundreds of tests look at it."""
    return offline_run.once(shared, name, lambda: ask(*arguments))


@pytest.fixture
def control(user, attack, shared):
    """What the attack does where nothing holds it back."""
    found = once(shared, f"offline-control-{user}", offline_run.controls, user)
    if reason := found.get("unavailable") or found["lacks"].get(attack):
        pytest.skip(reason)
    return {"said": found["said"][attack], "heard": found["heard"][attack]}


@pytest.fixture
def outcome(level, user, shared):
    """The one run of all attacks at this level by this user."""
    found = once(shared, f"offline-{level}-{user}", offline_run.guarded, level, user)
    if reason := found.get("unavailable"):
        pytest.skip(reason)
    return found
