"""Finds the level that the offline guard reaches. It tries each level in a launcher of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.errors import Fault, OfflineError
from runner.levels import FILTER, KERNEL, LEVELS, NAMED, SCAN, TAGGED, RefusedError
from runner.sandbox.launcher import Launcher

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_HINT = (
    "allow it (offpipe doctor says what each layer needs), or accept stages that can reach the network: "
    "--offline best-effort"
)


def settle(launcher: Launcher, *, strict: bool) -> Launcher:
    """Return the launcher once it is ready, or a launcher at the next lower level that this system allows.

    Its `layers` say why higher levels failed. Raises OfflineError if `strict` and not even `filter` is reached; the
    launcher is closed then.
    """
    refused: dict[str, RefusedError] = {}
    try:
        launcher.await_ready()
        while launcher.refusal is not None:
            refused[launcher.level] = launcher.refusal
            launcher.close()
            launcher = launcher.instead(LEVELS[LEVELS.index(launcher.level) + 1])
            launcher.await_ready()
        launcher.layers |= {level: f"none: {refusal}" for level, refusal in refused.items()}
        if strict and launcher.layers["level"] not in (KERNEL, FILTER):
            why = "; ".join(f"level {level}: {refusal}" for level, refusal in refused.items())
            what = f"the kernel cannot keep stages off the network: {why or 'its launcher does not isolate'}"
            raise OfflineError(Fault("offline guard", what, _HINT))
    except BaseException:
        launcher.close()
        raise
    return launcher


def gaps(layers: Mapping[str, str]) -> Iterator[Fault]:
    """Yield a warning for each gap in the guard of these layers."""
    attempts, processes = layers.get("attempts", NAMED), layers.get("processes", TAGGED)
    settings, where = layers.get("kernelSettings", ""), "offline guard"
    if layers["level"] == SCAN:
        why = "; ".join(f"{level}: {layers[level]}" for level in LEVELS if level in layers)
        yield Fault(where, "only at level scan, stages can reach the network" + (f" ({why})" if why else ""))
    if attempts != NAMED:
        yield Fault(where, f"attempts are refused, but {attempts}")
    elif processes != TAGGED:
        yield Fault(where, f"an attempt may be recorded for another stage: processes are matched to stages {processes}")
    if settings.startswith("writable"):
        yield Fault(where, f"stages can change kernel settings, as far as their user may: {settings}")


def survey() -> dict[str, dict[str, str] | RefusedError]:
    """Try `kernel` and `filter`; return the layers of each, or why it could not be reached."""
    results: dict[str, dict[str, str] | RefusedError] = {}
    for level in (KERNEL, FILTER):
        with Launcher.start(level, views=True) as launcher:
            launcher.await_ready()
            results[level] = launcher.refusal or launcher.layers
    return results
