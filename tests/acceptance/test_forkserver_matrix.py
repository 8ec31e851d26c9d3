"""test_forkserver.py with other versions of Python. `-m "not matrix"` leaves this out; .ci/run includes it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from environments import ROOT, UnavailableError, environment, pythons

pytestmark = pytest.mark.full

OTHERS = {version: path for version, path in pythons().items() if path != sys.executable}


@pytest.mark.matrix
@pytest.mark.parametrize("version", OTHERS)
def test_a_forked_stage_is_told_from_a_fresh_one_by_nothing(version, tmp_path):
    try:
        python = environment(OTHERS[version], "pytest>=9.2")
    except UnavailableError as error:
        pytest.skip(str(error))
    tests = [str(Path(__file__).with_name("test_forkserver.py")), "-k", "told_from_a_fresh_one"]
    plainly = ["-q", "-p", "no:cacheprovider", "--basetemp", str(tmp_path / "there")]
    done = subprocess.run(
        [python, "-B", "-m", "pytest", *plainly, *tests], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
