"""docs/cli.md lists exactly the verbs and options that exist, each option with the verbs that have it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fuzz_calls import CODES

from runner.cli.parser import OPTIONS as PARSED
from runner.cli.parser import VERBS

TEXT = (Path(__file__).resolve().parents[2] / "docs/cli.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in TEXT.splitlines() if line[:3] == "| `"
]
OPTIONS = [row for row in ROWS if len(row) == 4]


def documented(verb: str) -> set[str]:
    """Return the option strings of the rows that name a verb."""
    everywhere = "all with a spec" if "SPEC" in VERBS[verb][0] else verb
    rows = [row for row in OPTIONS if verb in row[1].split(", ") or row[1] in (everywhere, "all")]
    return {word for row in rows for word in re.findall(r"(?<![\w-])--?[a-z][a-z-]*", row[0])}


@pytest.mark.parametrize("verb", VERBS)
def test_the_options_of_a_verb_are_those_that_are_documented(verb: str) -> None:
    assert documented(verb) == {
        name for names, _, verbs, _ in PARSED if verb in verbs.split() for name in names.split()
    }


def test_rows_name_only_verbs_that_exist() -> None:
    assert {verb for row in OPTIONS for verb in row[1].split(", ")} <= {*VERBS, "all with a spec", "all"}


def test_the_changelog_and_the_fuzz_tests_know_every_verb() -> None:
    changelog = (Path(__file__).resolve().parents[2] / "CHANGELOG.md").read_text(encoding="utf-8")
    assert [verb for verb in VERBS if f"`{verb}`" not in changelog] == []
    assert VERBS.keys() - CODES.keys() == {"completion", "doctor"}  # which read no spec and no state


def test_every_verb_has_a_row() -> None:
    named = {row[0].strip("`").split()[0] for row in ROWS if len(row) == 2}
    assert named >= set(VERBS)
