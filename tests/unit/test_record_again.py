"""What may not be on disk: written again as it is, or removed."""

import os

import pytest

from runner.errors import StateError
from runner.record import again, files
from runner.record.again import PAGE, sync_again, sync_or_discard, write_again


@pytest.mark.parametrize("size", [0, 1, PAGE, 3_000_000])
@pytest.mark.parametrize("start", [0, 1, PAGE])
def test_a_file_is_written_over_with_what_it_holds(tmp_path, monkeypatch, size, start):
    path, content = tmp_path / "log", os.urandom(size)
    path.write_bytes(content)
    before, written = path.stat(), []
    pwrite = os.pwrite

    def noted(descriptor, data, at):
        written.append((at, pwrite(descriptor, data[: 1 << 19], at)))  # a system may write less than it is given
        return written[-1][1]

    monkeypatch.setattr(again.os, "pwrite", noted)
    write_again(str(path), start)
    assert (path.read_bytes(), path.stat().st_ino) == (content, before.st_ino)
    assert [at for at, _ in written] == list(range(start, size, 1 << 19))
    assert sum(count for _, count in written) == max(0, size - start)


def test_it_is_on_disk_then(tmp_path, monkeypatch):
    path, done = tmp_path / "log", []
    path.write_bytes(b"x")
    monkeypatch.setattr(again, "write_again", lambda path: done.append(f"write {path}"))
    monkeypatch.setattr(files, "sync_file", lambda path: done.append(f"sync {path}"))
    sync_again(str(path))
    assert done == [f"write {path}", f"sync {path}"]


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
