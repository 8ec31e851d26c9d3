"""What is told of a run, where telling meets trouble of its own."""

from __future__ import annotations

import os

import pytest

from runner.display.news import _resumed_at


@pytest.mark.skipif(not os.path.exists("/proc/self/mem"), reason="needs a regular file that fails when it is read")
def test_a_checkpoint_that_cannot_be_read_is_not_told_and_ends_no_run(tmp_path) -> None:
    (tmp_path / "progress").symlink_to("/proc/self/mem")
    assert _resumed_at(str(tmp_path / "progress")) == ""
