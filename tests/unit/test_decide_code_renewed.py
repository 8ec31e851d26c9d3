"""A reader that is used again tells of a stage's code what a new one would, whatever was done to the files."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st
from plan_bench import PlanBench, await_settled

from runner.errors import OffpipeError

THERE = {
    "stages/p.py": "import helper, json\nfrom pkg import part\ntry:\n    import late\nexcept ImportError:\n    pass\n",
    "stages/helper.py": "import nowhere\n",
    "stages/pkg/part.py": "",
    "lib/late.py": "",
    "tool": "#!/bin/sh\n",
    "rules.txt": "",
    "words.txt": "",
    "../outside/tool": "#!/bin/sh\n",
}
PLACES = (*THERE, "target.py", "stages/helper/__init__.py", "stages/json.py", "stages/late.py")
CONTENTS = (
    "import helper\n", "import late, json\n", "from pkg import part\n", "import nowhere\n",
    "#!/usr/bin/env python3\nimport rules\n", "#!/bin/sh\n",
)  # fmt: skip
STAGES = (
    {"name": "p", "processor": "stages/p.py", "env": {"PYTHONPATH": "lib"}, "outputs": ["p.txt"]},
    {"name": "tool", "processor": "tool", "args": ["--rules=rules.txt"], "outputs": ["t.txt"]},
    {"name": "words", "command": ["sh", "../outside/tool", "words.txt"], "outputs": ["w.txt"]},
)


def write(root, place, content):
    if not place.is_dir():
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.is_symlink():
            place.unlink()
        place.write_text(content)
        place.chmod(0o755)


def remove(root, place, content):
    shutil.rmtree(place) if place.is_dir() and not place.is_symlink() else place.unlink(missing_ok=True)


def move_away(root, place, content):
    if place.parent != root and place.parent.is_dir():
        place.parent.rename(f"{place.parent}.away-{time.time_ns()}")


def link(root, place, content):
    if not os.path.lexists(place) and place.parent.is_dir():
        place.symlink_to(root / "target.py")


def touch(root, place, content):
    if place.exists():
        os.utime(place, ns=(0, 10**9 * len(content)))


EDITS = st.tuples(
    st.sampled_from([write, write, remove, move_away, link, touch]), st.sampled_from(PLACES), st.sampled_from(CONTENTS)
)


def told(session):
    """What an examination says of each stage's code: the component, or the error's text."""
    found = {}
    for stage in session.stages:
        try:
            code = session.new_examiner()._code.read(stage)
        except OffpipeError as error:
            found[stage.name] = str(error)
        else:
            found[stage.name] = (code.component, code.watched, code.is_python, code.standard)
    return found


@settings(max_examples=60, deadline=None)  # a module that is found in another place can mean hundreds of others
@example([[(write, "../outside/tool", "#!/usr/bin/env python3\n")]])
@example([[(remove, "stages/helper.py", ""), (link, "stages/helper.py", "")], [(write, "target.py", "import late\n")]])
@given(st.lists(st.lists(EDITS, max_size=3), min_size=1, max_size=5))
def test_a_reader_used_again_and_a_new_one_say_the_same(rounds):
    with tempfile.TemporaryDirectory() as directory:
        bench = PlanBench(Path(directory).resolve() / "root")
        for place, content in THERE.items():
            bench.write(place, content, 0o755)
        bench.define(*STAGES)
        session, anew = bench.session(), bench.session(paranoid=True)  # which reads everything each time
        await_settled(bench.root.parent)
        told(session)
        for edits in rounds:
            for edit, place, content in edits:
                edit(bench.root, bench.root / place, content)
            assert told(session) == told(anew)
            await_settled(bench.root.parent)
            told(session)  # by a reader that can be used again in the next round
