"""The tools that are compared: what each reads, how it is called, and where it is found."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.timing import note, timed

if TYPE_CHECKING:
    from benchmarks.work import Step, Work


class Tool:
    """A tool, by its name in the table; it can do `most` steps in a reasonable time."""

    name = ""
    most = 10_000
    only_first_runs = False

    def __init__(self, program: str | None = None) -> None:
        self.program = program or self.name

    def write(self, tree: Path, work: Work) -> None:
        """Write the files that tell the tool its work."""
        raise NotImplementedError

    def command(self, jobs: int) -> list[str | Path]:
        return [self.program, f"-j{jobs}"]

    def start(self) -> list[str | Path]:
        """Return the command that only starts the tool."""
        return [self.program, "--version"]

    def settle(self, tree: Path) -> None:
        """Bring a tree up to date, so that nothing is left to be written."""
        for _ in range(3):  # in the second run, offpipe leaves the record that a later one reads
            self.run(tree, 2)

    def run(self, tree: Path, jobs: int = 1) -> float:
        home = str(tree / ".home")  # for the tool's own files, so that they are removed with the tree
        return timed(self.command(jobs), tree, {"HOME": home, "XDG_CACHE_HOME": home})


class Offpipe(Tool):
    """offpipe as it is by default: outputs are on the disk before a run ends, and stages run offline."""

    name = "offpipe"

    def command(self, jobs: int) -> list[str | Path]:
        return [sys.executable, "-m", "runner", "spec.json", "-q", "-j", str(jobs)]

    def start(self) -> list[str | Path]:
        return [sys.executable, "-m", "runner", "--version"]

    def write(self, tree: Path, work: Work) -> None:
        spec = {"specVersion": 1, "name": "work", "stages": [self._stage(step) for step in work.steps]}
        (tree / "spec.json").write_text(json.dumps(spec))

    def _stage(self, step: Step) -> dict[str, object]:
        words = [word.replace("{in}", "{inputs.it}").replace("{out}", "{outputs.it}") for word in step.words]
        start = {"processor": words[0], "args": words[1:]} if words[0].endswith(".py") else {"command": words}
        return {"name": step.name, **start, "inputs": {"it": step.source}, "outputs": {"it": step.target}}


class Make(Tool):
    name = "make"

    def write(self, tree: Path, work: Work) -> None:
        lines = ["MAKEFLAGS += -r", f"all: {' '.join(step.target for step in work.steps)}"]
        for step in work.steps:
            lines += [f"{step.target}: {step.source}", f"\t{step.shell('$<', '$@', '$$')}"]
        (tree / "Makefile").write_text("\n".join([*lines, ""]))


class Ninja(Tool):
    name = "ninja"
    wrapper = ""

    def write(self, tree: Path, work: Work) -> None:
        lines = ["rule step", f"  command = {self.wrapper}{work.steps[0].shell('$in', '$out', '$$')}"]
        lines += [f"build {step.target}: step {step.source}" for step in work.steps]
        (tree / "build.ninja").write_text("\n".join([*lines, ""]))


class IsolatedNinja(Ninja):
    """ninja with a network and a pid namespace for each command, which is about what a stage of offpipe has."""

    name = "ninja in bwrap"
    wrapper = "bwrap --unshare-net --unshare-pid --dev-bind / / -- "
    only_first_runs = True  # with nothing to do it is ninja

    def __init__(self, program: str | None = None) -> None:
        super().__init__(program or "ninja")


class Doit(Tool):
    name = "doit"

    def command(self, jobs: int) -> list[str | Path]:
        return [self.program, *(["-n", str(jobs)] if jobs > 1 else [])]

    def write(self, tree: Path, work: Work) -> None:
        rows = [(step.name, step.command(step.source, step.target), step.source, step.target) for step in work.steps]
        (tree / "dodo.py").write_text(
            f"STEPS = {rows!r}\n\n\ndef task_step():\n    for name, command, source, target in STEPS:\n"
            "        yield {'name': name, 'actions': [command], 'file_dep': [source], 'targets': [target]}\n"
        )


class Snakemake(Tool):
    name = "snakemake"
    most = 1_000  # its first run of more takes minutes

    def command(self, jobs: int) -> list[str | Path]:
        return [self.program, "--quiet", "all", f"-j{jobs}"]

    def write(self, tree: Path, work: Work) -> None:
        (tree / "Snakefile").write_text(
            f"rule all:\n    input: [f'out/{{n}}.txt' for n in range({len(work.steps)})]\n\n"
            "rule step:\n    input: 'in/{n}.txt'\n    output: 'out/{n}.txt'\n"
            f"    shell: {work.steps[0].shell('{input}', '{output}')!r}\n"
        )


INSTALLABLE = (Doit, Snakemake)
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "offpipe-benchmarks"


def find_tools(remarks: list[str]) -> tuple[list[Tool], list[str]]:
    """Return the tools that there are, offpipe first, and a line on each. Those in Python are installed below `CACHE`.

    A tool that cannot be had is a remark.
    """
    tools: list[Tool] = [Offpipe()]
    versions: list[str] = []
    for kind in (Make, Ninja, IsolatedNinja, *INSTALLABLE):
        program = _installed(CACHE / kind.name, kind.name) if kind in INSTALLABLE else None
        tool = kind(program)
        words = ["bwrap", "--version"] if kind is IsolatedNinja else tool.start()
        try:
            shown = subprocess.run(words, capture_output=True, text=True, check=True).stdout
        except (OSError, subprocess.CalledProcessError) as error:
            remarks.append(f"{kind.name} is left out: {error}")
        else:
            tools.append(tool)
            versions.append(f"{Path(words[0]).name} {shown.splitlines()[0].split()[-1]}")
    return tools, versions


def _installed(place: Path, name: str) -> str:
    """Return the path of a program in a virtual environment of its own, where pip installs it once."""
    program = place / "bin" / name
    if not program.exists():
        note(f"installing {name}")
        shutil.rmtree(place, ignore_errors=True)
        venv.create(place, with_pip=True)
        pip = [place / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", name]
        subprocess.run(pip, check=False)  # it prints why it fails, and then there is no program
        note("")
    return str(program)
