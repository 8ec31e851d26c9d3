"""State directories that real runs left, and ways to tamper with them."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

from pipeline_bench import shell

from runner.audit.verification import Verification
from runner.canonical import canonical
from runner.record.log import GENESIS
from runner.record.seal import PLAIN

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pipeline_bench import PipelineBench

LEDGER = "audit_ledger.jsonl"
MAKE = "cat in.txt > $PIPELINE_OUTPUT_OUT"
TREE = "mkdir $PIPELINE_OUTPUT_T; cp out/a.txt $PIPELINE_OUTPUT_T/x"
FAIL_ONCE = "test -e again && cat in.txt > $PIPELINE_OUTPUT_OUT && exit; touch again; exit 1"
A = shell("a", MAKE, inputs={"i": "in.txt"}, params={"half": 0.5})
B = shell("b", TREE, inputs={"a": "out/a.txt"}, outputs={"t": "tree/"})
INSTANCE = {**B, "each": {"n": [1]}}  # `b@1`, with the same output
C = shell("c", FAIL_ONCE)


def make_runs(bench: PipelineBench) -> None:
    """Make the state of several runs.

    Two stages run; nothing to do; a third stage fails, and the next command resumes its run; an input has changed; an
    instance takes over the output of the second stage; nothing to do.
    """
    bench.write("in.txt", "one\n")
    bench.define(A, B)
    bench.succeed("run", "--run-id", "first")
    bench.succeed("run", "--run-id", "idle1")
    bench.define(A, B, C)
    assert bench.run("run", "--run-id", "resumed").returncode == 1
    bench.succeed()
    bench.write("in.txt", "two\n")
    bench.succeed("run", "--run-id", "third")
    bench.define(A, INSTANCE, C)
    bench.succeed("run", "--run-id", "moved")
    bench.succeed("run", "--run-id", "idle2")


def make_history(bench: PipelineBench) -> None:
    """Make a ledger with each kind of line.

    Two runs fail: one of a stage, one of an instance; the next command does the work of both; nothing to do; a refusal;
    an input has changed; nothing to do; the first runs are pruned, of which one made current outputs; a refusal;
    `clean --orphans` finds nothing to remove.
    """
    bench.write("in.txt", "one\n")
    instance = {"each": {"n": [1]}}
    bench.define(A, shell("b", "exit 1"), shell("d", "exit 1", **instance))
    assert bench.run("b").returncode == bench.run("d").returncode == 1
    bench.define(
        A, shell("b", "echo b > $PIPELINE_OUTPUT_OUT"), shell("d", "echo d > $PIPELINE_OUTPUT_OUT", **instance)
    )
    bench.succeed()
    bench.succeed()
    assert bench.run("nope").returncode == 2
    bench.write("in.txt", "two\n")
    bench.succeed()
    bench.succeed()
    bench.succeed("prune", "--keep", "2")
    assert bench.run("nope").returncode == 2
    bench.succeed("clean", "--orphans")


class State:
    """A copy of a state directory that a test may change."""

    def __init__(self, source: Path, target: Path) -> None:
        shutil.copytree(source, target)
        self.path = target

    def file(self, name: str) -> Path:
        return self.path / name

    def lines(self, name: str) -> list[bytes]:
        return self.file(name).read_bytes().splitlines(keepends=True)

    def put(self, name: str, lines: list[bytes]) -> None:
        self.file(name).write_bytes(b"".join(lines))

    def edit(self, name: str, change: Callable[[list[bytes]], list[bytes] | None]) -> None:
        lines = self.lines(name)
        changed = change(lines)
        self.put(name, lines if changed is None else changed)

    def records(self, name: str) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.lines(name)]

    def rewrite(
        self, name: str, change: Callable[[list[dict[str, object]]], object], start: int = 0, seal=PLAIN
    ) -> None:
        """Change the records of a log, and chain all records from `start` on anew, as the log's author could."""
        records = self.records(name)
        change(records)
        self.put(name, [*self.lines(name)[:start], *chained(records[start:], records[:start], seal)])

    def verify(self, seal=PLAIN, **options) -> Verification:
        verification = Verification(str(self.path), seal, **options)
        verification.check()
        return verification

    def damage(self, **options) -> list[tuple[str, int, str]]:
        """Return the file, line and field of all damage."""
        return [(finding.file, finding.line, finding.field) for finding in self.verify(**options).findings.damage]


def chained(records, before, seal=PLAIN) -> list[bytes]:
    """Return the lines of records, with `seq`, `prev` and `hash` recomputed to follow `before`."""
    seq, prev, lines = len(before), before[-1]["hash"] if before else GENESIS, []
    for record in records:
        body = {name: value for name, value in record.items() if name != "hash"} | {"seq": seq, "prev": prev}
        prev, seq = seal.hash(canonical(body)), seq + 1
        record.update(body, hash=prev)
        lines.append(canonical({**body, "hash": prev}) + b"\n")
    return lines
