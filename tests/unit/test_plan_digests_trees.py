import errno
import os
import stat
import time

import pytest

from runner.errors import InputError
from runner.plan.digests import DigestCache, digest_tree


def make_tree(base):
    base.mkdir()
    (base / "sub").mkdir()
    (base / "sub" / "b").write_bytes(b"b")
    (base / "a").write_bytes(b"aa")
    (base / "link").symlink_to("nowhere")
    (base / "empty").mkdir()
    return base


def test_equal_trees_have_equal_digests_wherever_they_lie(tmp_path):
    first, second = make_tree(tmp_path / "one"), make_tree(tmp_path / "two")
    cache = DigestCache()
    digest = digest_tree(str(first), cache)
    assert digest.sha256 == digest_tree(f"{second}/", cache).sha256
    assert digest.size == 3


def test_an_unreadable_file_in_a_directory_is_found_without_reading(tmp_path, monkeypatch):
    base, really_open, ticks = make_tree(tmp_path / "tree"), os.open, []

    def opens(path, *how):
        if path.endswith("/sub/b"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return really_open(path, *how)

    cache = DigestCache(clock=lambda: time.time_ns() + 3600 * 10**9)
    cache.tick = ticks.append
    assert digest_tree(f"{base}/", cache, reads=False).size == 3
    monkeypatch.setattr(os, "open", opens)
    with pytest.raises(PermissionError) as caught:
        digest_tree(f"{base}/", cache, reads=False)
    assert caught.value.filename == str(base / "sub/b")
    assert ticks == [] and not cache.dirty


def test_digests_of_files_in_a_partial_are_not_cached(tmp_path):
    """The next step renames the partial, and each attempt has another one."""
    base = make_tree(tmp_path / ".partial-0123ab.tree")
    cache = DigestCache(clock=lambda: time.time_ns() + 3600 * 10**9)
    digest_tree(f"{base}/", cache)
    assert not cache.dirty
    assert digest_tree(str(base.rename(tmp_path / "tree")), cache).size == 3
    assert cache.dirty


def test_only_the_partial_of_an_output_is_left_out(tmp_path):
    base = make_tree(tmp_path / "tree")
    before = digest_tree(str(base), DigestCache())
    partial = base / "sub" / ".partial-0123ab.b"
    partial.write_bytes(b"left behind")
    assert digest_tree(str(base), DigestCache()) != before
    assert digest_tree(str(base), DigestCache(), lambda path: path == str(partial)) == before


def test_without_modes_only_the_content_counts(tmp_path):
    base = make_tree(tmp_path / "tree")
    before = digest_tree(str(base), DigestCache())
    changed_mode(base)
    (base / "sub").chmod(0o700)
    after = digest_tree(str(base), DigestCache())
    assert (after.sha256 == before.sha256, after.content == before.content) == (False, True)
    changed_content(base)
    assert digest_tree(str(base), DigestCache()).content != before.content


def changed_content(base):
    (base / "sub" / "b").write_bytes(b"c")


def changed_mode(base):
    (base / "a").chmod(0o700)


def changed_target(base):
    (base / "link").unlink()
    (base / "link").symlink_to("elsewhere")


def changed_name(base):
    (base / "a").rename(base / "c")


def gone_directory(base):
    (base / "empty").rmdir()


def file_for_link(base):
    (base / "link").unlink()
    (base / "link").write_bytes(b"nowhere")


@pytest.mark.parametrize(
    "change", [changed_content, changed_mode, changed_target, changed_name, gone_directory, file_for_link]
)
def test_any_difference_in_a_tree_shows(tmp_path, change):
    base = make_tree(tmp_path / "tree")
    before = digest_tree(str(base), DigestCache()).sha256
    change(base)
    assert digest_tree(str(base), DigestCache()).sha256 != before


def test_links_in_a_tree_are_not_followed(tmp_path):
    base = make_tree(tmp_path / "tree")
    (base / "loop").symlink_to(base, target_is_directory=True)
    assert digest_tree(str(base), DigestCache()).size == 3


def test_names_in_a_tree_need_not_be_utf8(tmp_path):
    base = make_tree(tmp_path / "tree")
    digests = set()
    for name in (b"\xff", b"\xfe", b"\\udcff", b"new\nline"):
        path = os.path.join(os.fsencode(base), name)
        with open(path, "wb"):
            pass
        digests.add(digest_tree(str(base), DigestCache()).sha256)
        os.unlink(path)
    assert len(digests) == 4


def test_fifo_or_socket_inside_a_tree_is_refused_by_name(tmp_path):
    base = make_tree(tmp_path / "tree")
    os.mkfifo(base / "sub" / "pipe")
    with pytest.raises(InputError, match=r"sub/pipe: is a FIFO"):
        digest_tree(str(base), DigestCache())
    (base / "sub" / "pipe").unlink()
    os.mknod(base / "s", stat.S_IFSOCK | 0o600)
    with pytest.raises(InputError, match=r"/s: is a socket"):
        digest_tree(str(base), DigestCache())


@pytest.mark.full
def test_deep_tree_needs_no_recursion(tmp_path):
    base = str(tmp_path / "deep")
    directories = [base + "/d" * depth for depth in range(1500)]
    for path in directories:
        os.mkdir(path)
    try:
        assert digest_tree(base, DigestCache()).size == 0
    finally:  # pytest removes the temporary directory with recursion
        for path in reversed(directories):
            os.rmdir(path)
