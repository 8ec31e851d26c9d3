from __future__ import annotations

import pytest
from pipeline_bench import PipelineBench


@pytest.fixture
def bench(tmp_path):
    made = PipelineBench(tmp_path)
    yield made
    made.close()
