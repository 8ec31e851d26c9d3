"""The script in docs/cluster.md, without Slurm: a stand-in for `sbatch` starts the jobs on this machine."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from pipeline_bench import ROOT, is_running, shell, wait_for

pytestmark = pytest.mark.full

SBATCH = """#!/bin/sh
cp "$1" {here}/job.$$.sh
setsid sh {here}/job.$$.sh >{here}/job.$$.log 2>&1 &
echo "Submitted batch job $!"
"""
SCANCEL = "#!/bin/sh\nfor job; do kill -KILL -$job && echo $job >>{here}/cancelled; done\n"


def test_the_script_for_slurm_runs_a_pipeline_and_cancels_its_jobs(bench, tmp_path):
    for name, text in (("sbatch", SBATCH), ("scancel", SCANCEL)):
        (tmp_path / name).write_text(text.format(here=tmp_path))
        (tmp_path / name).chmod(0o755)
    bench.define(*(shell(f"s{number}", "sleep 0.1; echo >$PIPELINE_OUTPUT_OUT") for number in range(4)))
    script = re.search(r"```python\n(.*?)```", (ROOT / "docs/cluster.md").read_text(), re.DOTALL)[1]
    (bench.root / "submit.py").write_text(script.replace("spec.json", str(bench.spec)))
    path = f"{tmp_path}:{os.path.dirname(sys.executable)}:{os.environ['PATH']}"
    done = subprocess.run(
        [sys.executable, "submit.py"], cwd=bench.root, capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)},  # Dask writes files to HOME
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    jobs = list(tmp_path.glob("job.*.sh"))
    assert len(jobs) == 4
    assert all("--resources cpus=8,memoryMiB=64000" in job.read_text() for job in jobs), jobs[0].read_text()
    cancelled = (tmp_path / "cancelled").read_text().split()
    assert len(cancelled) == 4
    wait_for(lambda: not any(is_running(int(job)) for job in cancelled), "the end of the jobs")
    assert bench.read("out/s3.txt") == b"\n"
