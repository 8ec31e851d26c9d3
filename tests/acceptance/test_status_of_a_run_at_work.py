"""`status` shows which stages a run is working on, and shows none for a run that was killed."""

from __future__ import annotations

import fcntl
import json
import re
import signal

from pipeline_bench import shell, wait_for

WAITS = "touch $PIPELINE_STAGE.begun; until test -e go; do sleep 0.01; done; echo >$PIPELINE_OUTPUT_OUT"
FAILS_ONCE = f"test $PIPELINE_ATTEMPT -ge 2 || exit 75; {WAITS}"


def test_working_stages_are_shown_with_their_attempt_and_its_start(bench):
    bench.define(
        shell("done", "echo >$PIPELINE_OUTPUT_OUT"),
        shell("waits", WAITS, needs=["done"]),
        shell("again", FAILS_ONCE, needs=["done"], retry={"attempts": 2, "delaySeconds": 0}),
        shell("later", "echo >$PIPELINE_OUTPUT_OUT", needs=["waits"]),
    )
    run = bench.start("-j2")
    wait_for(lambda: all((bench.root / f"{name}.begun").exists() for name in ("waits", "again")))
    shown = bench.run("status").stdout
    assert re.search(
        r"\nrunning now: .*\n  waits  attempt 1 of 1, since \S+Z\n  again  attempt 2 of 2, since \S+Z\npending:\n",
        shown,
    )
    working = json.loads(bench.run("status", "--json").stdout)["working"]
    assert [(stage["stage"], stage["attempt"]) for stage in working] == [("waits", 1), ("again", 2)]
    run.send_signal(signal.SIGKILL)
    run.wait()
    with open(bench.root / "locks/pipeline.lock", "rb") as lock:  # as a new run that has not written its name yet
        fcntl.flock(lock, fcntl.LOCK_EX)
        held = bench.run("status").stdout
    assert "running now" in held and "attempt 1" not in held
    assert "attempt 1" not in bench.run("status").stdout
    assert json.loads(bench.run("status", "--json").stdout)["working"] == []
    bench.write("go", "")
    bench.succeed()
    assert "running now" not in bench.run("status").stdout
