"""No sealed stage leaves its view, or writes outside its own directories."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest
from harmless_lives import bench_as_user
from offline_run import PROGRAMS, SHOWN, open_place

USERS = pytest.mark.parametrize("user", ["unprivileged", pytest.param("root", marks=pytest.mark.full)])


@pytest.fixture
def bench(user):
    with bench_as_user("kernel", user) as made:
        made.write("data", "data\n")
        made.write("secret", "secret\n")
        shutil.copy(PROGRAMS / "escapes.py", made.root)
        made.owner.owns(made.root / "data", made.root / "secret")
        yield made


@pytest.fixture
def outside(bench):
    """A directory of the user's own that views show, and that without a view he can write to."""
    if not os.access(SHOWN, os.W_OK):
        pytest.skip(f"no directory can be made in {SHOWN}")
    with open_place(SHOWN) as place:
        (place / "file").write_text("outside\n")
        bench.owner.owns(place, place / "file")
        yield place


def define(bench, outside, **fields):
    bench.define({"name": "escapes", "processor": "escapes.py", "args": [str(bench.root), str(outside)],
                  "inputs": {"data": "data"}, "stdin": "data", "stdout": "out", "outputs": {"out": "out/found"},
                  **fields})  # fmt: skip


@USERS
@pytest.mark.parametrize("fresh", [False, True], ids=["forked", "fresh"])
def test_no_way_out_of_a_view_is_open(bench, outside, fresh):
    define(bench, outside, sealed=True, freshInterpreter=fresh)
    bench.succeed()
    found = bench.read("out/found").decode().splitlines()
    assert sum(line.startswith("tried ") for line in found) == 19
    assert [line for line in found if line.startswith(("reached", "broken"))] == []
    assert (bench.read("data"), bench.read("secret")) == (b"data\n", b"secret\n")
    assert os.listdir(outside) == ["file"] and (outside / "file").read_text() == "outside\n"


@pytest.mark.full
@pytest.mark.parametrize("user", ["unprivileged"])
def test_the_ways_lead_out_where_there_is_no_view(bench, outside):
    words = [bench.owner.interpreter, str(bench.root / "escapes.py"), str(bench.root), str(outside)]
    with (bench.root / "data").open() as data:
        done = subprocess.run(
            [*bench.owner.prefix, *words], stdin=data, capture_output=True, text=True, check=True,
            env={"HOME": str(bench.root)}, cwd=bench.root,
        )  # fmt: skip
    reached = {line.partition(":")[0] for line in done.stdout.splitlines() if line.startswith("reached")}
    assert {
        f"reached {way}" for way in ("as it is", "dots", "nested chroot", "bound / 20480", "standard input")
    } <= reached
    assert os.path.exists(outside / "new")
