"""Which level the offline guard reaches: each is tried in a launcher of its own, and less than asked for is refused."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from runner.contain.client import Launcher
from runner.errors import Fault, OfflineError
from runner.levels import FILTER, KERNEL, LEVELS, SCAN

if TYPE_CHECKING:
    from runner.levels import Refusal

STRICT, BEST_EFFORT = "strict", "best-effort"
WHERE = "offline guard"
_HINT = (
    "allow it (offpipe doctor says what each layer needs), or accept stages that can reach the network: "
    "--offline best-effort"
)


def start_guarded() -> Launcher:
    """Start a launcher at the best level that this system may have. Raises StateError as Launcher.start does."""
    return Launcher.start(KERNEL if sys.platform == "linux" else SCAN)


def settle(launcher: Launcher, *, strict: bool) -> Launcher:
    """Return the launcher once it is ready, or one at the next level that can be had; its `layers` tell why.

    Raises OfflineError, with every launcher ended, when `strict` and less than `filter` is reached on Linux.
    """
    missing: dict[str, str] = {}
    launcher.await_ready()
    while launcher.refusal is not None:
        missing[launcher.level] = f"none: {launcher.refusal}"
        _refuse(launcher, launcher.refusal, strict=strict)
        launcher.close()
        launcher = Launcher.start(LEVELS[LEVELS.index(launcher.level) + 1])
        launcher.await_ready()
    launcher.layers = {**launcher.layers, **missing}
    return launcher


def survey() -> dict[str, dict[str, str] | Refusal]:
    """Try `kernel` and `filter`, whatever this system is: the layers of each, or what could not be had."""
    found: dict[str, dict[str, str] | Refusal] = {}
    for level in (KERNEL, FILTER):
        with Launcher.start(level) as launcher:
            launcher.await_ready()
            found[level] = launcher.refusal or launcher.layers
    return found


def _refuse(launcher: Launcher, refusal: Refusal, *, strict: bool) -> None:
    if strict and launcher.level == FILTER:
        launcher.close()
        what = f'cannot keep stages from the network: level "{FILTER}" needs {refusal.layer}, and {refusal}'
        raise OfflineError(Fault(WHERE, what, _HINT))
