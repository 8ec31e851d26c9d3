"""When a disk counts as full."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
from pipeline_bench import ROOT

from runner.executor import room

MIB = 1 << 20
BLOCK = 4096


def disk(size, free, *, available=None, inodes=100, free_inodes=50):
    """Return what statvfs returns of a disk with so many bytes."""
    return SimpleNamespace(
        f_frsize=BLOCK,
        f_blocks=size // BLOCK,
        f_bfree=free // BLOCK,
        f_files=inodes,
        f_ffree=free_inodes,
        f_bavail=(free if available is None else available) // BLOCK,
    )


@pytest.fixture
def shortage(monkeypatch):
    """Return whether an output is on a full disk, given what statvfs returns, for root or another user."""

    def found(answer, *, root=False):
        monkeypatch.setattr(os, "statvfs", lambda _: answer)
        monkeypatch.setattr(room, "_is_root", lambda: root)
        return room.shortage("a", {"out": "/w/.partial"})

    return found


@pytest.mark.parametrize("root", [False, True])
@pytest.mark.parametrize(
    ("size", "free", "full"),
    [
        (1 << 40, 16 * MIB, False),
        (1 << 40, 16 * MIB - BLOCK, True),
        (4 * MIB, MIB // 4, False),
        (4 * MIB, MIB // 8, True),
        (1 << 40, 0, True),
        (0, 0, False),  # a file system that has no size
    ],
)
def test_a_disk_is_full_below_16_mib_or_5_percent(shortage, size, free, full, root):
    assert (shortage(disk(size, free), root=root) is not None) == full


def test_only_root_has_the_blocks_that_are_kept_for_root(shortage):
    answer = disk(10 << 30, 512 * MIB, available=0)
    assert shortage(answer) is not None
    assert shortage(answer, root=True) is None


def test_the_blocks_that_ext4_keeps_from_everyone_are_no_room_for_root(shortage):
    assert shortage(disk(10 << 30, 17 * MIB, available=0), root=True) is not None


def test_a_disk_without_inodes_is_full_if_it_counts_them(shortage):
    assert shortage(disk(1 << 40, 1 << 39, free_inodes=0)) is not None
    assert shortage(disk(1 << 40, 1 << 39, inodes=0, free_inodes=0)) is None


def test_the_output_on_the_full_disk_is_named(tmp_path, monkeypatch):
    full, roomy = disk(MIB, 0), disk(MIB, MIB)
    monkeypatch.setattr(os, "statvfs", lambda path: full if path == "/full" else roomy)
    fault = room.shortage("a", {"one": "/roomy/x", "two": "/full/x", "three": "/gone/x"})
    assert fault is not None
    assert fault.where == "stage a, output two"


def test_a_directory_that_is_gone_has_no_shortage(tmp_path):
    assert room.shortage("a", {"out": f"{tmp_path}/gone/x"}) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")
def test_root_of_a_container_of_another_user_is_not_root():
    """The kernel keeps the reserved blocks from it: it knows the other user."""
    done = subprocess.run([sys.executable, "-c", CONTAINER], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == 9:
        pytest.skip("no user namespace can be made here")
    assert done.stdout == "True\n0 False\n", done.stderr


CONTAINER = """
import ctypes, os
from runner.executor import room
print(room._is_root())
room._is_root.cache_clear()
libc = ctypes.CDLL(None)
os.setgroups([])
os.setuid(65534)
libc.prctl(4, 1)  # PR_SET_DUMPABLE: else the map of ids may not be written
if libc.unshare(0x10000000):  # CLONE_NEWUSER
    os._exit(9)
with open("/proc/self/uid_map", "w") as ids:
    ids.write("0 65534 1")
print(os.geteuid(), room._is_root())
"""
