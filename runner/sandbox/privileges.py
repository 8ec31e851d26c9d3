"""What a stage may not do whoever runs it: gain privileges, or use those that reach beyond files.

Loaded by the launcher program only. Constants: linux/capability.h, prctl(2), capset(2).
"""

from __future__ import annotations

import os
import struct

from runner.sandbox import syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

CAPABILITY_VERSION_3 = 0x20080522
# What root keeps, so that a job over the files of many users works as before: CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH,
# FOWNER, FSETID, KILL, SETGID, SETUID, SETPCAP, SYS_CHROOT, SYS_NICE, SYS_RESOURCE, LEASE, SETFCAP.
KEPT_BY_ROOT = (0, 1, 2, 3, 4, 5, 6, 7, 8, 18, 23, 24, 28, 31)
CAP_SETPCAP = 8
LAYER = "privileges"


def drop_privileges() -> str:
    """No new privileges by exec, and none but KEPT_BY_ROOT; of a user other than root, none. Return what is left."""
    syscalls.prctl(LAYER, "prctl(PR_SET_NO_NEW_PRIVS)", syscalls.PR_SET_NO_NEW_PRIVS, 1)
    held = _capabilities()
    is_root = os.geteuid() == 0
    kept = sum(1 << number for number in KEPT_BY_ROOT) & held["CapPrm"] if is_root else 0
    if held["CapEff"] >> CAP_SETPCAP & 1:  # without it nothing can be gained from that set under no_new_privs
        for number in range(64):
            if held["CapBnd"] >> number & 1 and not kept >> number & 1:
                syscalls.prctl(LAYER, "prctl(PR_CAPBSET_DROP)", syscalls.PR_CAPBSET_DROP, number)
    header = syscalls.address(struct.pack("=Ii", CAPABILITY_VERSION_3, 0))
    low, high = kept & 0xFFFFFFFF, kept >> 32
    syscalls.call(LAYER, "capset", header, syscalls.address(struct.pack("=6I", low, low, 0, high, high, 0)))
    return "files and own processes" if kept else "none"


def hide_memory() -> None:
    """Nobody of the same user may open the launcher's memory, or trace it."""
    syscalls.prctl(LAYER, "prctl(PR_SET_DUMPABLE)", syscalls.PR_SET_DUMPABLE, 0)


def showing_memory() -> Callable[[], int]:
    """Return what undoes `hide_memory`, for a child that is a stage; as syscalls.prepared."""
    return syscalls.prepared(LAYER, "prctl", syscalls.PR_SET_DUMPABLE, 1, 0, 0, 0)


def _capabilities() -> dict[str, int]:
    return {name: int(value, 16) for name, value in syscalls.own_status().items() if name.startswith("Cap")}
