"""`status` shows which stages wait for their next attempt, and until when."""

from __future__ import annotations

import re
from datetime import datetime

from pipeline_bench import PipelineBench, kill_and_await, shell, wait_for

HOUR = 3600


def ended(bench: PipelineBench, count: int) -> list[dict[str, object]]:
    """Wait until `count` attempts have ended, and return their records."""
    wait_for(lambda: len(bench.records("attempt.finished")) >= count)
    return bench.records("attempt.finished")


def seconds_between(earlier: str, later: str) -> float:
    return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()


def test_a_waiting_stage_is_shown_with_its_next_attempt_and_its_time(bench) -> None:
    retry = {"attempts": 3, "delaySeconds": [0.01, HOUR], "jitter": 0}
    bench.define(shell("again", "exit 75", retry=retry), shell("other", "exit 3"))
    for attempts, last in ((3, 2), (6, 4)):  # each part has two of `again`, and one of `other`
        run = bench.start("-k")
        record = [each for each in ended(bench, attempts) if each["data"]["stage"] == "again"][-1]
        assert record["data"]["attempt"] == last
        shown = bench.run("status").stdout
        assert re.search(r"\nrunning now: .*\n  again  waits for attempt 3 of 3, until \S+Z\n", shown)
        (waiting,) = bench.json("status")["waiting"]
        assert (waiting["stage"], waiting["attempt"]) == ("again", last + 1)
        assert seconds_between(record["ts"], waiting["until"]) == HOUR
        kill_and_await(run)
        assert bench.json("status")["waiting"] == []


def test_the_time_shown_is_when_the_next_attempt_starts(bench, tmp_path_factory) -> None:
    """The same run id draws the same fraction of every delay. The second delay is 100,000 times shorter."""
    retry = {"attempts": 2, "delaySeconds": HOUR, "maxDelaySeconds": HOUR}
    bench.define(shell("again", "exit 75", retry=retry))
    bench.start("--run-id", "fixed")
    (record,) = ended(bench, 1)
    (waiting,) = bench.json("status")["waiting"]
    drawn = seconds_between(record["ts"], waiting["until"])
    other = PipelineBench(tmp_path_factory.mktemp("other"))
    other.define(shell("again", "exit 75", retry={"attempts": 2, "delaySeconds": HOUR / 1e5}))
    assert other.run("--run-id", "fixed").returncode == 75
    assert abs(other.records("attempt.started")[1]["data"]["delayMicros"] - drawn * 10) <= 1


def test_a_stage_that_is_at_work_or_over_does_not_wait(bench) -> None:
    works = "test $PIPELINE_ATTEMPT = 1 && exit 75; until test -e go; do sleep 0.01; done; exit 3"
    bench.define(
        shell("works", works, retry={"attempts": 3, "delaySeconds": 0}),
        shell("failed", "exit 75", retry={"attempts": 2, "delaySeconds": 0}),
    )
    run = bench.start("-k", "-j2")
    ended(bench, 3)
    wait_for(lambda: len(bench.records("attempt.started")) == 4)
    wait_for(lambda: bench.records("stage.finished"))
    shown = bench.json("status")
    assert [each["stage"] for each in shown["working"]] == ["works"] and shown["waiting"] == []
    bench.write("go", "")
    assert run.wait() == 1
