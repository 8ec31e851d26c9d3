"""How well stages are kept offline, in words: warnings before a run, one line after it, and what `doctor` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.display.words import printable
from runner.levels import FILTER, KERNEL, LEVELS, NAMED, NONE, SCAN, TAGGED
from runner.results import network_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from runner.levels import RefusedError
    from runner.results import RunResult

SHOWN = 10  # attempts of stages named in the summary; the audit log has them all

# Title, the layer's name in the record, and what it does; {} is how far it was reached.
LAYERS = (
    ("user namespace", "userNamespace", "no privilege over anything outside"),
    ("user ids", "userMap", "mapped: {}; files of ids that are not show up as nobody's"),
    ("network namespace", "netNamespace", "no interface but a loopback that is down"),
    ("pid namespace", "pidNamespace", "no process outlives a run; none outside is seen or signalled"),
    ("mount namespace", "mntNamespace", "a /proc of the stages' own"),
    ("kernel settings", "kernelSettings", "/sys, control groups and root's /proc/sys are {}"),
    ("seccomp", "seccomp", "no sockets, no io_uring, no way into other namespaces or processes"),
    ("attempts", "attempts", "programs that ask for a network: {}"),
    ("processes", "processes", "whose each is, is told {}"),
    ("Landlock", "landlock", "a wall round each stage, {}"),
    ("memory", "memory", "of other processes of the same user: {}, which was tried"),
    ("capabilities", "privileges", "left to stages: {}"),
)
MISSING = {
    KERNEL: (
        "user namespaces are often denied by a container's profile, or by one of the settings\n"
        "user.max_user_namespaces, kernel.unprivileged_userns_clone and\n"
        "kernel.apparmor_restrict_unprivileged_userns; an own /proc also by a container that\n"
        "masks parts of /proc"
    ),
    FILTER: (
        "seccomp needs Linux on x86_64 or aarch64, and a profile that lets filters be added;\n"
        "closed memory needs Landlock (Linux 5.19 or later), or kernel.yama.ptrace_scope at 1 or above"
    ),
}


def isolation_warnings(isolation: Mapping[str, str]) -> Iterator[str]:
    """Yield what someone who relies on the guard must know before the first stage starts."""
    if isolation["level"] == SCAN:
        why = "; ".join(f"{level}: {isolation[level]}" for level in LEVELS if level in isolation)
        yield "offline guard: only at level scan, stages can reach the network" + (f" ({why})" if why else "")
    if isolation.get("attempts", NAMED) != NAMED:
        yield f"offline guard: attempts are refused, but {isolation['attempts']}"
    elif isolation.get("processes", TAGGED) != TAGGED:
        yield f"offline guard: attempts of what left its stage may be laid to another: told {isolation['processes']}"
    if isolation.get("kernelSettings", "").startswith("writable"):
        why = isolation["kernelSettings"]
        yield f"offline guard: stages can change what the kernel does outside, where their user may: {why}"


def offline_text(result: RunResult) -> str:
    """Return the summary's line: the level, and who asked for a network. Empty when no stage was started."""
    level = result.isolation["level"]
    if level == NONE:
        return ""
    asked = [
        f"{stage.name}: {printable(network_text(meant))}"
        for stage in result.stages.values()
        for attempt in stage.attempts
        if (meant := [calls for calls in attempt.network if not calls.is_probe])
    ]
    if not asked:
        return f"offline guard: {level}\n"
    more = f"; and {len(asked) - SHOWN} more" if len(asked) > SHOWN else ""
    return f"offline guard: {level}, a network was refused to {'; '.join(asked[:SHOWN])}{more}\n"


def doctor_json(found: Mapping[str, Mapping[str, str] | RefusedError]) -> dict[str, object]:
    """Return the level that runs reach here, and each level's layers (as record 0 has them), or what is missing."""
    levels = {
        level: {"available": True, "layers": dict(one), "missing": None}
        if isinstance(one, dict)
        else {"available": False, "layers": {}, "missing": str(one)}
        for level, one in found.items()
    }
    return {"level": _reached(found), "levels": levels}


def _reached(found: Mapping[str, Mapping[str, str] | RefusedError]) -> str:
    return next((level for level, one in found.items() if isinstance(one, dict)), SCAN)


def doctor_lines(found: Mapping[str, Mapping[str, str] | RefusedError], *, refuses: bool) -> Iterator[str]:
    """Yield what each level is here: its layers and what they cover, or what is missing and may be done.

    `refuses`: a run does, on this kind of system, unless a level is there.
    """
    reached = _reached(found)
    yield f"offline guard: runs on this machine reach level {reached}\n"
    for level, one in found.items():
        if isinstance(one, dict):
            yield f"\n{level}: available\n"
            yield from (
                f"  {title:<18} {does.format(printable(one[name]))}\n" for title, name, does in LAYERS if name in one
            )
        else:
            yield f"\n{level}: not available\n  {printable(str(one))}\n"
            yield from (f"  {line}\n" for line in MISSING[level].splitlines())
    if reached == SCAN:
        yield "\nonly the scan of Python sources is left"
        yield ": a run is refused, unless --offline best-effort is given\n" if refuses else "\n"
