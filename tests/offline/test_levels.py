"""Which level a run reaches if the kernel lacks something, and where that shows: stages, output, audit, metrics."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import harmless_asking
import harmless_lacking
import pluggy
import pytest
from harmless_lives import LEVELS, at, bench_as_user
from pipeline_bench import ROOT
from suites import full_but

USERS = pytest.mark.parametrize("user", ["root", "unprivileged"])
EPERM = "failed: EPERM (Operation not permitted)"
NO_NAMESPACES, NO_SECCOMP = f"unshare(user, network, pid, mount) {EPERM}", f"seccomp {EPERM}"
NOTHING = "unshare,prctl,seccomp"
YAMA = Path("/proc/sys/kernel/yama/ptrace_scope")
TELLS = {"name": "tells", "command": ["sh", "-c", "echo $PIPELINE_OFFLINE > $PIPELINE_OUTPUT_OUT"],
         "outputs": {"out": "out/tells"}}  # fmt: skip


@pytest.fixture
def level():
    return "kernel"


@pytest.fixture
def bench(level, user):
    with bench_as_user(level, user) as made:
        made.define(TELLS)
        for module in (harmless_asking, harmless_lacking):
            shutil.copy(module.__file__, made.root)
        yield made


def without(bench, words):
    return (bench.owner.interpreter, str(bench.root / "harmless_lacking.py"), words)


def doctor(bench, wrapper):
    done = subprocess.run(
        [*bench.wrapped(wrapper), "-", "-m", "runner", "doctor"], capture_output=True, text=True, check=False,
        cwd=bench.root, env={**os.environ, "PYTHONPATH": bench.owner.cwd, **bench.owner.env},
    )  # fmt: skip
    assert done.stderr == ""
    return done


def isolation(bench):
    """Return the isolation in record 0; check that the metrics say the same."""
    first = bench.records("run.start")[-1]["data"]["isolation"]
    assert bench.metrics()["isolation"] == first
    return first


def files(bench):
    return {str(path.relative_to(bench.root)) for path in bench.root.rglob("*")}


@USERS
@pytest.mark.full_after(1)
@pytest.mark.parametrize(("lacking", "why"), [("mount", f"making / a slave mount {EPERM}"), ("unshare", NO_NAMESPACES)])
def test_without_namespaces_the_level_is_filter_and_the_reason_on_record(bench, lacking, why):
    done = bench.succeed(wrapper=without(bench, lacking))
    assert isolation(bench)["level"] == "filter"
    assert isolation(bench)["kernel"] == f"none: {why}"
    assert bench.read("out/tells") == b"filter\n"
    assert "offline guard: filter\n" in done.stdout
    assert "warning" not in done.stderr
    assert "offline guard: filter" in bench.run("status").stdout
    assert bench.json("status")["lastRun"]["isolation"] == "filter"
    report = doctor(bench, without(bench, lacking))
    assert report.returncode == 0
    assert "reach level filter\n" in report.stdout
    assert f"kernel: not available\n  {why}\n" in report.stdout


@USERS
def test_at_filter_a_stage_that_asks_for_the_internet_fails(bench):
    bench.define({"name": "asks", "processor": "harmless_asking.py", "args": ["caught", "2"],
                  "outputs": {"out": "out/asks"}})  # fmt: skip
    assert bench.run(wrapper=without(bench, "unshare")).returncode == 4
    assert isolation(bench)["level"] == "filter"
    assert [record["data"]["family"] for record in bench.records("offline.attempt")] == ["AF_INET"]
    assert not bench.exists("out/asks")


@USERS
@pytest.mark.full_after(1)
@pytest.mark.parametrize(
    ("lacking", "why"),
    [("seccomp", NO_SECCOMP), (NOTHING, NO_SECCOMP), ("capset", f"capset {EPERM}")],
)
def test_less_than_filter_is_refused_before_anything_is_written(bench, lacking, why):
    before = files(bench)
    done = bench.run(wrapper=without(bench, lacking))
    assert done.returncode == 4
    assert "\nerror: offline guard: the kernel cannot keep stages off the network: level kernel: " in done.stderr
    assert f"; level filter: {why}\n" in done.stderr
    assert "hint: allow it (offpipe doctor says" in done.stderr
    assert "--offline best-effort" in done.stderr
    assert done.stdout == ""
    assert files(bench) - before == {"locks", "locks/pipeline.lock", "state", "state/audit_ledger.jsonl"}
    assert not bench.alive()
    bench.succeed()
    assert len(bench.records("run.start")) == 1


@USERS
def test_memory_that_is_open_is_refused(bench):
    if YAMA.exists() and YAMA.read_text().strip() != "0":
        pytest.skip("ptrace_scope closes it here")
    if bench.owner.uid == 0:
        pytest.skip("what root may not do any more closes it")
    done = bench.run(wrapper=without(bench, "unshare,landlock_create_ruleset"))
    assert done.returncode == 4
    assert "level filter: the memory of a process of the same user can be opened for writing\n" in done.stderr


@USERS
def test_without_landlock_the_level_is_kernel_all_the_same(bench):
    bench.succeed(wrapper=without(bench, "landlock_create_ruleset"))
    assert isolation(bench)["level"] == "kernel"
    assert isolation(bench)["landlock"] == f"none: landlock_create_ruleset {EPERM}"


@USERS
def test_best_effort_runs_at_scan_and_says_so_everywhere(bench):
    done = bench.succeed("--offline", "best-effort", wrapper=without(bench, NOTHING))
    whole = f"(kernel: none: {NO_NAMESPACES}; filter: none: {NO_SECCOMP})"
    assert f"warning: offline guard: only at level scan, stages can reach the network {whole}\n" in done.stderr
    assert isolation(bench) == {
        "level": "scan", "kernel": f"none: {NO_NAMESPACES}", "filter": f"none: {NO_SECCOMP}",
    }  # fmt: skip
    assert bench.read("out/tells") == b"scan\n"
    assert "offline guard: scan\n" in done.stdout
    assert bench.json("status")["lastRun"]["isolation"] == "scan"
    quiet = bench.succeed("--offline", "best-effort", "-q", "-f", wrapper=without(bench, NOTHING))
    assert quiet.stdout + quiet.stderr == ""
    (warning,) = bench.json("runs")["runs"][0]["warnings"]
    assert warning.startswith("offline guard: only at level scan")
    report = doctor(bench, without(bench, NOTHING))
    assert report.returncode == 4
    assert "reach level scan\n" in report.stdout
    assert f"  {NO_NAMESPACES}\n" in report.stdout
    assert f"filter: not available\n  {NO_SECCOMP}\n" in report.stdout


@pytest.mark.full
@USERS
def test_best_effort_takes_the_best_level(bench):
    done = bench.succeed("--offline", "best-effort")
    assert isolation(bench)["level"] == "kernel"
    assert "warning" not in done.stderr


@pytest.mark.full
@at(LEVELS)
def test_with_another_listener_attempts_are_refused_without_a_name(bench, user):
    def asks(name, family):
        words = {"processor": "harmless_asking.py", "args": ["caught", str(family)]}
        return {"name": name, "outputs": {"out": f"out/{name}"}, **words}

    bench.define(TELLS, asks("inet", 2), asks("packet", 17), asks("unix", 1))
    done = bench.succeed(wrapper=without(bench, "listener"))  # each stage asserts that it got no socket
    reason = "cannot be named: seccomp failed: EBUSY (Device or resource busy)"
    assert f"warning: offline guard: attempts are refused, but {reason}\n" in done.stderr
    assert isolation(bench)["attempts"] == reason
    assert bench.records("offline.attempt") == []
    assert bench.read("out/tells") == f"{bench.level}\n".encode()
    assert reason in doctor(bench, without(bench, "listener")).stdout


@pytest.mark.full
@USERS
@pytest.mark.parametrize(
    "options", full_but(["-Ur", "-Urn", "-Uc", "-Urpf --mount-proc", "-Urm"], ["-Urpf --mount-proc"])
)
def test_a_run_inside_a_user_namespace_reaches_the_same_level(bench, options):
    wrapper = ("unshare", *options.split())
    if subprocess.run([*bench.owner.prefix, *wrapper, "true"], capture_output=True, check=False).returncode:
        pytest.skip(f"no unshare {options} here")
    bench.succeed(wrapper=wrapper)
    assert isolation(bench)["level"] == "kernel"
    assert isolation(bench)["userMap"] == "own id", "no other id is mapped"
    assert not bench.alive()


@at(LEVELS)
def test_a_run_in_a_stage_of_a_run_is_guarded_by_both(bench, user):
    """The inner run has no listener, since the outer run has it, and no namespaces where /proc is covered."""
    bench.write("inner.json", '{"specVersion": 1, "name": "inner", "stateDir": "inner", "stages": ['
                '{"name": "asks", "processor": "harmless_asking.py", "args": ["caught", "2"],'
                ' "outputs": {"out": "$INNER/asks"}}]}'.replace("$INNER", "made"))  # fmt: skip
    bench.define({
        "name": "outer", "command": ["{python}", "-m", "runner", "inner.json"], "stdout": "said",
        "outputs": {"said": "out/said"}, "env": {"PYTHONPATH": bench.owner.cwd},
    })  # fmt: skip
    if bench.owner.prefix:
        bench.owner.owns(bench.root / "inner.json")
    bench.succeed()
    assert isolation(bench)["level"] == bench.level
    assert b"inner: 1 succeeded" in bench.read("out/said")
    (log,) = bench.root.glob("state/logs/*/outer.1.log")
    assert "warning: offline guard: attempts are refused, but cannot be named" in log.read_text()
    assert bench.read("made/asks") == b"made\n"
    assert not bench.alive()


@pytest.mark.full
@USERS
@pytest.mark.parametrize("version", full_but(["3.11", "3.12", "3.13", "3.14"], ["3.13"]))
def test_each_python_reaches_the_level(bench, version):
    packages = str(Path(pluggy.__file__).parents[1])
    path = bench.owner.cwd if bench.owner.prefix else f"{ROOT}{os.pathsep}{packages}"
    python = interpreter(bench, version, path)
    command = (*bench.owner.prefix, "sh", "-c", f'exec {python} "$@"')
    bench.succeed(command=command, env={**bench.owner.env, "PYTHONPATH": path})
    assert isolation(bench)["level"] == "kernel"
    bench.define({"name": "asks", "processor": "harmless_asking.py", "args": ["caught", "2"],
                  "outputs": {"out": "out/asks"}})  # fmt: skip
    assert bench.run(command=command, env={**bench.owner.env, "PYTHONPATH": path}).returncode == 4
    (attempt,) = bench.records("offline.attempt")
    assert attempt["data"]["program"].startswith("python3")


def interpreter(bench, version, path):
    """Return a Python of this version that this user can start: beside the one that runs the tests, or in /usr."""
    beside = sorted(str(program) for program in Path(sys.base_prefix).parent.glob(f"{version}*/bin/python{version}"))
    script = 'exec "$0" -Bc "import pluggy, sys; exit(\'%d.%d\' % sys.version_info[:2] != sys.argv[1])" "$1"'
    for python in (*beside, f"/usr/local/bin/python{version}", f"/usr/bin/python{version}", "/usr/bin/python3"):
        command = [*bench.owner.prefix, "sh", "-c", script, python, version]
        answer = subprocess.run(command, env={"PYTHONPATH": path}, capture_output=True, check=False)
        if answer.returncode == 0:
            return python
    pytest.skip(f"no Python {version} here for this user with pluggy")
