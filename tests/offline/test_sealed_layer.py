"""Whether sealed stages get views here, where that shows, and what works inside a view."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

import harmless_lacking
import pytest
from harmless_lives import bench_as_user
from offline_run import SHOWN, open_place
from pipeline_bench import wait_for

USERS = pytest.mark.parametrize("user", ["unprivileged", pytest.param("root", marks=pytest.mark.full)])
LIMITS = ("max_mnt_namespaces", "max_user_namespaces")
SEALED = {"name": "a", "sealed": True, "command": ["sh", "-c", "ls > $PIPELINE_OUTPUT_OUT"],
          "outputs": {"out": "out/a"}}  # fmt: skip


@pytest.fixture
def bench(user):
    with bench_as_user("kernel", user) as made:
        made.define(SEALED)
        shutil.copy(harmless_lacking.__file__, made.root)
        yield made


def limited(bench, name):
    """The words before a program that may make one namespace of a kind: for the level, and none for a view."""
    words = ("unshare", "-Ur", "sh", "-c", f'echo 1 > /proc/sys/user/{name} && exec "$@"', "sh")
    if subprocess.run([*bench.owner.prefix, *words, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no such limit can be set here")
    return words


def doctor(bench, wrapper, *words):
    done = subprocess.run(
        [*bench.wrapped(wrapper), "-", "-m", "runner", "doctor", *words],
        capture_output=True, text=True, check=True,
        cwd=bench.root, env={**os.environ, "PYTHONPATH": bench.owner.cwd, **bench.owner.env},
    )  # fmt: skip
    return done.stdout


def views(bench):
    return bench.records("run.start")[-1]["data"]["isolation"].get("views")


@USERS
def test_a_run_with_sealed_stages_has_on_record_that_there_are_views(bench):
    bench.succeed()
    assert views(bench) == "possible"
    assert "of sealed stages: possible\n" in doctor(bench, ())
    bench.define({**SEALED, "sealed": False})
    bench.succeed("-f")
    assert views(bench) is None, "without sealed stages nothing is tried"


@USERS
@pytest.mark.full_after(1)
@pytest.mark.parametrize("limit", LIMITS)
def test_where_a_limit_forbids_views_doctor_names_it_and_a_run_is_refused(bench, limit):
    wrapper = limited(bench, limit)
    why = "unshare(user, mount) failed: ENOSPC (No space left on device)"
    shown = doctor(bench, wrapper)
    assert "reach level kernel\n" in shown
    assert f"of sealed stages: none: {why}\n" in shown and f"user.{limit}" in shown
    assert json.loads(doctor(bench, wrapper, "--json"))["levels"]["kernel"]["layers"]["views"] == f"none: {why}"
    done = bench.run(wrapper=wrapper)
    assert done.returncode == 4
    assert f"error: stage a: is sealed, but gets no view here: {why}\nhint: offpipe doctor" in done.stderr
    assert not bench.exists("out")


@USERS
def test_without_mount_setattr_there_are_no_views_but_the_level_is_the_same(bench):
    wrapper = (bench.owner.interpreter, str(bench.root / "harmless_lacking.py"), "mount_setattr")
    assert "none: mount_setattr failed: EPERM" in doctor(bench, wrapper)
    assert bench.run(wrapper=wrapper).returncode == 4
    done = bench.succeed("--sealed", "best-effort", wrapper=wrapper)
    assert (
        "warning: sealed stages: run unsealed, so undeclared reads are not noticed: a (none: mount_setat" in done.stderr
    )
    assert views(bench) == "none: mount_setattr failed: EPERM (Operation not permitted)"
    assert b"spec.json" in bench.read("out/a")


@USERS
def test_where_the_level_is_filter_a_run_with_sealed_stages_is_refused(bench):
    wrapper = (bench.owner.interpreter, str(bench.root / "harmless_lacking.py"), "unshare")
    done = bench.run(wrapper=wrapper)
    assert done.returncode == 4
    assert "error: stage a: is sealed, but gets no view here: unshare(user, network" in done.stderr
    assert "sealed stages need this level" in doctor(bench, wrapper)


@USERS
def test_no_sealed_stage_sees_the_directory_of_another(bench):
    """Each makes a file in each of its own directories, and looks around once both have."""
    if not os.access(SHOWN, os.W_OK):
        pytest.skip(f"no directory can be made in {SHOWN}")
    places = "/tmp /var/tmp /dev/shm ."
    script = f"""
        for place in {places}; do touch "$place/mine-$PIPELINE_STAGE"; done
        until test -e "$0/go"; do sleep 0.01; done
        ls -A .. {places} > "$PIPELINE_OUTPUT_OUT"
    """
    with open_place(SHOWN) as shown:
        command = ["sh", "-c", script, str(shown)]
        bench.define(
            *({**SEALED, "name": name, "command": command, "outputs": {"out": f"out/{name}"}} for name in "ab")
        )
        process = bench.start("-j", "2")
        wait_for(lambda: len(list(bench.root.glob(".partial-*/mine-*"))) == 2, "both")
        (shown / "go").touch()
        assert process.wait(timeout=30) == 0
    for name, other in ("ab", "ba"):
        seen = bench.read(f"out/{name}").decode().split()
        assert seen.count(f"mine-{name}") == 4
        assert f"mine-{other}" not in seen and not any(".partial-" in each for each in seen)


@USERS
def test_files_of_other_users_are_readable_where_the_user_may_read_them(bench, user):
    """Root keeps his rights inside a view; another user has no more than outside."""
    others = bench.write("others", "theirs\n", mode=0o600 if user == "root" else 0o644)
    if os.getuid() == 0:
        os.chown(others, 12345, 12345)
    script = "cat others > $PIPELINE_OUTPUT_OUT; stat -c %u others; echo >> others && echo written"
    bench.define({**SEALED, "command": ["sh", "-c", script + "; true"], "inputs": {"others": "others"}})
    bench.succeed()
    assert bench.read("out/a") == b"theirs\n"
    assert others.read_text() == "theirs\n"
    if user == "root":
        (log,) = bench.root.glob("state/logs/*/a.1.log")
        assert log.read_text().splitlines()[0] == "12345"


@USERS
@pytest.mark.parametrize("sealed", [True, False], ids=["sealed", "plain"])
def test_bwrap_works_inside_a_view_as_it_does_in_a_stage_without_one(bench, sealed):
    if shutil.which("bwrap") is None:
        pytest.skip("no bwrap here")
    bench.write("data", "data\n")
    system = "--ro-bind /usr /usr --symlink usr/bin /bin --symlink usr/lib /lib --symlink usr/lib64 /lib64"
    words = f"--unshare-user --unshare-pid {system} --dev /dev --ro-bind data /in --bind $PIPELINE_OUTPUT_OUT /out"
    script = f"mkdir $PIPELINE_OUTPUT_OUT && bwrap {words} sh -c 'cat /in > /out/a; ls / > /out/listed'"
    bench.define({**SEALED, "sealed": sealed, "command": ["sh", "-c", script], "inputs": {"data": "data"},
                  "outputs": {"out": "out/"}})  # fmt: skip
    bench.succeed()
    assert bench.read("out/a") == b"data\n"
    assert bench.read("out/listed").split() == [b"bin", b"dev", b"in", b"lib", b"lib64", b"out", b"usr"]


@USERS
def test_a_sealed_stage_may_run_a_pipeline(bench, user):
    says = {
        "name": "says",
        "command": ["sh", "-c", "echo made > $PIPELINE_OUTPUT_OUT"],
        "outputs": {"out": "made/says"},
    }
    bench.write("inner.json", json.dumps({"specVersion": 1, "name": "inner", "stateDir": "inner", "stages": [says]}))
    packages = {"pluggy": f"{bench.owner.cwd}/pluggy/"} if bench.owner.prefix else {}
    script = "{python} -m runner inner.json && cp made/says $PIPELINE_OUTPUT_OUT"
    bench.define({**SEALED, "command": ["sh", "-c", script], "inputs": {"inner": "inner.json", **packages},
                  "env": {"PYTHONPATH": bench.owner.cwd}})  # fmt: skip
    bench.succeed()
    assert bench.read("out/a") == b"made\n"
    assert not bench.exists("made") and not bench.exists("inner")
