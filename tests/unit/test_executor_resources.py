"""Admission under -j N, and the limits that the kernel enforces."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.executor.schedule import Needs, admits, enforced, needs_at
from runner.spec.model import Resources, Stage


def test_a_stage_alone_always_starts():
    assert admits((1, 10), [], Needs(64, 1_000_000))


def test_jobs_bound_how_many_run():
    capacity = (2, 100)
    assert admits(capacity, [Needs(0.1)], Needs(0.1)) and not admits(capacity, [Needs(0.1)] * 2, Needs(0.1))


def test_a_stage_that_says_nothing_counts_as_one_cpu():
    capacity = (2, 100)
    assert admits(capacity, [Needs()], Needs(1)) and not admits(capacity, [Needs(), Needs(0.5)], Needs())


def test_memory_is_shared_too():
    capacity = (8, 1000)
    assert admits(capacity, [Needs(1, 600)], Needs(1, 400)) and not admits(capacity, [Needs(1, 600)], Needs(1, 401))
    assert admits(capacity, [Needs(1, 1000)], Needs(1))


def test_ten_tenths_of_a_cpu_are_one():
    assert admits((11, 1), [Needs(0.1)] * 9 + [Needs(10)], Needs(0.1))


@given(
    st.tuples(st.integers(1, 64), st.floats(1, 1e6)),
    st.lists(st.builds(Needs, st.none() | st.floats(0.1, 64), st.none() | st.integers(1, 10**6)), max_size=80),
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
    assert enforced(Needs(1, 3), 0).as_json() == {}


def test_memory_becomes_bytes_of_address_space():
    assert enforced(Needs(memory_mib=3, enforce=True), 0).as_json() == {"addressSpaceBytes": 3 << 20}


def test_stages_side_by_side_get_other_processors():
    processors = sorted(os.sched_getaffinity(0))
    if len(processors) < 2:
        pytest.skip("this process may use one processor only")
    affinities = [enforced(Needs(1, enforce=True), turn).affinity for turn in range(len(processors) + 1)]
    assert affinities == [[each] for each in (*processors, processors[0])]


def test_no_more_processors_than_there_are():
    assert enforced(Needs(1000, enforce=True), 3).affinity == sorted(os.sched_getaffinity(0))


def needs(position=0, most=8, timeout=None, **resources):
    return needs_at(Stage(0, "s", {}, resources=Resources(**resources), timeout_seconds=timeout), position, most)


def test_each_list_gives_its_own_value_and_its_last_one_repeats():
    lists = {"cpus": (1, 2.5), "memory_mib": (10, 20, 30), "timeout": 5.0}
    assert [needs(position, **lists)[:3] for position in (0, 1, 2, 9)] == [
        (1, 10, 5.0),
        (2.5, 20, 5.0),
        (2.5, 30, 5.0),
        (2.5, 30, 5.0),
    ]
    assert needs(1, timeout=(1.0, 2.0))[:3] == (None, None, 2.0)


def test_only_more_processors_than_there_are_are_cut_unless_the_kernel_sees_to_it():
    assert needs(cpus=9) == Needs(8, is_cut=True)
    assert needs(cpus=8) == Needs(8) and needs(cpus=0.5, most=1) == Needs(0.5) and needs() == Needs()
    assert needs(1, cpus=(1, 9)) == Needs(8, position=1, is_cut=True)
    assert needs(cpus=9, enforce=True) == Needs(9, enforce=True)
