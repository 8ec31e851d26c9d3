"""Nothing gets out when somebody stops or ends the runner or the launcher, and no stage can do that itself."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path

import pytest
from offline_attacks import filled
from offline_run import open_range, processes_in
from offline_users import UnavailableError
from pipeline_bench import children, is_running, kill, wait_for

pytestmark = pytest.mark.full

COMBINATIONS = [(level, user) for user in ("root", "unprivileged") for level in ("kernel", "filter")]
TARGETS = [
    ("kernel", "runner"),
    ("kernel", "launcher"),
    ("kernel", "inner"),
    ("filter", "runner"),
    ("filter", "launcher"),
]
WAYS = ["kill", "group", "tgkill", "tkill", "queue", "pidfd", "owner"]


@pytest.fixture
def user():
    return "root"


@pytest.fixture
def ground(level, user):
    """A range at a level, its words and its bench."""
    with contextlib.ExitStack() as stack:
        try:
            made, bench = stack.enter_context(open_range(level, user, java=False))
        except UnavailableError as reason:
            pytest.skip(str(reason))
        if "c" not in made.words:
            pytest.skip("no static C program can be built here")
        made.bench = bench
        made.words.update(token=f"{made.listeners.nonce}-signals", root=str(made.root))
        yield made
        for pid in processes_in(made.root.parent):  # of a run that was killed
            kill(pid)


def stage(ground, name, script, **fields):
    """A stage that is shell; its words are filled in."""
    ending = '\n: > "$PIPELINE_OUTPUT_OUT"'
    command = ["sh", "-c", filled(script, ground.words) + ending]
    return {"name": name, "command": command, "outputs": {"out": f"out/{name}"}, **fields}


def log(ground, name):
    return "".join(path.read_text() for path in ground.root.glob(f"state/logs/*/{name}.*.log"))


def heard(ground):
    ground.listeners.settle()
    return ground.listeners.heard


# ---- a stage that signals ----


@pytest.mark.parametrize(("level", "user"), COMBINATIONS)
def test_no_stage_signals_the_runner_the_launcher_or_a_process_outside(ground, level):
    parents = "set -- $PPID $(cut -d' ' -f4 /proc/$PPID/stat)\n"  # of the stage, and its: 0 where that cannot be seen
    stages = []
    for way in WAYS:
        stages.append(stage(ground, f"outside-{way}", f"@c@ signal - @outside@ {way} 9"))
        for number in (signal.SIGTERM, signal.SIGSTOP, signal.SIGKILL):
            script = f'{parents}@c@ signal - $1 {way} {number}\ntest "$2" = 0 || @c@ signal - $2 {way} {number}'
            stages.append(stage(ground, f"ours-{way}-{number}", script))
    ground.bench.define(*stages)
    done = ground.bench.run("-k", "-j", "4", **ground.popen(level), timeout=30)
    assert done.returncode == 0, done.stdout + done.stderr
    assert ground.outside.poll() is None
    for each in stages:
        said = log(ground, each["name"])
        assert "trying" in said and "reached" not in said, (each["name"], said)
    assert ground.bench.records("run.start")[0]["data"]["isolation"]["level"] == level


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("level", "user"), COMBINATIONS[::2])
def test_each_way_to_signal_works_without_a_guard(ground, way):
    victim = subprocess.Popen([*ground.owner.prefix, "sleep", "60"], start_new_session=True)
    try:
        wait_for(lambda: os.readlink(f"/proc/{victim.pid}/exe").endswith("sleep"))
        subprocess.run([*ground.owner.prefix, ground.words["c"], "signal", "-", str(victim.pid), way, "9"], check=True)
        assert victim.wait(timeout=10) == -signal.SIGKILL
    finally:
        victim.kill()
        victim.wait()


# ---- somebody else who does ----

TRYING = (
    "@python@ @programs@/attack.py keep_trying @token@ @tcp4@ @udp4@ @path-stream@ @root@/{name} @root@/last"
    " >> {name}.log 2>&1"
)


def trying(ground):
    """A stage that tries itself, by a child, and by one in a session of its own."""
    everybody = [
        TRYING.format(name="own"),
        TRYING.format(name="child") + " &",
        f"setsid {TRYING.format(name='away')} &",
    ]
    later = "setsid @c@ notify_later @token@ @udp4@ $PPID @root@/later > later.log 2>&1 &\n"
    return stage(
        ground, "trying", later + "\n".join(reversed(everybody)) + "\nexit 75", retry={"attempts": 3, "delaySeconds": 0}
    )


def tries(ground, name):
    with contextlib.suppress(FileNotFoundError):
        return (ground.root / name).stat().st_size
    return 0


def grows(ground, name):
    """Return once another three rounds of trying are over."""
    before = tries(ground, name)
    wait_for(lambda: tries(ground, name) > before + 2, f"more tries of {name}")


def started(ground, level):
    ground.bench.define(trying(ground))
    process = ground.bench.start(**ground.popen(level))
    for name in ("own", "child", "away"):
        grows(ground, name)
    (launcher,) = children(process.pid)
    pids = {"runner": process.pid, "launcher": launcher}
    if level == "kernel":
        (pids["inner"],) = children(launcher)
    return process, pids


def test_what_keeps_trying_gets_out_without_a_guard(tmp_path):
    with open_range("scan", "root", java=False) as (ground, _):
        ground.words.update(token=f"{ground.listeners.nonce}-signals", root=str(ground.root))
        script = filled(TRYING.format(name="own"), ground.words)
        process = subprocess.Popen(["sh", "-c", f"cd {tmp_path}; {script}"])
        grows(ground, "own")
        (ground.root / "last").touch()
        process.wait(timeout=10)
        assert {name for name, text in heard(ground) if ground.words["token"] in text} == {
            "tcp4",
            "udp4",
            "path-stream",
        }


@pytest.mark.parametrize(("level", "target"), TARGETS)
def test_nothing_gets_out_when_it_is_killed(ground, level, target):
    process, pids = started(ground, level)
    os.kill(pids[target], signal.SIGKILL)
    process.communicate(timeout=30)
    if level == "kernel":
        wait_for(lambda: not processes_in(ground.root), "the end of everything")
    else:
        _wait_for_what_is_left(ground)
    assert heard(ground) == []


def _wait_for_what_is_left(ground):
    """At level filter some may live on: they try again, also with a filter of their own, or are gone."""
    for name in ("own", "child", "away"):
        before = tries(ground, name)
        wait_for(lambda name=name, before=before: tries(ground, name) > before + 2 or not _lives(ground, name))
    wait_for(lambda: (ground.root / "later").exists() or not _lives(ground, "notify_later"))


def _lives(ground, word):
    for pid in processes_in(ground.root):
        with contextlib.suppress(OSError):
            if word in Path(f"/proc/{pid}/cmdline").read_text() and is_running(pid):
                return True
    return False


@pytest.mark.parametrize(("level", "target"), TARGETS)
def test_nothing_gets_out_while_it_is_stopped_and_attempts_are_on_record(ground, level, target):
    process, pids = started(ground, level)
    os.kill(pids[target], signal.SIGSTOP)
    wait_for(lambda: Path(f"/proc/{pids[target]}/stat").read_text().rpartition(")")[2].split()[0] in "Tt", "a stop")
    if target == "runner" or (level, target) == ("kernel", "launcher"):
        grows(ground, "own")  # who answers is not stopped
    os.kill(pids[target], signal.SIGCONT)
    grows(ground, "own")
    (ground.root / "last").touch()
    process.communicate(timeout=30)
    assert process.returncode == 4
    assert heard(ground) == []
    _on_record(ground)


@pytest.mark.parametrize(("level", "target"), TARGETS)
def test_nothing_gets_out_when_it_is_told_to_end(ground, level, target):
    process, pids = started(ground, level)
    os.kill(pids[target], signal.SIGTERM)
    if target == "runner":
        process.communicate(timeout=30)
        assert process.returncode == 143
        assert not processes_in(ground.root)
    elif process.poll() is None:
        with contextlib.suppress(AssertionError):
            grows(ground, "own")
        (ground.root / "last").touch()
        process.communicate(timeout=30)
    assert heard(ground) == []


def _on_record(ground):
    seen = [record["data"] for record in ground.bench.records("offline.attempt")]
    assert {each["family"] for each in seen} == {"AF_INET"}
    assert ground.words["interpreter"] in {each["program"] for each in seen}
    assert len(ground.bench.records("attempt.started")) == 1


# ---- a stage that has the launcher ended by the kernel ----


@pytest.mark.parametrize(("level", "user"), COMBINATIONS)
def test_a_stage_that_outlives_the_launcher_gets_nothing_out(ground, level):
    """The launcher answers for the filter: without it a filter of the stage's own might be asked instead."""
    script = "@c@ outlive @token@ @udp4@ $PPID @root@/last; until test -e last; do sleep 0.01; done"
    ground.bench.define(stage(ground, "outlives", script))
    ground.bench.run(**ground.popen(level), timeout=60)
    wait_for(lambda: not _lives(ground, "outlive"), "the end of the one that outlived")
    assert "trying" in log(ground, "outlives")
    assert heard(ground) == []
