"""Admission under -j N, and the limits that the kernel enforces."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.executor.schedule import admits, enforced
from runner.spec.model import Resources


def test_a_stage_alone_always_starts():
    assert admits((1, 10), [], Resources(64, 1_000_000))


def test_jobs_bound_how_many_run():
    capacity = (2, 100)
    assert admits(capacity, [Resources(0.1)], Resources(0.1)) and not admits(
        capacity, [Resources(0.1)] * 2, Resources(0.1)
    )


def test_a_stage_that_says_nothing_counts_as_one_cpu():
    capacity = (2, 100)
    assert admits(capacity, [Resources()], Resources(1)) and not admits(
        capacity, [Resources(), Resources(0.5)], Resources()
    )


def test_memory_is_shared_too():
    capacity = (8, 1000)
    assert admits(capacity, [Resources(1, 600)], Resources(1, 400)) and not admits(
        capacity, [Resources(1, 600)], Resources(1, 401)
    )
    assert admits(capacity, [Resources(1, 1000)], Resources(1))


def test_ten_tenths_of_a_cpu_are_one():
    assert admits((11, 1), [Resources(0.1)] * 9 + [Resources(10)], Resources(0.1))


@given(
    st.tuples(st.integers(1, 64), st.floats(1, 1e6)),
    st.lists(st.builds(Resources, st.none() | st.floats(0.1, 64), st.none() | st.integers(1, 10**6)), max_size=80),
)
def test_what_was_admitted_never_passes_the_capacity(capacity, queue):
    running = []
    for needs in queue:
        if admits(capacity, running, needs):
            running.append(needs)
    if len(running) > 1:
        assert len(running) <= capacity[0]
        assert sum(1 if needs.cpus is None else needs.cpus for needs in running) <= capacity[0] + 1e-6
        assert sum(needs.memory_mib or 0 for needs in running) <= capacity[1]


def test_nothing_is_enforced_unless_the_spec_says_so():
    assert enforced(Resources(1, 3), 0).as_json() == {}


def test_memory_becomes_bytes_of_address_space():
    assert enforced(Resources(memory_mib=3, enforce=True), 0).as_json() == {"addressSpaceBytes": 3 << 20}


def test_stages_side_by_side_get_other_processors():
    processors = sorted(os.sched_getaffinity(0))
    if len(processors) < 2:
        pytest.skip("this process may use one processor only")
    affinities = [enforced(Resources(1, enforce=True), turn).affinity for turn in range(len(processors) + 1)]
    assert affinities == [[each] for each in (*processors, processors[0])]


def test_no_more_processors_than_there_are():
    assert enforced(Resources(1000, enforce=True), 3).affinity == sorted(os.sched_getaffinity(0))
