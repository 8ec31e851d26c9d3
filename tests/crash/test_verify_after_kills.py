"""Whenever a run is killed, its state is incomplete or intact, never damaged; the next run makes it intact.

The process ends itself before or after the n-th call that changes the disk: at every fourth call, or at every one with
OFFPIPE_SWEEP=all.
"""

from __future__ import annotations

import shutil

import pytest
from crash_sweep import ALL
from forked_runs import DIED
from pipeline_bench import PipelineBench, shell

from runner.audit.verification import Verification
from runner.record.seal import PLAIN

pytestmark = pytest.mark.full

LIMIT = 400  # more than any of these runs has changes


def verdict(bench):
    """Return the verdict of `verify` (`damaged`, `incomplete` or `intact`) and its findings."""
    state = bench.root / "state"
    if not state.exists():
        return "intact", []
    verification = Verification(str(state), PLAIN)
    verification.check()
    findings = verification.findings
    if findings.damage:
        return "damaged", findings.damage
    return ("incomplete" if findings.incomplete else "intact"), [*findings.incomplete, *findings.notes]


COPY = "cat in.txt > $PIPELINE_OUTPUT_OUT"
FAILS = "test -e ok && cat in.txt > $PIPELINE_OUTPUT_OUT"


def first(bench):
    """The first run of all."""


def changed(bench):
    """A run whose stages have outputs of another input."""
    bench.succeed()
    bench.write("in.txt", "two\n")


def idle(bench):
    """A run with nothing to do."""
    bench.succeed()


def resumed(bench):
    """A run that resumes a failed one, beside another that is open, too."""
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
    """Each part takes every fourth change, so that the parts can run side by side."""
    template = tmp_path / "template"
    template.mkdir()
    bench = PipelineBench(template)
    bench.write("in.txt", "one\n")
    bench.define(*stages(COPY))
    before(bench)
    kills = 0
    for at in range(1 + part, LIMIT, 4):
        after = bool(at // 4 % 2)
        disturbed = PipelineBench(tmp_path / f"run{at}")
        shutil.copytree(template, disturbed.root, symlinks=True)
        ended = disturbed.run("-q", dies_at=at, after=after)
        assert ended.returncode in {0, 1, DIED}, ended.stderr
        verified, findings = verdict(disturbed)
        assert verified != "damaged", (at, after, findings)
        if ended.returncode != DIED:
            break
        kills += 1
        disturbed.succeed("-q")
        disturbed.succeed("-q")  # for the other run that is open, if there is one
        verified, findings = verdict(disturbed)
        assert verified == "intact", (at, after, findings)
        shutil.rmtree(disturbed.root)
    assert kills
    bench.close()
