"""Settings of hypothesis: few examples in the suite, and ten times as many by hand, with `OFFPIPE_FUZZ=1000`."""

from __future__ import annotations

import os

import pytest
from fuzz_calls import lay_out
from hypothesis import HealthCheck, settings

OWN = ("differing_executors", "function_scoped_fixture", "too_slow", "data_too_large", "large_base_example")
settings.register_profile(
    "offpipe",
    deadline=None,  # an alarm ends a call that hangs (fuzz_calls); a busy machine is no failure
    suppress_health_check=[check for check in HealthCheck if check.name in OWN],
    derandomize="OFFPIPE_FUZZ" not in os.environ,  # the suite tries the same examples each time
    database=None,
    print_blob=True,
)
settings.load_profile("offpipe")


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    """Return a pipeline's directory with one finished run and one that was stopped after a checkpoint."""
    root = tmp_path_factory.mktemp("fuzz")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("OFFPIPE_PLAIN", raising=False)
        lay_out(root)
    return root


@pytest.fixture(autouse=True)
def _cached(monkeypatch):
    """Turn on the caches: they are fuzzed, too."""
    monkeypatch.delenv("OFFPIPE_PLAIN", raising=False)
