"""Many small stages: what the runner adds to a `/bin/cp`, beside ninja and make on the same files.

Every first run has a tree of its own, and none is removed before the last: ext4 looks over each inode that was freed
in the last five seconds before it takes a new one, and what was removed then slows whoever makes files next.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.machine import version
from benchmarks.table import Table
from benchmarks.timing import Sample, interleave, note, runner, timed

if TYPE_CHECKING:
    from collections.abc import Iterator

NINJA_RULE = "rule cp\n  command = /bin/cp $in $out\n  description = $out\n"


def measure(place: Path, *, runs: int, quick: bool) -> Iterator[Table]:
    stages = 100 if quick else 1000
    place = place / "copies"
    tools: dict[str, Tool] = {f"runner, durability {level}": Runner(stages, level) for level in ("full", "process")}
    tools |= {name: Other(stages, name) for name in ("ninja", "make") if version(name)}
    note("writing the files to copy")
    for name, tool in tools.items():
        tool.lay_out([place / name.replace(" ", "-") / str(number) for number in range(runs)])
    first = {name: tool.first for name, tool in tools.items()}
    again = {name: tool.again for name, tool in tools.items()}
    missing = [f"{name} is not on PATH: left out" for name in ("ninja", "make") if name not in tools]
    title = f"{stages:,} stages of /bin/cp, one at a time (-j1)"
    promise = "only `full` survives a power cut: it waits for the disk twice a stage, which ninja and make never do"
    yield Table(f"first run: {title}", interleave(first, runs), "ninja", notes=[*missing, promise])
    yield Table(f"no-op: {title}, all up to date", interleave(again, runs), "ninja", with_memory=True, notes=missing)
    shutil.rmtree(place)


class Tool:
    """Something that copies `in/0` to `in/N` to `out/`, in trees of which each is fresh for one first run."""

    def __init__(self, stages: int) -> None:
        self.pairs = [(f"in/{number}.txt", f"out/{number}.txt") for number in range(stages)]
        self._fresh: list[Path] = []
        self._last = Path()

    def lay_out(self, trees: list[Path]) -> None:
        self._fresh = trees
        for tree in trees:
            (tree / "in").mkdir(parents=True)
            (tree / "out").mkdir()
            for number, (source, _) in enumerate(self.pairs):
                (tree / source).write_text(f"the content of file {number}\n" * 20)
            self.write_recipe(tree)

    def write_recipe(self, tree: Path) -> None:
        """Write what tells the tool its work."""
        raise NotImplementedError

    def command(self, tree: Path) -> list[str | Path]:
        raise NotImplementedError

    def first(self, sample: Sample) -> None:
        self._last = self._fresh.pop()
        self.again(sample)

    def again(self, sample: Sample) -> None:
        """Run in the tree of the last first run, where everything is up to date by now."""
        sample.add(timed(self.command(self._last), self._last))


class Runner(Tool):
    """The runner, at one level of durability."""

    def __init__(self, stages: int, durability: str) -> None:
        super().__init__(stages)
        self._durability = durability

    def write_recipe(self, tree: Path) -> None:
        listed = [
            {
                "name": f"copy{number}", "command": ["/bin/cp", "{inputs.it}", "{outputs.it}"],
                "inputs": {"it": source}, "outputs": {"it": target},
            }
            for number, (source, target) in enumerate(self.pairs)
        ]  # fmt: skip
        (tree / "spec.json").write_text(json.dumps({"specVersion": 1, "name": "copies", "stages": listed}))

    def command(self, tree: Path) -> list[str | Path]:
        return runner(tree / "spec.json", "-q", "-j", "1", "--durability", self._durability)


class Other(Tool):
    """ninja or make, each with the file that it reads by default."""

    def __init__(self, stages: int, name: str) -> None:
        super().__init__(stages)
        self._name = name

    def command(self, tree: Path) -> list[str | Path]:  # noqa: ARG002 - both look into the working directory
        return [self._name, "-j1"]

    def write_recipe(self, tree: Path) -> None:
        builds = "".join(f"build {target}: cp {source}\n" for source, target in self.pairs)
        (tree / "build.ninja").write_text(NINJA_RULE + builds)
        head = "MAKEFLAGS += -r\nall: " + " ".join(target for _, target in self.pairs) + "\n"
        rules = "".join(f"{target}: {source}\n\t/bin/cp $< $@\n" for source, target in self.pairs)
        (tree / "Makefile").write_text(head + rules)
