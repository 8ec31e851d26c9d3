"""What a process does is attributed to its stage, even if it looks like a process of no stage or another one."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from harmless_lives import LEVELS, at, bench_as_user
from pipeline_bench import children, wait_for

# `exit(2)` ends one thread. If that is the first thread, it becomes a zombie, and the process goes on.
PROGRAMS = """
import ctypes, os, signal, sys, threading, time
libc = ctypes.CDLL(None)
CLONE, EXIT = {"x86_64": (56, 60), "aarch64": (220, 93)}[os.uname().machine]

def ask():
    os.setsid()
    open(f"asks-{name}", "w").close()
    libc.socket(2, 1, 0)
    open(f"asked-{name}", "w").close()

def clone(flags):
    pid = libc.syscall(CLONE, ctypes.c_ulong(flags | signal.SIGCHLD), 0, 0, 0, 0)
    if pid == 0:
        ask()
        os._exit(0)
    return pid

def fork(work):
    if os.fork() == 0:
        work()
        os._exit(0)

def without_first_thread(work):
    threading.Thread(target=lambda: (work(), time.sleep(0.2), os._exit(0))).start()
    libc.syscall(EXIT, 0)

def until(path):
    while not os.path.exists(path):
        time.sleep(0.01)

def deaf(*_):
    open("termed", "w").close()

def daemon():
    os.setsid()
    signal.signal(signal.SIGTERM, deaf)
    open("there", "w").close()
    time.sleep(60)

name = sys.argv[1]
if name == "sibling":
    print("refused" if clone(0x8000) < 0 else until("asked-sibling"))
elif name == "leaderless":
    fork(lambda: without_first_thread(lambda: fork(ask)))
    until("asked-leaderless")
elif name == "leaves":
    open("there-leaves", "w").close()
    until("go")
    fork(lambda: (until("ended"), ask(), time.sleep(60)))
elif name == "innocent":
    open("there-innocent", "w").close()
    until("go")
elif name == "limited":
    signal.signal(signal.SIGTERM, lambda *_: (until("termed"), os._exit(7)))
    fork(lambda: without_first_thread(lambda: (fork(daemon), time.sleep(60))))
    until("there")
    time.sleep(60)
open(os.environ["PIPELINE_OUTPUT_OUT"], "w").close()
"""


@pytest.fixture
def bench(level, user):
    with bench_as_user(level, user) as made:
        made.write("programs.py", PROGRAMS)
        yield made


def stage(name, **fields):
    return {
        "name": name, "command": ["{python}", "programs.py", name], "outputs": {"out": f"out/{name}"}, **fields,
    }  # fmt: skip


def stages_with_attempts(bench):
    return {record["data"]["stage"] for record in bench.records("offline.attempt")}


@at(LEVELS)
def test_attributes_a_sibling_of_the_stage_and_children_of_a_process_without_its_first_thread(bench):
    bench.define(stage("sibling"), stage("leaderless"))
    assert bench.run("-k", "-j", "2").returncode == 4
    refused = "refused" in next(bench.root.glob("state/logs/*/sibling.1.log")).read_text()
    assert stages_with_attempts(bench) == {"leaderless"} | (set() if refused else {"sibling"})
    assert not bench.alive()


@at(LEVELS)
def test_what_a_stage_left_behind_is_attributed_to_it_when_another_ended_before_it(bench):
    """The launcher is stopped until both stages have ended and what was left behind asks for a network."""
    bench.define(stage("innocent"), stage("leaves"))
    process = bench.start("-k", "-j", "2")
    wait_for(lambda: all((bench.root / f"there-{name}").exists() for name in ("innocent", "leaves")), "both stages")
    launcher = bench.launcher(process)[-1]
    mains = children(launcher)
    os.kill(launcher, signal.SIGSTOP)
    bench.write("go", "")
    wait_for(lambda: [state(pid) for pid in mains] == ["Z", "Z"], "the end of both")
    bench.write("ended", "")
    wait_for((bench.root / "asks-leaves").exists, "what was left")
    (left,) = set(children(launcher)) - set(mains)
    wait_for(lambda: state(left) in "SD", "its call")
    os.kill(launcher, signal.SIGCONT)
    process.communicate(timeout=30)
    assert process.returncode == 4
    assert stages_with_attempts(bench) == {"leaves"}
    assert [record["data"]["stage"] for record in bench.records("stage.commit")] == ["innocent"]
    assert [bench.attempts(name)[0]["leftBehind"] for name in ("innocent", "leaves")] == [0, 1]


def state(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.mark.full
@at(LEVELS)
def test_a_time_limit_ends_children_of_a_process_without_its_first_thread_in_good_order(bench):
    bench.define(stage("limited", timeoutSeconds=1))
    assert bench.run().returncode != 0
    assert (bench.root / "termed").exists()
    assert bench.attempts("limited")[0]["exit"] == 7
    assert not bench.alive()
