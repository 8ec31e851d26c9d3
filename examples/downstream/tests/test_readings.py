"""Tests of the package's functions, which do not need the plugin."""

from __future__ import annotations

import pytest
from station.readings import Reading, parse


def test_reads_both_scales() -> None:
    assert parse("Harbour,2026-01-01,7.5C\n") == Reading("harbour", "2026-01-01", 7.5)
    assert parse("summit,2026-01-01,32F\n").celsius == 0


@pytest.mark.parametrize("line", ["\n", "harbour,2026-01-01,\n", ",2026-01-01,7C\n", "harbour,2026-01-01,7\n"])
def test_refuses_malformed_lines(line: str) -> None:
    with pytest.raises(ValueError, match="no reading"):
        parse(line)
