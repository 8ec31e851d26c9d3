"""The retry policy, checked by what ran: which failures are retried, how often and when, and what resumes."""

from __future__ import annotations

import re
import time

import pytest
from pipeline_bench import shell

COUNT = "echo x >> tries; "
QUICK = {"delaySeconds": 0.01, "jitter": 0}


def tries(bench):
    return bench.read("tries").count(b"x")


@pytest.mark.full_after(6)
@pytest.mark.parametrize(("end", "retry", "tried", "code"), [
    ("exit 75", {"attempts": 3}, 3, 75),
    ("exit 75", {"attempts": 3, "retryExitCodes": [1]}, 1, 1),
    ("exit 255", {"attempts": 2, "retryExitCodes": [255, 1]}, 2, 75),
    ("kill -KILL $$", {"attempts": 2, "retryExitCodes": ["SIGKILL"]}, 2, 75),
    ("kill -KILL $$", {"attempts": 2, "retryExitCodes": [137, 9]}, 1, 1),  # a signal is no exit code
    ("exit 0", {"attempts": 3}, 1, 1),  # a missing output is the program's fault, so another attempt does not help
    ("exit 75", {}, 1, 75),
    ("exit 1", {"attempts": 3}, 1, 1),
    ("kill -TERM $$", {"attempts": 2, "retryExitCodes": ["SIGTERM"]}, 2, 75),
    ("kill -SEGV $$", {"attempts": 2, "retryExitCodes": ["SIGKILL"]}, 1, 1),
    ("exit 137", {"attempts": 2, "retryExitCodes": ["SIGKILL"]}, 1, 1),
])  # fmt: skip
def test_retries_what_is_listed_and_nothing_else(bench, end, retry, tried, code):
    bench.define(shell("a", COUNT + end, retry={**QUICK, **retry}))
    assert bench.run().returncode == code
    assert tries(bench) == tried == len(bench.attempts("a"))
    assert bench.leftovers() == []


@pytest.mark.full_after(3)
@pytest.mark.parametrize(
    ("end", "tried"),
    [("exit 3", 2), ("kill -SEGV $$", 2), ("exit 0", 1), ("exit 75", 2), ("kill -KILL $$", 2), ("exit 255", 2)],
)
def test_any_retries_after_each_code_but_0_and_each_signal_and_the_run_ends_with_1(bench, end, tried):
    bench.define(shell("a", COUNT + end, retry={**QUICK, "attempts": 2, "retryExitCodes": "any"}))
    assert bench.run().returncode == 1
    assert tries(bench) == tried == len(bench.attempts("a"))


@pytest.mark.parametrize(("again", "tried", "code"), [(True, 2, 75), (False, 1, 1)])
def test_any_does_not_stand_for_a_time_limit(bench, again, tried, code):
    retry = {**QUICK, "attempts": 2, "retryExitCodes": "any"}
    bench.define(shell("a", COUNT + "exec sleep 60", retry=retry, timeoutSeconds=0.1, retryOnTimeout=again))
    assert bench.run().returncode == code
    assert tries(bench) == tried


def test_any_does_not_stand_for_a_refused_network_call_or_a_program_that_cannot_start(bench):
    retry = {**QUICK, "attempts": 2, "retryExitCodes": "any"}
    call = COUNT + 'p=python3; $p -c "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM)"'
    bench.define(shell("asks", call, retry=retry))
    assert bench.run().returncode == 4
    assert tries(bench) == 1
    bench.write("odd", b"\x7fELF and no more", 0o755)
    bench.define({"name": "odd", "command": ["./odd"], "outputs": ["odd.txt"], "retry": retry})
    assert bench.run().returncode == 1
    assert len(bench.attempts("odd")) == 1


def test_a_run_ends_with_75_only_if_no_failure_was_retryable_by_any_alone(bench):
    bench.define(shell("a", "exit 75"), shell("b", "exit 75", retry={"retryExitCodes": "any"}))
    assert bench.run("-k").returncode == 1


@pytest.mark.parametrize(("again", "tried", "code"), [(True, 2, 75), (False, 1, 1)])
def test_retries_a_time_limit_only_when_told_to(bench, again, tried, code):
    retry = {**QUICK, "attempts": 2, "retryExitCodes": ["SIGTERM", "SIGKILL", 75]}
    bench.define(shell("a", COUNT + "exec sleep 60", retry=retry, timeoutSeconds=0.1, retryOnTimeout=again))
    assert bench.run().returncode == code
    assert tries(bench) == tried
    assert all(attempt["timedOut"] for attempt in bench.attempts("a"))


def test_ends_75_only_when_every_failure_was_retryable(bench):
    bench.define(shell("a", "exit 75"), shell("b", "exit 75"))
    assert bench.run("-k").returncode == 75
    bench.define(shell("a", "exit 75"), shell("b", "exit 3"))
    assert bench.run("-k").returncode == 1


