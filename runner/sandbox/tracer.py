"""The program that `trace` starts: it runs one command in isolation, and notes the paths that the command uses.

The command is `python -I -S tracer.py RUNNER_PID PROGRAM WORD...`, in the environment of the command. Descriptors 0, 1
and 2 are the command's. The report goes to 3, a file in memory, when the command has ended: see `trace`.

The filter of a launcher cannot name paths: the launcher is under it, too, and would wait for itself. Below it, there
can be no second listener. So this process has no filter. Its child installs the launcher's filter, which also reports
calls with paths, and this process takes the listener. The kernel kills all that is left when this process ends, and
this process when the runner ends (see namespaces).

Calls and their arguments: open(2), openat2(2), stat(2), statx(2), access(2), getdents(2), execve(2); numbers as in
syscalls; structures and flags: linux/seccomp.h, asm-generic/fcntl.h, linux/fcntl.h.
"""

from __future__ import annotations

import ctypes
import marshal
import os
import select
import struct
import sys

if __name__ == "__main__":
    sys.path.append(__file__.rpartition("/runner/sandbox/")[0])  # -I -S leave only the standard library

from runner.levels import RefusedError
from runner.sandbox import seccomp, syscalls
from runner.sandbox.isolate import Isolation
from runner.sandbox.landlock import open_landlock
from runner.sandbox.namespaces import enter_namespaces
from runner.sandbox.network_log import Tally
from runner.sandbox.privileges import drop_privileges, open_memory
from runner.sandbox.syscalls import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

READ, WRITTEN, LOOKED_UP, LISTED, IMPORTED = 1, 2, 4, 8, 16  # bits of how a path was used, see `Uses`
STREAMS, REPORT = (0, 1, 2), 3  # descriptors
AT_FDCWD = -100
CONTINUE = 1  # SECCOMP_USER_NOTIF_FLAG_CONTINUE
LONGEST = 4096  # PATH_MAX, with the NUL
# Behind the six arguments of a call stand the flags of calls that have none: creat, execve; stat, and what is like it.
FLAGS = os.O_CREAT | os.O_WRONLY | os.O_TRUNC, os.O_RDONLY, os.O_PATH
CREATE, RUN, LOOK_UP = range(6, 9)
# The positions of the directory's descriptor, the path, and the flags. Those that list a directory have no path.
CALLS: dict[str, dict[int, tuple[int | None, int | None, int]]] = {
    "x86_64": {
        2: (None, 0, 1),  # open
        4: (None, 0, LOOK_UP),  # stat
        6: (None, 0, LOOK_UP),  # lstat
        21: (None, 0, LOOK_UP),  # access
        59: (None, 0, RUN),  # execve
        78: (0, None, LOOK_UP),  # getdents
        85: (None, 0, CREATE),  # creat
        217: (0, None, LOOK_UP),  # getdents64
        257: (0, 1, 2),  # openat
        262: (0, 1, LOOK_UP),  # newfstatat
        269: (0, 1, LOOK_UP),  # faccessat
        322: (0, 1, RUN),  # execveat
        332: (0, 1, LOOK_UP),  # statx
        437: (0, 1, LOOK_UP),  # openat2, whose flags are in memory
        439: (0, 1, LOOK_UP),  # faccessat2
    },
    "aarch64": {
        48: (0, 1, LOOK_UP),  # faccessat
        56: (0, 1, 2),  # openat
        61: (0, None, LOOK_UP),  # getdents64
        79: (0, 1, LOOK_UP),  # newfstatat
        221: (None, 0, RUN),  # execve
        281: (0, 1, RUN),  # execveat
        291: (0, 1, LOOK_UP),  # statx
        437: (0, 1, LOOK_UP),  # openat2
        439: (0, 1, LOOK_UP),  # faccessat2
    },
}


class Notice:
    """A call that waits for its answer: the process or thread, the call's number and architecture, its arguments."""

    def __init__(self, received: ctypes.Array[ctypes.c_char]) -> None:
        # struct seccomp_notif: id, pid, flags, then struct seccomp_data
        self.id, self.pid, _, self.number, self.arch, _, *arguments = struct.unpack("=QIIIIQ6Q", received)
        self.arguments = *arguments, *FLAGS


class PathListener(seccomp.Listener):
    """The listener of a filter that also reports calls with paths."""

    def next(self) -> Notice | None:
        """Return a call that waits; None if its process is gone."""
        received = ctypes.create_string_buffer(80)
        return None if self._ioctl(seccomp.IOCTL_RECV, received) else Notice(received)

    def go_on(self, notice: Notice) -> None:
        """Let the kernel make the call."""
        response = struct.pack("=QqiI", notice.id, 0, 0, CONTINUE)
        self._ioctl(seccomp.IOCTL_SEND, ctypes.create_string_buffer(response, len(response)))

    def refuse_socket(self, notice: Notice, tally: Tally) -> None:
        """Refuse a call for a socket, or another way to one, and count it."""
        is_plain = notice.number == syscalls.NUMBERS[syscalls.machine()]["socket"]
        family, kind = (argument & 0xFFFFFFFF for argument in notice.arguments[:2])
        call = seccomp.Call(notice.id, notice.pid, family, kind, "" if is_plain else seccomp.FOREIGN)
        tally.add(call)
        self.refuse(call)


