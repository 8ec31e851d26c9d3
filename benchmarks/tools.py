"""The tools that are compared: what each reads, and how it is called. All of them get the same work."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING

from benchmarks.bounds import BEFORE, OURS
from benchmarks.timing import Failed, code_of, runner, timed

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.timing import Usage
    from benchmarks.work import Step, Work

MOST = 180.0  # seconds that a run of another tool may take
LEFT_OUT = "left out: it cannot describe the work"
ISOLATED = "ninja in bwrap"
DURABILITIES = ("full", "process")


class Tool:
    """A tool by its name in the tables; it gets at most `most` stages."""

    most = 10_000
    has_jobs = True
    is_peer = True
    is_for_first_runs = False  # only: with nothing to do it is like another tool

    def __init__(self, name: str, program: str) -> None:
        self.name = name
        self._program = program

    def write(self, tree: Path, work: Work) -> None:
        """Write the files that tell the tool its work."""
        raise NotImplementedError

    def command(self, jobs: int) -> list[str | Path]:
        return [self._program, f"-j{jobs}"]

    def settle(self, tree: Path, work: Work) -> None:  # noqa: ARG002 - others need it
        """Bring a tree up to date in a quick way, then run once more, so that nothing is left to be written."""
        self.run(tree, 2)
        self.run(tree, 2)

    def run(self, tree: Path, jobs: int = 1) -> Usage:
        return timed(self.command(jobs), tree, self.environment(tree), MOST if self.is_peer else None)

    def environment(self, tree: Path) -> dict[str, str]:
        """Return variables that keep the tool's own files in the tree, so that they are removed with it."""
        home = str(tree / ".home")
        return {"HOME": home, "XDG_CACHE_HOME": home}


class Make(Tool):
    def write(self, tree: Path, work: Work) -> None:
        lines = ["MAKEFLAGS += -r", f"all: {' '.join(step.target for step in work.steps)}"]
        for step in work.steps:
            lines += [f"{step.target}: {' '.join(step.sources)}", f"\t{step.shell('$<', '$@')}"]
        (tree / "Makefile").write_text("\n".join([*lines, ""]))


class Ninja(Tool):
    wrapper = ""

    def write(self, tree: Path, work: Work) -> None:
        step = work.steps[0]
        source = "$in" if len(step.sources) == 1 else step.sources[0]
        lines = ["rule step", f"  command = {self.wrapper}{step.shell(source, '$out')}", "  description = $out"]
        lines += [f"build {step.target}: step {' '.join(step.sources)}" for step in work.steps]
        (tree / "build.ninja").write_text("\n".join([*lines, ""]))


class IsolatedNinja(Ninja):
    """ninja with a network and a pid namespace for each command, which is as isolated as a stage of the runner."""

    wrapper = "bwrap --unshare-net --unshare-pid --dev-bind / / -- "
    is_for_first_runs = True

    def __init__(self, name: str, program: str) -> None:  # noqa: ARG002 - its row tells more than the program's name
        super().__init__(ISOLATED, program)

    def command(self, jobs: int) -> list[str | Path]:
        return ["ninja", f"-j{jobs}"]


class Doit(Tool):
    def command(self, jobs: int) -> list[str | Path]:
        return [self._program, *(["-n", str(jobs)] if jobs > 1 else [])]

    def write(self, tree: Path, work: Work) -> None:
        steps = [(step.name, step.command, list(step.sources), step.target) for step in work.steps]
        (tree / "dodo.py").write_text(
            f"STEPS = {steps!r}\n\n\ndef task_step():\n    for name, command, sources, target in STEPS:\n"
            "        yield {'name': name, 'actions': [command], 'file_dep': sources, 'targets': [target]}\n"
        )