@pytest.mark.full_after(3)
@pytest.mark.parametrize(("retry", "longest"), [
    ({"delaySeconds": 0.04, "multiplier": 3, "jitter": 0.5, "maxDelaySeconds": 0.1}, [0.04, 0.1, 0.1]),
    ({"delaySeconds": [0.05, 0.01], "jitter": 0}, [0.05, 0.01, 0.01]),
    ({}, None),
    ({"delaySeconds": 0.04, "multiplier": 2, "jitter": 0.5}, [0.04, 0.08, 0.16]),
])  # fmt: skip
def test_delays_are_drawn_as_the_spec_says_and_are_on_record(bench, retry, longest):
    bench.define(shell("a", "date +%s.%N >> times; exit 75", retry={"attempts": 4 if longest else 1, **retry}))
    assert bench.run("--run-id", "fixed").returncode == 75
    delays = [attempt["delaySeconds"] for attempt in bench.attempts("a")]
    jitter = retry.get("jitter", 1)
    assert delays[0] == 0
    assert all((1 - jitter) * d - 1e-6 <= delay <= d + 1e-6 for delay, d in zip(delays[1:], longest or [], strict=True))
    for event in ("attempt.started", "attempt.finished"):
        assert [record["data"]["delayMicros"] for record in bench.records(event)] == [round(d * 1e6) for d in delays]
    times = [float(word) for word in bench.read("times").split()]
    assert all(later - before >= d for before, later, d in zip(times, times[1:], delays[1:], strict=False))


@pytest.mark.full
def test_the_same_run_id_draws_the_same_delays(bench, tmp_path_factory):
    delays = []
    for _ in range(2):
        bench.root = tmp_path_factory.mktemp("again")
        bench.spec = bench.root / "spec.json"
        bench.define(shell("a", "exit 75", retry={"attempts": 4, "delaySeconds": 0.02}))
        bench.run("--run-id", "fixed")
        delays.append([attempt["delaySeconds"] for attempt in bench.attempts("a")])
    assert delays[0] == delays[1]
    assert len(set(delays[0])) == 4


def test_no_attempt_starts_beyond_the_total(bench):
    retry = {"attempts": 100, "delaySeconds": 0.2, "multiplier": 1, "jitter": 0, "maxTotalSeconds": 0.7}
    bench.define(shell("a", COUNT + "exit 75", retry=retry))
    began = time.monotonic()
    assert bench.run().returncode == 75
    assert 2 <= tries(bench) <= 4
    assert time.monotonic() - began < 2


def test_other_stages_run_while_one_waits_for_its_next_attempt(bench):
    wait = 'test $PIPELINE_ATTEMPT = 2 && { test -e out/b.txt && touch "$PIPELINE_OUTPUT_OUT"; exit; }; exit 75'
    bench.define(
        shell("a", wait, retry={"attempts": 2, "delaySeconds": 0.5, "jitter": 0}),
        shell("b", 'touch "$PIPELINE_OUTPUT_OUT"'),
    )
    bench.succeed("-j", "1")


def test_the_next_attempt_resumes_at_the_last_checkpoint(bench):
    bench.write("in.txt", "".join(f"line {n}\n" for n in range(1000)))
    bench.write("stage.py", """
import os
from runner import sdk
with sdk.stage() as stage, stage.lines("text", to="out") as job, open("notes", "a") as notes:
    for line in job:
        notes.write(f"{line.decode().split()[1]}\\n")
        if stage.attempt < 3 and line == b"line %d\\n" % (stage.attempt * 350):
            raise sdk.Transient("not now")
        job.write(line.upper())
""")  # fmt: skip
    bench.define({
        "name": "a", "processor": "stage.py", "inputs": {"text": "in.txt"}, "outputs": {"out": "out.txt"},
        "retry": {**QUICK, "attempts": 3}, "checkpoint": {"everyLines": 100},
    })  # fmt: skip
    bench.succeed()
    assert bench.read("out.txt") == bench.read("in.txt").upper()
    notes = [int(word) for word in bench.read("notes").split()]
    again = [i for i in range(1, len(notes)) if notes[i] <= notes[i - 1]]
    assert len(again) == 2
    assert all(1 <= notes[i - 1] + 1 - notes[i] <= 100 for i in again)
    assert len(notes) <= 1200


def test_attempt_numbers_go_on_in_the_next_run_and_tries_begin_anew(bench):
    bench.define(shell("a", COUNT + "test $PIPELINE_ATTEMPT = 4 || exit 75; touch $PIPELINE_OUTPUT_OUT",
                       retry={**QUICK, "attempts": 2}))  # fmt: skip
    assert bench.run().returncode == 75
    bench.succeed()
    assert tries(bench) == 4
    assert [attempt["attempt"] for attempt in bench.attempts("a")] == [1, 2, 3, 4]


@pytest.mark.full
def test_attempts_are_shown_as_this_invocation_counts_them(bench):
    retry = {**QUICK, "attempts": 3}
    bench.define(shell("a", "test $PIPELINE_ATTEMPT = 5 || exit 75; touch $PIPELINE_OUTPUT_OUT", retry=retry))
    for tried in (["1", "2", "3"], ["1", "2"]):
        shown = bench.run().stderr
        assert re.findall(r" a: started \(attempt (\d) of 3\)", shown) == tried
    assert re.search(r" a: succeeded in [\d.]+ s \(attempt 2 of 3\)\n", shown)
    assert [record["data"]["attempt"] for record in bench.records("attempt.started")] == [1, 2, 3, 4, 5]


def test_an_attempt_after_an_input_changed_is_shown_as_the_first_again(bench):
    bench.write("in.txt", "old\n")
    script = "test $PIPELINE_ATTEMPT = 1 && exit 75; test $PIPELINE_ATTEMPT = 2 && echo new > in.txt; "
    retry = {**QUICK, "attempts": 2}
    bench.define(shell("a", script + "cat in.txt > $PIPELINE_OUTPUT_OUT", inputs={"x": "in.txt"}, retry=retry))
    shown = bench.succeed().stderr
    assert re.findall(r" a: started \(attempt (\d) of 2\)", shown) == ["1", "2", "1"]
