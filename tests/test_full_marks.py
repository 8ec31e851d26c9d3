"""What conftest.py sets for every test.

Tests marked `full` are left out of the default suite, and run when they are named, with and without xdist.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent
NAMED = "tests/unit/test_record_progress.py"  # a file with a test marked full, and many that are not
pytestmark = pytest.mark.full


def counted(*words: str) -> str:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    return done.stdout.splitlines()[-1].partition(" in ")[0]


def test_a_named_file_runs_whole_with_and_without_xdist() -> None:
    alone = counted("-n", "0", NAMED)
    assert alone == counted("-n", "2", NAMED)
    assert alone == counted("-n", "0", "--full", NAMED)
    assert "deselected" not in alone


def test_no_example_of_a_property_has_a_time_limit() -> None:
    assert settings().deadline is None
