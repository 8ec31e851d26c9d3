"""A run on a cluster has the keys, outputs and records of a run on one machine."""

from __future__ import annotations

import re
import signal
import socket
from collections import Counter

import pytest
from dask_cluster import ended
from pipeline_bench import children, descendants, is_running, kill, shell, unstamped, wait_for
from report_page import ReportPage

JOIN = {
    "name": "join", "command": ["cat", "{inputs.x}", "{inputs.y}"], "inputs": {"x": "out/a.txt", "y": "out/b.txt"},
    "stdout": "o", "outputs": {"o": "out/join.txt"},
}  # fmt: skip
PYTHON = {"name": "py", "processor": "py.py", "inputs": {"x": "out/join.txt"}, "outputs": {"o": "out/py.txt"}}
CODE = "import os; open(os.environ['PIPELINE_OUTPUT_O'], 'w').write(open(os.environ['PIPELINE_INPUT_X']).read() * 2)"
MEET = "touch meet-{own}; until [ -e meet-{other} ]; do sleep 0.01; done; echo {own} >$PIPELINE_OUTPUT_OUT"
ALONE = "echo {own} >$PIPELINE_OUTPUT_OUT"
EACH = {
    "name": "part", "each": {"x": "in/*.txt"}, "inputs": {"x": "in/{each.x}.txt"},
    "command": ["wc", "-l"], "stdin": "x", "stdout": "o", "outputs": {"o": "out/{each.x}.lines"},
}  # fmt: skip


def define(bench, script=MEET, *more):
    """Define two stages that wait for each other by default, one after them, one in Python, and `more`."""
    pair = [shell(own, script.format(own=own, other=other)) for own, other in ("ab", "ba")]
    bench.write("py.py", CODE)
    bench.define(*pair, JOIN, PYTHON, *more, processorIdentity="content")


def nodes(bench):
    return {record["data"]["stage"]: record["data"]["node"] for record in bench.records("attempt.finished")}


def test_two_workers_share_the_stages_and_are_on_record(bench, workers):
    define(bench)
    bench.succeed("--cluster", str(workers.file))
    node_of, host = nodes(bench), socket.gethostname()
    assert {node_of["a"], node_of["b"]} == {f"{host}/one", f"{host}/two"}
    assert bench.read("out/py.txt") == b"a\nb\na\nb\n"
    isolation = bench.records("run.start")[0]["data"]["isolation"]
    assert isolation["level"] == "kernel" and isolation["cluster"] == str(workers.file)
    assert isolation["workers"].count("(kernel)") == 2
    assert bench.run("verify").returncode == 0
    assert not bench.leftovers()


def test_the_report_names_the_cluster_its_workers_and_their_level(bench, workers):
    define(bench)
    bench.succeed("--cluster", str(workers.file))
    text, host = ReportPage(bench.succeed("report", "-o", "-").stdout).text("run"), socket.gethostname()
    assert f"Cluster {workers.file}" in text and "Offline guard kernel" in text
    shown, ran = re.search(r"Workers (.*) Attempts on workers (.*) Versions", text).groups()
    assert all(f"{host}/{name} (kernel)" in shown for name in ("one", "two"))
    counts = Counter(record["data"]["node"] for record in bench.records("attempt.finished"))
    assert Counter({node: int(number) for node, number in re.findall(r"(\S+): (\d+)", ran)}) == counts


def test_keys_outputs_and_records_are_those_of_one_machine(make_bench, workers):
    there, here = make_bench("there"), make_bench("here")
    for bench, words in ((there, ("--cluster", workers.address)), (here, ())):
        for name in ("k", "l"):
            bench.write(f"in/{name}.txt", f"{name}\n")
        define(bench, ALONE, EACH)
        bench.succeed("-j1", *words)
    assert record_of(there) == record_of(here)
    assert here.skips_everything()


def record_of(bench):
    """Return what must not depend on the machine: events, commits, and how attempts ended, without their node."""
    commits = [record["data"] for record in bench.records("stage.commit")]
    attempts = [record["data"] for record in bench.records("attempt.finished")]
    return {
        "events": sorted(record["ev"] for record in bench.records()),
        "keys": [(data["stage"], data["key"]) for data in commits],
        "outputs": [[(name, output["sha256"]) for name, output in data["outputs"].items()] for data in commits],
        "attempts": [(data["stage"], data["exit"], sorted(data.keys() - {"node"})) for data in attempts],
    }


def test_a_failure_and_a_retry_are_those_of_one_machine(bench, workers):
    retry = {"attempts": 3, "delaySeconds": 0}
    bench.define(
        shell("late", "[ $PIPELINE_ATTEMPT = 2 ] || exit 75; echo x >$PIPELINE_OUTPUT_OUT", retry=retry),
        shell("slow", "sleep 100", timeoutSeconds=0.2),
    )
    done = bench.run("-k", "--cluster", workers.address)
    assert done.returncode == 1, done.stderr
    assert [(attempt["exit"], attempt["timedOut"]) for attempt in bench.attempts("late")] == [(75, False), (0, False)]
    assert bench.attempts("slow")[0]["timedOut"]


