"""`offpipe who SPEC PATH` says which stages make and read a path, by whatever name, and that nobody does."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from pipeline_bench import ROOT, shell

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline_bench import PipelineBench

UPPER = {
    **shell("upper", "tr a-z A-Z < in.txt > $PIPELINE_OUTPUT_UPPER"),
    "inputs": ["in.txt"],
    "outputs": ["out/upper.txt"],
}
COUNT = {"name": "count", "command": ["sh", "count.sh"], "inputs": {"t": "out/*.txt", "d": "d/"}, "outputs": ["sums/"]}
TRIM = {
    "name": "trim", "each": {"i": "s/*.csv"}, "command": ["true"],
    "inputs": {"x": "s/{each.i}.csv", "all": "sums/"}, "outputs": {"o": "t/{each.i}"},
}  # fmt: skip
ROWS = {"name": "rows", "each": {"rows": "names.csv"}, "command": ["true"], "outputs": {"o": "r/{each.n}"}}


@pytest.fixture
def pipeline(bench: PipelineBench) -> PipelineBench:
    for path in ("in.txt", "d/sub/f", "s/a.csv", "s/b.csv", "names.csv", "notes.txt"):
        bench.write(path, "n\n1\n")
    bench.write("count.sh", "mkdir $PIPELINE_OUTPUT_SUMS\n")
    bench.define(UPPER, COUNT, TRIM, ROWS)
    return bench


def who(bench: PipelineBench, path: str | Path, *words: str, **more: object) -> str:
    """Return what `who` prints after the path."""
    more = {"cwd": bench.root, "env": {"PYTHONPATH": str(ROOT)}, **more}
    done = bench.run("who", str(path), *words, **more)
    assert done.stderr == "" and done.stdout.startswith(f"{path}: ") and done.stdout.count("\n") == 1, done
    said = done.stdout.removeprefix(f"{path}: ").rstrip()
    assert done.returncode == (5 if said == "no stage makes or reads it" else 0)
    return said


@pytest.mark.full_after(4)
@pytest.mark.parametrize(
    ("path", "said"),
    {
        "out/upper.txt": "made by upper; read by count (out/*.txt)",
        "t/a": "made by trim@a (instance of trim)",
        "s/a.csv": "read by trim@a (instance of trim); gives values to trim (s/*.csv)",
        "notes.txt": "no stage makes or reads it",
        "in.txt": "read by upper",
        "sums/x/y": "made by count (sums/); read by trim@a (instance of trim, sums/), trim@b (instance of trim, sums/)",
        "d/sub/new": "read by count (d/)",
        "d": "read by count",
        "out/new.txt": "read by count (out/*.txt)",
        "out/.hidden.txt": "no stage makes or reads it",
        "out/upper.txt.bak": "no stage makes or reads it",
        "count.sh": "code of count",
        "names.csv": "gives values to rows",
        "s/new.csv": "gives values to trim (s/*.csv)",
        "out": "made by upper (out/upper.txt); read by count (out/*.txt)",
        "t": "made by trim@a (instance of trim, t/a), trim@b (instance of trim, t/b)",
        "s/": "read by trim@a (instance of trim, s/a.csv), trim@b (instance of trim, s/b.csv); "
        "gives values to trim (s/*.csv)",
        "spec.json": "the spec",
        "state": "state of the pipeline",
        "state/stage_upper.json": "state of the pipeline",
        "locks/upper.lock": "locks of the pipeline",
        ".offpipe/noop-spec.json": "no-op record",
        "out/.partial-0123ab.upper.txt": "partial output of upper (out/upper.txt)",
        ".partial-0123ab.sums/x": "partial output of count (sums/)",
        "out/.partial-0123ab.other": "no stage makes or reads it",
    }.items(),
)
def test_it_says_who_makes_and_who_reads_a_path_that_need_not_be_there_yet(pipeline, path, said) -> None:
    assert who(pipeline, path) == said


def test_a_path_may_be_absolute_or_relative_to_the_working_directory_or_lead_through_links(pipeline) -> None:
    root = pipeline.root
    (root / "hop").symlink_to(".")
    (root / "link").symlink_to("in.txt")
    (root / "hard").hardlink_to(root / "in.txt")
    (root / "in d").hardlink_to(root / "d/sub/f")
    for path in (root / "in.txt", "hop/in.txt", "link", "d/../in.txt"):
        assert who(pipeline, path).startswith("read by upper")
    assert who(pipeline, "hard") == "read by upper (in.txt)"
    assert who(pipeline, "in d") == "read by count (d/)"
    assert who(pipeline, "../in.txt", cwd=root / "d") == "read by upper"
    assert who(pipeline, "in.txt", cwd=root / "s") == "no stage makes or reads it"
    pipeline.spec = root / "hop/spec.json"
    assert who(pipeline, root / "out/upper.txt") == "made by upper; read by count (out/*.txt)"
    assert who(pipeline, root / "t") == "made by trim@a (instance of trim, t/a), trim@b (instance of trim, t/b)"


def test_it_names_the_run_and_the_stage_that_made_an_orphan(pipeline) -> None:
    pipeline.define(UPPER, shell("gone", "echo > $PIPELINE_OUTPUT_OUT"), shell("own", "echo > $PIPELINE_OUTPUT_OUT"))
    pipeline.succeed("--run-id", "first")
    pipeline.define(UPPER, COUNT)
    pipeline.write("out/own.txt", "changed\n")
    assert who(pipeline, "out/gone.txt") == "orphan, made in run first by gone"
    said = "changed since it was made in run first by own; read by count (out/*.txt)"
    assert who(pipeline, "out/own.txt") == said, "a glob matches it, because it is the user's"


def test_in_a_workspace_only_outputs_belong_to_the_pipeline(pipeline, tmp_path) -> None:
    pipeline.write("out/upper.txt", "of a run without a workspace")
    pipeline.write("w/in.txt", "")
    words = ("--workspace", str(pipeline.root / "w"))
    assert who(pipeline, "w/out/upper.txt", *words) == "made by upper; read by count (out/*.txt)"
    assert who(pipeline, "in.txt", *words) == "read by upper"
    for path in ("out/upper.txt", "w/in.txt"):
        assert who(pipeline, path, *words) == "no stage makes or reads it"


def test_without_known_instances_it_names_the_template(pipeline) -> None:
    for name in ("a", "b"):
        (pipeline.root / f"s/{name}.csv").unlink()
    assert who(pipeline, "t/a") == "made by trim (t/*)"


def test_json_lists_the_roles_with_the_declared_paths(pipeline) -> None:
    words = {"cwd": pipeline.root, "env": {"PYTHONPATH": str(ROOT)}}
    none = {"stage": None, "template": None, "path": None, "run": None}
    for path, roles in {
        "s/a.csv": [
            {**none, "role": "input", "stage": "trim@a", "template": "trim", "path": "s/a.csv"},
            {**none, "role": "each", "stage": "trim", "path": "s/*.csv"},
        ],
        "spec.json": [{**none, "role": "spec"}],
        "notes.txt": [],
    }.items():
        done = pipeline.run("who", path, "--json", **words)
        assert json.loads(done.stdout) == {"path": path, "roles": roles, "warnings": []}
        assert done.returncode == (0 if roles else 5)


def test_of_very_many_stages_it_names_the_first(pipeline) -> None:
    pipeline.define(*({**shell(f"s{i}", "true"), "inputs": ["in.txt"]} for i in range(12)))
    assert who(pipeline, "in.txt").endswith(", s9 and 2 more")


def test_it_writes_nothing(pipeline) -> None:
    before = {path: path.read_bytes() for path in pipeline.root.rglob("*") if path.is_file()}
    who(pipeline, "out/upper.txt")
    assert {path: path.read_bytes() for path in pipeline.root.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("words", [(), ("",), ("in.txt", "out")], ids=["none", "empty", "two"])
def test_it_takes_one_path(pipeline, words) -> None:
    done = pipeline.run("who", *words)
    assert done.returncode == 2 and ("no path given" if not any(words) else 'argument "out"') in done.stderr
