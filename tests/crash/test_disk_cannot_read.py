"""A run that cannot read a file (EIO, EMFILE) ends with 74, errno and path, and draws no conclusion about the file.

`/proc/self/mem` stands for a file on a broken disk: its start can never be read (EIO).
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pipeline_bench import shell
from suites import full_but

from runner.errors import StateError
from runner.sdk.source import Source

BROKEN = Path("/proc/self/mem")
REFUSED = (
    r"error: (?:\S+: cannot [a-z ]+|stage \w+: could not start \S+): EMFILE \(Too many open files\)(?: opening \S+)?"
)

needs_broken = pytest.mark.skipif(not BROKEN.exists(), reason=f"needs {BROKEN}")


def one_error(done):
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    return line


@needs_broken
@pytest.mark.parametrize("path", ["work.py", "helper.py", "argument.py", "in.txt"])
def test_a_file_on_a_broken_disk_ends_with_its_path(bench, path):
    bench.write("in.txt", "text\n")
    bench.write("work.py", "import helper\n")
    bench.write("helper.py", "")
    bench.write("argument.py", "")
    stage = {"name": "a", "processor": "work.py", "args": ["argument.py"], "inputs": {"text": "in.txt"}}
    bench.define({**stage, "outputs": {"out": "out/a"}})
    (bench.root / path).unlink()
    (bench.root / path).symlink_to(BROKEN)
    for verb in ("run",) if path == "in.txt" else ("run", "plan"):  # a first plan reads no input
        done = bench.run(verb)
        assert done.returncode == 74, done.stderr
        assert one_error(done) == f"error: {bench.root / path}: cannot read: EIO (Input/output error)"
    assert bench.has_only_refused()


@needs_broken
def test_an_input_on_a_broken_disk_is_no_missing_input_to_the_sdk(tmp_path):
    (tmp_path / "in.txt").symlink_to(BROKEN)
    with pytest.raises(StateError, match=r"in\.txt: cannot read: EIO"):
        Source((str(tmp_path / "in.txt"),), 0).read(100, 100)


@pytest.mark.full
@pytest.mark.parametrize("step", full_but([1, 3], [3]))
def test_a_run_without_descriptors_says_so_and_changes_no_decision(bench, step):
    """At any limit, the run succeeds or says why not. A file that it cannot open never counts as missing or changed."""
    bench.write("in.txt", "text\n")
    bench.write("work.py", "import helper, os\nopen(os.environ['PIPELINE_OUTPUT_OUT'], 'w').write(helper.TEXT)\n")
    bench.write("helper.py", "TEXT = 'text'\n")
    bench.define(
        {"name": "a", "processor": "work.py", "inputs": {"text": "in.txt"}, "outputs": {"out": "out/a"}},
        shell("b", "cp out/a $PIPELINE_OUTPUT_OUT", inputs={"in": "out/a"}),
    )
    codes = []
    for limit in range(5, 18, step):
        done = bench.run("-q", "-j1", command=("sh", "-c", f'ulimit -n {limit}; exec "$@"', "sh"))
        codes.append(done.returncode)
        if done.returncode:
            assert done.returncode == 74, done.stderr
            assert re.fullmatch(REFUSED, one_error(done))
        assert not bench.leftovers()
    assert {codes[0], codes[-1]} == {74, 0}
    assert bench.succeed("plan").stdout.count("skip") == 2
    finished = bench.records("attempt.finished")
    assert [record["data"]["stage"] for record in finished if record["data"]["exit"] == 0] == ["a", "b"]
