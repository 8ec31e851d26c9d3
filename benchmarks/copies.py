"""Many small stages: what the runner adds to a `/bin/cp`, beside ninja and make on the same files."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

from benchmarks.machine import version
from benchmarks.table import Table
from benchmarks.timing import Sample, interleave, runner, timed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NINJA_RULE = "rule cp\n  command = /bin/cp $in $out\n  description = $out\n"


def measure(place: Path, *, runs: int, quick: bool) -> Iterator[Table]:
    stages = 100 if quick else 1000
    tools = {f"runner, durability {level}": Runner(place, stages, level) for level in ("full", "process")}
    tools |= {name: Other(place, stages, name) for name in ("ninja", "make") if version(name)}
    first = {name: tool.first for name, tool in tools.items()}
    again = {name: tool.again for name, tool in tools.items()}
    missing = [f"{name} is not on PATH: left out" for name in ("ninja", "make") if name not in tools]
    title = f"{stages:,} stages of /bin/cp, one at a time (-j1)"
    promise = "only `full` survives a power cut: it waits for the disk twice a stage, which ninja and make never do"
    yield Table(f"first run: {title}", interleave(first, runs), "ninja", notes=[*missing, promise])
    yield Table(f"no-op: {title}, all up to date", interleave(again, runs), "ninja", with_memory=True, notes=missing)
    for tool in tools.values():
        shutil.rmtree(tool.root)


class Tree:
    """`in/0` to `in/N`, to be copied to `out/`."""

    def __init__(self, root: Path, stages: int) -> None:
        self.root = root
        self.pairs = [(f"in/{number}.txt", f"out/{number}.txt") for number in range(stages)]
        (root / "in").mkdir(parents=True)
        for number, (source, _) in enumerate(self.pairs):
            (root / source).write_text(f"the content of file {number}\n" * 20)
        self.command: list[str | Path] = []

    def forget(self, *names: str) -> None:
        for name in ("out", *names):
            path = self.root / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)

    def again(self, sample: Sample) -> None:
        sample.add(*timed(self.command, self.root))


class Runner(Tree):
    """The runner, at one level of durability."""

    def __init__(self, place: Path, stages: int, durability: str) -> None:
        super().__init__(place / f"runner-{durability}", stages)
        listed = [
            {
                "name": f"copy{number}", "command": ["/bin/cp", "{inputs.it}", "{outputs.it}"],
                "inputs": {"it": source}, "outputs": {"it": target},
            }
            for number, (source, target) in enumerate(self.pairs)
        ]  # fmt: skip
        spec = self.root / "spec.json"
        spec.write_text(json.dumps({"specVersion": 1, "name": "copies", "stages": listed}))
        self.command = runner(spec, "-q", "-j", "1", "--durability", durability)

    def first(self, sample: Sample) -> None:
        self.forget("state", "locks")
        sample.add(*timed(self.command))

    def again(self, sample: Sample) -> None:
        sample.add(*timed(self.command))


class Other(Tree):
    """ninja or make, each with the file that it reads by default."""

    def __init__(self, place: Path, stages: int, name: str) -> None:
        super().__init__(place / name, stages)
        write: Callable[[], None] = {"ninja": self._write_ninja, "make": self._write_make}[name]
        write()
        self.command = [name, "-j1"]

    def first(self, sample: Sample) -> None:
        self.forget(".ninja_log", ".ninja_deps")
        (self.root / "out").mkdir()
        sample.add(*timed(self.command, self.root))

    def _write_ninja(self) -> None:
        builds = "".join(f"build {target}: cp {source}\n" for source, target in self.pairs)
        (self.root / "build.ninja").write_text(NINJA_RULE + builds)

    def _write_make(self) -> None:
        head = "MAKEFLAGS += -r\nall: " + " ".join(target for _, target in self.pairs) + "\n"
        rules = "".join(f"{target}: {source}\n\t/bin/cp $< $@\n" for source, target in self.pairs)
        (self.root / "Makefile").write_text(head + rules)
