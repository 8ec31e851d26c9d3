"""The files and commands in docs/from-*.md work as printed, and their tables have fields of a spec."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from pipeline_bench import ROOT

from runner.spec.fields import DEFAULTS, RESOURCES, RETRY, SPEC, STAGE

PAGES = {name: (ROOT / f"docs/from-{name}.md").read_text("utf-8") for name in ("make", "snakemake", "dvc")}
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SAVED = re.compile(r"^`([\w.]+)`[^`\n]*:\n\n```\w+\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PROGRAMS = 'offpipe() { "$PYTHON" -m runner "$@"; }; '
WORDS = 800  # of a page at most, without its code


@pytest.fixture(params=PAGES)
def saved(request, tmp_path):
    for name, content in SAVED.findall(PAGES[request.param]):
        (tmp_path / name).write_text(content)
    return request.param, tmp_path


def printed_by(command: str, directory) -> str:
    done = subprocess.run(
        ["bash", "-c", PROGRAMS + command],
        cwd=directory, env={**os.environ, "PYTHON": sys.executable}, capture_output=True, text=True, check=False,
        timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, ""), f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def console(page: str) -> list[tuple[str, str]]:
    """Return each command of a page with the output that the page shows."""
    parts = [part for language, text in BLOCK.findall(page) if language == "console" for part in text.split("$ ")[1:]]
    return [(command, output) for command, _, output in (part.partition("\n") for part in parts)]


def test_each_command_prints_what_the_page_shows(saved) -> None:
    name, directory = saved
    commands = console(PAGES[name])
    for command, expected in commands:
        assert printed_by(command, directory) == expected, command
    assert len(commands) >= 5


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
def test_the_makefile_and_the_spec_make_the_same_bytes(tmp_path) -> None:
    for name, content in SAVED.findall(PAGES["make"]):
        (tmp_path / name).write_text(content)
    (prepare, _), *_ = console(PAGES["make"])
    printed_by(f"{prepare} && make", tmp_path)
    made = [(tmp_path / path).read_bytes() for path in ("out/a.txt", "out/b.txt", "all.txt")]
    printed_by("rm -r out all.txt && offpipe -q texts.json", tmp_path)
    assert [(tmp_path / path).read_bytes() for path in ("out/a.txt", "out/b.txt", "all.txt")] == made


def test_the_rules_of_the_snakemake_page_are_those_of_the_example() -> None:
    example = ROOT / "examples/samples"
    stages = json.loads((example / "samples.json").read_text("utf-8"))["stages"]
    blocks = BLOCK.findall(PAGES["snakemake"].partition("## A checkpoint\n")[0])
    rules = [text for language, text in blocks if language == "python"]
    assert all(f"\n{rule}" in (example / "Snakefile").read_text("utf-8") for rule in rules)
    shown = [json.loads(text) for language, text in blocks if language == "json"]
    assert [stage["name"] for stage in shown] == [re.match(r"rule (\w+):", rule)[1] for rule in rules]
    assert all(stage in stages for stage in shown)


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_the_tables_have_json_with_fields_of_a_spec(page) -> None:
    right = [re.split(r"(?<!\\)\|", line)[2] for line in page.splitlines() if line.startswith("| ")]
    spans = [span for cell in right for span in re.findall(r'`("\w+": .*?)`', cell)]
    known = {"each", "vars", *SPEC.fields, *STAGE.fields, *DEFAULTS.fields}
    for span in spans:
        given = json.loads(f"{{{span}}}")
        assert given.keys() <= known, span
        assert given.get("resources", {}).keys() <= set(RESOURCES.fields), span
        assert given.get("retry", {}).keys() <= set(RETRY.fields), span
    assert len(spans) >= 4


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_the_page_is_short(page) -> None:
    assert len(BLOCK.sub("", page).split()) <= WORDS
