"""No marker, checkpoint, cache, metrics, lock file, log or ledger makes a verb show a traceback, or hang."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from fuzz_calls import LOOKS, examples, look
from fuzz_state import KINDS, LOGS, damages, path_of
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.full

STAGES = ("first", "copy", "last", "many", "many@one")
VERBS = (*LOOKS, ("explain", "last"), ("log", "last"), *(("plan", stage) for stage in STAGES))
EACH = (
    ("plan",),
    ("status", "--json"),
    ("explain", "copy"),
    ("verify", "--outputs"),
    ("log",),
    ("log", "last"),
    ("clean", "-n"),
)


@pytest.fixture(scope="module")
def sound(place):
    return {kind: path_of(place, kind).read_bytes() for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_verbs_that_only_read_answer_damage_and_keep_it(place, sound, kind):
    path = path_of(place, kind)

    @settings(max_examples=examples(25))
    @given(content=damages(kind, sound[kind]), words=st.sampled_from(VERBS))
    def check(content, words):
        path.write_bytes(content)
        look(place / "spec.json", words)
        assert path.read_bytes() == content

    try:
        check()
    finally:
        path.write_bytes(sound[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_after_a_run_that_succeeds_despite_damage_the_next_has_nothing_to_do(place, sound, kind, tmp_path):
    root = tmp_path / "place"

    @settings(max_examples=examples(2))
    @given(content=damages(kind, sound[kind]))
    def check(content):
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(place, root, symlinks=True, ignore=shutil.ignore_patterns("fifo", "stop"))
        path_of(root, kind).write_bytes(content)
        code = look(root / "spec.json", ("run",)).code
        assert code in ({0, 2, 74} if kind in LOGS else {0, 74})
        if code == 0:
            again = look(root / "spec.json", ("run",))
            assert (again.code, "nothing to do" in again.stdout, again.stderr) == (0, True, "")
            assert (root / "out/last.txt").read_bytes() in {b"kept, junk", b"kept"}
            assert (root / "out/tree/a.txt").read_bytes() == b"SOME\nTEXT\n" * 2
            assert [(root / "many" / name).read_bytes() for name in ("one", "two")] == [b"some\ntext\n"] * 2

    check()


def tree(path):
    path.mkdir()
    (path / "inside").write_text("x")


OTHERS = {
    "a directory": tree, "a FIFO": os.mkfifo, "nothing": lambda path: None,
    "a link to nowhere": lambda path: path.symlink_to("nowhere"),
    "a link to itself": lambda path: path.symlink_to(path),
    "a device": lambda path: path.symlink_to("/dev/zero"), "a terminal": lambda path: path.symlink_to("/dev/tty"),
}  # fmt: skip


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("kind", [*KINDS, "a stage's log"])
def test_verbs_answer_another_kind_of_file_in_place_of_a_state_file(place, kind, other, tmp_path):
    root = Path(shutil.copytree(place, tmp_path / "place", ignore=shutil.ignore_patterns("fifo", "dangling", "loop")))
    path = path_of(root, kind)
    path.unlink()
    OTHERS[other](path)
    for words in EACH:
        look(root / "spec.json", words)
    assert look(root / "spec.json", ("run",)).code in ({0, 2, 74} if kind in {*LOGS, "lock"} else {0})
