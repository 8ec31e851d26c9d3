"""When an attempt ends, its partials are cut to the bytes that its checkpoint vouches for; all others go."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from runner.paths import partial_path
from runner.record import checkpoints
from runner.record.checkpoints import find_partials, keep_checkpoint, progress_files, read_progress

KEY = "k" * 64
OLD, NEW = "0000aa", "0000bb"
TAGS = {OLD: KEY, NEW: KEY}


class Place:
    """Two outputs with partials of an attempt, and a progress file."""

    def __init__(self, root):
        self.root = root
        self.progress = str(root / "progress_a.json")
        self.outputs = {"one": str(root / "one.txt"), "two": str(root / "two.txt")}

    def partial(self, name, tag=OLD):
        return partial_path(self.outputs[name], tag)

    def put(self, path, content):
        with open(path, "wb") as file:
            file.write(content)

    def checkpoint(self, outputs, key=KEY, **more):
        self.put(self.progress, json.dumps({"v": 1, "key": key, "outputs": outputs, **more}).encode())

    def left(self):
        return sorted(path.name for path in self.root.iterdir())


@pytest.fixture
def place(tmp_path):
    place = Place(tmp_path)
    for name in place.outputs:
        place.put(place.partial(name), b"kept, junk")
    return place


def adopt(progress_path, key, outputs, tag, tags):
    """Find a checkpoint and give it to the attempt with `tag`, as a run does; return its progress."""
    checkpoint = keep_checkpoint(progress_path, key, outputs, tags)
    if checkpoint:
        checkpoints.adopt(checkpoint, outputs, tag, progress_path, progress_path)
    return checkpoint and checkpoint.progress


def sha(content):
    return hashlib.sha256(content).hexdigest()


def test_partials_are_cut_and_renamed_for_the_new_attempt(place):
    place.checkpoint({"one": {"length": 4}, "two": {"length": 10}}, lineOffset=7, byteOffset=70)
    progress = adopt(place.progress, KEY, place.outputs, NEW, TAGS)
    assert (progress.line_offset, progress.byte_offset) == (7, 70)
    assert place.left() == sorted([".partial-0000bb.one.txt", ".partial-0000bb.two.txt", "progress_a.json"])
    contents = [(place.root / os.path.basename(place.partial(name, NEW))).read_bytes() for name in ("one", "two")]
    assert contents == [b"kept", b"kept, junk"]


def test_a_partial_that_the_checkpoint_does_not_name_is_removed(place):
    place.checkpoint({"one": {"length": 4}})
    assert adopt(place.progress, KEY, place.outputs, NEW, TAGS)
    assert place.left() == [".partial-0000bb.one.txt", "progress_a.json"]


@pytest.mark.parametrize(("prefix", "kept"), [(b"kept", True), (b"kepT", False)])
def test_the_digest_is_that_of_the_prefix(place, prefix, kept):
    place.checkpoint({"one": {"length": 4, "sha256": sha(prefix)}})
    assert (adopt(place.progress, KEY, place.outputs, NEW, TAGS) is not None) == kept
    assert (place.left() == []) == (not kept)


def test_a_prefix_longer_than_a_chunk_is_digested_to_its_length_only(place):
    content = os.urandom(3_000_000)
    place.put(place.partial("one"), content + b"junk")
    place.checkpoint({"one": {"length": len(content), "sha256": sha(content)}})
    assert adopt(place.progress, KEY, place.outputs, NEW, TAGS)
    assert os.path.getsize(place.partial("one", NEW)) == len(content)


def test_an_empty_prefix_of_an_empty_file_is_kept(place):
    place.put(place.partial("one"), b"")
    place.checkpoint({"one": {"length": 0, "sha256": sha(b"")}})
    assert adopt(place.progress, KEY, place.outputs, NEW, TAGS)


# ---- attempts on a cluster, which may go on after they were given up ----


def test_collected_partials_are_copied_so_that_the_old_attempt_cannot_change_them(place):
    """The old attempt may still write through its descriptor, to its partial, or to its progress file."""
    place.put(place.partial("one"), b"kept")
    reported, new = (str(place.root / f"progress_a~{tag}.json") for tag in (OLD, NEW))
    outputs = {"one": {"length": 4, "sha256": sha(b"kept"), "inode": os.stat(place.partial("one")).st_ino}}
    place.checkpoint(outputs, lineOffset=7)
    os.rename(place.progress, reported)
    with open(place.partial("one"), "ab", buffering=0) as still_open:
        checkpoints.collect(reported, place.progress, OLD)
        assert not os.path.exists(reported)
        collected = keep_checkpoint(place.progress, KEY, place.outputs, TAGS)
        assert collected
        checkpoints.adopt(collected, place.outputs, NEW, place.progress, new)
        still_open.write(b", late")
        place.put(place.partial("one"), b"late")
        place.put(reported, b"late")
    assert Path(place.partial("one", NEW)).read_bytes() == b"kept"
    checkpoints.collect(new, place.progress, NEW)
    kept = keep_checkpoint(place.progress, KEY, place.outputs, TAGS)
    assert kept and kept.partials == {"one": place.partial("one", NEW)}
    assert kept.progress.line_offset == 7


@pytest.mark.parametrize("stop", ["copy_start", "replace", "discard"])
def test_a_kill_while_a_collected_checkpoint_is_handed_over_costs_nothing(place, monkeypatch, stop):
    """Before each step there is one checkpoint: the old attempt's or the new one's."""
    place.put(place.partial("one"), b"kept")
    reported, new = (str(place.root / f"progress_a~{tag}.json") for tag in (OLD, NEW))
    place.checkpoint({"one": {"length": 4}})
    os.rename(place.progress, reported)
    checkpoints.collect(reported, place.progress, OLD)
    collected = keep_checkpoint(place.progress, KEY, place.outputs, TAGS)
    with monkeypatch.context() as patched:
        patched.setattr(checkpoints.files, stop, lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            checkpoints.adopt(collected, place.outputs, NEW, place.progress, new)
    checkpoints.collect(new, place.progress, NEW)
    kept = keep_checkpoint(place.progress, KEY, place.outputs, TAGS)
    assert kept and list(kept.partials) == ["one"]
    assert Path(kept.partials["one"]).read_bytes() == b"kept"


def test_a_copy_has_the_mode_of_its_partial_and_nothing_behind_the_checkpoint(place, monkeypatch):
    place.put(place.partial("one"), b"kept, late")
    os.chmod(place.partial("one"), 0o750)
    place.checkpoint({"one": {"length": 4}}, tag=OLD)
    collected = keep_checkpoint(place.progress, KEY, place.outputs, TAGS)
    written = []
    write = checkpoints.files.write
    monkeypatch.setattr(checkpoints.files, "write", lambda *words: (written.append(words[1]), write(*words)))
    checkpoints.adopt(collected, place.outputs, NEW, place.progress, str(place.root / "new.json"))
    assert written[0] == b"kept"
    assert os.stat(place.partial("one", NEW)).st_mode & 0o7777 == 0o750


def test_a_report_that_is_rewritten_meanwhile_is_read_once(place, monkeypatch):
    """An attempt that was given up may replace the report, or write to it, between two reads."""
    reported, read, paths_read = str(place.root / "progress_a~0000aa.json"), checkpoints.read_usable, []
    place.checkpoint({"one": {"length": 4}})
    os.rename(place.progress, reported)

    def read_then_empty(path, *words):
        paths_read.append(path)
        content = read(path, *words)
        place.put(path, b"")
        return content

    monkeypatch.setattr(checkpoints, "read_usable", read_then_empty)
    checkpoints.collect(reported, place.progress, OLD)
    assert paths_read == [reported]
    assert json.loads(Path(place.progress).read_bytes())["tag"] == OLD


GOOD = {"one": {"length": 4}}
LIES = {
    "another key": {"key": "x" * 64, "outputs": GOOD},
    "no key": {"outputs": GOOD},
    "a key that is no text": {"key": [KEY], "outputs": GOOD},
    "no outputs": {"key": KEY},
    "empty outputs": {"key": KEY, "outputs": {}},
    "outputs in a list": {"key": KEY, "outputs": [4]},
    "an output nobody declared": {"key": KEY, "outputs": {**GOOD, "three": {"length": 0}}},
    "one that is too short": {"key": KEY, "outputs": {"one": {"length": 4}, "two": {"length": 11}}},
    "one of another digest": {"key": KEY, "outputs": {"one": {"length": 4}, "two": {"length": 4, "sha256": "0" * 64}}},
    "a bare number": {"key": KEY, "outputs": {"one": 4}},
    "a negative length": {"key": KEY, "outputs": {"one": {"length": -4}}},
    "a float": {"key": KEY, "outputs": {"one": {"length": 4.0}}},
    "true": {"key": KEY, "outputs": {"one": {"length": True}}},
    "a text": {"key": KEY, "outputs": {"one": {"length": "4"}}},
    "no length": {"key": KEY, "outputs": {"one": {"sha256": sha(b"kept")}}},
    "more than any file": {"key": KEY, "outputs": {"one": {"length": 10**30}}},
    "a digest in capitals": {"key": KEY, "outputs": {"one": {"length": 4, "sha256": sha(b"kept").upper()}}},
}
BYTES = {
    "nothing": b"", "half": b'{"key": "' + KEY.encode(), "no JSON": b"lineOffset=4", "no object": b"[]",
    "no UTF-8": b"\xff\xfe{}", "NUL": b"\x00" * 100, "a deep one": b"[" * 100_000, "a long number": b"9" * 5000,
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_a_progress_file_that_lies_takes_all_partials_with_it(place, lie):
    place.put(place.progress, json.dumps({"v": 1} | LIES[lie]).encode())
    assert adopt(place.progress, KEY, place.outputs, NEW, TAGS) is None
    assert place.left() == []


@pytest.mark.parametrize("lie", LIES)
def test_so_it_does_when_the_attempt_ends(place, lie):
    place.put(place.progress, json.dumps({"v": 1} | LIES[lie]).encode())
    assert keep_checkpoint(place.progress, KEY, place.outputs, TAGS) is None
    assert place.left() == []


@pytest.mark.parametrize("what", BYTES)
def test_a_damaged_progress_file_takes_all_partials_with_it(place, what):
    place.put(place.progress, BYTES[what])
    assert read_progress(place.progress) is None
    assert keep_checkpoint(place.progress, None, place.outputs, TAGS) is None
    assert place.left() == []


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: os.symlink("nowhere", path)])
def test_a_progress_file_that_is_no_regular_file_takes_all_partials_with_it(place, make):
    make(place.progress)
    assert keep_checkpoint(place.progress, None, place.outputs, TAGS) is None
    assert place.left() == []


def test_without_a_progress_file_nothing_stays(place):
    assert keep_checkpoint(place.progress, KEY, place.outputs, TAGS) is None
    assert place.left() == []


def test_a_dead_runs_checkpoint_is_kept_whatever_its_key_and_judged_by_the_next_attempt(place):
    place.checkpoint(GOOD, key="old")
    assert keep_checkpoint(place.progress, None, place.outputs, {OLD: "old"}) is not None
    assert place.left() == [".partial-0000aa.one.txt", "progress_a.json"]
    assert adopt(place.progress, KEY, place.outputs, NEW, TAGS) is None
    assert place.left() == []


def link(path):
    os.rename(path, f"{path}.real")
    os.symlink(f"{path}.real", path)


def directory(path):
    os.unlink(path)
    os.mkdir(path)


def fifo(path):
    os.unlink(path)
    os.mkfifo(path)


@pytest.mark.parametrize("become", [link, directory, fifo, os.unlink])
def test_only_a_regular_file_can_be_kept(place, become):
    become(place.partial("one"))
    place.checkpoint({"one": {"length": 0}})
    assert adopt(place.progress, KEY, place.outputs, NEW, TAGS) is None
    assert [name for name in place.left() if not name.endswith(".real")] == []


ADOPT = """
import sys, json
from runner.record.checkpoints import keep_checkpoint
path, key, outputs = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
print(keep_checkpoint(path, key, outputs, {"0000aa": key}))
"""


@pytest.mark.parametrize("mode", [0, 0o400, 0o200])
def test_a_partial_that_may_not_be_read_and_written_is_removed(place, mode):
    """Modes do not bind root, so the check runs without the capabilities that override them."""
    place.checkpoint({"one": {"length": 4, "sha256": sha(b"kept")}})
    os.chmod(place.partial("one"), mode)
    drop = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    words = [sys.executable, "-c", ADOPT, place.progress, KEY, json.dumps(place.outputs)]
    done = subprocess.run([*drop, *words], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("None\n", "")
    assert place.left() == []


def test_of_several_partials_the_one_that_fits_is_chosen(place):
    place.put(place.partial("one", "000001"), b"kep")
    place.put(place.partial("one", "000002"), b"other")
    place.checkpoint({"one": {"length": 4, "sha256": sha(b"kept")}})
    assert adopt(place.progress, KEY, place.outputs, NEW, TAGS)
    assert place.left() == [".partial-0000bb.one.txt", "progress_a.json"]


@pytest.mark.parametrize("tags", [{}, {NEW: KEY}, {OLD: "another key"}], ids=["none", "of others", "at another key"])
def test_only_a_partial_of_a_recorded_attempt_with_this_key_is_kept(place, tags):
    """A state directory that was moved away, or restored from a copy, leaves partials that it has no record of."""
    place.checkpoint({"one": {"length": 4, "sha256": sha(b"kept")}})
    assert keep_checkpoint(place.progress, KEY, place.outputs, tags) is None
    assert place.left() == []
    place.put(place.partial("one"), b"kept, junk")
    place.checkpoint({"one": {"length": 4, "sha256": sha(b"kept")}})
    assert adopt(place.progress, KEY, place.outputs, NEW, tags) is None
    assert place.left() == []


def test_of_two_matching_partials_neither_is_kept(place):
    place.put(place.partial("one", NEW), b"kept, too")
    place.checkpoint(GOOD)
    assert adopt(place.progress, KEY, place.outputs, "0000cc", TAGS) is None
    assert place.left() == []


@pytest.mark.parametrize("by", [0, 1])
def test_a_partial_must_have_the_inode_that_the_checkpoint_names(place, by):
    inode = os.stat(place.partial("one")).st_ino
    place.checkpoint({"one": {"length": 4, "inode": inode + by}})
    assert (adopt(place.progress, KEY, place.outputs, NEW, TAGS) is None) == bool(by)


def test_a_partial_with_another_name_is_not_cut(place):
    """A stage may have linked its input there instead of copying it."""
    input_file = place.root / "input"
    input_file.hardlink_to(place.partial("one"))
    place.checkpoint(GOOD)
    assert adopt(place.progress, KEY, place.outputs, NEW, TAGS) is None
    assert input_file.read_bytes() == b"kept, junk"
    assert place.left() == ["input"]


def test_partials_are_found_by_whole_names_only(place):
    for name in (".partial-0000aa.xone.txt", ".partial-0000a.one.txt", "partial-0000aa.one.txt", ".partial-0000aa.one"):
        place.put(str(place.root / name), b"")
    partials = find_partials({"one": place.outputs["one"], "gone": str(place.root / "none/x")})
    assert partials == {"one": [place.partial("one")], "gone": []}


def test_a_directory_that_recovery_removes_meanwhile_has_no_progress_files(tmp_path):
    (tmp_path / "tmp").mkdir()
    stopping = threading.Event()

    def remove():
        while not stopping.is_set():
            (tmp_path / "tmp").rmdir()
            (tmp_path / "tmp").mkdir()

    removing = threading.Thread(target=remove)
    removing.start()
    try:
        assert not any(progress_files(f"{tmp_path}/tmp") for _ in range(5_000))
    finally:
        stopping.set()
        removing.join()
