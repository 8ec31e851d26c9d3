from __future__ import annotations

import pytest
from browser import Browser
from crash_sweep import ALL
from launchers import bench, on_both, workers

__all__ = ["bench", "workers"]
ON_BOTH = (  # files about what a run does
    "damaged_checkpoints keep_going launching names_like_partials promises"
    " program_version retries status_of_a_run_at_work status_of_a_waiting_retry output_warnings values_by_attempt"
).split()
SWEPT = (  # added by OFFPIPE_SWEEP=all: mostly about what is decided or done on this machine
    "adoption each edited_outputs edits kept_stdout odd_uses outdated_checkpoints publishing self_healing vars"
).split()


@pytest.fixture(scope="module")
def browser():
    started = Browser()
    yield started
    started.close()


def pytest_generate_tests(metafunc):
    on_both(metafunc, [*ON_BOTH, *(SWEPT if ALL else ())])
