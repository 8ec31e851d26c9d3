from __future__ import annotations

import pytest
from dask_cluster import DaskCluster
from launchers import workers
from pipeline_bench import PipelineBench

__all__ = ["workers"]


@pytest.fixture
def make_bench(tmp_path):
    """Make pipelines, each in its own directory: tests put other files into tmp_path, too."""
    opened = []

    def make(name):
        root = tmp_path / name
        root.mkdir()
        opened.append(PipelineBench(root))
        return opened[-1]

    yield make
    for opened_bench in opened:
        opened_bench.close()


@pytest.fixture
def bench(make_bench):
    return make_bench("bench")


@pytest.fixture
def make_cluster(tmp_path):
    """Make a cluster that a test may kill."""
    opened = []

    def make(*names, **config):
        root = tmp_path / f"dask{len(opened)}"
        root.mkdir()
        opened.append(DaskCluster(root, *names, **config))
        return opened[-1]

    yield make
    for cluster in opened:
        cluster.close()
