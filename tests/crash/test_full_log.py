"""A stage whose log is on a full disk still ends with its own exit code, so it is retried."""

from __future__ import annotations

import json
import subprocess

import pytest

FILLS = """
import os
from runner import sdk

with sdk.stage() as stage:
    if stage.attempt == 1:
        print("not written yet")
        try:
            with open(os.path.join(stage.scratch, "big"), "wb", buffering=0) as file:
                while True:
                    file.write(bytes(4096))
        except OSError:
            pass
        raise sdk.Transient("scratch is full, try again")
    open(stage.outputs["out"], "w").write("made")
"""


@pytest.mark.full_after(1)
@pytest.mark.parametrize("fresh", [False, True])
def test_a_transient_failure_is_retried_even_if_the_log_is_full(bench, fresh) -> None:
    state = bench.root / "state"
    state.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(state)], check=False, capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        bench.write("fills.py", FILLS)
        retry = {"attempts": 2, "delaySeconds": 0}
        bench.define(
            {"name": "a", "processor": "fills.py", "outputs": {"out": "a"}, "retry": retry, "freshInterpreter": fresh}
        )
        result = json.loads(bench.succeed("--json").stdout)
        assert [attempt["exit"] for attempt in result["stages"]["a"]["attempts"]] == [75, 0]
        assert bench.read("a") == b"made"
    finally:
        subprocess.run(["umount", "-l", str(state)], check=False)
