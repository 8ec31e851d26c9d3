"""File systems that answer from caches: nothing stale is read, and no output is called missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import time

import pytest
from dask_cluster import ended
from pipeline_bench import ROOT, shell

pytestmark = pytest.mark.full

SOURCE = ROOT / "tests/support/slow_view.c"
BOUND = "hosts nsswitch.conf passwd group ld.so.cache"
CONSUME = """
import os, pathlib
tree = sorted(pathlib.Path(os.environ["PIPELINE_INPUT_TREE"]).iterdir())
parts = [pathlib.Path(os.environ["PIPELINE_INPUT_X"]), *tree]
pathlib.Path(os.environ["PIPELINE_OUTPUT_OUT"]).write_text("".join(part.read_text() for part in parts))
"""


@pytest.fixture
def slow_view(tmp_path):
    """Build the library with which a machine sees the files below a place as they were `age` seconds ago."""
    if not shutil.which("cc"):
        pytest.skip("cc is not installed, and the library must be compiled")

    def build(machine, place, age):
        own, library = tmp_path / f"own-{machine}", tmp_path / f"{machine}.so"
        own.mkdir()
        (tmp_path / "old").mkdir(exist_ok=True)
        words = {"ROOT": place, "OLD": tmp_path / "old", "OWN": own}
        macros = [f'-D{name}="{value}"' for name, value in words.items()]
        subprocess.run(
            ["cc", "-shared", "-fPIC", "-Wall", "-Werror", *macros, f"-DAGE={age}", "-o", library, SOURCE, "-ldl"],
            check=True,
        )
        return library

    return build


@pytest.fixture
def add_slow(bench, slow_view, tmp_path):
    """Add a worker with a slow view of the workspace in all of its processes, stages included."""

    def add(cluster, name, *words, age=5):
        etc = tmp_path / f"etc-{name}"
        etc.mkdir()
        (etc / "ld.so.preload").write_text(f"{slow_view(name, bench.root, age)}\n")
        hide = f'cd /etc && cp {BOUND} {etc}; mount --bind {etc} /etc && cd "$OLDPWD" && exec "$@"'
        cluster.add(name, *words, before=("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", hide, "sh"))

    return add


def define(bench, tmp_path):
    """Define a stage for each of two workers; the first reads a file that was replaced just now."""
    script = "cat in.txt >$PIPELINE_OUTPUT_OUT; mkdir $PIPELINE_OUTPUT_TREE; cp in.txt $PIPELINE_OUTPUT_TREE/copy"
    bench.define(
        shell("a", script, inputs={"x": "in.txt"}, outputs={"out": "out/a.txt", "tree": "out/tree/"},
              resources={"memoryMiB": 500}),
        {"name": "b", "processor": "consume.py", "inputs": {"x": "out/a.txt", "tree": "out/tree/"},
         "outputs": {"out": "out/b.txt"}, "resources": {"cpus": 3}},
    )  # fmt: skip
    old = {"in.txt": "old\n", "consume.py": "raise SystemExit('old code')", "out/a.txt": "old\n"}
    for name, content in old.items():
        path = tmp_path / "old" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    bench.write("in.txt", "new\n")
    bench.write("consume.py", CONSUME)


def test_stages_on_workers_with_old_views_read_nothing_stale(bench, make_cluster, add_slow, tmp_path):
    cluster = make_cluster()
    add_slow(cluster, "one", "--resources", "cpus=1 memoryMiB=1000")
    add_slow(cluster, "two", "--resources", "cpus=4 memoryMiB=100")
    cluster.await_workers(2)
    define(bench, tmp_path)
    began = time.monotonic()
    bench.succeed("--cluster", str(cluster.file), "--cluster-latency", "20")
    assert time.monotonic() - began > 5, "the views were not slow"
    assert bench.read("out/a.txt") == b"new\n"
    assert bench.read("out/b.txt") == b"new\nnew\n"
    assert [(attempt.stage, attempt.worker, attempt.lost) for attempt in ended(bench)] == [
        ("a", "one", None), ("b", "two", None),
    ]  # fmt: skip


def test_no_output_is_called_missing_when_the_runner_has_an_old_view(bench, workers, slow_view):
    library = slow_view("runner", bench.root / "out", 5)
    bench.define(
        shell("a", "mkdir $PIPELINE_OUTPUT_TREE; echo a | tee $PIPELINE_OUTPUT_OUT >$PIPELINE_OUTPUT_TREE/file",
              outputs={"out": "out/a.txt", "tree": "out/tree/"}),
        shell("b", "cat out/a.txt out/tree/file", inputs={"x": "out/a.txt", "t": "out/tree/"}, stdout="out"),
    )  # fmt: skip
    began = time.monotonic()
    bench.succeed("--cluster", str(workers.file), env={**os.environ, "LD_PRELOAD": str(library)})
    assert time.monotonic() - began > 5, "the view was not slow"
    assert bench.read("out/b.txt") == b"a\na\n"


def test_an_attempt_whose_files_a_worker_does_not_see_in_time_is_lost(bench, make_cluster, add_slow, tmp_path):
    cluster = make_cluster()
    add_slow(cluster, "one", "--resources", "cpus=1 memoryMiB=1000", age=1000)
    define(bench, tmp_path)
    done = bench.run("--cluster", str(cluster.file), "--cluster-latency", "0.2", "a")
    assert done.returncode == 75, done.stderr
    assert "in.txt is not as the runner sees it, after 0.2 s" in done.stderr
    assert [attempt.lost is not None for attempt in ended(bench)] == [True] * 3


def test_an_attempt_whose_outputs_the_runner_does_not_see_in_time_is_lost(bench, workers, slow_view):
    library = slow_view("runner", bench.root / "out", 1000)
    bench.define(shell("a", "echo a >$PIPELINE_OUTPUT_OUT"))
    done = bench.run(
        "--cluster", str(workers.file), "--cluster-latency", "0.2", env={**os.environ, "LD_PRELOAD": str(library)}
    )
    assert done.returncode == 75, done.stderr
    assert ".a.txt is not as its worker left it, after 0.2 s" in done.stderr
