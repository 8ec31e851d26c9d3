"""A network attempt is attributed to its stage and handled as the spec says, whatever else goes on."""

from __future__ import annotations

import time

import pytest
from pipeline_bench import PipelineBench, shell

FLOOD = """
import ctypes, threading
asked = ctypes.CDLL(None).socket
def go():
    while True:
        asked(2, 1, 0)
for _ in range(4):
    threading.Thread(target=go).start()
"""
LEAVES_ONE = """
import ctypes, os
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        open("asks", "w").close()
        while True:
            ctypes.CDLL(None).socket(2, 1, 0)
"""
ASK = "import ctypes; ctypes.CDLL(None).socket(10, 2, 0)"


@pytest.fixture
def bench(tmp_path):
    made = PipelineBench(tmp_path)
    yield made
    made.close()


def attempts(bench):
    return [record["data"] for record in bench.records("offline.attempt")]


@pytest.mark.parametrize("place", ["stage", "spec"])
def test_with_on_attempt_record_a_stage_goes_on_and_its_attempts_are_on_record(bench, place):
    let = {"offline": {"onAttempt": "record"}}
    command = {"name": "asks", "command": ["python3", "-c", ASK], "stdout": "out", "outputs": {"out": "out.txt"}}
    bench.define(command | (let if place == "stage" else {}), **(let if place == "spec" else {}))
    done = bench.succeed()
    (attempt,) = attempts(bench)
    assert (attempt["stage"], attempt["family"], attempt["count"]) == ("asks", "AF_INET6", 1)
    assert "a network was refused to asks: " in done.stdout and "AF_INET6" in done.stdout
    assert bench.skips_everything()


def test_a_stage_that_asked_fails_with_4_whatever_it_exited_with(bench):
    go_on = f"trap '' TERM; python3 -c '{ASK}'; touch $PIPELINE_OUTPUT_OUT"
    stages = [shell(f"exits-{code}", f"{go_on}; exit {code}") for code in (0, 1, 75)]
    bench.define(*stages, defaults={"retry": {"attempts": 3, "delaySeconds": 0}})
    done = bench.run("-k")
    assert done.returncode == 4
    assert done.stderr.count("asked for a network, which was refused") >= len(stages)
    assert [record["data"]["stage"] for record in bench.records("attempt.started")] == [
        "exits-0",
        "exits-1",
        "exits-75",
    ]
    assert [bench.attempts(f"exits-{code}")[0]["exit"] for code in (0, 1, 75)] == [0, 1, 75]
    assert "it exited 0, but its outputs were thrown away" in done.stderr
    assert not any(bench.exists(f"out/exits-{code}.txt") for code in (0, 1, 75))


@pytest.mark.full
def test_an_attempt_is_reported_while_its_stage_still_runs(bench):
    wait = "until test -e go; do sleep 0.05; done"
    let = {"offline": {"onAttempt": "record"}}
    bench.define(shell("asks", f"python3 -c '{ASK}'; {wait}; touch $PIPELINE_OUTPUT_OUT", **let))
    process = bench.start()
    message = next(line for line in process.stderr if "asked for a network" in line)
    assert process.poll() is None and " asks: asked for a network, which was refused, and it goes on: " in message
    bench.write("go", "")
    process.communicate(timeout=30)
    assert process.returncode == 0


@pytest.mark.full
def test_a_flood_of_attempts_holds_up_neither_time_limits_nor_other_stages(bench):
    bench.write("flood.py", FLOOD)
    bench.define(
        shell("flood", "exec python3 flood.py", timeoutSeconds=1),
        shell("other", "sleep 0.2; touch $PIPELINE_OUTPUT_OUT"),
    )
    began = time.monotonic()
    assert bench.run("-k", "-j", "2").returncode != 0
    assert time.monotonic() - began < 20
    assert {attempt["stage"] for attempt in attempts(bench)} == {"flood"}
    assert bench.exists("out/other.txt")


@pytest.mark.full
def test_attempts_of_what_a_stage_left_behind_are_attributed_to_no_other_stage(bench):
    bench.write("leaves.py", LEAVES_ONE)
    leave = "touch $PIPELINE_OUTPUT_OUT; python3 leaves.py; until test -e asks; do sleep 0.01; done; rm asks"
    let = {"offline": {"onAttempt": "record"}}
    bench.define(
        shell("innocent", "until test -e out/leaves-7.txt; do sleep 0.01; done; touch $PIPELINE_OUTPUT_OUT"),
        *(shell(f"leaves-{n}", leave, needs=[f"leaves-{n - 1}"] if n else [], **let) for n in range(8)),
    )
    bench.run("-k", "-j", "2", timeout=60)
    assert "innocent" not in {attempt["stage"] for attempt in attempts(bench)}
    assert bench.exists("out/innocent.txt")
