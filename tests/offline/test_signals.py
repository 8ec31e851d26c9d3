"""Nothing gets out when the runner or the launcher is stopped or ended, and no stage can do that itself."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path

import pytest
from offline_attacks import filled
from offline_run import open_site, processes_in
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
def site(level, user):
    """A range at a level, its words and its bench."""
    with contextlib.ExitStack() as stack:
        try:
            made, bench = stack.enter_context(open_site(level, user, java=False))
        except UnavailableError as reason:
            pytest.skip(str(reason))
        if "c" not in made.words:
            pytest.skip("no static C program can be built here")
        made.bench = bench
        made.words.update(token=f"{made.listeners.nonce}-signals", root=str(made.root))
        yield made
        for pid in processes_in(made.root.parent):  # of a run that was killed
            kill(pid)


def stage(site, name, script, **fields):
    """Return a stage that runs a shell script, with its words filled in."""
    ending = '\n: > "$PIPELINE_OUTPUT_OUT"'
    command = ["sh", "-c", filled(script, site.words) + ending]
    return {"name": name, "command": command, "outputs": {"out": f"out/{name}"}, **fields}


def log(site, name):
    return "".join(path.read_text() for path in site.root.glob(f"state/logs/*/{name}.*.log"))


def received(site):
    site.listeners.settle()
    return site.listeners.received


# ---- a stage that signals ----


@pytest.mark.parametrize(("level", "user"), COMBINATIONS)
def test_no_stage_signals_the_runner_the_launcher_or_a_process_outside(site, level):
    parents = "set -- $PPID $(cut -d' ' -f4 /proc/$PPID/stat)\n"  # of the stage and of its parent; 0 if not visible
    stages = []
    for way in WAYS:
        stages.append(stage(site, f"outside-{way}", f"@c@ signal - @outside@ {way} 9"))
        for number in (signal.SIGTERM, signal.SIGSTOP, signal.SIGKILL):
            script = f'{parents}@c@ signal - $1 {way} {number}\ntest "$2" = 0 || @c@ signal - $2 {way} {number}'
            stages.append(stage(site, f"ours-{way}-{number}", script))
    site.bench.define(*stages)
    done = site.bench.run("-k", "-j", "4", **site.popen(level), timeout=30)
    assert done.returncode == 0, done.stdout + done.stderr
    assert site.outside.poll() is None
    for each in stages:
        output = log(site, each["name"])
        assert "trying" in output and "reached" not in output, (each["name"], output)
    assert site.bench.records("run.start")[0]["data"]["isolation"]["level"] == level


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("level", "user"), COMBINATIONS[::2])
def test_each_way_to_signal_works_without_a_guard(site, way):
    victim = subprocess.Popen([*site.owner.prefix, "sleep", "60"], start_new_session=True)
    try:
        wait_for(lambda: os.readlink(f"/proc/{victim.pid}/exe").endswith("sleep"))
        subprocess.run([*site.owner.prefix, site.words["c"], "signal", "-", str(victim.pid), way, "9"], check=True)
        assert victim.wait(timeout=10) == -signal.SIGKILL
    finally:
        victim.kill()
        victim.wait()


# ---- a process outside that signals ----

TRYING = (
    "@python@ @programs@/attack.py keep_trying @token@ @tcp4@ @udp4@ @path-stream@ @root@/{name} @root@/last"
    " >> {name}.log 2>&1"
)


def trying(site):
    """Return a stage that tries by itself, by a child, and by a process in a session of its own."""
    commands = [
        TRYING.format(name="own"),
        TRYING.format(name="child") + " &",
        f"setsid {TRYING.format(name='away')} &",
    ]
    later = "setsid @c@ notify_later @token@ @udp4@ $PPID @root@/later > later.log 2>&1 &\n"
    return stage(site, "trying", later + "\n".join(reversed(commands)), offline={"onAttempt": "record"})


def tries(site, name):
    with contextlib.suppress(FileNotFoundError):
        return (site.root / name).stat().st_size
    return 0


def grows(site, name):
    """Return once another three rounds of trying are over."""
    before = tries(site, name)
    wait_for(lambda: tries(site, name) > before + 2, f"more tries of {name}")


def started(site, level):
    site.bench.define(trying(site))
    process = site.bench.start(**site.popen(level))
    for name in ("own", "child", "away"):
        grows(site, name)
    (launcher,) = children(process.pid)
    pids = {"runner": process.pid, "launcher": launcher}
    if level == "kernel":
        (pids["inner"],) = children(launcher)
    return process, pids


def test_what_keeps_trying_gets_out_without_a_guard(tmp_path):
    with open_site("scan", "root", java=False) as (site, _):
        site.words.update(token=f"{site.listeners.nonce}-signals", root=str(site.root))
        script = filled(TRYING.format(name="own"), site.words)
        process = subprocess.Popen(["sh", "-c", f"cd {tmp_path}; {script}"])
        grows(site, "own")
        (site.root / "last").touch()
        process.wait(timeout=10)
        assert {name for name, text in received(site) if site.words["token"] in text} == {
            "tcp4",
            "udp4",
            "path-stream",
        }


@pytest.mark.parametrize(("level", "target"), TARGETS)
def test_nothing_gets_out_when_the_runner_or_the_launcher_is_killed(site, level, target):
    process, pids = started(site, level)
    os.kill(pids[target], signal.SIGKILL)
    process.communicate(timeout=30)
    if level == "kernel":
        wait_for(lambda: not processes_in(site.root), "the end of everything")
    else:
        _wait_for_what_is_left(site)
    assert received(site) == []


def _wait_for_what_is_left(site):
    """Wait until all that live on at level filter have tried again, also with a filter of their own, or are gone."""
    for name in ("own", "child", "away"):
        before = tries(site, name)
        wait_for(lambda name=name, before=before: tries(site, name) > before + 2 or not _lives(site, name))
    wait_for(lambda: (site.root / "later").exists() or not _lives(site, "notify_later"))


def _lives(site, word):
    for pid in processes_in(site.root):
        with contextlib.suppress(OSError):
            if word in Path(f"/proc/{pid}/cmdline").read_text() and is_running(pid):
                return True
    return False


@pytest.mark.parametrize(("level", "target"), TARGETS)
def test_nothing_gets_out_while_the_runner_or_the_launcher_is_stopped_and_attempts_are_on_record(site, level, target):
    process, pids = started(site, level)
    os.kill(pids[target], signal.SIGSTOP)
    wait_for(lambda: Path(f"/proc/{pids[target]}/stat").read_text().rpartition(")")[2].split()[0] in "Tt", "a stop")
    if target == "runner" or (level, target) == ("kernel", "launcher"):
        grows(site, "own")  # the process that answers is not stopped
    os.kill(pids[target], signal.SIGCONT)
    grows(site, "own")
    (site.root / "last").touch()
    process.communicate(timeout=30)
    assert process.returncode == 0
    assert received(site) == []
    _on_record(site)


@pytest.mark.parametrize(("level", "target"), TARGETS)
def test_nothing_gets_out_when_the_runner_or_the_launcher_gets_sigterm(site, level, target):
    process, pids = started(site, level)
    os.kill(pids[target], signal.SIGTERM)
    if target == "runner":
        process.communicate(timeout=30)
        assert process.returncode == 143
        assert not processes_in(site.root)
    elif process.poll() is None:
        with contextlib.suppress(AssertionError):
            grows(site, "own")
        (site.root / "last").touch()
        process.communicate(timeout=30)
    assert received(site) == []


def _on_record(site):
    attempts = [record["data"] for record in site.bench.records("offline.attempt")]
    assert {each["family"] for each in attempts} == {"AF_INET"}
    assert site.words["interpreter"] in {each["program"] for each in attempts}
    assert len(site.bench.records("attempt.started")) == 1


# ---- a stage that has the launcher ended by the kernel ----


@pytest.mark.parametrize(("level", "user"), COMBINATIONS)
def test_a_stage_that_outlives_the_launcher_gets_nothing_out(site, level):
    """The launcher answers for the filter. Without it, the kernel might ask a filter of the stage's own instead."""
    script = "@c@ outlive @token@ @udp4@ $PPID @root@/last; until test -e last; do sleep 0.01; done"
    site.bench.define(stage(site, "outlives", script))
    site.bench.run(**site.popen(level), timeout=60)
    wait_for(lambda: not _lives(site, "outlive"), "the end of the one that outlived")
    assert "trying" in log(site, "outlives")
    assert received(site) == []
