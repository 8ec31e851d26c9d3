"""The work that every tool gets: steps that make one file from another."""

from __future__ import annotations

import os
import shlex
import sys
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

COPY = ("/bin/cp", "{in}", "{out}")
SUM = ("/bin/sh", "-c", 'sha256sum "$1" > "$2"', "sh", "{in}", "{out}")
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


class Step(NamedTuple):
    """A command that makes `target` from `source`. If its first word is SCRIPT, Python runs it."""

    name: str
    words: tuple[str, ...]
    source: str
    target: str

    def command(self, source: str, target: str) -> list[str]:
        """Return the words of the command, with these in place of `{in}` and `{out}`."""
        words = [sys.executable, *self.words] if self.words[0] == SCRIPT else self.words
        return [word.replace("{in}", source).replace("{out}", target) for word in words]

    def shell(self, source: str, target: str, dollar: str = "$") -> str:
        """Return the command as a line of shell; the tool writes `dollar` for a dollar sign."""
        words = [
            {"{in}": source, "{out}": target}.get(word, shlex.quote(word).replace("$", dollar))
            for word in self.command("{in}", "{out}")
        ]
        return " ".join(words)


class Work(NamedTuple):
    """Steps, none of which reads what another makes."""

    steps: list[Step]

    def lay_out(self, tree: Path) -> None:
        """Write the files that no step makes, and create the directory of the targets."""
        (tree / "out").mkdir(parents=True)
        (tree / "in").mkdir()
        (tree / SCRIPT).write_text(SCRIPT_TEXT)
        for step in self.steps:
            (tree / step.source).write_text(f"the content of file {step.source}\n" * 20)

    def made(self, tree: Path) -> list[tuple[int, int]]:
        """Return the time and the inode of each target, which show later whether it was made again."""
        statuses = [os.stat(tree / step.target) for step in self.steps]
        return [(status.st_mtime_ns, status.st_ino) for status in statuses]


def steps(count: int, words: tuple[str, ...]) -> Work:
    """Return work of `count` steps that run these words."""
    return Work([Step(f"step{number}", words, f"in/{number}.txt", f"out/{number}.txt") for number in range(count)])


def scripts(count: int) -> Work:
    """Return work of `count` steps that count the words of a small file in Python."""
    return steps(count, (SCRIPT, "{in}", "{out}"))
