"""A stage that asks for sockets: `harmless_asking.py WAY [FAMILY [TIMES]]`. It uses ctypes, which the scan allows."""

from __future__ import annotations

import ctypes
import os
import sys
import threading

socket = ctypes.CDLL(None).socket


def ask(family, times=1):
    for _ in range(times):
        assert socket(family, 1, 0) == -1


def main(family, times=1):
    ask(family, times)


def threads(family, times):
    several = [threading.Thread(target=ask, args=(family, times)) for _ in range(3)]
    for thread in several:
        thread.start()
    for thread in several:
        thread.join()


def daemon(family, times):
    """Ask from a grandchild in its own session, whose parent has ended."""
    done, tell = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            ask(family, times)
            os.write(tell, b".")
        os._exit(0)
    os.wait()
    os.close(tell)
    assert os.read(done, 1) == b"."


def family_of(family, times):
    """Ask from a grandchild, then from a grandchild in a session of its own."""
    for leave in (os.getpid, os.setsid):
        if os.fork() == 0:
            leave()
            if os.fork() == 0:
                ask(family, times)
                os._exit(0)
            os.wait()
            os._exit(0)
        os.wait()


def without_end(family):
    """Eight processes that never stop asking."""
    for _ in range(3):
        os.fork()
    while True:
        ask(family, 100)


def caught(family):
    """Ask, and write the output anyway, like a program with a fallback."""
    ask(family)
    write()


def write():
    with open(os.environ["PIPELINE_OUTPUT_OUT"], "w") as out:
        out.write("made\n")


if __name__ == "__main__":
    globals()[sys.argv[1]](*map(int, sys.argv[2:]))
    if sys.argv[1] != "caught":
        write()
