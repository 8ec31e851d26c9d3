"""The only writer: files are written whole or not at all, and every error names errno and path."""

import os

import pytest

from runner.errors import EXIT_STATE, StateError
from runner.paths import aside_path
from runner.record import files


def tree(path, *names):
    path.mkdir()
    for name in names:
        (path / name).write_text(name)
    return path


def names(path):
    return sorted(entry.name for entry in path.iterdir())


def test_replace_puts_the_content_whole_and_leaves_no_temporary_file(tmp_path):
    path, temporary = tmp_path / "x", tmp_path / "t"
    for content in (b"one", b"", b"y" * 3_000_000):
        files.replace(str(path), content, temporary=str(temporary), sync=True)
        assert path.read_bytes() == content
        assert names(tmp_path) == ["x"]


def test_a_replace_that_fails_changes_nothing(tmp_path):
    path = tree(tmp_path / "x", "inside")
    with pytest.raises(StateError, match="EISDIR") as caught:
        files.replace(str(path), b"new", temporary=str(tmp_path / "t"))
    assert (caught.value.exit_code, str(path) in str(caught.value)) == (EXIT_STATE, True)
    assert (names(tmp_path), names(path)) == (["x"], ["inside"])


@pytest.mark.parametrize("exchange", [True, False])
@pytest.mark.parametrize("before", ["nothing", "a file", "an empty directory", "a full directory", "a link"])
def test_a_directory_is_published_whole_whatever_stood_there(tmp_path, before, exchange, monkeypatch):
    """`exchange` False stands for a file system that cannot swap two names."""
    if not exchange:
        monkeypatch.setattr(files, "_exchange", lambda one, other: False)
    partial, real = tree(tmp_path / ".partial-0123ab.t", "new"), tmp_path / "t"
    tree(tmp_path / "far", "kept")
    {
        "nothing": lambda: None, "a file": lambda: real.write_text("old"), "an empty directory": real.mkdir,
        "a full directory": lambda: tree(real, "old"), "a link": lambda: real.symlink_to("far"),
    }[before]()  # fmt: skip
    inode = partial.stat().st_ino
    files.publish(str(partial), str(real))
    assert (names(real), real.stat().st_ino, real.is_symlink()) == (["new"], inode, False)
    assert names(tmp_path) == ["far", "t"]
    assert names(tmp_path / "far") == ["kept"]


def test_a_directory_left_aside_by_a_crash_does_no_harm(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_exchange", lambda one, other: False)
    partial, real = tree(tmp_path / ".partial-0123ab.t", "new"), tree(tmp_path / "t", "old")
    aside = aside_path(str(partial))
    tree(tmp_path / os.path.basename(aside), "older")
    neighbour = tree(tmp_path / ".partial-0123ab.t.old", "of an output called t.old")
    files.publish(str(partial), str(real))
    assert names(real) == ["new"]
    assert names(tmp_path) == [neighbour.name, "t"]


def test_names_are_exchanged_in_one_step_where_the_system_can(tmp_path):
    one, other = tree(tmp_path / "one", "1"), tree(tmp_path / "other", "2")
    if not files._exchange(str(one), str(other)):
        pytest.skip("this file system cannot exchange names")
    assert (names(one), names(other)) == (["2"], ["1"])
    assert not files._exchange(str(one), str(tmp_path / "none"))


def test_publishing_a_missing_partial_names_the_real_path(tmp_path):
    with pytest.raises(StateError, match="ENOENT") as caught:
        files.publish(str(tmp_path / ".partial-0123ab.x"), str(tmp_path / "x"))
    assert str(tmp_path / "x") in str(caught.value)


def test_discard_removes_anything_and_follows_no_link(tmp_path):
    far = tree(tmp_path / "far", "kept")
    deep = tree(tmp_path / "deep", "file")
    tree(deep / "closed", "inside")
    (deep / "link").symlink_to(far)
    (deep / "closed").chmod(0)
    deep.chmod(0o500)
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "to_directory").symlink_to(far)
    for name in ("deep", "fifo", "dangling", "to_directory", "none", "none/below"):
        files.discard(str(tmp_path / name))
    assert names(tmp_path) == ["far"]
    assert names(far) == ["kept"]


def test_append_is_one_write_at_the_end_beside_other_writers(tmp_path):
    path = str(tmp_path / "log")
    one, other = files.open_append(path), files.open_append(path)
    try:
        for number in range(10):
            files.append(one, b"one %d\n" % number, path)
            files.append(other, b"other %d\n" % number, path)
        files.sync_descriptor(one, path)
    finally:
        os.close(one)
        os.close(other)
    assert (tmp_path / "log").read_bytes().count(b"\n") == 20


@pytest.mark.parametrize(
    ("verb", "act"),
    [("open", lambda path: files.open_append(f"{path}/none/x")), ("sync", lambda path: files.sync_file(f"{path}/none")),
     ("truncate", lambda path: files.truncate(path, 0)),
     ("make the directory", lambda path: files.make_directories(f"{path}/file/x")),
     ("rename to", lambda path: files.rename(f"{path}/none", f"{path}/x")), ("open", files.create)],
)  # fmt: skip
def test_every_refusal_names_what_was_tried_and_where(tmp_path, verb, act):
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match=rf"cannot {verb}: E[A-Z]+ \(") as caught:
        act(str(tmp_path))
    assert str(tmp_path) in str(caught.value)


def test_create_overwrites_touch_does_not(tmp_path):
    path = tmp_path / "x"
    files.create(str(path), b"long content")
    files.create(str(path), b"short")
    files.touch(str(path))
    assert path.read_bytes() == b"short"
    files.create(str(path))
    assert path.read_bytes() == b""


def test_create_does_not_wait_for_the_fifo_that_is_in_its_place(tmp_path):
    os.mkfifo(tmp_path / "x")
    with pytest.raises(StateError, match="cannot open: ENXIO"):
        files.create(str(tmp_path / "x"), b"content")


def test_descriptors_are_not_inherited(tmp_path):
    descriptor = files.open_append(str(tmp_path / "x"))
    assert not os.get_inheritable(descriptor)
    os.close(descriptor)
