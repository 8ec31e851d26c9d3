"""Admission under -j N."""

from hypothesis import given
from hypothesis import strategies as st

from runner.resources import Capacity
from runner.spec.model import Resources


def test_a_stage_alone_always_starts():
    assert Capacity(1, 10, 1).admit([], Resources(64, 1_000_000))


def test_jobs_bound_how_many_run():
    capacity = Capacity(100, 100, 2)
    assert capacity.admit([Resources()], Resources()) and not capacity.admit([Resources(), Resources()], Resources(0.1))


def test_a_stage_that_says_nothing_counts_as_one_cpu():
    capacity = Capacity(2, 100, 10)
    assert capacity.admit([Resources()], Resources(1)) and not capacity.admit(
        [Resources(), Resources(0.5)], Resources()
    )


def test_memory_is_shared_too():
    capacity = Capacity(8, 1000, 8)
    assert capacity.admit([Resources(1, 600)], Resources(1, 400)) and not capacity.admit(
        [Resources(1, 600)], Resources(1, 401)
    )
    assert capacity.admit([Resources(1, 1000)], Resources(1))


def test_ten_tenths_of_a_cpu_are_one():
    assert Capacity(1, 1, 99).admit([Resources(0.1)] * 9, Resources(0.1))


@given(
    st.builds(Capacity, st.floats(0.1, 64), st.floats(1, 1e6), st.integers(1, 64)),
    st.lists(st.builds(Resources, st.none() | st.floats(0.1, 64), st.none() | st.integers(1, 10**6)), max_size=80),
)
def test_what_was_admitted_never_passes_the_capacity(capacity, queue):
    running = []
    for needs in queue:
        if capacity.admit(running, needs):
            running.append(needs)
    if len(running) > 1:
        assert len(running) <= capacity.jobs
        assert sum(1 if needs.cpus is None else needs.cpus for needs in running) <= capacity.cpus + 1e-6
        assert sum(needs.memory_mib or 0 for needs in running) <= capacity.memory_mib
