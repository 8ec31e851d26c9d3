from __future__ import annotations

from functools import cache
from pathlib import Path

import offline_run
import pytest
from offline_attacks import ATTACKS, VARIANTS


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave to --full: root, variants of attacks, and other levels in tests that also have level `kernel`.

    Root meets no more of the guard than a user without rights.
    """
    here = Path(__file__).parent
    parameters = {
        item: item.callspec.params for item in items if item.path.is_relative_to(here) and hasattr(item, "callspec")
    }
    at_kernel = {item.function for item, given in parameters.items() if given.get("level") == "kernel"}
    for item, given in parameters.items():
        is_repeated = given.get("level") in ("filter", offline_run.SEALED) and item.function in at_kernel
        if is_repeated or given.get("user") == "root" or given.get("attack") in VARIANTS:
            item.add_marker("full")


@pytest.fixture(scope="session")
def chosen(request):
    """The names of the attacks that are tried in this run."""
    return tuple(name for name in ATTACKS if request.config.option.full or name not in VARIANTS)


@pytest.fixture(scope="session")
def shared(tmp_path_factory, request):
    """A folder that all processes of this test session share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if hasattr(request.config, "workerinput") else base


@cache
def shared_result(shared, name, ask, *arguments):
    """Return the answer, which each process reads once: hundreds of tests look at it."""
    return offline_run.shared_result(shared, name, lambda: ask(*arguments))


@pytest.fixture
def control(user, attack, shared, chosen):
    """What the attack does without a guard."""
    result = shared_result(shared, f"offline-control-{user}", offline_run.controls, user, chosen)
    if reason := result.get("unavailable") or result["lacks"].get(attack):
        pytest.skip(reason)
    return {"output": result["output"][attack], "received": result["received"][attack]}


@pytest.fixture
def outcome(level, user, shared, chosen):
    """The one run of the chosen attacks at this level by this user."""
    result = shared_result(shared, f"offline-{level}-{user}", offline_run.guarded, level, user, chosen)
    if reason := result.get("unavailable"):
        pytest.skip(reason)
    return result
