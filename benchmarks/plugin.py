"""Specs as tests: 20 checks of trivial commands beside pytest-workflow and plain tests, and the plugin when unused.

Each case has an environment of its own, with the same pytest and nothing else, because other plugins take time, too.
Two are copies of what is installed here; pytest-workflow comes from an index, or is left out.
"""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import statistics
import subprocess
import sys
import venv
import zipfile
from typing import TYPE_CHECKING

from benchmarks.bounds import BEFORE, OURS, SLOWER_MANY, added, judged, not_slower, ratio
from benchmarks.peers import default_cache
from benchmarks.table import Table
from benchmarks.timing import CHECKOUT, Sample, code_of, interleave, note, timed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from benchmarks.bench import Bench
    from benchmarks.bounds import Bound

MORE_AN_ITEM = 40  # milliseconds over a plain subprocess test, isolation and durability included
PYTEST = ("pytest", "pluggy", "iniconfig", "packaging", "pygments")
NEEDED = ("filelock",)
OFFPIPE, PLAIN, WORKFLOW = "spec items, offpipe", "plain subprocess tests", "pytest-workflow"
UNUSED, WITHOUT = "offpipe installed, unused", "not installed"
PLAIN_TEST = """\
import subprocess

import pytest


@pytest.mark.parametrize("number", range({items}))
def test_copy(number, tmp_path):
    subprocess.run(["/bin/cp", f"in/{{number}}.txt", tmp_path / "out.txt"], check=True)
    assert (tmp_path / "out.txt").exists()
"""


def measure(bench: Bench) -> Iterator[Table]:
    items = bench.sizes.items
    title = f"plugin: {items} checks of /bin/cp, pytest's start included"
    try:
        version = importlib.metadata.version("pytest")
    except importlib.metadata.PackageNotFoundError:
        yield Table(title, {}, notes=["this interpreter has no pytest: left out"])
        return
    bench.place.mkdir(parents=True)
    without = _environment(bench.place / "without", PYTEST)
    ours = _environment(bench.place / "with", PYTEST + NEEDED)
    _install_checkout(ours, bench.place)
    suite = Suite(bench.place / "suite", items)
    cases = {
        OFFPIPE: suite.case(ours, "--offpipe-spec", "spec.json", "--offpipe-checks", "run"),
        PLAIN: suite.case(without, "test_plain.py"),
    }
    if bench.before:
        words = ("--offpipe-spec", "spec.json", "--offpipe-checks", "run")
        cases[OFFPIPE.replace(OURS, BEFORE)] = suite.case(ours, *words, before=bench.before)
    workflow, about = _workflow(default_cache() / WORKFLOW, version)
    if workflow:
        cases[WORKFLOW] = suite.case(workflow, "test_workflow.yml")
    samples = _warm(cases, bench.runs)
    yield Table(title, samples, PLAIN, bounds=_bounds(samples, items), notes=[
        f"pytest {version}; {about}", "only offpipe isolates each command, and waits for the disk to hold what it made",
    ])  # fmt: skip
    cases = {
        name: suite.case(python, "--collect-only", "test_plain.py")
        for name, python in ((UNUSED, ours), (WITHOUT, without))
    }
    unused = _warm(cases, 3 * bench.runs)
    yield Table("plugin: unused, pytest --collect-only", unused, WITHOUT, bounds=[_not_slower(unused)])
    shutil.rmtree(bench.place)


def _bounds(samples: dict[str, Sample], items: int) -> list[Bound]:
    more = f"plugin: {items} spec items: more than plain tests ({MORE_AN_ITEM} ms each)"
    return [
        ratio(samples, f"plugin: {items} spec items: to pytest-workflow", OFFPIPE, WORKFLOW, 1.0),
        added(samples, more, OFFPIPE, PLAIN, MORE_AN_ITEM * items),
        *not_slower(samples, f"plugin: {items} spec items", SLOWER_MANY),
    ]


def _not_slower(samples: dict[str, Sample]) -> Bound:
    """Bound what an unused plugin adds by the quartiles' distance of runs without it: less cannot be measured."""
    first, _, third = statistics.quantiles(samples[WITHOUT].seconds, n=4)
    more = 1e3 * (samples[UNUSED].median - samples[WITHOUT].median)
    return judged(
        "plugin: unused, --collect-only: more than without, beside the quartiles' distance of runs without",
        more,
        round(1e3 * (third - first), 1),
        unit="ms",
    )


