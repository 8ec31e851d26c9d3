from __future__ import annotations

from crash_sweep import ALL
from launchers import bench, on_both, workers

__all__ = ["bench", "workers"]


def pytest_generate_tests(metafunc):
    on_both(metafunc, ["interrupts", *(["checkpoints_any_language"] if ALL else [])])
