"""Many files are made durable side by side, and a failure of one of them is never lost."""

import os
import subprocess
import sys

import pytest

from runner.errors import StateError
from runner.record.again import sync_tree
from runner.record.files import SYNCING, sync_files


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
threading.stack_size(1 << 46)  # more than there is of addresses
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


def test_where_no_thread_can_be_started_it_is_done_one_after_the_other(tmp_path):
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
