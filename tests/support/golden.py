"""What offpipe did at the commit that recorded it, from outside, so that a redesign cannot lose any of it unnoticed.

    .venv/bin/python tests/support/golden.py             rewrites all files in tests/golden from the code at hand
    .venv/bin/python tests/support/golden.py specs story_kills      only these

Look at `git diff tests/golden` behind it: each line is a behaviour that somebody may rely on. What is recorded is exit
codes, places of faults (file, line, JSON pointer, field, option), `--json`, and what lies on disk. Wording is left out:
`<words>` stands for it. What differs between machines, runs and Python versions is a token too (see golden_tokens).
Only the program's public face is used: `python -m runner`, and files.
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
    "specs": golden_specs.record,  # every fault of a spec
    "usage": golden_usage.record,  # odd command lines
    "lacking": golden_lacking.record,  # missing programs, modules and inputs; banned imports
    "damage": golden_verify.record,  # what verify finds, and what runs make of it
    "prints": golden_prints.record,  # graph, schema, doctor
    "story_plain": golden_stories.plain,
    "story_failures": golden_stories.failures,
    "story_kills": golden_stories.kills,
    "story_keyed": golden_stories.keyed,
}


def path_of(subject: str) -> Path:
    return KEPT / f"{subject}.jsonl"


def text_of(subject: str, place: Path) -> str:
    """What the code at hand does, spelled as in the golden file; `place` is an empty directory."""
    return spelled(SUBJECTS[subject](place))


def main(subjects: list[str]) -> None:
    for subject in subjects or SUBJECTS:
        with tempfile.TemporaryDirectory() as place:
            path_of(subject).write_text(text_of(subject, Path(place).resolve()))
        print(path_of(subject))


if __name__ == "__main__":
    main(sys.argv[1:])
