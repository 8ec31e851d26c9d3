"""Sealed stages that say what they see."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline_bench import PipelineBench

LIST = "find . -name state -prune -o ! -type d -print | sort"  # of what root holds


def sealed(name: str, *command: str, outputs: dict[str, str] | None = None, **fields: object) -> dict[str, object]:
    """Return a sealed stage; what its command prints is the output `seen`."""
    return {
        "name": name, "command": command, "stdout": "seen", "outputs": {"seen": f"{name}.seen", **(outputs or {})},
        "sealed": True, **fields,
    }  # fmt: skip


def look(
    bench: PipelineBench, script: str, *words: str, place: Path | None = None, run: dict[str, object] | None = None,
    **fields: object,
) -> list[str]:  # fmt: skip
    """Run a shell script in a sealed stage, and return the lines that it printed.

    `words` are options of `run`, `place` is the workspace that they name, and `run` is for PipelineBench.run.
    """
    bench.define(sealed("look", "sh", "-ec", script, **fields))
    bench.succeed("--force", *words, **(run or {}))
    return ((place or bench.root) / "look.seen").read_text().splitlines()
