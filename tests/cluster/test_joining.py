"""A run leaves out, by name, a worker that would run stages differently, even one that joins later."""

from __future__ import annotations

import re
import sys
from hashlib import sha256
from importlib.metadata import version

import pytest
from dask_cluster import ended, used
from pipeline_bench import ROOT, shell, wait_for

pytestmark = pytest.mark.full

PATCHES = {  # what a worker runs as it starts, and what the warning about it says
    "another release": ("import runner; runner.__version__ = '0.0.1'", "it has offpipe 0.0.1"),
    "another Python": ("import sys; sys.version = '3.10.1 ' + sys.version.partition(' ')[2]", "it has Python 3.10.1"),
    "another prefix": ("import sys; sys.prefix = '/opt/other'", "it has its interpreter in /opt/other"),
    "another umask": ("import os; os.umask(0o057)", "it has umask 0057"),
    "a clock an hour off": (
        "import time; t = time.time; time.time = lambda: t() + 3600",
        "its clock differs by 3,600 s",
    ),
    "no offpipe": ("import sys; sys.modules['runner'] = None", "ModuleNotFoundError"),
}
UNSHARED = ("unshare", "--user", "--map-root-user", "--mount")
NO_FILTER = (sys.executable, f"{ROOT}/tests/support/harmless_lacking.py", "unshare,prctl,seccomp")
NO_NAMESPACES = "echo 0 >/proc/sys/user/max_user_namespaces"
MEET = "touch {here}/{own}; until [ -e {here}/{other} ]; do sleep 0.01; done; echo >$PIPELINE_OUTPUT_OUT"


@pytest.fixture
def add_patched(tmp_path, monkeypatch):
    """Add a worker that runs some code as it starts."""

    def add(cluster, name, code):
        place = tmp_path / name
        place.mkdir(exist_ok=True)
        (place / "sitecustomize.py").write_text(code)
        paths = f"{place}:{cluster.environment['PYTHONPATH']}"
        return cluster.add(name, PYTHONPATH=paths)

    return add


def two_stages(bench, here):
    """Define two stages; the second starts when the test lets the first one end."""
    bench.define(
        shell("a", f"touch {here}/a; until [ -e {here}/go ]; do sleep 0.01; done; echo a >$PIPELINE_OUTPUT_OUT"),
        shell("b", "echo b >$PIPELINE_OUTPUT_OUT", needs=["a"]),
    )


@pytest.mark.parametrize("patch", PATCHES)
def test_a_worker_that_differs_is_left_out_by_name(bench, make_cluster, add_patched, patch):
    code, reason = PATCHES[patch]
    cluster = make_cluster("good")
    add_patched(cluster, "bad", code)
    cluster.await_workers(2)
    bench.define(*(shell(f"s{number}", "sleep 0.1; echo >$PIPELINE_OUTPUT_OUT") for number in range(4)))
    done = bench.succeed("--cluster", str(cluster.file), "-j4")
    assert used(bench) == {"good"}
    (warning,) = [record["data"] for record in bench.records("run.warning")]
    assert "bad" in warning["where"] and reason in warning["what"], warning
    assert reason in done.stderr


def test_a_later_worker_that_differs_is_left_out_too(bench, make_cluster, add_patched, tmp_path):
    cluster = make_cluster("good")
    two_stages(bench, tmp_path)
    process = bench.start("--cluster", str(cluster.file))
    wait_for((tmp_path / "a").exists, "the first stage")
    add_patched(cluster, "bad", PATCHES["another release"][0])
    wait_for(lambda: bench.records("run.warning"), "the warning")
    (tmp_path / "go").touch()
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 0, stdout + stderr
    assert used(bench) == {"good"}


def test_a_later_worker_that_fits_gets_work(bench, make_cluster, tmp_path):
    cluster = make_cluster("one")
    bench.define(
        shell("first", MEET.format(here=tmp_path, own="first", other="two-is-there")),
        shell("b", MEET.format(here=tmp_path, own="b", other="c"), needs=["first"]),
        shell("c", MEET.format(here=tmp_path, own="c", other="b"), needs=["first"]),
    )
    process = bench.start("--cluster", str(cluster.file))
    wait_for((tmp_path / "first").exists, "the first stage")
    cluster.add("two")
    cluster.await_workers(2)
    (tmp_path / "two-is-there").touch()
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 0, stdout + stderr
    assert used(bench) == {"one", "two"}


