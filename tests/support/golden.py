"""Records what offpipe does, seen from outside, so that no change of the code can lose a behaviour unnoticed.

    .venv/bin/python tests/support/golden.py                        rewrites all files in tests/golden
    .venv/bin/python tests/support/golden.py specs story_kills      rewrites these two

Then read `git diff tests/golden`: each changed line is a behaviour that somebody may rely on. The files hold exit
codes, places of faults (file, line, JSON pointer, field, option), the number of hints, `--json`, and what is on disk.
They don't hold wording: `<words>` stands for it. Other tokens stand for values that differ between machines, runs and
Python releases (see golden_tokens). Only public interfaces are used: `python -m runner`, `runner.cli.main`, and files.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import golden_lacking
import golden_prints
import golden_specs
import golden_stories
import golden_usage
import golden_verify
from golden_text import spelled

KEPT = Path(__file__).resolve().parents[1] / "golden"
SUBJECTS = {
    "specs": golden_specs.record,  # faults of specs
    "usage": golden_usage.record,  # odd command lines
    "lacking": golden_lacking.record,  # missing programs, modules and inputs; banned imports
    "damage": golden_verify.record,  # damaged state directories
    "prints": golden_prints.record,  # graph, schema, doctor
    "story_plain": golden_stories.plain,
    "story_failures": golden_stories.failures,
    "story_kills": golden_stories.kills,
    "story_keyed": golden_stories.keyed,
}


def path_of(subject: str) -> Path:
    return KEPT / f"{subject}.json"


def text_of(subject: str, place: Path, **how: str) -> str:
    """Return the content of a golden file, from the current code. `place` is an empty directory."""
    return spelled(SUBJECTS[subject](place, **how))


def main(subjects: list[str]) -> None:
    for subject in subjects or SUBJECTS:
        with tempfile.TemporaryDirectory() as place:
            path_of(subject).write_text(text_of(subject, Path(place).resolve()))
        print(path_of(subject))


if __name__ == "__main__":
    main(sys.argv[1:])