def test_a_stage_on_a_worker_does_not_reach_dask(bench, workers):
    port = workers.address.rpartition(":")[2]
    bench.define(shell("call", f"python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", {port}))'"))
    done = bench.run("--cluster", workers.address)
    assert done.returncode == 4, done.stderr
    assert bench.records("offline.attempt")[0]["data"]["family"] == "AF_INET"
    assert bench.attempts("call")[0]["signal"] == "SIGTERM", "it was ended by the worker's launcher"


@pytest.mark.full
def test_local_workers_write_nothing_to_stderr(bench):
    define(bench)
    done = bench.succeed("--cluster", "local:2")
    lines = unstamped(done.stderr).splitlines()
    assert all(line.split(":")[0] in {"bench", "a", "b", "join", "py"} for line in lines), done.stderr
    assert set(nodes(bench).values()) == {f"{socket.gethostname()}/{number}" for number in (0, 1)}
    assert not bench.leftovers()


@pytest.mark.full
def test_dask_logs_nothing_to_stderr_about_a_killed_local_worker(bench):
    """Dask's scheduler and nanny log warnings in the runner's process."""
    bench.define(shell("a", "[ -e began ] || { touch began; exec sleep 1000; }; echo >$PIPELINE_OUTPUT_OUT"))
    process = bench.start("--cluster", "local:1")
    wait_for(lambda: bench.exists("began"), "the stage")
    stage = wait_for(bench.program_processes, "its process")[0]
    kill(next(pid for pid in children(process.pid) if stage in descendants(pid)))
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    assert ended(bench)[0].lost
    assert "distributed" not in stderr


@pytest.mark.full
def test_the_end_of_a_run_is_on_record_before_its_local_workers_are_closed(bench):
    bench.define(shell("a", "touch began; until [ -e go ]; do sleep 0.01; done; echo >$PIPELINE_OUTPUT_OUT"))
    process = bench.start("--cluster", "local:2")
    wait_for(lambda: bench.exists("began"), "the stage")
    stage = wait_for(bench.program_processes, "its process")[0]
    idle = wait_for(lambda: [pid for pid in workers_of(process) if stage not in descendants(pid)], "the other worker")[
        0
    ]
    kill(idle, signal.SIGSTOP)  # Dask waits for it before it kills it
    bench.write("go", "")
    wait_for(lambda: b'"ev":"closed"' in bench.read("state/audit_ledger.jsonl"), "the record")
    assert is_running(idle) and process.poll() is None
    kill(idle)
    assert process.wait(timeout=60) == 0


def workers_of(process):
    """Return the processes of the workers: those that have a launcher below them."""
    return [pid for pid in children(process.pid) if any(map(children, children(pid)))]


def define_rounds(bench, script="cat $PIPELINE_INPUT_X >$PIPELINE_OUTPUT_OUT"):
    """Define a stage that makes a table, one that makes a directory, a template of each, and what gathers them."""
    bench.write("in/names", "name\np\nq\n")
    bench.write("in/chunks", "r\ns\n")
    bench.define(
        shell("table", "cat $PIPELINE_INPUT_X >$PIPELINE_OUTPUT_T",
              inputs={"x": "in/names"}, outputs={"t": "w/names.tsv"}),
        shell("split", "mkdir $PIPELINE_OUTPUT_D; while read c; do echo $c >$PIPELINE_OUTPUT_D/$c; done <in/chunks",
              inputs={"x": "in/chunks"}, outputs={"d": "w/chunks/"}),
        shell("row", script, each={"rows": "{outputs.table.t}"}, inputs={"x": "w/names.tsv"},
              outputs={"out": "r/{each.name}"}),
        shell("chunk", script, each={"c": "{outputs.split.d}*"}, inputs={"x": "w/chunks/{each.c}"},
              outputs={"out": "c/{each.c}"}),
        shell("all", "cat r/* c/* >$PIPELINE_OUTPUT_OUT",
              inputs={"r": "{outputs.row.out}", "c": "{outputs.chunk.out}"}, outputs={"out": "all"}),
    )  # fmt: skip


def test_instances_that_stages_make_are_found_as_on_one_machine(make_bench, workers):
    there, here = make_bench("there"), make_bench("here")
    for bench, words in ((there, ("--cluster", workers.address)), (here, ())):
        define_rounds(bench)
        bench.succeed("-j1", *words)
    assert there.read("all") == here.read("all") == b"name\np\nq\nname\np\nq\nr\ns\n"
    assert there.records("run.expanded")
    made, alone = record_of(there), record_of(here)
    assert sorted(made["keys"]) == sorted(alone["keys"])
    assert there.run("verify", "--outputs").returncode == 0
    assert here.skips_everything() and there.skips_everything()
