"""A bench on its own tmpfs. It traces runs, and can lay out any state of that disk again."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from disk_model import ROOT, Bytes, Disk
from disk_trace import traced, why_not
from pipeline_bench import PipelineBench, shell

if TYPE_CHECKING:
    from pathlib import Path

    from disk_model import Tree

LINES = 120
SPLITS = """
import os
from runner import sdk
with sdk.stage() as stage, stage.lines("text", to=("even", "odd")) as job:
    for number, line in enumerate(job, job.line_offset):
        job.write(line.upper(), to="odd" if number % 2 else "even")
"""


class DiskBench(PipelineBench):
    """A bench whose `root` is a mount, on which new files get inode numbers in order, from 1."""

    def __init__(self, root: Path) -> None:
        root.mkdir(exist_ok=True)
        super().__init__(root)
        self._mounted = False
        self.fresh()

    def fresh(self) -> None:
        """Mount an empty disk in place of the current one."""
        self.unmount()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=64m,mode=755", "none", str(self.root)], capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        if done.returncode:
            pytest.skip(f"cannot mount a tmpfs: {done.stderr.strip()}")
        self._mounted = True

    def unmount(self) -> None:
        if self._mounted:
            subprocess.run(["umount", "-l", str(self.root)], check=True)
            self._mounted = False

    def close(self) -> None:
        super().close()
        self.unmount()

    def traced(
        self, *words: str, exit_code: int | None = 0, after: tuple[Disk, int] | None = None, **popen: object
    ) -> Disk:
        """Run, and return what the run did to the disk; `after`: the disk of a killed run, and its number of steps."""
        disk = Disk(self.root, after)
        done, calls = traced(self, *words, **popen)
        assert exit_code in (None, done.returncode), done.stdout + done.stderr
        disk.apply(calls)
        assert disk.matches_disk()  # otherwise the model proves nothing
        return disk

    def lay_out(self, tree: Tree, times: dict[int, int], upto: int = 0) -> None:
        """Make a disk with exactly this tree; every file has its number, and its time if it is in `times`.

        The numbers of new files begin at `upto`.
        """
        self.fresh()
        entries = dict(tree.below(ROOT))
        numbers = {number: path for path, number in entries.items()}
        del numbers[ROOT]
        made = 0
        for number in sorted(numbers):
            while made < number:
                made = self._make(tree, number)
        while made < upto - 1:
            (self.root / ".number").touch()
            made = (self.root / ".number").stat().st_ino
            (self.root / ".number").unlink()
        for path, number in entries.items():
            if numbers.get(number) == path:
                os.rename(self.root / f".{number}", self.root / path)
        for path, number in entries.items():
            if numbers.get(number, path) != path:
                os.link(self.root / numbers[number], self.root / path)
        for path, number in entries.items():
            if number in times:
                os.utime(self.root / path, ns=(times[number], times[number]), follow_symlinks=False)
            assert number in (ROOT, os.lstat(self.root / path).st_ino)

    def _make(self, tree: Tree, number: int) -> int:
        """Make the next file of the disk, keep it if it has the wanted number, and return its number."""
        new = self.root / f".{number}"
        if number in tree.directories:
            new.mkdir()
        elif isinstance(content := tree.files[number], bytes):
            new.write_bytes(content)
        else:
            new.symlink_to(content)
        made = os.lstat(new).st_ino
        assert made <= number
        if made < number:
            new.rmdir() if number in tree.directories else new.unlink()
        return made


def disk_bench(root: Path) -> DiskBench:
    """Return a bench on its own disk, or skip the test with the reason."""
    if why_not():
        pytest.skip(why_not())
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("needs root, to mount a tmpfs of its own")
    return DiskBench(root)


def steps_through(disk: Disk, what: str) -> int:
    """Return the number of steps up to the last record of event `what`, or the last step whose text begins with it."""
    mark = f'"ev":"{what}"'.encode()
    return max(
        at
        for at, (text, step) in enumerate(zip(disk.descriptions, disk.steps, strict=True), 1)
        if text.startswith(what) or (isinstance(step, Bytes) and mark in (step.data or b""))
    )


def define_stages(bench: PipelineBench, prefix: str = "line") -> None:
    """Define a checkpointed stage with two outputs, one with a directory, and one that appends in a deep directory."""
    bench.write("in.txt", "".join(f"{prefix} {number}\n" for number in range(LINES)))
    if not bench.exists("split.py"):
        bench.write("split.py", SPLITS)
    bench.define(
        {"name": "split", "processor": "split.py", "inputs": {"text": "in.txt"}, "checkpoint": {"everyLines": 40},
         "outputs": {"even": "w/even", "odd": "w/odd"}},
        shell("tree", "mkdir $PIPELINE_OUTPUT_T $PIPELINE_OUTPUT_T/sub; sort -r w/even > $PIPELINE_OUTPUT_T/sub/x; "
              "ln -s sub/x $PIPELINE_OUTPUT_T/link", inputs={"e": "w/even"}, outputs={"t": "w/tree/"}),
        shell("add", "sort w/tree/link >> $PIPELINE_OUTPUT_OUT; sort w/odd >> $PIPELINE_OUTPUT_OUT",
              inputs={"t": "w/tree/", "o": "w/odd"}, outputs={"out": "deep/er/add.txt"}),
    )  # fmt: skip


OUTPUTS = {
    "split": {"even": "w/even", "odd": "w/odd"},
    "tree": {"t": "w/tree/"},
    "add": {"out": "deep/er/add.txt"},
}


def result(bench: PipelineBench) -> dict[str, bytes]:
    """Return the content of the pipeline's outputs, by path."""
    files = [path for place in ("w", "deep") for path in (bench.root / place).rglob("*") if path.is_file()]
    return {str(path.relative_to(bench.root)): path.read_bytes() for path in files}
