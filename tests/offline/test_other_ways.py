"""Ways to a socket other than socket(2) are refused and recorded; they fail no stage, as they may be harmless."""

from __future__ import annotations

import os

import pytest
from harmless_lives import bench_as_user

pytestmark = pytest.mark.full

ASKS = """
import ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
for number in map(int, sys.argv[1:]):
    print(libc.syscall(ctypes.c_long(number), 8, ctypes.create_string_buffer(120), 0), ctypes.get_errno())
"""
WAYS = {"io_uring": 425, "x32 call": 0x40000000 | 41}  # io_uring_setup, and socket of x32


@pytest.mark.parametrize("level", ["kernel", "filter"])
@pytest.mark.parametrize("way", WAYS)
def test_another_way_to_a_socket_is_refused_and_recorded_and_its_stage_succeeds(level, way):
    if way == "x32 call" and os.uname().machine != "x86_64":
        pytest.skip("only x86_64 has these")
    with bench_as_user(level, "unprivileged") as bench:
        bench.write("asks.py", ASKS)
        bench.define({"name": "asks", "processor": "asks.py", "args": [str(WAYS[way])] * 2, "stdout": "out",
                      "outputs": {"out": "found"}})  # fmt: skip
        bench.succeed()
        assert bench.read("found").split() == [b"-1", b"38"] * 2, "ENOSYS"
        (attempt,) = [record["data"] for record in bench.records("offline.attempt")]
        assert (attempt["family"], attempt["count"], attempt["action"]) == (way, 2, "record")
