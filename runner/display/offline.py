"""The offline guard in words: a line after a run, and what `doctor` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.display.text import printable
from runner.levels import FILTER, KERNEL, NONE, POSSIBLE, SCAN, RefusedError
from runner.results import RunResult, listed, network_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    Survey = Mapping[str, Mapping[str, str] | RefusedError]  # level -> its layers, or the layer that it lacks

_STAGES_NAMED = 10  # in the summary; the audit log has them all

# Title, name in the record, and effect of each layer; {} is its state in the record.
_LAYERS = (
    ("user namespace", "userNamespace", "no privilege over anything outside"),
    ("user ids", "userMap", "mapped: {}; files of other users appear to belong to nobody"),
    ("network namespace", "netNamespace", "no interface but a loopback that is down"),
    ("pid namespace", "pidNamespace", "no process outlives a run; processes outside are invisible"),
    ("ipc namespace", "ipcNamespace", "no System V IPC and no POSIX queues of programs outside"),
    ("mount namespace", "mntNamespace", "a /proc that shows stages only"),
    ("kernel settings", "kernelSettings", "/sys, control groups and root's /proc/sys are {}"),
    ("seccomp", "seccomp", "no sockets, no io_uring, no way into other namespaces or processes"),
    ("attempts", "attempts", "programs that ask for a network: {}"),
    ("processes", "processes", "matched to their stages {}"),
    ("Landlock", "landlock", "each stage is confined, {}"),
    ("memory", "memory", "other processes of the same user: {} (tested)"),
    ("capabilities", "privileges", "left to stages: {}"),
    ("views", "views", "of sealed stages: {}"),
)
_MISSING = {
    KERNEL: """\
  a container's profile may deny user namespaces, and so may one of the settings
  user.max_user_namespaces, kernel.unprivileged_userns_clone and
  kernel.apparmor_restrict_unprivileged_userns; a container that masks parts of /proc
  denies a /proc for stages; sealed stages need this level
""",
    FILTER: """\
  seccomp needs x86_64 or aarch64, and a profile that allows filters;
  closed memory needs Landlock (Linux 5.19 or later), or kernel.yama.ptrace_scope at 1 or above
""",
}

_NO_VIEWS = """\
  views need Linux 5.12, and one more user and mount namespace: ENOSPC comes from
  user.max_user_namespaces or user.max_mnt_namespaces; else a container's profile may
  deny them, or, even to root, kernel.unprivileged_userns_clone=0 or
  kernel.apparmor_restrict_unprivileged_userns=1
"""


def offline_text(result: RunResult) -> str:
    """Return the summary's line: the level, and the programs that were refused a network; "" if no stage started."""
    level = result.isolation["level"]
    if level == NONE:
        return ""
    refused = [
        f"{stage.name}: {printable(network_text(calls))}"
        for stage in result.stages.values()
        for attempt in stage.attempts
        if (calls := [call for call in attempt.network if not call.is_probe])
    ]
    text = f", a network was refused to {listed(refused, _STAGES_NAMED, '; ')}" if refused else ""
    return f"offline guard: {level}{text}\n"


def doctor_json(survey: Survey) -> dict[str, object]:
    """Return the level that runs reach here, and for each level its layers (as in record 0), or what is missing."""
    levels = {
        level: {"available": True, "layers": layers, "missing": None}
        if isinstance(layers, dict)
        else {"available": False, "layers": {}, "missing": str(layers)}
        for level, layers in survey.items()
    }
    return {"level": _reached(survey), "levels": levels}


def doctor_lines(survey: Survey) -> Iterator[str]:
    """Yield each level with its layers and their effects, or with what is missing and what may help."""
    reached = _reached(survey)
    yield f"offline guard: runs on this machine reach level {reached}\n"
    for level, layers in survey.items():
        if isinstance(layers, dict):
            yield f"\n{level}: available\n"
            for title, name, effect in _LAYERS:
                if name in layers:
                    yield f"  {title:<18} {effect.format(printable(layers[name]))}\n"
            if layers.get("views", POSSIBLE) != POSSIBLE:
                yield _NO_VIEWS
        else:
            yield f"\n{level}: not available\n  {printable(str(layers))}\n{_MISSING[level]}"
    if reached == SCAN:
        yield "\nonly the scan of Python sources remains: runs need --offline best-effort\n"


def _reached(survey: Survey) -> str:
    return next((level for level, layers in survey.items() if isinstance(layers, dict)), SCAN)
