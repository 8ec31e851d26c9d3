from __future__ import annotations

import os

import pytest

from runner.sandbox.launch import enforced


def test_memory_becomes_bytes_of_address_space():
    assert enforced(None, 3, 0).as_json() == {"addressSpaceBytes": 3 << 20}


def test_stages_side_by_side_get_other_processors():
    there = sorted(os.sched_getaffinity(0))
    if len(there) < 2:
        pytest.skip("this process may use one processor only")
    given = [enforced(1, None, turn).affinity for turn in range(len(there) + 1)]
    assert given == [[one] for one in (*there, there[0])]


def test_no_more_processors_than_there_are():
    assert enforced(1000, None, 3).affinity == sorted(os.sched_getaffinity(0))
