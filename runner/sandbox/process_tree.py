"""Finds, signals and kills every process of a launch, also those that try to get away.

A process can change its parent and its session. So each launch has a tag: a number that its processes inherit and
cannot change. The tag is the hard limit of RLIMIT_RTTIME, set before the stage's program begins. The limit is too high
to be reached. Every clone and exec keeps it, with any ids and in any namespace, and the launcher may read it. A filter
in each stage refuses to set it. The launcher has no such filter, because the next launch needs the next number. A hard
limit can only be lowered, so each launch has a lower limit than the one before. Between two launches' limits lies one
that belongs to no launch: the launcher has it while it starts nothing.

Without tags, the key of a launch is its main process. Parents and sessions then tell to which launch a process belongs.
Where they do not, it is a guess.

Loaded by the launcher program only. Numbers: asm-generic/resource.h; proc(5), limits; fs/proc/base.c.
"""

from __future__ import annotations

import os
import resource

from runner.levels import TAGGED
from runner.processes import all_processes, has_ended, proc_file, relations_of
from runner.sandbox import seccomp
from runner.sandbox.syscalls import PR_SET_CHILD_SUBREAPER, PR_SET_PDEATHSIG, libc, machine, signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from runner.processes import Relations

TRACKER = b".resource_tracker import main;"  # as CPython's Lib/multiprocessing/resource_tracker.py and loky start it
LEAST = 1 << 62  # microseconds of real-time work: 146,000 years
NUMBER_BITS, CHANCE_BYTES = 30, 4  # random bytes tell the tags of different launchers apart


class Tags:
    """The tags of one launcher's launches, which are numbered from 1."""

    def __init__(self) -> None:
        self._base = LEAST + (int.from_bytes(os.urandom(CHANCE_BYTES), "big") << NUMBER_BITS)
        self._filter = seccomp.assemble_tag_filter(machine())

    def set(self, number: int) -> None:
        """Tag this process, and all that it starts from now on, with the launch `number`. Numbers can only rise."""
        self._lower(2 * number)

    def unset(self, number: int) -> None:
        """Undo `set`: this process belongs to no launch again."""
        self._lower(2 * number + 1)

    def lock(self) -> None:
        """Fix the tag of this thread, and of all that it starts, for good."""
        seccomp.set_filter(self._filter)

    def of(self, pid: int) -> int | None:
        """Return the launch of a process or thread, ended or not; None if it has none, or is gone.

        Read from /proc, which shows it to every user. prlimit(2) refuses it to root without CAP_SYS_RESOURCE, for a
        process with other user ids.
        """
        limits = proc_file(f"{pid}/limits") or b""
        fields = limits.partition(b"\nMax realtime timeout")[2].split(None, 2)
        limit = int(fields[1]) if len(fields) > 1 and fields[1].isdigit() else 0
        number, rest = divmod(self._base - limit, 2)
        return number if not rest and 0 < number < 1 << (NUMBER_BITS - 1) else None

    def _lower(self, distance: int) -> None:
        resource.setrlimit(seccomp.RLIMIT_RTTIME, (self._base - distance, self._base - distance))


def open_tags(layers: dict[str, str]) -> Tags | None:
    """Return the tags of a launcher under the filter; None if the limit cannot be set so high (it was lowered before).

    Notes in `layers` how processes are matched to stages.
    """
    own = resource.getrlimit(seccomp.RLIMIT_RTTIME)
    try:
        resource.setrlimit(seccomp.RLIMIT_RTTIME, own)
        reason = "" if own[1] == resource.RLIM_INFINITY else f"RLIMIT_RTTIME is at most {own[1]} here"
    except (OSError, ValueError):
        reason = "RLIMIT_RTTIME cannot be set"
    layers["processes"] = f"by parents and sessions: {reason}" if reason else TAGGED
    return None if reason else Tags()


