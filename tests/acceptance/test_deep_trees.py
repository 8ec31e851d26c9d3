"""Directories too deep for a path or for recursion: as outputs, in scratch, and left by a failed stage."""

from __future__ import annotations

import json
import subprocess

import pytest

pytestmark = pytest.mark.full

DIGS = """
import os
here = os.environ["PIPELINE_OUTPUT_OUT"] if {place!r} == "output" else os.environ["TMPDIR"]
if not os.path.exists("fixed"):
    os.makedirs(here, exist_ok=True)
    home = os.getcwd()
    os.chdir(here)
    for _ in range({levels}):
        os.mkdir({name!r})
        os.chdir({name!r})
    os.chdir(home)
    if {code}:
        raise SystemExit({code})
os.makedirs(os.environ["PIPELINE_OUTPUT_OUT"], exist_ok=True)
"""


@pytest.fixture(autouse=True)
def removed(tmp_path):
    """Remove the trees with `rm`: pytest's own removal recurses once per level."""
    yield
    subprocess.run(["rm", "-rf", *tmp_path.iterdir()], check=True)


TOO_LONG = "the stage made it, but it cannot be read: File name too long"


def digs(bench, place, code, levels, name):
    bench.write("digs.py", DIGS.format(place=place, code=code, levels=levels, name=name))
    bench.define({"name": "digs", "processor": "digs.py", "outputs": {"out": "out/"}})


@pytest.mark.parametrize(("levels", "name"), [(1200, "d"), (100, "n" * 100)])
@pytest.mark.parametrize(("place", "code"), [("scratch", 0), ("scratch", 3), ("output", 3)])
def test_deep_leftovers_are_removed_and_the_stage_can_be_fixed(bench, place, code, levels, name) -> None:
    digs(bench, place, code, levels, name)
    assert bench.run().returncode == bool(code)
    bench.write("fixed", "")
    bench.succeed()
    bench.succeed("verify", "--outputs")
    assert not [entry.name for entry in bench.root.iterdir() if entry.name.startswith(".partial-")]
    bench.succeed("clean", "--state")
    assert not any((bench.root / "state").glob("tmp*"))


def test_an_output_is_published_and_removed_however_deep_it_is(bench) -> None:
    digs(bench, "output", 0, 1200, "d")
    bench.succeed()
    assert "nothing to do" in bench.succeed().stdout
    bench.succeed("verify", "--outputs")
    bench.write("fixed", "")
    bench.succeed("run", "-f")
    assert list((bench.root / "out").iterdir()) == []


def test_an_output_too_deep_for_a_path_fails_its_stage(bench) -> None:
    digs(bench, "output", 0, 100, "n" * 100)
    failed = bench.run("--json")
    assert failed.returncode == 1
    assert TOO_LONG in json.loads(failed.stdout)["stages"]["digs"]["error"]["what"]
    bench.write("fixed", "")
    bench.succeed()


def test_directories_of_an_output_are_made_however_many_they_are(bench) -> None:
    bench.define({"name": "a", "command": ["touch", "{outputs.out}"], "outputs": {"out": "a/" * 1100 + "b"}})
    bench.succeed()
    bench.succeed("verify", "--outputs")
    bench.succeed("clean")
