"""A clock for tests of back-off: time passes when the runner would sleep, and no sleep takes any."""

from __future__ import annotations

import math

_START = 1.0  # 0 might be taken for no time at all
_DIGITS = 9  # of a second: what sums of floats are off by is less


class OffpipeClock:
    """The clock of the runs that `offpipe` makes in this test.

    Its time stands still but for what would be slept and what `advance` adds: attempts take none of it. So the delays
    of retries, and `maxTotalSeconds`, are exact. `timeoutSeconds` stays real, since stages are.
    """

    def __init__(self) -> None:
        self._now = _START
        self._slept: list[float] = []

    @property
    def slept(self) -> list[float]:
        """The seconds of each sleep that was left out, in order; several stages that wait together sleep once."""
        return list(self._slept)

    def advance(self, seconds: float) -> None:
        """Let time pass, as an attempt that takes long would: to be called from a hook given as `plugins=`."""
        if not seconds >= 0:
            raise ValueError(f"time does not go back: {seconds}")
        self._now += seconds

    def adopt(self, other: OffpipeClock) -> None:
        """Go on where a copy of this one ended, in another process."""
        self._now, self._slept = other._now, other._slept

    def __call__(self) -> float:
        """Return the time, in seconds from an arbitrary start."""
        return self._now

    def patience(self, seconds: float) -> float:
        """Note a sleep, and let none of it happen."""
        if round(seconds, _DIGITS):
            self._slept.append(round(seconds, _DIGITS))
        # What is waited for is due at a sum that was rounded elsewhere, and must have come.
        self._now = math.nextafter(self._now + seconds, math.inf)
        return 0.0