class Uses:
    """How each path was used, by absolute path: bits.

    READ: it was read, executed or appended to before the command wrote it. WRITTEN: opened for writing. LOOKED_UP: it
    existed when it was looked up by name, or it is a directory that was opened. LISTED: the entries of a directory were
    read; IMPORTED, if by Python, which lists the directories that it imports from.
    """

    def __init__(self) -> None:
        self.bits: dict[bytes, int] = {}

    def note(self, notice: Notice) -> None:
        """Note a call, before the kernel makes it. Raises OSError if its process is gone, or if it will fail."""
        directory, path, flags = CALLS[syscalls.machine()][notice.number]
        descriptor = AT_FDCWD if directory is None else ctypes.c_int(notice.arguments[directory] & 0xFFFFFFFF).value
        base = b"cwd" if descriptor == AT_FDCWD else b"fd/%d" % descriptor
        process = b"/proc/%d" % notice.pid
        if path is None:
            is_python = os.path.basename(os.readlink(b"%s/exe" % process)).startswith(b"python")
            self._add(os.readlink(b"%s/%s" % (process, base)), IMPORTED if is_python else LISTED)
        elif name := _text(b"%s/mem" % process, notice.arguments[path]):  # else it is the descriptor: AT_EMPTY_PATH
            place = name if name.startswith(b"/") else os.path.join(os.readlink(b"%s/%s" % (process, base)), name)
            if b".." in place.split(b"/"):  # a link on the way decides where it leads
                head, tail = os.path.split(place)
                place = os.path.join(os.path.realpath(head), tail)
            self._opened(os.path.normpath(place), notice.arguments[flags])

    def _opened(self, path: bytes, flags: int) -> None:
        mode, known = flags & os.O_ACCMODE, self.bits.get(path, 0)
        is_new = flags & os.O_TRUNC or (mode == os.O_WRONLY and not flags & os.O_APPEND)  # sort truncates it later
        if os.path.isdir(path) or (flags & os.O_PATH and os.path.lexists(path)):
            self._add(path, LOOKED_UP)
        elif os.path.lexists(path) and not is_new and not known & WRITTEN:
            self._add(path, READ)
        if mode != os.O_RDONLY:
            self._add(path, WRITTEN)

    def _add(self, path: bytes, bit: int) -> None:
        self.bits[path] = self.bits.get(path, 0) | bit


def _text(memory: bytes, address: int) -> bytes:
    with open(memory, "rb", buffering=0) as file:
        return os.pread(file.fileno(), LONGEST, address).partition(b"\0")[0]


def filter_with_paths(machine: str) -> bytes:
    """Return the launcher's filter, and before it a notification of each call of CALLS. KeyError if it is unknown."""
    first = struct.pack("=HBBI", 0x20, 0, 0, 0)  # load the number; for codes, see seccomp
    each = (struct.pack("=HBBIHBBI", 0x15, 0, 1, number, 0x06, 0, 0, seccomp.NOTIFY) for number in CALLS[machine])
    return first + b"".join(each) + seccomp.assemble(machine, listener=True)


def _become(program: str, words: list[str], isolation: Isolation, writes: int) -> NoReturn:
    """Runs in the *child*: write the number of the listener, or what failed, then execute the program."""
    try:
        os.setsid()
        for number in signal.valid_signals():
            if signal.getsignal(number) == signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        drop_privileges()
        isolation.enter()
        listener = seccomp.set_filter(filter_with_paths(syscalls.machine()), seccomp.NEW_LISTENER)
        os.write(writes, b"%d" % listener)
        os.execve(program, words, os.environ)  # noqa: S606 - the purpose of this file
    except (OSError, RefusedError) as error:
        os.write(writes, str(error).encode("utf-8", "backslashreplace"))
    os._exit(127)


def _observe(program: str, words: list[str]) -> tuple[str, int, dict[bytes, int], list[tuple[str, str, int, bool]]]:
    """Run the command to its end. Return why it did not start, its exit code, the uses of paths, its network calls.

    Raises RefusedError if it cannot be isolated.
    """
    isolation = Isolation({}, None, open_landlock({}))
    reads, writes = os.pipe()
    pid = os.fork()
    if pid == 0:
        _become(program, words, isolation, writes)
    os.close(writes)
    open_memory(is_open=False)
    ends = os.pidfd_open(pid)
    uses, tally = Uses(), Tally()
    number = os.read(reads, LONGEST)
    if not number.isdigit():
        raise RefusedError(number.decode(), 0)
    listener = PathListener(syscalls.call("pidfd_getfd", ends, int(number), 0))
    poll = select.poll()
    poll.register(ends, select.POLLIN)
    poll.register(listener.descriptor, select.POLLIN)
    while ends not in dict(poll.poll()):
        if (notice := listener.next()) is not None:
            _answer(listener, notice, uses, tally)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return os.read(reads, LONGEST).decode(), code, uses.bits, tally.rest()


def _answer(listener: PathListener, notice: Notice, uses: Uses, tally: Tally) -> None:
    """Let a call with a path go on, and note it. Refuse any other, and count it."""
    machine = syscalls.machine()
    if notice.arch != seccomp.AUDIT_ARCH[machine] or notice.number not in CALLS[machine]:
        listener.refuse_socket(notice, tally)
        return
    try:
        uses.note(notice)
    except OSError:
        pass
    listener.go_on(notice)


def main() -> NoReturn:
    """Enter level `kernel`, run the command, report."""
    runner, program, words = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
    syscalls.close_all_but((*STREAMS, REPORT))
    os.set_inheritable(REPORT, False)
    os.setsid()
    report: tuple[str, object] = "", None
    try:
        if not syscalls.machine():
            raise RefusedError(f"no filter for {os.uname().machine}", 0)
        enter_namespaces(runner, (*STREAMS, REPORT))
        report = "", _observe(program, words)
    except (OSError, RefusedError) as error:
        report = str(error), None
    os.write(REPORT, marshal.dumps(report))
    os._exit(0)


if __name__ == "__main__":
    main()
