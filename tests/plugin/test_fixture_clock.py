"""`offpipe_clock`: sleeps are recorded to the nanosecond, and none takes place."""

from __future__ import annotations

import pytest

from pytest_offpipe.fixtures.clock import OffpipeClock


def test_time_passes_by_sleeps_and_by_advance_alone() -> None:
    clock = OffpipeClock()
    began = clock()
    assert began == clock() > 0
    assert clock.patience(0.5) == 0.0
    clock.advance(2)
    assert clock() - began == pytest.approx(2.5)
    assert clock.slept == [0.5]


def test_one_sleep_reaches_a_due_time_despite_float_rounding() -> None:
    clock, delays = OffpipeClock(), [0.1, 0.2, 0.3, 0.7, 1.1, 3600.1, 86400.0]
    for delay in delays:
        due = clock() + delay
        clock.patience(max(0.0, due - clock()))
        assert clock() >= due
    assert clock.slept == delays


def test_time_does_not_go_back() -> None:
    with pytest.raises(ValueError, match="time does not go back: -1"):
        OffpipeClock().advance(-1)
