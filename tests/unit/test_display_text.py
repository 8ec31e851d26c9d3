"""How values are spelled."""

from __future__ import annotations

import pytest

from runner.display.text import age, counted, fault_text, printable, seconds, size
from runner.errors import Fault


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 s"), (0.0004, "0 s"), (0.0123, "0.012 s"), (0.4, "0.4 s"), (1.23, "1.2 s"), (9.97, "10 s"), (59.4, "59 s"),
     (59.7, "1 min 00 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")],
)  # fmt: skip
def test_seconds(value, text) -> None:
    assert seconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(-3, "0 s"), (0.7, "0 s"), (59, "59 s"), (32_640, "9 h 04 min"), (172_799, "47 h 59 min"), (172_800, "2 days")],
)
def test_age(value, text) -> None:
    assert age(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 bytes"), (1, "1 byte"), (999, "999 bytes"), (1000, "1.0 kB"), (34_200_000, "34 MB"),
     (999_700_000, "1.0 GB"), (5e12, "5.0 TB")],
)  # fmt: skip
def test_sizes(value, text) -> None:
    assert size(value) == text


def test_counts_have_separators_and_a_plural() -> None:
    assert (counted(1, "line"), counted(1_200_000, "line")) == ("1 line", "1,200,000 lines")


@pytest.mark.parametrize(
    ("text", "shown"),
    [("plain é 漢", "plain é 漢"), ("a\x1b[2Jb", "a\\x1b[2Jb"), ("a\rb\nc", "a\\rb\\nc"), ("a\u202eb", "a\\u202eb"),
     ("\udce9", "\\udce9"), ("a\tb\x07", "a\tb\\x07")],
)  # fmt: skip
def test_characters_that_control_a_terminal_are_escaped(text, shown) -> None:
    assert printable(text) == shown


def test_the_place_of_a_fault_stays_on_its_line() -> None:
    shown = fault_text(Fault("/a\nerror: b\x1b[2J", "is odd\n  and so is this", "look\nthere"))
    assert shown == "error: /a\\nerror: b\\x1b[2J: is odd\n  and so is this\nhint: look\nthere"
