"""A small pipeline and its model: what it makes, what is up to date, and what a run must therefore start."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

ORDER = ("up", "join", "tree", "side")
UPSTREAM: dict[str, tuple[str, ...]] = {"up": (), "join": ("up",), "tree": ("join",), "side": ()}
OUTPUTS = {
    "up": ("w/up.txt",), "join": ("w/join.txt", "out/count.txt"), "tree": ("out/tree/copy",), "side": ("out/side.txt",),
}  # fmt: skip

READS = (("up", "w/up.txt", "join"), ("join", "w/join.txt", "tree"))  # who makes what for whom

PROCESSOR = """
import os, mod
with open("notes", "a") as notes:
    notes.write("up\\n")
with open("in/one.txt") as text, open(os.environ["PIPELINE_OUTPUT_OUT"], "w") as out:
    out.write("{version} " + mod.PREFIX + os.environ["PIPELINE_PARAMS"] + "\\n" + text.read().upper())
"""
SIDE = """
from runner import sdk
with open("notes", "a") as notes:
    notes.write("side\\n")
with sdk.stage() as stage, stage.lines("text", to="out") as job:
    for line in job:
        job.write(line.upper())
"""


class Key(NamedTuple):
    """What a stage was made from, as far as this pipeline can change it; `inputs` are contents by name."""

    own: tuple[object, ...]
    inputs: tuple[tuple[str, str], ...]


class ModelPipeline:
    """The files below `root` and their contents. Versions are numbers and texts are few, so that edits recur.

    `temporary`: the outputs that are.
    """

    def __init__(self, root: Path, temporary: Collection[str] = ()) -> None:
        self.root = root
        self.temporary = temporary
        self.spec = root / "spec.json"
        self.inputs = {"one": "", "two": ""}
        self.param = 1
        self.processor = (1, 0)  # version, and how often it was touched
        self.module = "m1"
        for directory in ("in", "w", "out"):
            (root / directory).mkdir()
        (root / "side.py").write_text(SIDE)
        for name in self.inputs:
            self.write_input(name, "some\ntext\n")
        self.write_processor(1)
        self.write_module("m1")
        self.write_param(1)

    def write_input(self, name: str, text: str) -> None:
        self.inputs[name] = text
        (self.root / f"in/{name}.txt").write_text(text)

    def write_processor(self, version: int) -> None:
        self.processor = (version, self.processor[1] + 1)
        (self.root / "up.py").write_text(PROCESSOR.format(version=version))
        self._stamp("up.py", self.processor[1])

    def touch_processor(self) -> None:
        self.processor = (self.processor[0], self.processor[1] + 1)
        self._stamp("up.py", self.processor[1])

    def touch_input(self, name: str, moment: int) -> None:
        self._stamp(f"in/{name}.txt", moment)

    def write_module(self, prefix: str) -> None:
        self.module = prefix
        (self.root / "mod.py").write_text(f"PREFIX = {prefix!r}\n")

    def write_param(self, number: int) -> None:
        self.param = number
        shell = ["sh", "-c"]
        join = "echo join >>notes; cat $0 $1 >$2; wc -l <$2 >$3"
        stages = [
            {"name": "up", "processor": "up.py", "inputs": {"text": "in/one.txt"}, "params": {"n": number},
             "outputs": {"out": "w/up.txt"}},
            {"name": "join", "inputs": {"up": "w/up.txt", "two": "in/two.txt"},
             "command": [*shell, join, "{inputs.up}", "{inputs.two}", "{outputs.join}", "{outputs.count}"],
             "outputs": {"join": "w/join.txt", "count": "out/count.txt"}},
            {"name": "tree", "inputs": {"join": "w/join.txt"}, "outputs": {"tree": "out/tree/"},
             "command": [*shell, "echo tree >>notes; mkdir $1; cp $0 $1/copy", "{inputs.join}", "{outputs.tree}"]},
            {"name": "side", "processor": "side.py", "inputs": {"text": "in/two.txt"},
             "outputs": {"out": "out/side.txt"}, "checkpoint": {"everyLines": 1}},
        ]  # fmt: skip
        for stage in stages:
            outputs: dict[str, str] = stage["outputs"]  # type: ignore[assignment]
            if labels := [label for label, path in outputs.items() if path in self.temporary]:
                stage["temporary"] = labels
        self.spec.write_text(json.dumps({"specVersion": 1, "name": "model", "stages": stages}))

    def key(self, stage: str, made: dict[str, dict[str, str]]) -> Key:
        """The key that the stage would have now, if its upstream had made what `made` says."""
        if stage == "up":
            return Key((self.processor, self.module, self.param), (("text", self.inputs["one"]),))
        if stage == "join":
            return Key((), (("up", made["up"]["w/up.txt"]), ("two", self.inputs["two"])))
        if stage == "tree":
            return Key((), (("join", made["join"]["w/join.txt"]),))
        return Key((), (("text", self.inputs["two"]),))

    def made_from(self, stage: str, key: Key) -> dict[str, str]:
        """What the stage makes, by path: the pipeline as Python code."""
        inputs = dict(key.inputs)
        if stage == "up":
            (version, _), prefix, number = key.own
            return {"w/up.txt": f'{version} {prefix}{{"n":{number}}}\n{inputs["text"].upper()}'}
        if stage == "join":
            joined = inputs["up"] + inputs["two"]
            return {"w/join.txt": joined, "out/count.txt": f"{joined.count(chr(10))}\n"}
        return {"out/tree/copy": inputs["join"]} if stage == "tree" else {"out/side.txt": inputs["text"].upper()}

    def _stamp(self, path: str, moment: int) -> None:
        os.utime(self.root / path, (1_700_000_000 + moment, 1_700_000_000 + moment))


class Model:
    """What is complete: the key that each stage was made from, what it made, and what happened to that since.

    `loose`: committed by a killed run, so that the next run may have to complete it. `open`: committed by a run that
    has not succeeded, whose log can restore a marker. `absent`: temporary outputs, before the present run.
    """

    def __init__(self, pipeline: ModelPipeline) -> None:
        self.pipeline = pipeline
        self.keys: dict[str, Key] = {}
        self.made: dict[str, dict[str, str]] = {}
        self.spoilt: set[str] = set()
        self.unmarked: set[str] = set()
        self.loose: set[str] = set()
        self.open: set[str] = set()
        self.absent: set[str] = set()

    def decisions(self, stages: Collection[str]) -> dict[str, str]:
        """What `plan` must say of these stages."""
        expected: dict[str, str] = {}
        for stage in stages:
            pending = {upstream for upstream in UPSTREAM[stage] if expected[upstream] != "skip"}
            if self._is_stale(stage, pending) or stage in self.unmarked | self.spoilt:
                expected[stage] = "run"
            else:
                expected[stage] = "depends" if pending else "skip"
        for maker, path, reader in reversed(READS):
            self._make_again(expected, maker, path, reader)
        return expected

    def _make_again(self, expected: dict[str, str], maker: str, path: str, reader: str) -> None:
        """A temporary output that is absent is made again for a reader that runs; what reads from its stage depends."""
        if not self.is_absent(path) or expected.get(reader) not in ("run", "depends"):
            return
        if expected[reader] == "depends":
            expected[maker] = "depends" if expected[maker] == "skip" else expected[maker]
        elif expected[maker] != "run":
            expected[maker] = "run"

    def is_absent(self, path: str) -> bool:
        """Whether a temporary output was made, and is not there as it was made."""
        made = next((made for stage, made in self.made.items() if path in made and stage not in self.unmarked), None)
        file = self.pipeline.root / path
        if made is None or path not in self.pipeline.temporary:
            return False
        return not (file.is_file() and file.read_text() == made[path])

    def note_absent(self) -> None:
        """Note which outputs are absent before a run."""
        self.absent = {path for _, path, _ in READS if self.is_absent(path)}

    def removes(self) -> list[str]:
        """What `plan` must say that a run of all stages removes."""
        decisions = self.decisions(ORDER)
        temporary = ((maker, path) for maker, path, _ in READS if path in self.pipeline.temporary)
        return [path for maker, path in temporary if decisions[maker] == "run" or not self.is_absent(path)]

    def _is_stale(self, stage: str, pending: Collection[str] = ()) -> bool:
        """Whether the stage's key has changed; inputs that `pending` stages make do not count."""
        if stage not in self.keys:
            return True
        before, now = self.keys[stage], self.pipeline.key(stage, self.made)
        return before.own != now.own or any(
            old != new for old, new in zip(before.inputs, now.inputs, strict=True) if old[0] not in pending
        )

    def run(self, stages: Iterable[str]) -> tuple[set[str], set[str]]:
        """Complete these stages, in order; return which of them a run must start, and which it may."""
        must, may = set(), set()
        uncertain = {*self.loose, *self.open}  # recovery may put these in place
        for stage in stages:
            damaged = stage in self.unmarked | self.spoilt
            restored = stage in self.loose or (stage in self.open and stage in self.unmarked)
            if self._is_stale(stage) or (damaged and not restored):
                must.add(stage)
            elif damaged:
                may.add(stage)
            self.complete(stage)
        for maker, path, reader in reversed(READS):
            if path in self.absent and reader in must | may:
                (must if reader in must and maker not in uncertain else may).add(maker)
        return must, must | may

    def complete(self, stage: str) -> None:
        key = self.pipeline.key(stage, self.made)
        self.keys[stage], self.made[stage] = key, self.pipeline.made_from(stage, key)
        self.spoilt.discard(stage)
        self.unmarked.discard(stage)

    def forget(self) -> None:
        """Follow `clean`: nothing is left, and no log can restore it."""
        self.__init__(self.pipeline)  # type: ignore[misc]
