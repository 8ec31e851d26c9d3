"""An output that was edited in place is made again, even if its size and modification time are the same."""

from __future__ import annotations

import json
import os

import pytest
from pipeline_bench import shell

from runner.record.markers import Marker


@pytest.fixture
def output(bench):
    """The output of a stage that has run; another stage reads it."""
    bench.define(
        shell("a", "echo made > $PIPELINE_OUTPUT_OUT"),
        shell("b", "cat $PIPELINE_INPUT_A > $PIPELINE_OUTPUT_OUT", inputs={"a": "out/a.txt"}),
    )
    bench.succeed()
    return bench.root / "out/a.txt"


def edit(path):
    before = path.stat()
    path.write_text("EDIT\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_ino, after.st_size, after.st_mtime_ns) == (before.st_ino, before.st_size, before.st_mtime_ns)


@pytest.mark.full_after(2)
@pytest.mark.parametrize("runs", [0, 2, 1], ids=["at once", "after a no-op record", "after a plan"])
def test_an_output_edited_in_place_with_its_time_restored_is_made_again(bench, output, runs):
    for _ in range(runs):
        assert bench.skips_everything()
    edit(output)
    reasons = {stage["stage"]: stage["reasons"] for stage in bench.json("plan")["stages"] if stage["decision"] == "run"}
    assert [reason["component"] for reason in reasons["a"]] == ["outputs"]
    bench.succeed()
    assert (output.read_text(), bench.read("out/b.txt")) == ("made\n", b"made\n")
    assert bench.skips_everything()


def test_another_change_time_alone_runs_nothing(bench, output):
    output.chmod(0o600)
    assert bench.skips_everything()
    os.link(output, bench.root / "copy")
    assert bench.skips_everything()
    assert bench.run("verify", "--outputs").returncode == 0


def test_an_output_is_read_if_its_change_time_is_not_known(bench, output):
    path = bench.root / "state/stage_a.json"
    plain = Marker.decode(path.read_bytes()).with_ctime(None)
    assert json.loads(path.read_bytes()).keys() - json.loads(plain.encode()).keys() == {"visibleNs"}
    path.write_bytes(plain.encode())
    assert bench.skips_everything()
    edit(output)
    assert [stage["decision"] for stage in bench.json("plan")["stages"]] == ["run", "depends"]
