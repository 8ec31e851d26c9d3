"""A plain command line means the same with and without the parser."""

from __future__ import annotations

import itertools
import subprocess
import sys

import pytest

from runner.arguments import plain_arguments
from runner.cli.parser import parse
from runner.errors import UsageError

OPTIONS = (
    [], ["-q"], ["--quiet"], ["-k"], ["--keep-going"], ["-j", "3"], ["-j3"], ["-j=3"], ["--jobs", "12"], ["--jobs=2"],
    ["--workspace", "w"], ["--workspace=w"], ["--durability", "process"], ["--durability=full"],
)  # fmt: skip
OTHERS = (
    [], ["missing.json"], ["p.json", "stage"], ["p.json", "-n"], ["p.json", "--json"], ["p.json", "-v"],
    ["p.json", "-f"], ["p.json", "--workspace", "-q"], ["p.json", "--workspace", ""], ["p.json", "-j", "0"],
    ["p.json", "-j"], ["--", "p.json"], ["p.json", "--durability", "some"], ["p.json", "--wait"], ["p.json", "-qk"],
    ["p.json", "-h"], ["plan", "p.json"], ["--workspace", "w", "plan"], ["-q", "run"],
)  # fmt: skip


@pytest.fixture(autouse=True)
def _place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("p.json", "plan", "run"):
        (tmp_path / name).write_text("{}")


@pytest.mark.parametrize("first", [[], ["run"]])
def test_plain_words_mean_what_the_parser_takes_them_for(first) -> None:
    for before, after in itertools.product(OPTIONS, OPTIONS):
        words = [*first, *before, "p.json", *after]
        assert {"stages": (), "verb": "run", **vars(plain_arguments(words))} == vars(parse(words)), words


@pytest.mark.parametrize("words", OTHERS, ids=" ".join)
def test_all_else_is_left_to_the_parser(words) -> None:
    assert plain_arguments(words) is None


def test_what_the_parser_refuses_is_not_taken_for_plain() -> None:
    with pytest.raises(UsageError):
        parse(["p.json", "--workspace", "-q"])


def test_a_plain_run_loads_no_parser() -> None:
    program = "import sys; from runner.__main__ import main; main(); print(*sys.modules)"
    command = [sys.executable, "-c", program, "p.json", "-q"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "p.json" in done.stderr
    assert not {"argparse", "runner.cli.parser"} & set(done.stdout.split())
