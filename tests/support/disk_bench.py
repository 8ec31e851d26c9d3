"""A bench on a tmpfs of its own, whose runs are traced, and on which any state of that disk can be laid out again."""

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
    """`root` is a mount: what is made on it is numbered in order, from 1."""

    def __init__(self, root: Path) -> None:
        root.mkdir(exist_ok=True)
        super().__init__(root)
        self._mounted = False
        self.fresh()

    def fresh(self) -> None:
        """An empty disk in the place of this one."""
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
        """Run, and return what it did to the disk; `after`: what an earlier run had done when it was killed."""
        disk = Disk(self.root, after)
        done, calls = traced(self, *words, **popen)
        assert exit_code in (None, done.returncode), done.stdout + done.stderr
        disk.hear(calls)
        assert disk.is_as_told()  # else whatever follows from the model says nothing
        return disk

    def lay_out(self, tree: Tree, times: dict[int, int], upto: int = 0) -> None:
        """Make a disk that holds just this; every file has its number, and its time where `times` knows it.

        The numbers of new files begin at `upto`.
        """
        self.fresh()
        found = dict(tree.below(ROOT))
        numbers = {number: path for path, number in found.items()}
        del numbers[ROOT]
        made = 0
        for number in sorted(numbers):
            while made < number:
                made = self._make(tree, number)
        while made < upto - 1:
            (self.root / ".number").touch()
            made = (self.root / ".number").stat().st_ino
            (self.root / ".number").unlink()
        for path, number in found.items():
            if numbers.get(number) == path:
                os.rename(self.root / f".{number}", self.root / path)
        for path, number in found.items():
            if numbers.get(number, path) != path:
                os.link(self.root / numbers[number], self.root / path)
        for path, number in found.items():
            if number in times:
                os.utime(self.root / path, ns=(times[number], times[number]), follow_symlinks=False)
            assert number in (ROOT, os.lstat(self.root / path).st_ino)

    def _make(self, tree: Tree, number: int) -> int:
        """Make the next file of the disk, which is kept when it has the wanted number; return its number."""
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
    """A bench on a disk of its own, or a skipped test with its reason."""
    if why_not():
        pytest.skip(why_not())
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("needs root, to mount a tmpfs of its own")
    return DiskBench(root)


def behind(disk: Disk, what: str) -> int:
    """How many steps were done behind the last record of that event, or the last step told so."""
    mark = f'"ev":"{what}"'.encode()
    return max(
        at
        for at, (told, step) in enumerate(zip(disk.told, disk.steps, strict=True), 1)
        if told.startswith(what) or (isinstance(step, Bytes) and mark in (step.data or b""))
    )


def four_stages(bench: PipelineBench, prefix: str = "line") -> None:
    """A checkpointed stage of two outputs, a directory, a program that appends, and one in a deep directory."""
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
    """What the pipeline made, by path."""
    found = [path for place in ("w", "deep") for path in (bench.root / place).rglob("*") if path.is_file()]
    return {str(path.relative_to(bench.root)): path.read_bytes() for path in found}
