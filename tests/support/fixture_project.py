"""A small pipeline for tests of the fixtures: one stage uses the SDK, one is a command, one gathers files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

CLEAN = """
import sys
from runner import sdk

with sdk.stage() as stage:
    print("mode", stage.params.get("mode"), "attempt", stage.attempt)
    with stage.lines("text", to="text") as job:
        for line in job:
            job.write(line.upper() if stage.params.get("mode") == "upper" else line.lower())
    if stage.params.get("fail"):
        sys.exit(stage.params["fail"])
"""
SPEC: dict[str, Any] = {
    "specVersion": 1,
    "name": "small",
    "root": "..",
    "stages": [
        {
            "name": "clean", "processor": "stages/clean.py", "inputs": {"text": "data/in.txt"},
            "outputs": {"text": "work/clean.txt"}, "checkpoint": {"everyLines": 10}, "params": {"mode": "lower"},
        },
        {
            "name": "sort", "command": ["sort", "-o", "{outputs.text}", "{inputs.text}"],
            "inputs": {"text": "work/clean.txt"}, "outputs": {"text": "work/sorted.txt"},
        },
        {
            "name": "gather", "command": ["cat", "{inputs.parts}"], "stdout": "all",
            "inputs": {"parts": "data/parts/*.csv", "tree": "data/tree/"}, "outputs": {"all": "work/all.csv"},
        },
    ],
}  # fmt: skip


def make_project(top: Path) -> Path:
    """Write `specs/small.json`, its stage and its inputs; return the spec's path."""
    files = {
        "specs/small.json": json.dumps(SPEC, indent=1),
        "stages/clean.py": CLEAN,
        "data/in.txt": "".join(f"Line {number}\n" for number in range(100)),
        "data/parts/a.csv": "A\n",
        "data/parts/b.csv": "B\n",
        "data/tree/leaf.txt": "leaf\n",
    }
    for name, content in files.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return top / "specs/small.json"
