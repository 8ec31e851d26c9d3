"""On an overlay, as in a container, a run replaces directories of lower layers, although it cannot rename them."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest
from pipeline_bench import PipelineBench, shell

pytestmark = pytest.mark.full

MOUNT = """cd "$1" && mount -t tmpfs none over && cd over && mkdir upper work top &&
mount -t overlay overlay -o "lowerdir=$1/lower,upperdir=upper,workdir=work,userxattr" top || exit 200
shift; "$@" run top/spec.json -f && "$@" verify top/spec.json --outputs || exit
ls -A top/out/tree top/out"""


@pytest.mark.skipif(not shutil.which("unshare"), reason="no unshare here to mount an overlay in")
def test_a_run_goes_on_from_a_lower_layer_and_replaces_its_directories(tmp_path):
    (tmp_path / "lower").mkdir()
    (tmp_path / "over").mkdir()
    bench = PipelineBench(tmp_path / "lower")
    makes = "mkdir $PIPELINE_OUTPUT_TREE; touch $PIPELINE_OUTPUT_TREE/$PIPELINE_RUN_ID"
    bench.define(shell("a", makes, outputs={"tree": "out/tree/"}))
    bench.succeed("--run-id", "before")
    (tmp_path / "lower/state/tmp/left").touch()
    words = ["unshare", "-Urm", "sh", "-c", MOUNT, "sh", str(tmp_path), sys.executable, "-m", "runner"]
    done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=60)
    if done.returncode == 200:
        pytest.skip(f"no overlay can be mounted here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    assert "before" not in done.stdout
    assert ".partial" not in done.stdout
