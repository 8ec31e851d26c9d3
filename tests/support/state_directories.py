"""State directories of many pipelines, of every kind, and calls of the verbs that sum them up."""

from __future__ import annotations

import functools
import json
import re
from typing import TYPE_CHECKING

from pipeline_bench import PipelineBench, lasting_directory, shell

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

GOOD = "echo > $PIPELINE_OUTPUT_OUT"
KINDS = ("good", "failed", "damaged", "foreign", "none")
_SAMPLE = re.compile(r'(\w+)\{pipeline="((?:[^"\\\n]|\\.)*)",directory="((?:[^"\\\n]|\\.)*)"\} (\S+)')


@functools.cache
def made() -> Path:
    """State directories of every kind that needs no process: the names are those of `KINDS`."""
    root = lasting_directory("pipelines-")
    for name in ("good", "failed", "damaged"):
        bench = bench_in(root / name)
        bench.succeed("run", "--run-id", "one")
        if name == "failed":
            bench.define(shell("trim", "exit 3"), name=name)
            assert bench.run("run", "--run-id", "two").returncode == 1
    log = root / "damaged/state/audit_one.jsonl"
    log.write_bytes(log.read_bytes().replace(b'"exit":0', b'"exit":1', 1))
    (root / "foreign/state").mkdir(parents=True)
    (root / "foreign/state/notes.txt").write_text("not ours\n")
    return root


def bench_in(root: Path, script: str = GOOD) -> PipelineBench:
    root.mkdir(parents=True)
    bench = PipelineBench(root)
    bench.define(shell("trim", script), name=root.name)
    return bench


def call(verb: str, *targets: Path, words: tuple[str, ...] = (), code: int = 0) -> subprocess.CompletedProcess[str]:
    bench = PipelineBench(targets[0])
    bench.spec = targets[0]
    done = bench.run(verb, *words, *map(str, targets[1:]))
    assert done.returncode == code, done.stdout + done.stderr
    return done


def states(*kinds: str) -> list[Path]:
    return [made() / kind / "state" for kind in kinds]


def summary(*targets: Path, code: int = 0, words: tuple[str, ...] = ()) -> list[dict[str, object]]:
    done = call("runs", *targets, words=("--summary", "--json", *words), code=code)
    return json.loads(done.stdout)["pipelines"]


def samples(text: str) -> dict[tuple[str, str], float]:
    """The samples of a file for Prometheus by metric and pipeline, parsed as strictly as its format says."""
    found: dict[tuple[str, str], float] = {}
    for line in text.splitlines():
        if not line.startswith("# "):
            name, pipeline, _, value = _SAMPLE.fullmatch(line).groups()  # type: ignore[union-attr]
            found[name.removeprefix("offpipe_"), pipeline] = float(value)
    return found
