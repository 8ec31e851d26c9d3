"""Sealed stages that say what they see."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline_bench import PipelineBench


def sealed(name: str, *command: str, outputs: dict[str, str] | None = None, **fields: object) -> dict[str, object]:
    """Return a sealed stage; what its command prints is the output `seen`."""
    seen = {"seen": f"{name}.seen"}
    return {
        "name": name, "command": command, "stdout": "seen", "outputs": {**seen, **(outputs or {})}, "sealed": True,
        **fields,
    }  # fmt: skip


def look(bench: PipelineBench, script: str, *words: str, env: dict[str, str] | None = None, **fields: object) -> str:
    """Run a shell script in a sealed stage, with these options of `run`; return what it printed."""
    bench.define(sealed("look", "sh", "-c", script, **fields))
    bench.succeed("--force", *words, env=env)
    return bench.read("look.seen").decode()
