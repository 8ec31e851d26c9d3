"""The package's own functions, tested as any others; the plugin takes no part."""

from __future__ import annotations

import pytest
from station.readings import Reading, parse


def test_reads_both_scales() -> None:
    assert parse("Harbour,2026-01-01,7.5C\n") == Reading("harbour", "2026-01-01", 7.5)
    assert parse("summit,2026-01-01,32F\n").celsius == 0


@pytest.mark.parametrize("line", ["\n", "harbour,2026-01-01,\n", ",2026-01-01,7C\n", "harbour,2026-01-01,7\n"])
def test_refuses_what_is_no_reading(line: str) -> None:
    with pytest.raises(ValueError, match="no reading"):
        parse(line)
