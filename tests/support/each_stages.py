"""Stages with `each`, and what a bench says of them."""

from __future__ import annotations

COPY = ["cp", "{inputs.x}", "{outputs.o}"]


def copy(name: str = "copy", source: str = "in/{each.s}.txt", to: str = "out/{each.s}.txt", **fields: object):
    each = {"each": {"s": "in/*.txt"}}
    return {"name": name, **each, "command": COPY, "inputs": {"x": source}, "outputs": {"o": to}, **fields}


def gather(pattern: str = "out/*.txt", **fields: object) -> dict[str, object]:
    return {
        "name": "all", "command": ["cat", "{inputs.x}"], "stdout": "o", "inputs": {"x": pattern},
        "outputs": {"o": "all.txt"}, **fields,
    }  # fmt: skip


def sources(bench, *names: str) -> None:
    for name in names:
        bench.write(f"in/{name}.txt", f"{name}\n")


def ran(bench, *words: str) -> list[str]:
    """Run, and return the names of the stages that it started."""
    before = len(bench.records("attempt.started"))
    bench.succeed("-v", *words)
    return sorted(record["data"]["stage"] for record in bench.records("attempt.started")[before:])


def planned(bench, *words: str) -> dict[str, str]:
    return {stage["stage"]: stage["decision"] for stage in bench.json("plan", *words)["stages"]}


def fault(bench) -> tuple[str, str]:
    """Return the place and the text of the only fault of the spec."""
    done = bench.run("validate")
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.count("error: ") == 1, done.stderr
    where, _, what = done.stderr.removeprefix("error: ").partition(": ")
    return where.partition("#")[2], what.rstrip("\n")
