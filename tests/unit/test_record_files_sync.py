"""Many files are synced at once, no failure is lost, and bytes that may not be on disk are not trusted."""

import os
import subprocess
import sys

import pytest

from runner.errors import StateError
from runner.record import files
from runner.record.files import PAGE, SYNCING, sync_again, sync_files, sync_or_discard, sync_tree, write_again


def test_every_file_and_directory_is_opened_and_a_failure_names_its_path(tmp_path):
    paths = [str(tmp_path / f"{number}.txt") for number in range(3 * SYNCING)]
    for path in paths:
        open(path, "wb").close()
    sync_files([*paths, str(tmp_path)])
    for missing in (paths[0], paths[SYNCING], paths[-1]):
        os.unlink(missing)
        with pytest.raises(StateError) as caught:
            sync_files(paths)
        assert missing in str(caught.value)
        assert "ENOENT" in str(caught.value)
        open(missing, "wb").close()


WITHOUT_THREADS = """
import sys, threading
from runner.errors import StateError
from runner.record.files import sync_files
threading.stack_size(1 << 46)  # more than the address space
try:
    threading.Thread(target=print).start()
except RuntimeError:
    pass
else:
    sys.exit("a thread was started")
sync_files(sys.argv[1:-1])
try:
    sync_files(sys.argv[1:])
except StateError as error:
    print(error)
"""


def test_syncs_one_file_after_the_other_where_no_thread_can_start(tmp_path):
    paths = [str(tmp_path / f"{number}.txt") for number in range(3)]
    for path in paths[:-1]:
        open(path, "wb").close()
    words = [sys.executable, "-c", WITHOUT_THREADS, *paths]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == (f"error: {paths[-1]}: cannot sync: ENOENT (No such file or directory)\n", "")


def test_nothing_to_sync_is_fine():
    sync_files([])


def test_tree_is_synced_without_following_links_or_opening_fifos(tmp_path):
    (tmp_path / "below" / "deep").mkdir(parents=True)
    (tmp_path / "below" / "deep" / "file").write_bytes(b"x")
    (tmp_path / "below" / "dangling").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "below" / "fifo")  # opening it would wait for a writer
    sync_tree(str(tmp_path / "below"))


def test_a_tree_that_cannot_be_listed_is_not_taken_for_synced(tmp_path):
    with pytest.raises(StateError, match=r"nowhere: cannot list: ENOENT"):
        sync_tree(str(tmp_path / "nowhere"))


# ---- what may not be on disk is written again, cut off, or removed --------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, PAGE, 3_000_000])
@pytest.mark.parametrize("start", [0, 1, PAGE])
def test_a_file_is_written_over_with_what_it_holds(tmp_path, monkeypatch, size, start):
    path, content = tmp_path / "log", os.urandom(size)
    path.write_bytes(content)
    before, written = path.stat(), []
    pwrite = os.pwrite

    def short_pwrite(descriptor, data, at):
        written.append((at, pwrite(descriptor, data[: 1 << 19], at)))  # a system may write less than it is given
        return written[-1][1]

    monkeypatch.setattr(files.os, "pwrite", short_pwrite)
    write_again(str(path), start)
    assert (path.read_bytes(), path.stat().st_ino) == (content, before.st_ino)
    assert [at for at, _ in written] == list(range(start, size, 1 << 19))
    assert sum(count for _, count in written) == max(0, size - start)


def test_sync_again_writes_the_file_again_and_then_syncs_it(tmp_path, monkeypatch):
    path, calls = tmp_path / "log", []
    path.write_bytes(b"x")
    monkeypatch.setattr(files, "write_again", lambda path: calls.append(f"write {path}"))
    monkeypatch.setattr(files, "sync_file", lambda path: calls.append(f"sync {path}"))
    sync_again(str(path))
    assert calls == [f"write {path}", f"sync {path}"]


def test_a_refusal_names_errno_and_path(tmp_path):
    with pytest.raises(StateError, match=r"log: cannot write: ENOENT"):
        write_again(str(tmp_path / "log"))


@pytest.mark.parametrize("kind", ["a file", "a directory"])
@pytest.mark.parametrize("refuses", [False, True])
def test_an_output_that_cannot_be_synced_is_removed(tmp_path, monkeypatch, kind, refuses):
    path = tmp_path / "output"
    inside = path if kind == "a file" else path / "sub" / "x"
    inside.parent.mkdir(parents=True, exist_ok=True)
    inside.write_text("made")
    if not refuses:
        sync_or_discard(str(path))
        assert inside.read_text() == "made"
        return

    def fail(descriptor):
        raise OSError(5, os.strerror(5))

    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(StateError, match=r"output.*: cannot sync: EIO"):
        sync_or_discard(str(path))
    assert not path.exists()
