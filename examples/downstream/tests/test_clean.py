"""One stage alone, run by a fixture of this project."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def test_gives_all_readings_one_spelling(cleaned: Callable[[str], tuple[str, str]]) -> None:
    readings, rejected = cleaned(" Summit,2026-01-01,50F\nharbour,2026-01-02,7.25C\n")
    assert (readings, rejected) == ("summit,2026-01-01,10.0C\nharbour,2026-01-02,7.2C\n", "")


def test_keeps_unreadable_lines(cleaned: Callable[[str], tuple[str, str]]) -> None:
    assert cleaned("harbour,2026-01-01,broken\n") == ("", "harbour,2026-01-01,broken\n")
