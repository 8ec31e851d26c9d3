"""The process of a run ends as soon as it has nothing left to do, but never before its plugins have ended."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from pipeline_bench import PipelineBench

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
METADATA = {
    "METADATA": "Metadata-Version: 2.1\nName: third-party\nVersion: 1.0\n",
    "entry_points.txt": "[offpipe]\nthird = third_party_hooks\n",
}


@pytest.fixture
def bench(tmp_path):
    (tmp_path / "root").mkdir()
    bench = PipelineBench(tmp_path / "root")
    bench.define({"name": "a", "command": ["cp", "/dev/null", "{outputs.out}"], "outputs": {"out": "a"}})
    return bench


def run_with(bench, tmp_path, hooks):
    """Run with a plugin that an installed distribution declares."""
    installed = tmp_path / "installed"
    (installed / "third_party-1.0.dist-info").mkdir(parents=True)
    for name, content in METADATA.items():
        (installed / "third_party-1.0.dist-info" / name).write_text(content)
    (installed / "third_party_hooks.py").write_text(f"from runner import hookspecs\n{hooks}")
    return bench.succeed(env={"PYTHONPATH": f"{ROOT}{os.pathsep}{installed}"})


def test_a_file_that_a_plugin_left_open_is_flushed(bench, tmp_path):
    path = tmp_path / "heard"
    run_with(
        bench, tmp_path, f"file = open({str(path)!r}, 'w')\n@hookspecs.hookimpl\ndef offpipe_run_finished(result):\n"
        "    file.write(result.status)\n",
    )  # fmt: skip
    assert path.read_text() == "succeeded"


def test_waits_for_the_thread_of_a_plugin(bench, tmp_path):
    path = tmp_path / "heard"
    run_with(
        bench, tmp_path, f"import pathlib, threading, time\ndef late():\n    threading.main_thread().join()\n"
        f"    pathlib.Path({str(path)!r}).write_text('late')\n@hookspecs.hookimpl\ndef offpipe_run_finished(result):\n"
        "    threading.Thread(target=late).start()\n",
    )  # fmt: skip
    assert path.read_text() == "late"


ENDS = """
import atexit, os, sys
from runner.__main__ import program
{before}
class Late:
    def __del__(self, write=os.write):
        write(1, b"taken apart")
late = Late()
sys.exit(program())
"""


@pytest.mark.parametrize(
    ("before", "output"),
    [
        ("", ""),
        ("atexit.register(os.write, 1, b'told, ')", "told, taken apart"),
        ("sys.setprofile(lambda *_: None)", "taken apart"),
    ],
)
def test_the_interpreter_is_finalized_only_for_exit_handlers_and_profilers(bench, tmp_path, before, output):
    (tmp_path / "ends.py").write_text(ENDS.format(before=before))
    done = subprocess.run(
        [sys.executable, tmp_path / "ends.py", "-q", bench.spec], env={**os.environ, "PYTHONPATH": ROOT},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, output, "")
    assert bench.read("a") == b""
