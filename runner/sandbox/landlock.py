"""Landlock: each stage gets a domain of its own, from which it can neither signal nor inspect processes outside.

Loaded by the launcher program only. Constants: linux/landlock.h; what each version of the interface (ABI) can do:
landlock(7). Each stage enters a domain, and the launcher does not, so that the launcher is outside too.
"""

from __future__ import annotations

import os
import struct

from runner.levels import RefusedError
from runner.sandbox import syscalls

CREATE_RULESET_VERSION = 1
RULE_PATH_BENEATH = 1
FS_MAKE_SOCK, FS_REFER = 1 << 9, 1 << 13
NET_BIND_TCP, NET_CONNECT_TCP = 1, 2
SCOPE_ABSTRACT_UNIX_SOCKET, SCOPE_SIGNAL = 1, 2
COVERED = ((2, "memory of other processes"), (4, "TCP"), (6, "signals, abstract sockets"))  # each since an ABI


class Landlock:
    """A rule set, made once; `layer` describes what it restricts."""

    def __init__(self) -> None:
        """RefusedError if this kernel has no Landlock, or one before ABI 2, whose domains would break renames."""
        abi = syscalls.call("landlock_create_ruleset", 0, 0, CREATE_RULESET_VERSION)
        if abi < 2:
            raise RefusedError(f"landlock_create_ruleset: ABI {abi} cannot allow renames", 0)
        self.layer = f"ABI {abi}: " + ", ".join(what for since, what in COVERED if abi >= since)
        fields = handled(abi)
        attributes = struct.pack(f"={len(fields)}Q", *fields)
        self.ruleset = syscalls.call("landlock_create_ruleset", attributes, len(attributes), 0)
        if FS_REFER & fields[0]:  # it is restricted: allow renames everywhere
            root = os.open("/", os.O_PATH | os.O_CLOEXEC)
            beneath = struct.pack("=Qi", FS_REFER, root)  # struct landlock_path_beneath_attr
            syscalls.call("landlock_add_rule", self.ruleset, RULE_PATH_BENEATH, beneath, 0)
            os.close(root)

    def enter(self) -> None:
        """Put this thread, and all that it starts, into a domain for good. RefusedError if the kernel refuses."""
        syscalls.call("landlock_restrict_self", self.ruleset, 0)


def open_landlock(layers: dict[str, str]) -> Landlock | None:
    """Return a rule set, if this kernel has Landlock. Describes it in `layers`, or says there why there is none."""
    try:
        landlock = Landlock()
    except RefusedError as error:
        layers["landlock"] = f"none: {error}"
        return None
    layers["landlock"] = landlock.layer
    return landlock


def handled(abi: int) -> tuple[int, ...]:
    """Return the fields of struct landlock_ruleset_attr for this ABI: file system, network, scopes.

    A domain must restrict something. File-system rights are the last choice, because such a domain forbids mounts.
    """
    if abi < 4:
        return (FS_MAKE_SOCK | FS_REFER,)
    network = NET_BIND_TCP | NET_CONNECT_TCP
    return (0, network) if abi < 6 else (0, network, SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL)