def _warm(cases: dict[str, Callable[[Sample], None]], runs: int) -> dict[str, Sample]:
    """Run cases in turn, first once unmeasured: that writes bytecode of copied modules and reads files."""
    for name, case in cases.items():
        note(f"{name}, for once")
        case(Sample())
    return interleave(cases, runs)


class Suite:
    """A directory with the same checks in three languages."""

    def __init__(self, root: Path, items: int) -> None:
        self._root = root
        self._runs = 0
        (root / "in").mkdir(parents=True)
        for number in range(items):
            (root / f"in/{number}.txt").write_text(f"the content of file {number}\n")
        (root / "pytest.ini").write_text("[pytest]\n")
        (root / "test_plain.py").write_text(PLAIN_TEST.format(items=items))
        stages = [
            {"name": f"copy{number}", "command": ["/bin/cp", "{inputs.it}", "{outputs.it}"],
             "inputs": {"it": f"in/{number}.txt"}, "outputs": {"it": f"out/{number}.txt"}}
            for number in range(items)
        ]  # fmt: skip
        (root / "spec.json").write_text(json.dumps({"specVersion": 1, "name": "copies", "stages": stages}))
        workflows = [
            {"name": f"copy{number}", "command": f"/bin/cp in/{number}.txt out.txt", "files": [{"path": "out.txt"}]}
            for number in range(items)
        ]
        (root / "test_workflow.yml").write_text(json.dumps(workflows))  # which is YAML as well

    def case(self, python: Path, *arguments: str, before: Path | None = None) -> Callable[[Sample], None]:
        """Return a case that times pytest, each time with a new temporary directory; they all stay until the end."""

        def run(sample: Sample) -> None:
            self._runs += 1
            base = f"--basetemp={self._root.parent / f'base-{self._runs}'}"
            words = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", base, *arguments]
            sample.add(timed(words, self._root, code_of(before)))

        return run


def _environment(place: Path, names: tuple[str, ...]) -> Path:
    """Make an environment that holds these distributions, as this interpreter has them; return its interpreter."""
    python, packages = _bare(place)
    for name in names:
        for file in importlib.metadata.files(name) or ():
            if ".." not in file.parts:  # no programs: they are elsewhere
                to = packages.joinpath(*file.parts)
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(str(file.locate()), to)
    return python


def _bare(place: Path) -> tuple[Path, Path]:
    venv.create(place, with_pip=False, symlinks=True)
    python = place / "bin/python"
    command = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    return python, place / subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _install_checkout(python: Path, scratch: Path) -> None:
    """Install this checkout, with its entry points, as an editable wheel does."""
    program = "import sys; from hatchling.build import build_editable; build_editable(sys.argv[1])"
    subprocess.run([sys.executable, "-c", program, scratch], cwd=CHECKOUT, check=True)
    [wheel] = scratch.glob("*.whl")
    [packages] = (python.parents[1] / "lib").glob("python*/site-packages")
    zipfile.ZipFile(wheel).extractall(packages)


def _workflow(place: Path, version: str) -> tuple[Path | None, str]:
    """Return the interpreter of an environment with pytest-workflow, installed once, or None; and a remark."""
    python = place / "bin/python"
    needed = [WORKFLOW, f"pytest=={version}"]
    pip = [str(python), "-m", "pip", "--disable-pip-version-check"]
    try:
        if not python.exists():
            venv.create(place, with_pip=True)
        note(f"installing {WORKFLOW}")
        ended = subprocess.run([*pip, "install", "--quiet", *needed], capture_output=True, text=True, check=False)
        note("")
    except (OSError, subprocess.CalledProcessError) as error:
        return None, f"{WORKFLOW} left out: no virtual environment could be made: {error}"
    if ended.returncode:
        lines = [line for line in ended.stderr.splitlines() if line.startswith("ERROR")]
        return None, f"{WORKFLOW} left out: it could not be installed ({lines[-1] if lines else 'pip failed'})"
    command = [str(python), "-c", f"from importlib.metadata import version; print(version('{WORKFLOW}'))"]
    installed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return python, f"{WORKFLOW} {installed}, with its own copy of the same pytest"
