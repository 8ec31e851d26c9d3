"""Limits of the code and the pages, and how much room they leave: `./run_tests.sh --room` prints it.

CONTRIBUTING.md says when a limit may be raised. Only the import closure of `run` has a limit in logical lines; the
other sums are shown so that a change can say what it cost.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

from code_size import closure, logical_lines
from syntax_rules import code_lines, fits, long_functions

ROOT = Path(__file__).resolve().parents[2]
FILE_LINES, FUNCTION_LINES = 300, 40  # of code in a file; of all but the docstring in a function
CLOSURE_LINES = 12_490  # logical lines of all modules that a run may load
RUN = ("engine.run", "sandbox.service", "sandbox.program", "sdk")  # the modules with which a run and its stages begin
EXTRAS = ("extras",)  # need packages that a plain installation lacks
CLOSED = (
    *("sandbox", "plan.code", "spec.each", "sdk"),  # rooms with a narrow door
    *("noop", "engine.noop", "record.noop_record"),  # how a run with nothing to do ends early
    *("plan.orphans", "record.seal", "record.signatures"),  # asides
)  # what a newcomer need not read of what a run loads

PAGE_WORDS = {
    "audit.md": 1960,
    "benchmark-results.md": 600,
    "benchmarks.md": 358,
    "checks.md": 1_720,
    "cli.md": 3_400,
    "cluster.md": 1378,
    "containers.md": 310,
    "durability.md": 479,
    "editors.md": 249,
    "export.md": 606,
    "from-dvc.md": 440,
    "from-make.md": 410,
    "from-snakemake.md": 1_040,
    "internals/adding.md": 1273,
    "internals/crash-sweep.md": 333,
    "internals/guard.md": 530,
    "internals/non-goals.md": 470,
    "known-limits.md": 1120,
    "offline-guard.md": 1_490,
    "on-disk.md": 1_420,
    "plugins.md": 388,
    "pytest-fixtures.md": 950,
    "pytest-specs.md": 800,
    "report.md": 1_250,
    "spec.md": 4_670,
    "testing-your-stages.md": 1_150,
    "unattended.md": 1_180,
    "writing-stages.md": 2_140,
}  # a new page gets its words and a tenth
FEW_LEFT = 30  # lines of code; a file with less room is shown
FEW_OF_A_FUNCTION = 2  # lines; a function with less room is shown
FEW_WORDS = 120  # a page with less room is shown: a section of a new verb takes so many


class Measured(NamedTuple):
    """Logical lines of runner/ without the extras, of all that a run may load, and of the part that tells the story."""

    core: int
    closure: int
    story: int


def sources(*folders: str) -> list[Path]:
    """Return the Python files of some folders of the checkout."""
    return sorted(
        path for folder in folders for path in (ROOT / folder).rglob("*.py") if "__pycache__" not in path.parts
    )


@cache
def tree_of(path: Path) -> ast.Module:
    """Return the syntax tree of a file."""
    return ast.parse(path.read_bytes())


def full_name(path: Path) -> str:
    """Return the name of a module: `runner.record` for runner/record/__init__.py."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def trees(*packages: str) -> dict[str, ast.Module]:
    """Return the syntax tree of every module, by its full name."""
    return {full_name(path): tree_of(path) for path in sources(*packages)}


def loaded_by_a_run() -> set[str]:
    """Return the full names of the modules that a run may load, now or later."""
    return closure(trees("runner"), [f"runner.{name}" for name in RUN])


def story() -> set[str]:
    """Return the modules of the story, by full name: what a run may load, without the closed rooms."""
    return {name for name in loaded_by_a_run() if not fits(name, [f"runner.{room}" for room in CLOSED])}


@cache
def measured() -> Measured:
    """Measure the code of runner/."""
    sizes = {full_name(path): logical_lines(path.read_bytes()) for path in sources("runner")}
    extras = [f"runner.{name}" for name in EXTRAS]
    return Measured(
        sum(size for name, size in sizes.items() if not fits(name, extras)),
        sum(sizes[name] for name in loaded_by_a_run()),
        sum(sizes[name] for name in story()),
    )


def words(page: Path) -> int:
    """Return the number of words of a page. The rules and pipes of a table are no words."""
    return sum(not re.fullmatch(r"[|:-]+", word) for word in page.read_text(encoding="utf-8").split())


def pages() -> dict[str, Path]:
    """Return the pages below docs/, by their names there."""
    docs = ROOT / "docs"
    return {str(path.relative_to(docs)): path for path in sorted(docs.rglob("*.md"))}


def main() -> None:
    """Print what is left."""
    size = measured()
    print(f"{size.closure:6,} logical lines that a run may load, {CLOSURE_LINES - size.closure:,} left")
    print(f"{size.story:6,} of them tell the story, in {len(story())} files")
    print(f"{size.core:6,} in runner/ without the extras")
    for path in sources("runner", "stages", "pytest_offpipe"):
        if (left := FILE_LINES - len(code_lines(path.read_bytes()))) < FEW_LEFT:
            print(f"{left:6} lines of code left in {path.relative_to(ROOT)}")
        for finding in long_functions(tree_of(path), "", FUNCTION_LINES - FEW_OF_A_FUNCTION):
            print(f"{'':6} at most {FUNCTION_LINES} are allowed in {path.relative_to(ROOT)}:{finding}")
    for name, page in pages().items():
        if (left := PAGE_WORDS[name] - words(page)) < FEW_WORDS:
            print(f"{left:6} words left in docs/{name}")


if __name__ == "__main__":
    main()
