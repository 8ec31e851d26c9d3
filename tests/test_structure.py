"""The shape of the code, checked in its syntax trees: which modules import others, write, or start programs.

The rules are in tests/support/syntax_rules.py; test_structure_rules.py shows that each finds what it forbids.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from code_size import cycles, import_graph, protocols
from room_left import (
    CLOSED,
    CLOSURE_LINES,
    EXTRAS,
    FILE_LINES,
    FUNCTION_LINES,
    ROOT,
    RUN,
    full_name,
    measured,
    sources,
    story,
    tree_of,
    trees,
)
from syntax_rules import (
    code_lines,
    fits,
    imported_names,
    long_functions,
    machine_paths,
    network_imports,
    private_pytest_imports,
    process_starts,
    terminal_uses,
    writes,
    wrong_direction,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    Rule = Callable[[ast.Module, str], Iterator[str]]

# ---- the tables: what is allowed, in one place -----------------------------------------------------------------------

LEAVES = (
    "errors",
    "paths",
    "hookspecs",
    "canonical",
    "hashing",
    "interrupts",
    "levels",
    "listener",
    "processes",
    "results",
    "reading",
)
ROOMS = ("spec", "plan", "sandbox", "record")
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    # A key is a module or a room of runner/; the longest match counts. The values are modules or rooms, too.
    "__init__": (),
    "errors": (),  # this one and the next are loaded in every stage
    "paths": (),
    "hookspecs": LEAVES,  # and types, below
    "canonical": LEAVES,
    "hashing": (),
    "interrupts": LEAVES,
    "levels": LEAVES,
    "listener": LEAVES,
    "processes": LEAVES,
    "results": LEAVES,
    "reading": LEAVES,
    "spec": (*LEAVES, "spec"),
    "sandbox": (*LEAVES, "sandbox"),
    "plan": (*LEAVES, "spec", "plan"),
    "plan.code.banned": ("errors", "results"),
    "plan.code.cache": (),
    "record": (*LEAVES, "record"),
    "sdk": ("canonical", "errors", "paths", "record.files", "sdk"),
    "executor": (*LEAVES, *ROOMS, "executor"),
    "engine": (*LEAVES, *ROOMS, "executor", "engine"),
    "engine.noop": (*LEAVES, *ROOMS, "noop", "engine"),
    "display": (*LEAVES, "spec", "plan", "record", "display"),
    "audit": (*LEAVES, *ROOMS, "engine", "audit"),
    "verbs": (*LEAVES, *ROOMS, "executor.retry", "engine", "audit", "verbs"),
    "extras": (),
    "extras.packages": ("errors",),
    "extras.cluster": (*LEAVES, *ROOMS, "engine.start", "extras.packages", "extras.cluster"),
    "extras.report": (*LEAVES, *ROOMS, "engine", "audit", "verbs", "display", "extras.packages", "extras.report"),
    "extras.completion": ("cli.parser", "extras.packages"),
    "cli": (*LEAVES, *ROOMS, "engine", "display", "audit", "verbs", "extras", "cli"),
    "noop": (*LEAVES, "record"),
    "__main__": ("errors", "noop", "cli"),
}
MAY_NAME: dict[str, tuple[str, ...]] = {
    # What else may be imported if only type checkers see it.
    "hookspecs": ("sandbox.launcher", "record.checkpoints", "spec.model"),  # the values that hooks are called with
    "display.summary": ("audit.verification",),  # what verify has found
    "display.plan_text": ("verbs.query",),  # the plan, and what was explained
    "record.noop_record": ("plan.fingerprint", "spec.model"),  # what the plan depended on
    "results": ("record.markers",),  # what a stage has made
    **dict.fromkeys(
        ("plan.digests", "plan.fingerprint", "plan.inputs", "plan.orphans", "plan.temporary"), ("record.markers",)
    ),  # what they compare with
    "plan.planner": ("record.checkpoints", "record.markers"),  # what earlier runs left
}
MAY_WRITE = {
    "display.streams": "opens its pipe or terminal again, so that no write waits for the reader",
    "record.files": "the only writer",
    "record.removal": "removes trees for the only writer",
    "sandbox.service": "opens /dev/null as its own stdio",
    "sandbox.child": "opens the log and the output that a stage gets as stderr and stdout",
    "sandbox.namespaces": "maps user ids, in files of /proc",
    "sandbox.forkserver": "opens the standard streams of a stage",
    "sandbox.tracer": "knows from the flags of a command's calls what it opens for writing",
    "sandbox.view": "makes the mount points of a view",
    "sandbox.isolate": "tries to open the memory of a process, which must fail",
}
MAY_START_PROCESSES = {
    "sandbox": "starting programs is what the room is for",
    "extras.cluster.connection": "lets Dask start the workers of `--cluster local:N`",
}
MAY_CONNECT = {
    "extras.cluster.connection": "talks to the scheduler of a cluster",
}
MAY_USE_TERMINAL = {
    "display": "the terminal",
    "sdk": "tells the stage's author on stderr why the stage ends",
    "sandbox.forkserver": "makes the standard streams of a stage, and tells its errors as an interpreter does",
}
LONGER = {"runner/engine/run.py": {"run": 80}}  # the story of a run, from top to bottom
PROTOCOLS: dict[str, str] = {}
SDK_LOADS = (
    "__future__",
    "runner.errors",
    "runner.paths",
    "runner.record.files",
    "runner.sdk",
)  # besides os, sys, time

# ---- what is there ---------------------------------------------------------------------------------------------------


def module_name(path: Path) -> str:
    """`record.files` for runner/record/files.py; a room's __init__ is the room, the package's own is `__init__`."""
    parts = list(path.relative_to(ROOT / "runner").with_suffix("").parts)
    if parts[-1] == "__init__" and len(parts) > 1:
        parts.pop()
    return ".".join(parts)


def every_runner_module(rule: Rule, exempt: Mapping[str, str]) -> list[str]:
    findings = []
    for path in sources("runner"):
        module = module_name(path)
        if not fits(module, exempt):
            findings += [f"{path.relative_to(ROOT)}:{finding}" for finding in rule(tree_of(path), module)]
    return findings


def assert_none(findings: Iterable[str]) -> None:
    lines = list(findings)
    assert not lines, "\n".join(["", *lines])


# ---- the promises ----------------------------------------------------------------------------------------------------


def test_imports_run_one_way() -> None:
    assert_none(every_runner_module(partial(wrong_direction, allowed=MAY_IMPORT, for_types=MAY_NAME), {}))


def test_no_table_names_a_module_that_is_gone() -> None:
    modules = [module_name(path) for path in sources("runner")]
    named = {*MAY_IMPORT, *(name for names in MAY_IMPORT.values() for name in names), *MAY_NAME, *RUN, *EXTRAS, *CLOSED}
    assert_none(name for name in sorted(named) if not any(fits(module, [name]) for module in modules))


def test_extras_are_imported_only_when_they_are_needed() -> None:
    findings = []
    for path in sources("runner"):
        at_once = [node for node in tree_of(path).body if isinstance(node, ast.Import | ast.ImportFrom)]
        imported = imported_names(ast.Module(at_once, []), module_name(path))
        if not fits(module_name(path), ["extras"]):
            findings += [f"{path.relative_to(ROOT)}:{line}" for line, name in imported if fits(name, ["runner.extras"])]
    assert_none(findings)


def test_ready_made_stages_import_the_sdk_and_nothing_else_of_ours() -> None:
    findings = []
    for path in sources("stages"):
        for line, name in imported_names(tree_of(path), "stages"):
            if name.split(".")[0] in {"runner", "pytest_offpipe", "stages"} and not fits(name, ["runner.sdk"]):
                findings.append(f"{path.name}:{line}: {name}")
    assert_none(findings)


def test_the_sdk_loads_almost_nothing() -> None:
    program = "import os, sys; before = set(sys.modules); import runner.sdk; print(*sorted(set(sys.modules) - before))"
    shown = subprocess.run(
        [sys.executable, "-S", "-c", program], cwd=ROOT, capture_output=True, text=True, check=True, env={}
    )
    packages = {"runner", "runner.record"}
    assert_none(name for name in shown.stdout.split() if name not in packages and not fits(name, SDK_LOADS))


def test_only_the_writer_writes() -> None:
    assert_none(every_runner_module(writes, MAY_WRITE))


def test_only_the_sandbox_starts_processes() -> None:
    assert_none(every_runner_module(process_starts, MAY_START_PROCESSES))


def test_only_display_and_cli_know_the_terminal() -> None:
    assert_none(every_runner_module(terminal_uses, MAY_USE_TERMINAL))


@pytest.mark.parametrize(
    ("rule", "table"),
    [
        (writes, MAY_WRITE),
        (process_starts, MAY_START_PROCESSES),
        (network_imports, MAY_CONNECT),
        (terminal_uses, MAY_USE_TERMINAL),
    ],
)
def test_no_exception_outlives_its_reason(rule: Rule, table: Mapping[str, str]) -> None:
    for exempt in table:
        paths = [path for path in sources("runner") if fits(module_name(path), [exempt])]
        uses = [use for path in paths for use in rule(tree_of(path), module_name(path))]
        assert uses, f"runner.{exempt} needs no exception any more"


def test_only_the_cluster_connects_to_anything() -> None:
    assert_none(every_runner_module(network_imports, MAY_CONNECT))


def test_nothing_imports_private_pytest() -> None:
    findings = []
    for path in sources("runner", "stages", "pytest_offpipe", "tests", "benchmarks", "examples"):
        if b"_pytest" in path.read_bytes():  # most files need not be parsed
            findings += [
                f"{path.relative_to(ROOT)}:{finding}" for finding in private_pytest_imports(tree_of(path), "x")
            ]
    assert_none(findings)


def test_files_stay_short() -> None:
    sizes = {path: len(code_lines(path.read_bytes())) for path in sources("runner", "stages", "pytest_offpipe")}
    assert_none(f"{path.relative_to(ROOT)}: {size} lines" for path, size in sizes.items() if size > FILE_LINES)


def test_what_a_run_loads_stays_small() -> None:
    assert measured().closure <= CLOSURE_LINES, "CONTRIBUTING.md says when and how this limit may be raised"


def test_contributing_lists_the_story() -> None:
    rows = re.findall(
        r"^\| `(runner/(?:\w+/)?)` \| (`.*?\.py`) \|", (ROOT / "CONTRIBUTING.md").read_text("utf-8"), re.MULTILINE
    )
    listed = [full_name(ROOT / room / name) for room, names in rows for name in names.strip("`").split("`, `")]
    with_code = {full_name(path) for path in sources("runner") if code_lines(path.read_bytes())}
    assert len(listed) == len({*listed})
    assert {*listed} == (story() & with_code) - {"runner"}  # that one is the version


def test_imports_make_no_cycle() -> None:
    assert_none(f"a cycle: {sorted(cycle)}" for cycle in cycles(import_graph(trees("runner", "pytest_offpipe"))))


def test_a_protocol_has_more_than_one_implementation() -> None:
    names = protocols(trees("runner"))
    assert_none(sorted(names - PROTOCOLS.keys()))
    assert_none(f"{name} is gone: remove it" for name in sorted(PROTOCOLS.keys() - names))


def test_functions_stay_short() -> None:
    findings = []
    for path in sources("runner", "stages", "pytest_offpipe"):
        name = str(path.relative_to(ROOT))
        rule = long_functions(tree_of(path), "", FUNCTION_LINES, LONGER.get(name))
        findings += [f"{name}:{finding}" for finding in rule]
    assert_none(findings)


def test_tracked_files_name_no_machine() -> None:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listing.returncode:
        pytest.skip("no git checkout here, so nothing says which files are tracked")
    # A checkout or home of one component (/src) may well be meant as an example.
    places = [place for place in (str(ROOT), str(Path.home()), sys.prefix) if place.count("/") > 1]
    findings = []
    for name in listing.stdout.decode().split("\0"):
        path = ROOT / name
        if name and path.is_file():
            findings += [
                f"{name}:{finding}" for finding in machine_paths(path.read_bytes().decode("utf-8", "replace"), places)
            ]
    assert_none(findings)
