"""The work, which is the same for every tool: steps, each a program that makes one file from others."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

COPY = ("/bin/cp", "{in}", "{out}")
SCRIPT = "count.py"
SCRIPT_TEXT = """\
import json
import re
import sys
from pathlib import Path

words = re.findall(r"\\w+", Path(sys.argv[1]).read_text(encoding="utf-8"))
with open(sys.argv[2], "w", encoding="utf-8") as to:
    json.dump({word: words.count(word) for word in sorted(set(words))}, to)
"""


@dataclass(frozen=True)
class Step:
    """One stage, rule or task. In `words`, `{in}` and `{out}` stand for the first source and for the target."""

    name: str
    words: tuple[str, ...]
    sources: tuple[str, ...]
    target: str

    @property
    def is_script(self) -> bool:
        """Whether the first word is a Python program."""
        return self.words[0] == SCRIPT

    @property
    def command(self) -> list[str]:
        """The words of the command; a script runs in the interpreter that runs the benchmarks."""
        return [word.replace("{in}", self.sources[0]).replace("{out}", self.target) for word in self._started()]

    def shell(self, source: str, target: str) -> str:
        """Return the command as a line of shell, with another tool's words for source and target."""
        words = [word if "{in}" in word or "{out}" in word else shlex.quote(word) for word in self._started()]
        return " ".join(words).replace("{in}", source).replace("{out}", target)

    def _started(self) -> list[str]:
        return [sys.executable, *self.words] if self.is_script else list(self.words)


@dataclass(frozen=True)
class Work:
    """Steps, and a word for their shape."""

    shape: str
    steps: tuple[Step, ...]

    def lay_out(self, tree: Path) -> None:
        """Make a tree of it: write the files that no step makes, and create the directory of the targets."""
        (tree / "out").mkdir(parents=True)
        (tree / "in").mkdir()
        (tree / SCRIPT).write_text(SCRIPT_TEXT)
        targets = {step.target for step in self.steps}
        for step in self.steps:
            for source in step.sources:
                if source not in targets and not (tree / source).exists():
                    (tree / source).write_text(f"the content of file {source}\n" * 20)

    def perform(self, tree: Path) -> None:
        """Run all steps, without a tool that records them."""
        for step in self.steps:
            subprocess.run(step.command, cwd=tree, check=True)

    def made(self, tree: Path) -> list[tuple[int, int]]:
        """Return the time and the inode of each target, to tell later whether it was made again."""
        statuses = [os.stat(tree / step.target) for step in self.steps]
        return [(status.st_mtime_ns, status.st_ino) for status in statuses]


def wide(stages: int) -> Work:
    return Work("wide", tuple(_step(n, COPY, [f"in/{n}.txt"]) for n in range(stages)))


def chain(stages: int) -> Work:
    return Work("chain", tuple(_step(n, COPY, [f"out/{n - 1}.txt" if n else "in/0.txt"]) for n in range(stages)))


def scripts(stages: int) -> Work:
    return Work("scripts", tuple(_step(n, (SCRIPT, "{in}", "{out}"), [f"in/{n}.txt"]) for n in range(stages)))


def one_large() -> Work:
    """One stage that reads the head of a large input; the caller links that to `in/0.txt`."""
    words = ("/bin/dd", "if={in}", "of={out}", "count=1", "status=none")
    return Work("large", (_step(0, words, ["in/0.txt"]),))


def many_inputs(inputs: int) -> Work:
    """One stage that depends on `inputs` files, and makes one."""
    return Work("many", (_step(0, COPY, [f"in/{n}.txt" for n in range(inputs)]),))


def _step(number: int, words: tuple[str, ...], sources: Sequence[str]) -> Step:
    return Step(f"step{number}", words, tuple(sources), f"out/{number}.txt")