class ProcessTree:
    """The processes of all launches. Orphans come to the main process of their launch, or to the launcher.

    With `takes_all`, the launcher is the only subreaper: tags tell its orphans apart, and the kernel kills every stage
    with it.
    """

    def __init__(self, tags: Tags | None = None) -> None:
        self._tags = tags
        self._launches = 0
        self.takes_all = False
        self._launcher = os.getpid()
        self._list = f"/proc/self/task/{self._launcher}/children"

    def enter_launcher(self, *, dies_with_runner: bool) -> None:
        """Make the launcher a subreaper, woken by SIGCHLD if the runner dies while a copy of its pipe end is open.

        `dies_with_runner`: the launcher is the first process of a pid namespace, and the kernel kills it when the
        runner dies. A second parent-death signal would replace that.
        """
        libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
        if not dies_with_runner:
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGCHLD)
        self.takes_all = dies_with_runner and self._tags is not None

    def begin(self) -> int:
        """Begin a new launch, and return its number."""
        self._launches += 1
        return self._launches

    def enter_stage(self) -> None:
        """Runs in the *child*: tag it with its launch; else let it die with the launcher, and be a subreaper."""
        if not self.takes_all:
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
            if os.getppid() != self._launcher:
                os._exit(127)  # the launcher died before the first prctl above
        if self._tags is not None:
            self._tags.set(self._launches)
            self._tags.lock()

    def key(self, main: int) -> int:
        """Return the key of the launch that began last, whose main process this is."""
        return self._launches if self._tags is not None else main

    def launch_of(self, pid: int, keys: Collection[int]) -> int | None:
        """Return the launch of a process or thread, if it is one of these; None if not, or if the process is gone.

        Without tags, a process below no main process was left by an ended launch, since main processes adopt orphans.
        """
        if self._tags is not None:
            number = self._tags.of(pid)
            return number if number in keys else None
        if relations_of(pid) is None:
            return None
        return _main_of(pid, keys, relations_of) or next((key for key in keys if has_ended(key)), None)

    def send(self, launches: Mapping[int, int], number: int) -> None:
        """Signal every process of these launches (main process -> key), and continue stopped ones.

        One call for all launches, because it reads every process of the machine.
        """
        if launches:
            _signal_all(self._members(launches, launches.values()) | {main: (main, 0) for main in launches}, number)

    def left(self, running: Collection[int], ended: Collection[int]) -> dict[int, tuple[int, int]]:
        """Return the processes that ended launches (keys) left: process -> (group or 0, key of its launch).

        `running` are the main processes of other launches.
        """
        children = self._child_numbers().difference(running) if ended else ()
        keys = {pid: None if self._tags is None else self._tags.of(pid) for pid in children}
        keys = {pid: key for pid, key in keys.items() if key is None or key in ended}
        if not keys:
            return {}
        guess = next(iter(ended))
        groups = dict.fromkeys(keys, 0)
        for pid, (group, key) in self._members(keys, keys.values()).items():
            groups[pid], keys[pid] = group, key
        return {pid: (groups[pid], guess if key is None or key not in ended else key) for pid, key in keys.items()}

    def kill_left(self, left: Mapping[int, tuple[int, int]]) -> None:
        """Kill what `left` returned. Do both until there is none: a killed process may just have forked."""
        _signal_all(left, signal.SIGKILL)

    def _members(self, mains: Collection[int], keys: Collection[int | None]) -> dict[int, tuple[int, int]]:
        """Return process -> (group, key of its launch; without tags its session), of all that have not ended."""
        if self._tags is not None:
            every = ((pid, key, relations_of(pid)) for pid in all_processes() if (key := self._tags.of(pid)) in keys)
            return {pid: (relations[1], key) for pid, key, relations in every if relations and key is not None}
        snapshot = {pid: relations for pid in all_processes() if (relations := relations_of(pid))}
        return {pid: snapshot[pid][1:] for pid in snapshot if _main_of(pid, mains, snapshot.get) is not None}

    def _child_numbers(self) -> set[int]:
        """Return the main thread's children: orphans, and main processes that no other thread started.

        The filter refuses CLONE_PARENT, so a stage cannot add siblings to its main process.
        One small read if the kernel has CONFIG_PROC_CHILDREN, otherwise a read of every process.
        """
        try:
            with open(self._list, "rb", buffering=0) as file:
                return set(map(int, file.readall().split()))
        except FileNotFoundError:
            own = os.getpid()
            return {pid for pid in all_processes() if (relations := relations_of(pid)) and relations[0] == own}


def is_ending(pid: int) -> bool:
    """Whether a process has begun to exit, or is a resource tracker of multiprocessing or joblib.

    A tracker ends when all other processes of its program have ended. Then it removes the shared memory and semaphores
    that they left.
    """
    words = proc_file(f"{pid}/cmdline")
    return words is not None and (not words or TRACKER in words)


def _signal_all(groups: Mapping[int, tuple[int, int]], number: int) -> None:
    """Signal each process once. SIGKILL goes to whole groups first, so that no fork escapes it (kernel/fork.c).

    Spares the launcher's own group, which a child is in until its setsid.
    """
    if number == signal.SIGKILL:
        for group in {group for group, _ in groups.values()} - {os.getpgrp(), 0}:
            _send(-group, number)
    for pid in groups:
        _send(pid, number)
    if number != signal.SIGKILL:
        for pid in groups:
            _send(pid, signal.SIGCONT)


def _send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        pass  # it has ended, or is another user's


def _main_of(pid: int, mains: Collection[int], look_up: Callable[[int], Relations | None]) -> int | None:
    """Return the main process above a process or thread, by its session or else its parents; None if there is none."""
    while pid not in mains:
        relations = look_up(pid)
        if relations is None:
            return None
        parent, _, session = relations
        pid = session if session in mains else parent
    return pid