class Snakemake(Tool):
    most = 1_000  # a longer chain exceeds Python's recursion limit; a wide pipeline takes minutes to run

    def command(self, jobs: int) -> list[str | Path]:
        return [self._program, "--quiet", "all", f"-j{jobs}"]

    def write(self, tree: Path, work: Work) -> None:
        sources = {step.target.removeprefix("out/"): list(step.sources) for step in work.steps}
        (tree / "Snakefile").write_text(
            f"SOURCES = {sources!r}\n\nrule all:\n    input: [f'out/{{name}}' for name in SOURCES]\n\n"
            "rule step:\n    input: lambda wildcards: SOURCES[wildcards.name]\n    output: 'out/{name}'\n"
            f"    shell: {work.steps[0].shell('{input[0]}', '{output}')!r}\n"
        )

    def settle(self, tree: Path, work: Work) -> None:
        work.perform(tree)
        timed([*self.command(1), "--touch"], tree, self.environment(tree))
        self.run(tree)


class Dvc(Tool):
    most = 1_000  # their first run takes minutes
    has_jobs = False

    def command(self, jobs: int) -> list[str | Path]:  # noqa: ARG002 - it knows one way
        return [self._program, "repro", "-q"]

    def write(self, tree: Path, work: Work) -> None:
        env = self.environment(tree)
        timed([self._program, "init", "--no-scm", "-q"], tree, env)
        for setting in ("analytics", "check_update"):
            timed([self._program, "config", f"core.{setting}", "false"], tree, env)
        stages = {
            step.name: {"cmd": shlex.join(step.command), "deps": list(step.sources), "outs": [step.target]}
            for step in work.steps
        }
        (tree / "dvc.yaml").write_text(json.dumps({"stages": stages}))

    def settle(self, tree: Path, work: Work) -> None:
        work.perform(tree)
        timed([self._program, "commit", "-f", "-q"], tree, self.environment(tree))
        self.run(tree)

    def environment(self, tree: Path) -> dict[str, str]:
        home = str(tree / ".home")
        return {**super().environment(tree), "DVC_SITE_CACHE_DIR": home, "DVC_NO_ANALYTICS": "1"}


class Offpipe(Tool):
    """The runner, at one level of durability; `fresh` gives every Python stage an interpreter of its own.

    `before` is a checkout of an earlier version, whose code is run.
    """

    is_peer = False

    def __init__(self, durability: str, *, fresh: bool = False, before: Path | None = None) -> None:
        version = BEFORE if before else OURS
        super().__init__(f"{version}, {durability}{', fresh interpreters' if fresh else ''}", "")
        self.durability = durability
        self._fresh = fresh
        self._before = before

    def command(self, jobs: int) -> list[str | Path]:
        return runner("spec.json", "-q", "-j", str(jobs), "--durability", self.durability)

    def write(self, tree: Path, work: Work) -> None:
        spec = {"specVersion": 1, "name": "work", "stages": [self._stage(step) for step in work.steps]}
        (tree / "spec.json").write_text(json.dumps(spec))

    def _stage(self, step: Step) -> dict[str, object]:
        inputs = {"it": step.sources[0]}
        if len(step.sources) > 1:
            inputs["all"] = "in/*.txt"
        words = [word.replace("{in}", "{inputs.it}").replace("{out}", "{outputs.it}") for word in step.words]
        start = {"processor": words[0], "args": words[1:]} if step.is_script else {"command": words}
        fresh = {"freshInterpreter": True} if self._fresh else {}
        return {"name": step.name, **start, **fresh, "inputs": inputs, "outputs": {"it": step.target}}

    def settle(self, tree: Path, work: Work) -> None:  # noqa: ARG002 - it does it by itself
        timed(runner("spec.json", "-q", "--durability", "process"), tree, self.environment(tree))
        for _ in range(2):  # the first leaves the record that later ones read
            self.run(tree)

    def environment(self, tree: Path) -> dict[str, str]:  # noqa: ARG002 - what it writes is in the tree anyway
        return code_of(self._before)


PEERS: dict[str, type[Tool]] = {
    "make": Make, "ninja": Ninja, "bwrap": IsolatedNinja, "doit": Doit, "snakemake": Snakemake, "dvc": Dvc,
}  # fmt: skip


def laid_out(tool: Tool, tree: Path, work: Work) -> Path | None:
    """Make a tree of work for a tool; return None for a peer that fails while its files are written."""
    work.lay_out(tree)
    try:
        tool.write(tree, work)
    except Failed:
        if not tool.is_peer:
            raise
        return None
    return tree
