"""If locks cannot keep a second run out, or something else is in their place, the run says what to do."""

from __future__ import annotations

import fcntl
import os
import socket

import pytest
from pipeline_bench import shell
from suites import full_but

EXCLUDES_NOBODY = "import fcntl\nfcntl.flock = lambda *_: None\n"
REFUSES = """import errno, fcntl
def flock(descriptor, operation):
    raise OSError(errno.{}, "no locks")
fcntl.flock = flock
"""


@pytest.mark.full_after(2)
@pytest.mark.parametrize(
    "locks",
    [EXCLUDES_NOBODY, *(REFUSES.format(name) for name in ("ENOLCK", "EOPNOTSUPP", "ENOSYS", "EBADF"))],
)
def test_a_file_system_whose_locks_exclude_nobody_is_refused_with_a_hint(bench, tmp_path, locks):
    bench.define(shell("a", "touch $PIPELINE_OUTPUT_OUT"))
    patch = tmp_path / "patch"
    patch.mkdir()
    (patch / "sitecustomize.py").write_text(locks)
    done = bench.run(env={"PYTHONPATH": str(patch)}, timeout=20)
    assert done.returncode == 74
    assert f"error: {bench.root}/locks/pipeline.lock: " in done.stderr
    assert done.stderr.endswith("\nhint: put stateDir and locksDir on a local file system\n")
    assert not bench.exists("out")


def test_a_stage_whose_lock_another_process_holds_does_not_start(bench):
    bench.define(shell("a", "touch $PIPELINE_OUTPUT_OUT"))
    bench.write("locks/a.lock", "")
    with open(bench.root / "locks/a.lock", "rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = bench.run()
    assert done.returncode == 9 and "error: stage a: another process holds its lock\n" in done.stderr
    assert not bench.exists("out/a.txt")
    bench.succeed()


def make_socket(path):
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.path.relpath(path))


def make_link(path):
    os.symlink("nowhere", path)


def make_file(path):
    with open(path, "x", encoding="utf-8"):
        pass


@pytest.mark.parametrize("make", full_but([os.mkfifo, make_link, os.mkdir, make_socket], [os.mkfifo, make_link]))
@pytest.mark.parametrize("name", ["pipeline.lock", "a.lock"])
def test_what_is_in_the_place_of_a_lock_file_is_named_with_what_to_do(bench, monkeypatch, make, name):
    bench.define(shell("a", "touch $PIPELINE_OUTPUT_OUT"))
    monkeypatch.chdir(bench.root)
    os.mkdir("locks")
    make(f"locks/{name}")
    done = bench.run()
    assert done.returncode == 74
    assert f"error: {bench.root}/locks/{name}: is a" in done.stderr
    assert done.stderr.endswith("\nhint: move it away\n")
    assert not bench.exists("out/a.txt")
    os.rename(f"locks/{name}", "away")
    bench.succeed()


@pytest.mark.full_after(3)
@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("locks", make_link),
        *((name, make) for make in (make_file, os.mkfifo, make_socket) for name in (".offpipe", "locks")),
    ],
)
def test_what_is_in_the_place_of_a_directory_is_named_with_what_to_do(bench, monkeypatch, make, name):
    bench.define(shell("a", "touch $PIPELINE_OUTPUT_OUT"))
    monkeypatch.chdir(bench.root)
    make(name)
    done = bench.run()
    assert done.returncode == 74
    assert f"\nerror: {bench.root}/{name}: cannot make the directory: EEXIST (" in done.stderr
    assert done.stderr.endswith(f"\nhint: move away what is at {bench.root}/{name}\n")
    assert not bench.exists("out")
    os.rename(name, "away")
    bench.succeed()
