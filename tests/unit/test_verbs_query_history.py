"""status, plan, explain and log after runs that went wrong."""

from __future__ import annotations

import os
import signal

import pytest
from pipeline_bench import PipelineBench, shell, wait_for

ASK = "python3 -c 'import ctypes; ctypes.CDLL(None).socket(2, 1, 0)'"


@pytest.fixture
def bench(tmp_path):
    bench = PipelineBench(tmp_path)
    yield bench
    bench.close()


def test_a_failure_is_shown_until_the_stage_succeeds(bench):
    bench.define(shell("bad", "test -e go || exit 3; touch $PIPELINE_OUTPUT_OUT"), shell("after", "", needs=["bad"]))
    assert bench.run().returncode == 1
    run = bench.records("run.start")[0]["run"]
    how = f"failed in run {run}: exit 3"
    assert f"bad    run      no completed run; {how}\nafter  run      no completed run\n" == bench.run("plan").stdout
    assert f"bad: must run\n  no completed run\n  {how}\n" == bench.run("explain", "bad").stdout
    stages = bench.json("plan")["stages"]
    assert stages[0]["lastFailure"] == {
        "run": run, "time": bench.records("stage.finished")[0]["ts"], "why": "exit 3",
    }  # fmt: skip
    assert "lastFailure" not in stages[1]
    status = bench.run("status").stdout
    assert "\n  bad  failed: exit 3\n  1 stage not started\nlast success: none yet\n" in status and how in status
    bench.write("go", "")
    bench.run()
    bench.write("out/bad.txt", "edited")
    assert how not in bench.run("plan").stdout


def test_a_failure_is_not_shown_once_the_stage_has_succeeded_in_another_run(bench):
    bench.define(shell("a", "test -e go || exit 3; touch $PIPELINE_OUTPUT_OUT"), shell("b", "exit 4"))
    assert bench.run("run", "b", "a", "--run-id", "mine", "-k").returncode == 1
    bench.write("go", "")
    bench.succeed("run", "a")
    bench.write("out/a.txt", "edited")
    shown = bench.run("plan").stdout
    assert "b  run      no completed run; failed in run mine: exit 4\n" in shown and shown.count("failed in run") == 1


def test_status_and_log_show_refused_networks(bench):
    bench.define(
        shell("fails", f"{ASK}; exit 0"),
        shell("goes-on", f"{ASK}; touch $PIPELINE_OUTPUT_OUT", offline={"onAttempt": "record"}),
    )
    assert bench.run("-k").returncode == 4
    program = bench.records("offline.attempt")[0]["data"]["program"]
    status = bench.run("status").stdout
    assert f"\n  fails  was refused a network: {program} (AF_INET), which failed the stage\n" in status
    assert f"\n  goes-on  was refused a network: {program} (AF_INET), on record\n" in status
    log = bench.run("log").stdout
    assert f" offline.attempt fails 1 {program} (AF_INET) fail\n" in log
    assert f" offline.attempt goes-on 1 {program} (AF_INET) record\n" in log
    assert " stage.finished fails failed: asked for a network, which was refused" in log
    last = bench.json("status")["lastRun"]
    assert {refusal["stage"]: refusal["action"] for refusal in last["networkRefused"]} == {
        "fails": "fail",
        "goes-on": "record",
    }
    assert set(last["failed"]) == {"fails"} and last["began"] < last["ended"]


def test_after_an_interrupted_forced_run_only_the_open_run_is_pending(bench):
    bench.define(shell("a", "touch $PIPELINE_OUTPUT_OUT ready; test ! -e stay || sleep 60"))
    bench.succeed()
    bench.write("stay", "")
    os.unlink(bench.root / "ready")
    process = bench.start("run", "-f")
    wait_for(lambda: bench.exists("ready"))
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    shown = bench.run("status", "--exit-code")
    assert shown.returncode == 3
    assert shown.stdout.startswith(
        "bench: every stage is up to date, but a run is open; the next run only has to end it"
    )
    assert "\n  a  interrupted\n" in shown.stdout
    bench.succeed()
    assert bench.run("status", "--exit-code").returncode == 0


def test_a_run_that_finds_the_lock_held_names_the_status_command(bench):
    bench.define(shell("a", "touch $PIPELINE_OUTPUT_OUT ready; sleep 60"))
    held = bench.start("run")
    wait_for(lambda: bench.exists("ready"))
    refused = bench.run("run")
    assert (refused.returncode, held.poll()) == (9, None)
    assert refused.stderr.endswith(f"\nhint: wait for it with --wait, or see `offpipe status {bench.spec}`\n")


def test_a_damaged_marker_is_given_as_the_reason(bench):
    bench.define(shell("a", "touch $PIPELINE_OUTPUT_OUT"))
    bench.succeed()
    bench.write("state/stage_a.json", "{}")
    assert bench.run("plan").stdout == "a  run      the marker is damaged\n"
    bench.succeed()
    assert bench.records("attempt.started")[1]["data"]["reasons"] == [["marker", "the marker is damaged", None, None]]