def test_no_attempt_waits_for_a_thread_while_another_worker_joins(bench, make_cluster, tmp_path):
    cluster = make_cluster("one")
    bench.define(*(shell(own, MEET.format(here=tmp_path, own=own, other=other)) for own, other in ("ab", "ba")))
    process = bench.start("--cluster", str(cluster.file), "-j2")
    wait_for(lambda: bench.records("attempt.started"), "the first attempt")
    cluster.add("two")
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 0, stdout + stderr
    assert used(bench) == {"one", "two"}
    assert len(ended(bench)) == 2


def test_a_worker_with_another_version_of_what_a_key_names_is_left_out(bench, make_cluster, add_patched, tmp_path):
    cluster = make_cluster("good")
    other = tmp_path / "bad/pluggy-0.0.1.dist-info/METADATA"
    other.parent.mkdir(parents=True)
    other.write_text("Metadata-Version: 2.1\nName: pluggy\nVersion: 0.0.1\n")
    add_patched(cluster, "bad", "")
    cluster.await_workers(2)
    plain = shell("a", "echo >$PIPELINE_OUTPUT_OUT")
    bench.define(plain)
    bench.succeed("--cluster", str(cluster.file))
    assert not bench.records("run.warning"), "no key names pluggy yet"
    code = "import os, pluggy; open(os.environ['PIPELINE_OUTPUT_OUT'], 'w').write(pluggy.__version__)"
    bench.write("p.py", code)
    bench.define(plain, {"name": "p", "processor": "p.py", "outputs": {"out": "out/p.txt"}})
    bench.succeed("--cluster", str(cluster.file))
    (warning,) = [record["data"] for record in bench.records("run.warning")]
    assert warning["where"] == "worker bad"
    assert f"it has pluggy 0.0.1, and the runner pluggy {version('pluggy')}" in warning["what"]
    assert bench.read("out/p.txt").decode() == version("pluggy")


@pytest.mark.parametrize("identity", ["name", "content"])
def test_the_program_of_the_worker_is_on_record_or_refused(bench, make_cluster, tmp_path, identity):
    """Each machine may have its own /usr/bin, but a key with the content of a program admits only one version."""
    here, there = tmp_path / "bin/tool", tmp_path / "other"
    here.parent.mkdir()
    for path in (here, there):
        path.write_text(f"#!/bin/sh\necho {path.name} >$PIPELINE_OUTPUT_OUT\n")
        path.chmod(0o755)
    cluster = make_cluster()
    cluster.add("other", before=(*UNSHARED, "sh", "-c", f'mount --bind {there} {here} && exec "$@"', "sh"))
    cluster.await_workers(1)
    stage = {"name": "a", "command": [str(here)], "outputs": {"out": "out/a.txt"}, "programIdentity": identity}
    bench.define(stage)
    done = bench.run("--cluster", str(cluster.file), "--cluster-wait", "1")
    if identity == "content":
        assert done.returncode == 74
        assert f"other: left out: it has another version of {here}" in done.stderr
        cluster.add("same")
        bench.succeed("--cluster", str(cluster.file))
    ran = here if identity == "content" else there
    assert bench.read("out/a.txt").decode() == f"{ran.name}\n"
    (commit,) = bench.records("stage.commit")
    assert commit["data"]["programSha256"] == sha256(ran.read_bytes()).hexdigest()


@pytest.mark.parametrize(("mount", "error"), [("-t tmpfs none", "ENOENT"), ("--bind -o ro {state}", "EROFS")])
def test_a_worker_that_cannot_write_to_the_shared_directory_is_left_out_and_says_why(bench, make_cluster, mount, error):
    cluster, state = make_cluster("good"), bench.root / "state"
    state.mkdir()
    hidden = f'mount {mount.format(state=state)} {state} && exec "$@"'
    cluster.add("bad", before=(*UNSHARED, "sh", "-c", hidden, "sh"))
    cluster.await_workers(2)
    bench.define(shell("a", "echo >$PIPELINE_OUTPUT_OUT"))
    done = bench.succeed("--cluster", str(cluster.file))
    assert re.search(rf"bad: left out: {state}/tmp/cluster-\w+/\w+: cannot open: {error} ", done.stderr)


