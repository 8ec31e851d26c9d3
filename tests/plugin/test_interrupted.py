"""Ctrl-C ends the test session, whatever the running stage does with it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
from pipeline_bench import wait_for, with_default_signals
from spec_project import LEFT_OUT

PATIENCE = 60


@pytest.mark.parametrize(
    "trap", [pytest.param("trap '' TERM;", id="deaf", marks=pytest.mark.full), pytest.param("", id="ends at once")]
)
def test_an_interrupt_ends_the_session_even_if_the_stage_goes_on(tmp_path, trap):
    began = tmp_path / "began"
    script = f"{trap} touch {began}; sleep 2; echo x > $0"
    stage = {"name": "s", "command": ["sh", "-c", script, "{outputs.o}"], "outputs": {"o": "o"}}
    (tmp_path / "spec.json").write_text(json.dumps({"specVersion": 1, "name": "p", "stages": [stage]}))
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    words = [*LEFT_OUT, "-p", "no:cacheprovider", "-q", "--offpipe-spec", "spec.json", "--offpipe-checks", "run"]
    command = with_default_signals([sys.executable, "-m", "pytest", *words])
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, start_new_session=True, env={**os.environ, "PYTEST_ADDOPTS": ""},
    )  # fmt: skip
    wait_for(began.exists)
    os.killpg(process.pid, signal.SIGINT)
    output = process.communicate(timeout=PATIENCE)[0]
    assert process.returncode == pytest.ExitCode.INTERRUPTED, output
    assert "passed" not in output
