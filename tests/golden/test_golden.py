"""Exit codes, places of faults, `--json` and files on disk are as recorded; tests/support/golden.py says more."""

from __future__ import annotations

import difflib

import golden
import pytest
from suites import full_but

SHOWN = 60  # lines of a difference
QUICK = ("specs", "prints")  # take seconds, and every new field or verb changes them


@pytest.mark.parametrize("subject", full_but(golden.SUBJECTS, QUICK))
def test_behaves_as_recorded(subject, tmp_path):
    compare(subject, golden.text_of(subject, tmp_path))


@pytest.mark.full
@pytest.mark.parametrize("subject", ["story_plain", "story_failures"])
def test_behaves_on_a_cluster_as_recorded(subject, tmp_path, workers):
    """Node and level are the only differences; they are not in a golden file."""
    compare(subject, golden.text_of(subject, tmp_path, cluster=str(workers.file)))


def compare(subject, now):
    kept = golden.path_of(subject).read_text()
    if now != kept:
        difference = difflib.unified_diff(kept.splitlines(), now.splitlines(), "recorded", "now", lineterm="", n=4)
        pytest.fail("\n".join([f"{subject} differs", *list(difference)[:SHOWN]]), pytrace=False)


def test_every_golden_file_has_a_subject():
    assert {path.stem for path in golden.KEPT.glob("*.json")} == golden.SUBJECTS.keys()
