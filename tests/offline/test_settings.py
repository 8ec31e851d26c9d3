"""At level `kernel`, no stage can use a file, root's or the user's own, to change what the kernel does outside."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path

import pytest
from harmless_lives import bench_as_user
from pipeline_bench import shell

USERS = pytest.mark.parametrize("user", ["root", "unprivileged"])
# Prints the machine's own files that are writable by access(2) and by mode. Opens nothing.
WRITABLE = """
import os, sys
def places():
    for top in sys.argv[1:]:
        for name in os.listdir(top):
            if not name.isdecimal() and not os.path.islink(f"{top}/{name}"):
                yield f"{top}/{name}"
                for folder, folders, names in os.walk(f"{top}/{name}"):
                    yield from (f"{folder}/{one}" for one in (*folders, *names))
def is_writable(place):
    return not os.path.islink(place) and os.lstat(place).st_mode & 0o222 and os.access(place, os.W_OK)
print(*filter(is_writable, places()), sep="\\n")
"""


@pytest.fixture
def bench(user):
    with bench_as_user("kernel", user) as made:
        made.write("writable.py", WRITABLE)
        yield made


@pytest.fixture
def delegated(bench):
    """A control group that belongs to the user, as systemd gives each session one."""
    mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines() if " - cgroup2 " in line]
    if not mounts:
        pytest.skip("no control groups of version 2 are mounted here")
    group = Path(mounts[0][4]) / f"offpipe-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    try:
        bench.owner.owns(group, *group.iterdir())
        yield group
    finally:
        for each in (*group.glob("*/"), group):
            each.rmdir()


@USERS
def test_a_control_group_of_the_users_own_is_closed_to_stages(bench, delegated):
    script = f"mkdir {delegated}/mine && echo made; echo 1 > {delegated}/cgroup.freeze && echo frozen"
    done = subprocess.run(
        [*bench.owner.prefix, "sh", "-c", script.replace("1 >", "0 >")], capture_output=True, text=True, check=True
    )
    assert done.stdout == "made\nfrozen\n", "nothing to close"
    (delegated / "mine").rmdir()
    bench.define(shell("tries", f"{script}; touch $PIPELINE_OUTPUT_OUT"))
    bench.succeed()
    (log,) = bench.root.glob("state/logs/*/tries.1.log")
    assert log.read_text().count("Read-only file system") == 2, log.read_text()
    assert not (delegated / "mine").exists()


@USERS
def test_nothing_of_the_machines_own_can_be_written_to(bench, user):
    tops = ["/sys/fs", "/sys/kernel", *(["/proc"] if user == "root" else [])]
    command = [bench.owner.interpreter, "writable.py", *tops]
    plain = subprocess.run([*bench.owner.prefix, *command], cwd=bench.root, capture_output=True, text=True, check=True)
    if user == "root":
        assert "/proc/sys/kernel/core_pattern" in plain.stdout and "/proc/irq/" in plain.stdout
    bench.define({"name": "looks", "command": ["{python}", *command[1:]], "stdout": "out", "outputs": {"out": "found"}})
    bench.succeed()
    assert bench.read("found").split() == []
    assert bench.records("run.start")[0]["data"]["isolation"]["kernelSettings"] == "read-only"


@USERS
def test_namespaces_of_a_stages_own_may_have_a_proc_where_the_user_is_not_root(bench, user):
    command = ["unshare", "-Urpf", "--mount-proc", "true"]
    with contextlib.suppress(FileNotFoundError):
        if subprocess.run([*bench.owner.prefix, *command], capture_output=True, check=False).returncode == 0:
            bench.define({"name": "tries", "command": command, "stdout": "out", "outputs": {"out": "x"}})
            assert (bench.run().returncode == 0) == (user != "root")
            return
    pytest.skip("no such namespace can be made here")
