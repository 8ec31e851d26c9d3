"""Runs one command and prints what it took: seconds, processor seconds, peak and floor of memory in KiB, exit code.

Started by `timing.timed` for each command, as `python -I -S`: the kernel counts the memory of a process from its fork
on, so whoever starts what is measured must be small itself.
"""

import os
import sys
import time


def main() -> None:
    null = os.open(os.devnull, os.O_RDWR)
    actions = [(os.POSIX_SPAWN_DUP2, null, descriptor) for descriptor in (0, 1, 2)]
    began = time.perf_counter()
    pid = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=actions)
    _, status, usage = os.wait4(pid, 0)
    seconds = time.perf_counter() - began
    print(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss, peak(), os.waitstatus_to_exitcode(status))


def peak() -> int:
    """Return the peak of this program itself in KiB; getrusage would tell of who started it."""
    with open("/proc/self/status", encoding="ascii") as file:
        return int(next(line.split()[1] for line in file if line.startswith("VmHWM")))


if __name__ == "__main__":
    main()
