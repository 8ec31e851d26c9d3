"""Runs one command and prints what it took: seconds, processor seconds, peak and floor of memory in KiB, exit code.

`timing.timed` starts this for each command, as `python -I -S`. The kernel counts the memory of a process from its fork
on, so the process that starts the measured one must be small.
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
    """Return the peak memory of this program in KiB; getrusage would include that of the process that started it."""
    with open("/proc/self/status", encoding="ascii") as file:
        return int(next(line.split()[1] for line in file if line.startswith("VmHWM")))


if __name__ == "__main__":
    main()
