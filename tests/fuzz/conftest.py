"""How many examples: few in the suite; `OFFPIPE_FUZZ=1000` multiplies by ten, for a long look by hand."""

from __future__ import annotations

import os

import pytest
from fuzz_calls import lay_out
from hypothesis import HealthCheck, settings

OWN = ("differing_executors", "function_scoped_fixture", "too_slow", "data_too_large", "large_base_example")
settings.register_profile(
    "offpipe",
    deadline=None,  # a call that hangs is ended by its own alarm (fuzz_calls); a busy machine is no failure
    suppress_health_check=[check for check in HealthCheck if check.name in OWN],
    derandomize="OFFPIPE_FUZZ" not in os.environ,  # the suite finds the same today and tomorrow
    database=None,
    print_blob=True,
)
settings.load_profile("offpipe")


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    """A pipeline's directory with one finished run and one that was stopped behind a checkpoint."""
    root = tmp_path_factory.mktemp("fuzz")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("OFFPIPE_PLAIN", raising=False)
        lay_out(root)
    return root


@pytest.fixture(autouse=True)
def _cached(monkeypatch):
    """What is fuzzed is the cache, too."""
    monkeypatch.delenv("OFFPIPE_PLAIN", raising=False)
