"""A stage that replaces its log by something else fails like any other, and the run does not wait for the log."""

from __future__ import annotations

from pipeline_bench import shell


def test_a_replaced_log_does_not_hold_up_the_run(bench) -> None:
    swap = "d=state/logs/$PIPELINE_RUN_ID; rm $d/{0}.1.log; {1} $d/{0}.1.log; exit 3"
    kinds = {"fifo": "mkfifo", "link": "ln -s /dev/zero", "directory": "mkdir", "none": ": "}
    bench.define(*(shell(name, swap.format(name, how)) for name, how in kinds.items()))
    failed = bench.run("-k", timeout=30)
    assert failed.returncode == 1
    assert all(f"stage {name}: failed with exit 3" in failed.stderr for name in kinds)
    assert "\\x00" not in failed.stderr