def test_the_level_of_a_run_is_the_least_of_its_first_workers(bench, make_cluster):
    cluster = make_cluster("good")
    cluster.add("weak", before=(*UNSHARED, "sh", "-c", f'{NO_NAMESPACES} && exec "$@"', "sh"))
    cluster.await_workers(2)
    bench.define(shell("a", "echo $PIPELINE_OFFLINE >$PIPELINE_OUTPUT_OUT"))
    bench.succeed("--cluster", str(cluster.file))
    isolation = bench.records("run.start")[0]["data"]["isolation"]
    assert isolation["level"] == "filter"
    assert "good (kernel)" in isolation["workers"] and "weak (filter)" in isolation["workers"]
    assert bench.read("out/a.txt") == b"filter\n"


def test_a_later_worker_below_the_level_of_the_run_is_left_out(bench, make_cluster, tmp_path):
    cluster = make_cluster("good")
    two_stages(bench, tmp_path)
    process = bench.start("--cluster", str(cluster.file))
    wait_for((tmp_path / "a").exists, "the first stage")
    cluster.add("weak", before=(*UNSHARED, "sh", "-c", f'{NO_NAMESPACES} && exec "$@"', "sh"))
    wait_for(lambda: bench.records("run.warning"), "the warning")
    (tmp_path / "go").touch()
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 0, stdout + stderr
    assert "weak: left out: it keeps stages offline at level filter only, and this run needs kernel" in stderr


def test_a_run_whose_workers_lack_only_the_level_ends_with_4(bench, make_cluster):
    cluster = make_cluster()
    cluster.add("weak", before=NO_FILTER)
    cluster.await_workers(1)
    bench.define(shell("a", "echo $PIPELINE_OFFLINE >$PIPELINE_OUTPUT_OUT"))
    words = "--cluster", str(cluster.file), "--cluster-wait", "3"
    done = bench.run(*words)
    assert done.returncode == 4, done.stderr
    assert "weak: left out: it keeps stages offline at level scan only, and this run needs filter" in done.stderr
    bench.succeed(*words, "--offline", "best-effort")
    assert bench.read("out/a.txt") == b"scan\n"


def test_locks_that_exclude_nobody_end_the_run(bench, make_cluster, add_patched):
    cluster = make_cluster()
    add_patched(cluster, "bad", "import fcntl; fcntl.flock = lambda *_: None")
    bench.define(shell("a", "echo >$PIPELINE_OUTPUT_OUT"))
    done = bench.run("--cluster", str(cluster.file))
    assert done.returncode == 74, done.stderr
    assert "locks do not work here" in done.stderr


def test_a_run_without_a_worker_waits_for_one_as_long_as_cluster_wait_says(bench, make_cluster):
    cluster = make_cluster()
    bench.define(shell("a", "echo >$PIPELINE_OUTPUT_OUT"))
    done = bench.run("--cluster", str(cluster.file), "--cluster-wait", "1")
    assert done.returncode == 74
    assert "no usable worker within 1 s" in done.stderr and "hint: " in done.stderr
    process = bench.start("--cluster", str(cluster.file))
    assert "no worker is usable: the run waits for one" in process.stderr.readline()
    cluster.add("one")
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 0, stdout + stderr


def test_an_interrupt_ends_the_waiting_for_a_worker(bench, make_cluster):
    cluster = make_cluster()
    bench.define(shell("a", "echo >$PIPELINE_OUTPUT_OUT"))
    process = bench.start("--cluster", str(cluster.file))
    wait_for(lambda: list(bench.root.glob("state/tmp/cluster-*")), "the waiting")
    process.terminate()
    process.communicate(timeout=20)
    assert process.returncode == 143
