"""A pipeline whose files are fuzzed, with the caches on."""

from __future__ import annotations

import pytest
from fuzz_calls import lay_out


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
