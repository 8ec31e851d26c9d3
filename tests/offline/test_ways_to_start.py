"""At level kernel a program starts without a fork; it finds the same as after one, and is isolated as well."""

from __future__ import annotations

import json
import subprocess

import pytest
from harmless_lives import LEVELS, at, bench_as_user

USERS = pytest.mark.parametrize("user", ["root", "unprivileged"])

# Prints what a process cannot give itself, but not what must differ (numbers, sizes, counts).
PROBE = """
import ctypes, json, os, re, resource, signal
status = dict(line.rstrip("\\n").split(":\\t", 1) for line in open("/proc/self/status") if ":\\t" in line)
differs = "Name|State|[PT]g?id|N.*id|PPid|Vm.*|Rss.*|.*ctxt_switches|FDSize|SigQ|Hugetlb.*"
stat = open("/proc/self/stat").read().rpartition(")")[2].split()
libc, got = ctypes.CDLL(None), ctypes.c_int(-1)
def prctl(option):
    libc.prctl(option, ctypes.byref(got), 0, 0, 0)
    return got.value
def descriptor(number):
    info = open(f"/proc/self/fdinfo/{number}").read()
    return [os.readlink(f"/proc/self/fd/{number}"), re.findall("(?:flags|pos):.*", info)]
limits = {name: resource.getrlimit(getattr(resource, name)) for name in dir(resource) if name.startswith("RLIMIT_")}
rttime = limits.pop("RLIMIT_RTTIME", resource.getrlimit(15))
print(json.dumps({
    "status": {name: value for name, value in status.items() if not re.fullmatch(differs, name)},
    "uid": [os.getresuid(), os.getresgid(), os.getgroups()], "parent": os.getppid(), "threads": stat[17],
    "session": [int(stat[2]) == os.getpid(), os.getsid(0) == os.getpid(), stat[4], stat[5]], "nice": stat[15:17],
    "policy": stat[37:39], "death signal": prctl(2), "subreaper": prctl(37), "dumpable": libc.prctl(3, 0, 0, 0, 0),
    "securebits": libc.prctl(27, 0, 0, 0, 0), "slack": libc.prctl(30, 0, 0, 0, 0), "umask": os.umask(0),
    "pending": [int(one) for one in signal.sigpending()], "mask": [int(one) for one in signal.pthread_sigmask(0, ())],
    "handlers": [str(signal.getsignal(number)) for number in sorted(signal.valid_signals())], "limits": limits,
    "tagged": rttime[0] == rttime[1] >= 1 << 61, "cwd": os.getcwd(), "env": dict(os.environ), "stdin": descriptor(0),
    "stdout": descriptor(1), "stderr": descriptor(2), "descriptors": sorted(os.listdir("/proc/self/fd")),
    "affinity": sorted(os.sched_getaffinity(0)), "oom": open("/proc/self/oom_score_adj").read(),
    "cgroup": open("/proc/self/cgroup").read(), "personality": libc.personality(ctypes.c_ulong(0xFFFFFFFF)),
    "namespaces": sorted((name, os.readlink(f"/proc/self/ns/{name}")) for name in os.listdir("/proc/self/ns")),
}))
"""
# A launch with an affinity forks. Here the affinity is what it already was, so only the fork differs.
RUN = """
import os, select, signal, sys
from runner.sandbox.launcher import Launch, Launcher
probe, stdin, stdout = sys.argv[1:4]
signal.signal(signal.SIGUSR1, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
os.umask(0o27)
with Launcher.start("kernel") as launcher:
    launcher.await_ready()
    for number, (affinity, out) in enumerate([(None, None), (os.sched_getaffinity(0), None), (None, stdout),
                                              (os.sched_getaffinity(0), stdout)]):
        open("log", "a").close()
        launcher.submit(Launch(number, [sys.executable, "-I", "-S", probe], {"A": "b"}, os.getcwd(),
                               stdin if out else None, out, os.path.abspath("log"),
                               affinity=affinity and sorted(affinity)))
        select.select([launcher], [], [])
        while not (exits := launcher.receive()): pass
        assert exits[0].code == 0, (exits, open("log").read())
        text = open(out or "log").read()
        os.truncate(out or "log", 0)
        print(text.strip())
"""


ATTACK = """
import ctypes, os, pathlib, signal, sys
libc = ctypes.CDLL(None, use_errno=True)
pid = int(pathlib.Path("victim").read_text())
for number in (0, signal.SIGCONT, signal.SIGTERM, signal.SIGKILL):
    for call in (os.kill, os.killpg):
        try:
            call(pid, number)
            print("reached by signal", number, call)
        except PermissionError:
            pass
for name, flags in (("mem", os.O_RDONLY), ("mem", os.O_RDWR), ("environ", os.O_RDONLY), ("maps", os.O_RDONLY)):
    try:
        os.open(f"/proc/{pid}/{name}", flags)
        print("reached", name, flags)
    except PermissionError:
        pass
for name in ("fd/0", "cwd", "exe"):
    try:
        print("reached", os.readlink(f"/proc/{pid}/{name}"))
    except PermissionError:
        pass
open(sys.argv[1], "w").close()
"""


@pytest.fixture
def level():
    return "kernel"


@pytest.fixture
def bench(level, user):
    with bench_as_user(level, user) as made:
        yield made


@at(LEVELS)
def test_no_stage_reaches_another_that_runs(bench):
    victim = "echo $$ > new; mv new victim; until test -e done; do sleep 0.02; done; : > $PIPELINE_OUTPUT_OUT"
    attack = "until test -e victim; do sleep 0.02; done; {python} attack.py $PIPELINE_OUTPUT_OUT && : > done"
    bench.write("attack.py", ATTACK)
    bench.define(
        {"name": "victim", "command": ["sh", "-c", victim], "outputs": {"out": "out/victim"}, "timeoutSeconds": 30},
        {"name": "attack", "command": ["sh", "-c", attack], "outputs": {"out": "out/attack"}, "timeoutSeconds": 30},
    )
    bench.succeed("-j", "2")
    landlock = bench.records("run.start")[0]["data"]["isolation"]["landlock"]
    if "signals" not in landlock:
        pytest.skip(f"not all of it is promised here: {landlock}")
    (log,) = bench.root.glob("state/logs/*/attack.1.log")
    assert log.read_text() == ""


@USERS
def test_a_program_finds_the_same_as_after_a_fork(bench):
    for name, text in {"probe.py": PROBE, "run.py": RUN, "in": "some\n", "out": ""}.items():
        (bench.root / name).write_text(text)
        bench.owner.owns(bench.root / name)
    command = [
        *bench.owner.prefix,
        bench.owner.interpreter,
        "run.py",
        "probe.py",
        bench.root / "in",
        bench.root / "out",
    ]
    done = subprocess.run(
        command, cwd=bench.root, env={"PYTHONPATH": bench.owner.cwd, **bench.owner.env}, capture_output=True, text=True,
        check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    spawned, forked, connected, connected_forked = map(json.loads, done.stdout.splitlines())
    assert {key for key in spawned["status"] if spawned["status"][key] != forked["status"][key]} == set()
    assert spawned == forked
    assert connected == connected_forked
    assert spawned["session"][:2] == [True, True]
    assert spawned["descriptors"] == ["0", "1", "2", "3"], "the last is open for the listing itself"
    assert spawned["status"]["SigBlk"] == "0000000000000000"
    assert spawned["tagged"]
