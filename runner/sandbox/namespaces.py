"""Level `kernel`: the launcher moves into user, network, pid, ipc and mount namespaces of its own.

For programs with one thread, such as the launcher: unshare(CLONE_NEWUSER) fails in a process with more.
Three processes take part. The *writer* starts first and writes the user id maps from outside, because only a process
outside may map more than one id. The runner started the *outer* process. It unshares, then only waits for the *inner*
process, number 1 of the pid namespace, which goes on as the launcher. The kernel kills outer when the runner dies,
inner when outer dies, and everything else in the namespace when inner ends.
"""

from __future__ import annotations

import errno
import os

from runner.levels import RefusedError
from runner.sandbox import syscalls
from runner.sandbox.privileges import protect_settings
from runner.sandbox.syscalls import MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_REC, MS_SLAVE, signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

# linux/sched.h
CLONE_NEWNS, CLONE_NEWIPC = 0x20000, 0x8000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000

OWN = CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWNS
NAMES = ("user", "net", "pid", "ipc", "mnt")  # as in /proc/self/ns
QUEUES = b"/dev/mqueue"  # mq_overview(7)
CAP_SETGID, CAP_SETUID = 6, 7  # linux/capability.h


def enter_namespaces(runner: int, descriptors: tuple[int, ...]) -> tuple[int, dict[str, str]]:
    """Return, in the *inner* process only, its number outside, and a layer for each namespace.

    The process dies with the `runner`; only the launcher may keep these `descriptors`. RefusedError names the namespace
    that could not be entered.
    """
    outside = _namespaces()
    layers = {"userMap": unshare(OWN, "unshare(user, network, pid, mount)")}
    syscalls.prctl("prctl(PR_SET_PDEATHSIG)", syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != runner:
        os._exit(1)  # the runner died before the prctl above
    inner = os.fork()
    if inner:
        _wait_outside(inner, descriptors)
    # If the outer process has died before this call, the launcher still ends with its requests.
    syscalls.prctl("prctl(PR_SET_PDEATHSIG)", syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
    process = int(os.readlink("/proc/self"))  # still in the old /proc
    _own_mounts()
    layers["kernelSettings"] = protect_settings()
    return process, layers | _verified(outside)


def unshare(flags: int, shown: str) -> str:
    """Enter these namespaces, a user namespace among them, as the same user as before; return which ids are mapped.

    RefusedError names the call as `shown`.
    """
    pid, maps = os.getpid(), Maps()

    def write_maps() -> int:
        maps.write(pid)
        return 0

    writer = syscalls.fork_for(write_maps)
    try:
        maps.enter(flags, shown)
    finally:
        os.waitpid(writer, 0)
    with open("/proc/self/uid_map", "rb") as file:
        ids = sum(int(line.split()[2]) for line in file)
    return "all ids" if ids > 1 else "own id"


class Maps:
    """Two pipes between a process that enters a user namespace and a process outside, which writes its maps of ids.

    One calls `enter`, the other `write`, or `close` if there is nothing to write: each once. All of them close the
    `descriptors` of their process.
    """

    def __init__(self) -> None:
        """OSError if there are no descriptors left."""
        self._request_reads, self._request_writes = os.pipe()
        try:
            self._answer_reads, self._answer_writes = os.pipe()
        except OSError:
            os.close(self._request_reads)
            os.close(self._request_writes)
            raise
        self.descriptors = (self._request_reads, self._request_writes, self._answer_reads, self._answer_writes)

    def enter(self, flags: int, shown: str) -> None:
        """Enter these namespaces as the same user as before. RefusedError names the call as `shown`."""
        os.close(self._answer_writes)  # so that the end of the other process ends the wait
        try:
            syscalls.function(shown, "unshare", flags)
            os.write(self._request_writes, b"-")
            answer = os.read(self._answer_reads, 1)
        finally:
            for descriptor in (self._request_reads, self._request_writes, self._answer_reads):
                os.close(descriptor)
        if answer != b"\0":
            raise RefusedError("writing the maps of ids", answer[0] if answer else 0)

    def write(self, pid: int) -> None:
        """Write the maps of this process once it requests them, unless it ends first."""
        os.close(self._request_writes)  # so that the end of the process ends the wait
        if os.read(self._request_reads, 1):
            os.write(self._answer_writes, bytes([_write_maps(pid)]))
        for descriptor in (self._request_reads, self._answer_reads, self._answer_writes):
            os.close(descriptor)

    def close(self) -> None:
        """Close the pipes."""
        for descriptor in self.descriptors:
            os.close(descriptor)


def _write_maps(pid: int) -> int:
    """Runs in the *writer*, or in the launcher: map ids to themselves. Return 0, or an errno.

    It maps every id if it may, so that root keeps access to every user's files, and else only its own.
    """
    effective = int(syscalls.own_status()["CapEff"], 16)
    if effective >> CAP_SETUID & 1 and effective >> CAP_SETGID & 1:
        contents = {"uid_map": _same("/proc/self/uid_map"), "gid_map": _same("/proc/self/gid_map")}
    else:
        uid, gid = os.geteuid(), os.getegid()
        contents = {"setgroups": b"deny", "uid_map": b"%d %d 1" % (uid, uid), "gid_map": b"%d %d 1" % (gid, gid)}
    try:
        for name, content in contents.items():
            with open(f"/proc/{pid}/{name}", "wb", buffering=0) as file:
                file.write(content)  # one write only, user_namespaces(7)
    except OSError as error:
        return error.errno or errno.EIO
    return 0


def _same(path: str) -> bytes:
    """Return a map of each existing range to itself."""
    with open(path, "rb") as file:
        ranges = [line.split() for line in file]
    return b"".join(b"%s %s %s\n" % (first, first, count) for first, _, count in ranges)


def _wait_outside(inner: int, descriptors: tuple[int, ...]) -> NoReturn:
    """Runs in the *outer* process: wait for the inner one, and end as it ends."""
    for descriptor in descriptors:
        os.close(descriptor)
    status = os.waitstatus_to_exitcode(os.waitpid(inner, 0)[1])
    if status < 0:
        syscalls.end_by_signal(-status)
    os._exit(status)


def _own_mounts() -> None:
    """Mount a /proc of this pid namespace, and message queues of this ipc namespace.

    Later mounts outside still appear here; mounts made here do not appear outside.
    """
    syscalls.mount("making / a slave mount", b"none", b"/", None, MS_REC | MS_SLAVE)
    syscalls.mount("mounting /proc", b"proc", b"/proc", b"proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    if os.path.ismount(QUEUES):  # it shows the queues outside
        syscalls.mount("mounting /dev/mqueue", b"mqueue", QUEUES, b"mqueue", MS_NOSUID | MS_NODEV | MS_NOEXEC)


def _namespaces() -> dict[str, str]:
    return {name: os.readlink(f"/proc/self/ns/{name}") for name in NAMES}


def _verified(outside: dict[str, str]) -> dict[str, str]:
    """Check in the new /proc that all namespaces are new; RefusedError if not."""
    inside = _namespaces()
    for name in NAMES:
        if inside[name] == outside[name]:
            raise RefusedError(f"/proc/self/ns/{name} is still that of the runner", 0)
    if os.readlink("/proc/self") != "1" or os.getpid() != 1:
        raise RefusedError("/proc does not show the launcher as process 1", 0)
    with open("/proc/net/dev", "rb") as file:
        interfaces = [line.partition(b":")[0].strip() for line in file if b":" in line]
    if interfaces != [b"lo"]:
        raise RefusedError("/proc/net/dev lists more than the loopback", 0)
    return {f"{name}Namespace": inside[name] for name in NAMES}
