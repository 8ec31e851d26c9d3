"""Whenever a run is killed, what it leaves is incomplete or intact, and never damaged; and so is what goes on from it.

The process ends itself at the n-th call that changes the disk, for every n, before the call or behind it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pipeline_bench import PipelineBench, shell

from runner.record.seal import PLAIN
from runner.record.verify import Verification

ROOT = Path(__file__).resolve().parents[2]
MORE = 400  # than any of these runs has changes

DYING = """
import os, sys
at, after = int(sys.argv[1]), sys.argv[2] == "after"
count = 0
def dying(call):
    def wrapped(*args, **kwargs):
        global count
        count += 1
        if count == at and not after:
            os._exit(99)
        try:
            return call(*args, **kwargs)
        finally:  # also when it changed nothing: the directory was there
            if count == at:
                os._exit(99)
    return wrapped
from runner.record import files
for name in "open write rename unlink rmdir mkdir ftruncate truncate fsync fdatasync".split():
    if name == "open":
        real_open = os.open
        def counted(path, flags, *rest, **named):
            if flags & os.O_CREAT:
                return dying(real_open)(path, flags, *rest, **named)
            return real_open(path, flags, *rest, **named)
        os.open = counted
    else:
        setattr(os, name, dying(getattr(os, name)))
from runner.cli import main
code = main(sys.argv[3:])
print(count, file=sys.stderr)
sys.exit(code)
"""


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


def run(bench, at, when, *words):
    """Run until the change `at`; whether that was reached."""
    command = [sys.executable, "-c", DYING, str(at), when, "run", str(bench.spec), "-q", *words]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert done.returncode in {0, 1, 99}, done.stderr
    return done.returncode == 99


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


@pytest.mark.parametrize("part", range(4))
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
        when = "after" if at // 4 % 2 else "before"
        disturbed = PipelineBench(tmp_path / f"run{at}")
        shutil.copytree(template, disturbed.root, symlinks=True)
        killed = run(disturbed, at, when)
        verified, said = verdict(disturbed)
        assert verified != "damaged", (at, when, said)
        if not killed:
            break
        kills += 1
        disturbed.succeed("run", "-q")
        disturbed.succeed("run", "-q")  # for the other run that is open, if there is one
        verified, said = verdict(disturbed)
        assert verified == "intact", (at, when, said)
        shutil.rmtree(disturbed.root)
    assert kills
    bench.close()
