"""Plain words mean the same with and without the parser of options."""

from __future__ import annotations

import itertools
import subprocess
import sys

import pytest

from runner.cli.invocation import plain_invocation
from runner.cli.parser import parse
from runner.cli.verbs import _options
from runner.errors import UsageError

OPTIONS = (
    [], ["-q"], ["--quiet"], ["-k"], ["--keep-going"], ["-j", "3"], ["-j3"], ["-j=3"], ["--jobs", "12"], ["--jobs=2"],
    ["--workspace", "w"], ["--workspace=w"], ["--durability", "process"], ["--durability=full"],
)  # fmt: skip
FLAGS = ("quiet", "json", "verbose", "dry_run", "force", "paranoid", "keep_going")
OTHERS = (
    [], ["missing.json"], ["p.json", "stage"], ["p.json", "-n"], ["p.json", "--json"], ["p.json", "-v"],
    ["p.json", "-f"], ["p.json", "--workspace", "-q"], ["p.json", "--workspace", ""], ["p.json", "-j", "0"],
    ["p.json", "-j"], ["--", "p.json"], ["p.json", "--durability", "some"], ["p.json", "--wait"], ["p.json", "-qk"],
    ["p.json", "-h"], ["plan", "p.json"],
)  # fmt: skip


@pytest.fixture(autouse=True)
def _place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.json").write_text("{}")


def told(invocation):
    return (
        (invocation.verb, invocation.spec, invocation.stages),
        _options(invocation),
        [invocation.flag(name) for name in FLAGS],
        invocation.words,
    )


@pytest.mark.parametrize("first", [[], ["run"]])
def test_plain_words_mean_what_the_parser_takes_them_for(first) -> None:
    for before, after in itertools.product(OPTIONS, OPTIONS):
        words = [*first, *before, "p.json", *after]
        assert told(plain_invocation(words)) == told(parse(words, None)), words


@pytest.mark.parametrize("words", OTHERS, ids=" ".join)
def test_all_else_is_left_to_the_parser(words) -> None:
    assert plain_invocation(words) is None


def test_what_the_parser_refuses_is_not_taken_for_plain() -> None:
    with pytest.raises(UsageError):
        parse(["p.json", "--workspace", "-q"], None)


def test_a_plain_run_loads_no_parser() -> None:
    program = "import sys; from runner.cli import main; main(['p.json', '-q']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "p.json" in done.stderr
    assert not {"argparse", "runner.cli.parser"} & set(done.stdout.split())
