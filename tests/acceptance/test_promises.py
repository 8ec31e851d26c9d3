"""The promises of README, one test each, by the command line alone. Start here; other tests cover corner cases."""

from __future__ import annotations

import os
import signal
import socket

import pytest
from pipeline_bench import descendants, is_running, kill_and_await, shell, wait_for

from runner.errors import EXIT_DAMAGED, EXIT_LOCKED, EXIT_OFFLINE, EXIT_OK


def test_up_to_date_by_content(bench) -> None:
    bench.write(
        "upper.py", "import case, os\nopen(os.environ['PIPELINE_OUTPUT_OUT'], 'w').write(case.change('in.txt'))\n"
    )
    bench.write("case.py", "def change(path):\n    return open(path).read().upper()\n")
    bench.write("in.txt", "some words\n")
    bench.define(
        {"name": "upper", "processor": "upper.py", "inputs": {"text": "in.txt"}, "outputs": {"out": "upper.txt"}},
        shell("count", "wc -l < upper.txt > $PIPELINE_OUTPUT_OUT", inputs={"text": "upper.txt"}),
    )
    bench.succeed()

    os.utime(bench.root / "in.txt", (0, 0))
    assert bench.skips_everything(), "a touched input is no change"

    bench.write("in.txt", "other words\n")
    bench.succeed()
    assert stages_started(bench)[2:] == ["upper", "count"]

    bench.write("case.py", "def change(path):\n    return open(path).read().strip().upper() + '\\n'\n")
    bench.succeed()
    assert stages_started(bench)[4:] == ["upper"], (
        "an imported module is in the key; the same bytes again re-run nothing"
    )


def test_outputs_whole_or_not_at_all(bench) -> None:
    bench.define(
        {
            "name": "two",
            "command": ["sh", "-c", SLOW_WRITER],
            "inputs": {"version": "version"},
            "outputs": {"first": "first.txt", "second": "second.txt"},
        }
    )
    bench.write("version", "old")
    bench.write("go", "")
    bench.succeed()

    (bench.root / "go").unlink()
    bench.write("version", "new")
    killed = bench.start()
    wait_for(lambda: bench.exists("half"), "the stage has written one output and a half")
    assert bench.read("first.txt") + bench.read("second.txt") == b"oldold", "nothing shows before all is written"
    kill_and_await(killed)
    assert bench.read("first.txt") + bench.read("second.txt") == b"oldold", "a kill -9 leaves what was there"

    bench.write("go", "")
    bench.succeed()
    assert bench.read("first.txt") + bench.read("second.txt") == b"newnew"
    assert bench.leftovers() == []


SLOW_WRITER = """
cat version > "$PIPELINE_OUTPUT_FIRST"
printf "$(head -c 1 version)" > "$PIPELINE_OUTPUT_SECOND"
touch half
until [ -e go ]; do sleep 0.01; done
printf "$(tail -c 2 version)" >> "$PIPELINE_OUTPUT_SECOND"
"""


def test_checkpoints_inside_a_stage(bench) -> None:
    lines = [f"line {number}\n" for number in range(1000)]
    bench.write("in.txt", "".join(lines))
    bench.write("upper.py", CHECKPOINTED)
    stage = {"name": "upper", "processor": "upper.py", "inputs": {"text": "in.txt"}, "outputs": {"out": "upper.txt"}}
    bench.define({**stage, "checkpoint": {"everyLines": 100}})
    killed = bench.start()
    wait_for(lambda: bench.exists("waits"), "the stage is in the middle of its input")
    kill_and_await(killed)

    bench.succeed()
    assert bench.read("upper.txt").decode() == "".join(lines).upper()
    assert bench.read("waits").split() == [b"550"]
    first, second = map(int, bench.read("first").split())
    assert (first, second > 400) == (0, True), "it resumes after the last checkpoint"


CHECKPOINTED = """
import pathlib, time
from runner import sdk

with sdk.stage() as stage, stage.lines("text", to="out") as job:
    is_first = True
    for line in job:
        number = int(line.split()[1])
        if is_first:
            with open("first", "a") as first:
                print(number, file=first)
            is_first = False
        if number == 550 and stage.attempt == 1:
            pathlib.Path("waits").write_text("550")
            time.sleep(1000)
        job.write(line.upper())
"""


