"""posix_spawn by ctypes. Each test has its own process: ignored signals and threads belong to all of it."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
START = """
import os, signal, sys, threading
from runner.sandbox.spawn import Attributes
for number in (signal.SIGPIPE, signal.SIGXFSZ):  # as the launcher does: Python ignores them
    signal.signal(number, signal.SIG_DFL)
attributes = Attributes()
def output(*argv, env={}, streams=None):
    reads, writes = os.pipe()
    null = os.open("/dev/null", os.O_RDWR)
    pid = attributes.spawn(argv[0], argv, env, streams or [null, writes, writes])
    os.close(writes)
    text = b"".join(iter(lambda: os.read(reads, 65536), b"")).decode()
    assert os.waitpid(pid, 0)[1] == 0, text
    return text
"""


def in_process(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", START + textwrap.dedent(code)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("threads", [False, True])
def test_no_signal_is_blocked_or_ignored_also_when_there_have_been_threads(threads) -> None:
    code = f"""
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
        if {threads}:
            thread = threading.Thread(target=lambda: None)
            thread.start()
            thread.join()
        print(output(b"/bin/grep", b"-E", b"^Sig(Blk|Ign)", b"/proc/self/status"), end="")
    """
    assert in_process(code).split() == ["SigBlk:", "0" * 16, "SigIgn:", "0" * 16]


def test_words_environment_and_session_are_those_given() -> None:
    code = """
        script = b'echo "$1|$A|$(cut -d" " -f1,5,6 /proc/$$/stat)"'
        told = output(b"/bin/sh", b"-c", script, b"sh", b"a b", env={b"A": b"="})
        print(told, output(b"/usr/bin/env", env={b"ONLY": b"\\xc3\\xbc"}), end="")
    """
    shown, only = in_process(code).splitlines()
    words, value, numbers = shown.split("|")
    assert (words, value, only.strip()) == ("a b", "=", "ONLY=\u00fc")
    assert len(set(numbers.split())) == 1, "leads its group and its session"


def test_what_cannot_be_started_is_an_error_with_its_number() -> None:
    code = """
        def fails(*argv, env={}):
            try:
                attributes.spawn(argv[0], argv, env, [0, 1, 2])
            except OSError as error:
                return error.errno
        print(fails(b"/no/such"), fails(b"/etc/passwd"), fails(b"/bin/true", b"x" * 200_000),
              fails(b"/bin/true", b"a\\0b"), fails(b"/bin/true", env={b"A": b"\\0"}))
    """
    assert in_process(code).split() == ["2", "13", "7", "22", "22"]


def test_an_invalid_descriptor_starts_nothing() -> None:
    code = """
        try:
            attributes.spawn(b"/bin/echo", [b"echo", b"started"], {}, [0, 999, 2])
        except OSError as error:
            print(error.errno)
    """
    assert in_process(code) == "9\n"
