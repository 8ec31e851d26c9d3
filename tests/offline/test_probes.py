"""A process may probe for IPv6 once, as urllib3 does when it is imported. Whatever else asks ends its stage at once."""

from __future__ import annotations

import sys

import pytest
from harmless_lives import LEVELS, at, bench_as_user
from pipeline_bench import PipelineBench

ASKS = """
import ctypes, os, sys, threading, time
INET, INET6, STREAM, DATAGRAM, RAW, CLOEXEC = 2, 10, 1, 2, 3, 0o2000000
libc = ctypes.CDLL(None)

def asks(family, kind=STREAM):
    assert libc.socket(family, kind | CLOEXEC, 0) == -1

def forks(work, *words):
    if os.fork() == 0:
        work(*words)
        os._exit(0)
    assert os.wait()[1] == 0

def in_a_thread(*words):
    thread = threading.Thread(target=asks, args=words)
    thread.start()
    thread.join()

def execs(*words):
    os.execv(sys.executable, [sys.executable, "asks.py", *words])

def probes():
    asks(INET6)

def until(fact, *words):
    while not fact(*words):
        time.sleep(0.01)

def names_itself():
    with open("naming", "w") as file:
        file.write(f"/proc/{os.getpid()}")
    os.rename("naming", "named")

for word in sys.argv[1:]:
    eval(word)
open(os.environ["PIPELINE_OUTPUT_OUT"], "w").close()
"""
SECOND = {
    "another": "probes()",
    "the other family": "asks(INET)",
    "a datagram": "asks(INET6, DATAGRAM)",
    "a raw socket": "asks(INET6, RAW)",
    "of a thread": "in_a_thread(INET6)",
    "after exec": "execs('probes()')",
}


@pytest.fixture
def bench(level, user):
    with bench_as_user(level, user) as made:
        made.write("asks.py", ASKS)
        yield made


def asks(*words, name="asks", **fields):
    return {
        "name": name, "command": ["{python}", "asks.py", *words], "outputs": {"out": f"out/{name}"}, **fields,
    }  # fmt: skip


def attempts(bench):
    """The family, number of calls and action of each attempt on record."""
    return [
        (data["family"], data["count"], data["action"])
        for data in (record["data"] for record in bench.records("offline.attempt"))
    ]


def test_importing_urllib3_fails_no_stage_and_is_on_record(tmp_path):
    pytest.importorskip("urllib3")
    code = "from urllib3.util import connection; assert not connection.HAS_IPV6"
    bench = PipelineBench(tmp_path)
    bench.define(
        {"name": "imports", "command": [sys.executable, "-c", code], "stdout": "out", "outputs": {"out": "out/o"}},
        offline={"allowImports": ["urllib3"]},
    )
    done = bench.succeed()
    assert attempts(bench) == [("AF_INET6", 1, "record")]
    assert "refused" not in done.stdout + done.stderr
    bench.close()


@at(LEVELS)
def test_each_process_of_a_stage_may_probe_once(bench):
    bench.define(asks("probes()", "forks(probes)", "forks(forks, probes)", "forks(execs, 'probes()')"))
    bench.succeed()
    assert attempts(bench) == [("AF_INET6", 4, "record")]


@at(LEVELS)
@pytest.mark.full_after(2)
@pytest.mark.parametrize("second", SECOND)
def test_a_process_that_probes_and_then_asks_fails_its_stage(bench, second):
    bench.define(asks("probes()", SECOND[second]))
    done = bench.run()
    assert done.returncode == 4, done.stderr
    assert sum(count for _, count, _ in attempts(bench)) == 2
    assert {action for *_, action in attempts(bench)} == {"fail"}
    assert "(AF_INET6" in done.stderr
    assert not bench.exists("out/asks")


@at(LEVELS)
@pytest.mark.parametrize("child", ["asks, INET", "lambda: (probes(), probes())"])
def test_the_probe_of_a_process_excuses_no_call_of_another(bench, child):
    bench.define(asks("probes()", f"forks({child})"))
    assert bench.run().returncode == 4
    assert [family for family, _, action in attempts(bench) if action == "record"] == ["AF_INET6"]
    assert {action for *_, action in attempts(bench)} == {"record", "fail"}


@at(LEVELS)
@pytest.mark.parametrize("asked", ["asks(INET6, DATAGRAM)", "asks(INET6, RAW)", "asks(INET)"])
def test_only_an_ipv6_stream_socket_is_a_probe(bench, asked):
    bench.define(asks(asked))
    assert bench.run().returncode == 4
    assert [action for *_, action in attempts(bench)] == ["fail"]


@at(LEVELS)
def test_a_stage_that_asked_is_ended_before_it_goes_on_and_others_are_not(bench):
    outlives = "until(lambda: not os.path.exists(open('named').read()))"
    bench.define(
        asks("until(os.path.exists, 'there')", "names_itself()", "asks(INET)", "print('went on')", "time.sleep(60)"),
        asks("open('there', 'w')", "until(os.path.exists, 'named')", outlives, name="other"),
    )
    done = bench.run("-k", "-j", "2")
    assert done.returncode == 4
    (attempt,) = bench.attempts("asks")
    assert (attempt["signal"], attempt["exit"], attempt["timedOut"]) == ("SIGTERM", None, False)
    assert next(bench.root.glob("state/logs/*/asks.1.log")).read_text() == ""
    assert "(AF_INET); it was ended\nhint: " in done.stderr
    assert bench.exists("out/other")