def test_retries_with_a_policy(bench) -> None:
    policy = {"attempts": 3, "delaySeconds": 0.01, "retryExitCodes": [75]}
    third = "echo again >> tries; [ $(wc -l < tries) = 3 ] || exit 75; touch $PIPELINE_OUTPUT_OUT"
    bench.define(shell("flaky", third, retry=policy), shell("wrong", "exit 2", retry=policy))
    assert bench.run("--keep-going").returncode == 1
    assert [attempt["exit"] for attempt in bench.attempts("flaky")] == [75, 75, 0]
    assert [attempt["exit"] for attempt in bench.attempts("wrong")] == [2], "only 75 is retried"


def test_nothing_outlives_its_stage(bench) -> None:
    """A process that left its stage's session dies when the stage ends or times out, or the run is interrupted."""
    leaves = "setsid sh -c 'touch left; exec sleep 1000' & until [ -e left ]; do sleep 0.01; done; rm left; "
    bench.define(
        shell("ends", leaves + "touch $PIPELINE_OUTPUT_OUT"),
        shell("hangs", leaves + "sleep 1000", timeoutSeconds=0.5),
        shell("waits", leaves + "touch waits; sleep 1000", needs=["ends"]),
    )
    run = bench.start("--keep-going", "--jobs", "1")
    wait_for(lambda: bench.exists("waits"), "the last stage is at work")
    below = [*descendants(run.pid), *bench.program_processes()]
    run.send_signal(signal.SIGINT)
    run.communicate()
    assert run.returncode == 128 + signal.SIGINT
    assert not any(map(is_running, below))
    assert bench.program_processes() == []


def test_one_run_at_a_time(bench) -> None:
    bench.define(shell("waits", "touch waits; until [ -e go ]; do sleep 0.01; done; touch $PIPELINE_OUTPUT_OUT"))
    first = bench.start()
    wait_for(lambda: bench.exists("waits"), "the first run is at work")
    assert bench.run().returncode == EXIT_LOCKED
    kill_and_await(first)

    bench.write("go", "")
    bench.succeed()
    assert len(bench.records("attempt.started")) == 2, "a kill -9 releases the lock, and the stage runs once more"


def test_offline_by_the_kernel(bench) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        socket.create_connection(("127.0.0.1", port)).close()
        server.accept()[0].close()
        call = f'exec 3<>/dev/tcp/127.0.0.1/{port}; touch "$PIPELINE_OUTPUT_OUT"'
        bench.define(shell("calls", "") | {"command": ["bash", "-c", call]})
        assert bench.run().returncode == EXIT_OFFLINE
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()
    (attempt,) = bench.records("offline.attempt")
    assert attempt["data"]["program"] == "bash"
    assert not bench.exists("out/calls.txt"), "a stage that asked for a network has no outputs"


def test_a_record_that_shows_tampering(bench) -> None:
    bench.define(shell("one", "echo one > $PIPELINE_OUTPUT_OUT"), shell("two", "echo two > $PIPELINE_OUTPUT_OUT"))
    bench.succeed()
    assert bench.run("verify", "--outputs").returncode == EXIT_OK

    (log,) = (path for path in (bench.root / "state").glob("audit_*.jsonl") if path.name != "audit_ledger.jsonl")
    whole = log.read_text()
    number = next(n for n, line in enumerate(whole.splitlines(), 1) if "attempt.finished" in line)
    log.write_text(whole.replace('"exit":0', '"exit":1', 1))
    damaged = bench.run("verify")
    assert damaged.returncode == EXIT_DAMAGED
    assert f"{log.name}:{number}" in damaged.stdout + damaged.stderr

    log.write_text(whole)
    bench.write("out/two.txt", "tow\n")
    damaged = bench.run("verify", "--outputs")
    assert damaged.returncode == EXIT_DAMAGED
    assert "out/two.txt" in damaged.stdout + damaged.stderr


def stages_started(bench) -> list[str]:
    return [record["data"]["stage"] for record in bench.records("attempt.started")]
