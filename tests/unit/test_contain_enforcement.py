from __future__ import annotations

import os

import pytest

from runner.contain.enforcement import NOTHING, enforced
from runner.spec.model import Resources


def test_nothing_is_enforced_unless_asked_for():
    assert enforced(Resources(cpus=1, memory_mib=64), 0) == NOTHING


def test_memory_becomes_bytes_of_address_space():
    assert enforced(Resources(memory_mib=3, enforce=True), 0).as_json() == {"addressSpaceBytes": 3 << 20}


def test_stages_side_by_side_get_other_processors():
    there = sorted(os.sched_getaffinity(0))
    if len(there) < 2:
        pytest.skip("this process may use one processor only")
    given = [enforced(Resources(cpus=1, enforce=True), turn).affinity for turn in range(len(there) + 1)]
    assert given == [[one] for one in (*there, there[0])]


def test_no_more_processors_than_there_are():
    assert enforced(Resources(cpus=1000, enforce=True), 3).affinity == sorted(os.sched_getaffinity(0))
