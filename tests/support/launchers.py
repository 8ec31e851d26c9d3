"""The fixture `bench` of tests that run twice: on this machine, and with --full also on a cluster.

A conftest.py imports the fixtures, and calls `on_both` from its `pytest_generate_tests`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from dask_cluster import DaskCluster
from pipeline_bench import PipelineBench

if TYPE_CHECKING:
    from collections.abc import Collection

BOTH = ["here", pytest.param("cluster", marks=pytest.mark.full)]


def on_both(metafunc: pytest.Metafunc, files: Collection[str]) -> None:
    """Run the tests of these files (test_NAME.py) with a `bench` of each kind."""
    path = metafunc.definition.path
    assert all(path.with_name(f"test_{name}.py").exists() for name in files), "a test file was renamed"
    if "bench" in metafunc.fixturenames and path.stem.removeprefix("test_") in files:
        metafunc.parametrize("bench", BOTH, indirect=True)


@pytest.fixture(scope="module")
def workers(tmp_path_factory):
    """A cluster of two workers with one thread each. All tests of a file share it, so none may change it."""
    cluster = DaskCluster(tmp_path_factory.mktemp("dask"))
    for name in ("one", "two"):
        cluster.add(name, "--resources", "cpus=2 memoryMiB=4096")
    cluster.await_workers(2)
    yield cluster
    cluster.close()


@pytest.fixture
def bench(tmp_path, request):
    is_remote = getattr(request, "param", "here") == "cluster"
    made = PipelineBench(tmp_path, str(request.getfixturevalue("workers").file) if is_remote else "")
    yield made
    made.close()
