"""A forked Python stage writes out what it leaves open, and exits, as it would in a fresh interpreter."""

from __future__ import annotations

import gzip

import pytest
from forked_runs import offpipe
from suites import full_but

OUTPUT = "import os\npath = os.environ['PIPELINE_OUTPUT_OUT']\n"
LEFT_OPEN = {
    "text over gzip": "import gzip\nf = gzip.open(path, 'wt', compresslevel=1)\nf.write('line\\n')\n",
    "text over lzma": "import lzma\nf = lzma.open(path, 'wt')\nprint('line', file=f)\n",
    "a buffer over bz2": "import bz2, io\nf = io.BufferedWriter(bz2.open(path, 'wb'))\nf.write(b'line\\n')\n",
    "text over gzip in a closure": """
import gzip
def make():
    f = gzip.open(path, 'wt')
    return lambda text: f.write(text)
put = make()
put('line\\n')
""",
    "a buffer over a class of the stage": """
import io
class Upper(io.RawIOBase):
    def __init__(self): self.descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    def writable(self): return True
    def write(self, data): return os.write(self.descriptor, bytes(data).upper())
    def close(self):
        if not self.closed:
            super().close()
            os.close(self.descriptor)
f = io.BufferedWriter(Upper())
f.write(b'line\\n')
""",
    "a generator in its middle": """
def rows():
    with open(path, 'w') as to:
        try:
            while True: to.write(os.path.basename((yield)) + '\\n')
        finally:
            to.write('end of ' + os.path.basename('a/b') + '\\n')
sink = rows()
next(sink)
sink.send('x/y')
""",
}
CODES = [
    "2 ** 70",
    "-(2 ** 70)",
    "-1",
    "256",
    "True",
    "''",
    "0.0",
    "type('Zero', (int,), {'__and__': lambda a, b: 0})(7)",
]


@pytest.mark.parametrize(
    "left", full_but(LEFT_OPEN, LEFT_OPEN.keys() - {"text over gzip", "text over lzma", "a buffer over bz2"})
)
def test_what_a_stage_leaves_open_is_written_out(bench, left) -> None:
    bench.write("stage.py", OUTPUT + LEFT_OPEN[left])
    made = []
    for fresh in (True, False):
        stage = {"name": "a", "processor": "stage.py", "outputs": {"out": f"out-{fresh}"}, "freshInterpreter": fresh}
        bench.define(stage)
        bench.succeed()
        content = bench.read(f"out-{fresh}")
        made.append(gzip.decompress(content) if "gzip" in left else content)  # its header has names and times
    assert made[0] == made[1] != b""


@pytest.mark.parametrize("code", full_but(CODES, ["2 ** 70", "256"]))
def test_a_stage_ends_with_the_code_that_it_exits_with(bench, code) -> None:
    bench.write("stage.py", f"{OUTPUT}import sys\nopen(path, 'w').close()\nsys.exit({code})\n")
    ends = []
    for fresh in (True, False):
        stage = {"name": "a", "processor": "stage.py", "outputs": {"out": "out"}, "freshInterpreter": fresh}
        bench.define(stage)
        ends.append((bench.run("run", "-f").returncode, bench.attempts("a")[-1]["exit"]))
    assert ends[0] == ends[1]


def test_a_request_for_a_fork_that_cannot_be_encoded_leaves_the_next_one_its_streams() -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        offpipe("--version", env={"A": b"bytes"})
    assert offpipe("--version").stdout.startswith("offpipe ")
