"""The tracer's filter keeps every refusal of the launcher's, and each call with a path is reported."""

from __future__ import annotations

import errno
import os
import sys

import pytest
from bpf_machine import verdict

from runner.sandbox.seccomp import ALLOW, AUDIT_ARCH, ERRNO, NOTIFY, assemble
from runner.sandbox.syscalls import NUMBERS
from runner.sandbox.trace import trace
from runner.sandbox.tracer import CALLS, IMPORTED, LISTED, LOOKED_UP, READ, WRITTEN, filter_with_paths

MACHINES = sorted(NUMBERS)
OTHER_ARCH = 0x40000003  # i386, linux/audit.h
# Of x86_64 and aarch64: arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h.
ASKING = {"newfstatat": (262, 79), "faccessat": (269, 48), "statx": (332, 291), "faccessat2": (439, 439)}
OLD = {"open": 2, "stat": 4, "lstat": 6, "access": 21}  # of x86_64


@pytest.mark.parametrize("machine", MACHINES)
def test_calls_with_paths_are_reported_and_all_others_get_the_answer_of_the_launcher(machine) -> None:
    ours, theirs = filter_with_paths(machine), assemble(machine, listener=True)
    for arch in (AUDIT_ARCH[machine], OTHER_ARCH):
        for number in (*range(600), 1 << 30 | 2):
            for arguments in ((), (2, 1), (16, 1), (0x10000000,), (0, 0x5412), (36, 0, 1)):
                call = {"arch": arch, "number": number, "arguments": arguments}
                assert verdict(ours, **call) == (NOTIFY if number in CALLS[machine] else verdict(theirs, **call))
    assert verdict(ours, arch=AUDIT_ARCH[machine], number=NUMBERS[machine]["connect"]) == ERRNO | errno.EACCES
    assert verdict(ours, arch=AUDIT_ARCH[machine], number=NUMBERS[machine]["ioctl"]) == ALLOW


def uses_of(tmp_path, monkeypatch, source):
    """Return the bits of each path below `tmp_path` that a Python program uses there."""
    monkeypatch.chdir(tmp_path)
    words = [sys.executable, "-I", "-c", f"import ctypes, os\n{source}"]
    printed = bytearray()
    traced = trace(sys.executable, words, {"LANG": "C.UTF-8"}, printed.extend)
    assert traced.code == 0, printed
    return {
        os.path.relpath(path, tmp_path): bits for path, bits in traced.uses.items() if path.startswith(f"{tmp_path}/")
    }


def test_every_call_that_asks_for_a_path_is_seen(tmp_path, monkeypatch) -> None:
    is_arm = os.uname().machine == "aarch64"
    for name in (*ASKING, *OLD, "openat2"):
        (tmp_path / name).write_text("x")
    source = "call, room = ctypes.CDLL(None).syscall, ctypes.create_string_buffer(4096)\n"
    for name, numbers in ASKING.items():
        rest = "0, 0x7ff, room" if name == "statx" else "room, 0" if name == "newfstatat" else "0, 0"
        source += f"assert call({numbers[is_arm]}, -100, b'{name}', {rest}) == 0\n"
    for name, number in {} if is_arm else OLD.items():
        source += f"assert call({number}, b'{name}', {'room' if 'stat' in name else '0'}) >= 0\n"
    how = "how = (ctypes.c_uint64 * 3)()\n"  # struct open_how: flags, mode, resolve
    source += f"{how}assert call(437, -100, b'openat2', how, 24) > 0\n"
    expected = dict.fromkeys((*ASKING, "openat2", *({} if is_arm else OLD)), LOOKED_UP)
    expected |= {} if is_arm else {"open": READ}
    assert uses_of(tmp_path, monkeypatch, source) == expected


def test_paths_are_those_of_the_calling_process(tmp_path, monkeypatch) -> None:
    for path in ("d/deep/a", "d/b", "e/c", "real/f"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("x")
    (tmp_path / "link").symlink_to("real")
    source = """
at = os.open("d", os.O_RDONLY)
os.close(os.open("deep/a", os.O_RDONLY, dir_fd=at))
if os.fork() == 0:
    os.chdir("d")
    open("../e/c").close()
    open("./b").close()
    open("../link/../d/b").close()
    os._exit(0)
os.wait()
open("link/f").close()
"""
    uses = uses_of(tmp_path, monkeypatch, source)
    assert {path for path, bits in uses.items() if bits & READ} == {"d/deep/a", "e/c", "d/b", "link/f"}


def test_the_first_use_decides_whether_a_file_was_read(tmp_path, monkeypatch) -> None:
    for path in ("read", "replaced", "appended", "changed", "sorted"):
        (tmp_path / path).write_text("x")
    source = """
open("read").close()
for path in ("replaced", "new"):
    open(path, "w").close()
    open(path).close()
open("appended", "a").close()
open("changed", "r+").close()
os.close(os.open("sorted", os.O_WRONLY | os.O_CREAT))
"""
    assert uses_of(tmp_path, monkeypatch, source) == {
        "read": READ, "replaced": WRITTEN, "new": WRITTEN, "appended": READ | WRITTEN, "changed": READ | WRITTEN,
        "sorted": WRITTEN,
    }  # fmt: skip


def test_a_listed_directory_is_told_from_one_that_was_opened(tmp_path, monkeypatch) -> None:
    for path in ("opened", "listed", "shown"):
        (tmp_path / path).mkdir()
    source = """
os.close(os.open("opened", os.O_RDONLY))
os.listdir("listed")
if os.fork() == 0:
    os.execv("/bin/ls", ["ls", "shown"])
os.wait()
"""
    uses = uses_of(tmp_path, monkeypatch, source)
    assert uses["opened"] == LOOKED_UP
    assert uses["listed"] & (LISTED | IMPORTED) == IMPORTED  # by Python, as for an import
    assert uses["shown"] & (LISTED | IMPORTED) == LISTED
