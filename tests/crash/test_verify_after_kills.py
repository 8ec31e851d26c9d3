"""Whenever a run is killed, what it leaves is incomplete or intact, and never damaged; and so is what goes on from it.

The process ends itself at the n-th call that changes the disk, before the call or behind it: at every fourth one, or
with OFFPIPE_SWEEP=all at every one.
"""

from __future__ import annotations

import shutil

import pytest
from crash_sweep import ALL
from forked_runs import DIED
from pipeline_bench import PipelineBench, shell

from runner.record.seal import PLAIN
from runner.record.verify import Verification

pytestmark = pytest.mark.full

MORE = 400  # than any of these runs has changes


def verdict(bench):
    """What `verify` finds: `damaged`, `incomplete` or `intact`; what it says beside."""
    state = bench.root / "state"
    if not state.exists():
        return "intact", []
    found = Verification(str(state), PLAIN)
    found.check()
    findings = found.findings
    if findings.damage:
        return "damaged", findings.damage
    return ("incomplete" if findings.incomplete else "intact"), [*findings.incomplete, *findings.notes]


COPY = "cat in.txt > $PIPELINE_OUTPUT_OUT"
FAILS = "test -e ok && cat in.txt > $PIPELINE_OUTPUT_OUT"


def first(bench):
    """The first run of all."""


def changed(bench):
    """A run whose stages were made before, of something else."""
    bench.succeed()
    bench.write("in.txt", "two\n")


def idle(bench):
    """A run with nothing to do."""
    bench.succeed()


def resumed(bench):
    """A run that goes on with one that failed, beside another that is open too."""
    bench.define(*stages(FAILS))
    assert bench.run("run", "--run-id", "one").returncode == 1
    assert bench.run("run", "--run-id", "other").returncode == 1
    bench.write("ok", "")


def stages(script):
    tree = "mkdir $PIPELINE_OUTPUT_T; cp in.txt $PIPELINE_OUTPUT_T/x"
    return (
        shell("a", COPY, inputs={"i": "in.txt"}),
        shell("b", tree, inputs={"a": "out/a.txt", "i": "in.txt"}, outputs={"t": "tree/"}),
        shell("c", script, inputs={"i": "in.txt"}),
    )


@pytest.mark.parametrize("part", range(4 if ALL else 1))
@pytest.mark.parametrize("before", [first, changed, idle, resumed])
def test_no_kill_leaves_damage(tmp_path, before, part):
    """Each part takes every fourth change, so that they can run side by side."""
    template = tmp_path / "template"
    template.mkdir()
    bench = PipelineBench(template)
    bench.write("in.txt", "one\n")
    bench.define(*stages(COPY))
    before(bench)
    kills = 0
    for at in range(1 + part, MORE, 4):
        after = bool(at // 4 % 2)
        disturbed = PipelineBench(tmp_path / f"run{at}")
        shutil.copytree(template, disturbed.root, symlinks=True)
        ended = disturbed.run("-q", dies_at=at, after=after)
        assert ended.returncode in {0, 1, DIED}, ended.stderr
        verified, said = verdict(disturbed)
        assert verified != "damaged", (at, after, said)
        if ended.returncode != DIED:
            break
        kills += 1
        disturbed.succeed("-q")
        disturbed.succeed("-q")  # for the other run that is open, if there is one
        verified, said = verdict(disturbed)
        assert verified == "intact", (at, after, said)
        shutil.rmtree(disturbed.root)
    assert kills
    bench.close()
