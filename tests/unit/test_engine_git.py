"""`commit_of` agrees with git in every layout of a checkout, and returns None where git would fail."""

from __future__ import annotations

import os
import shutil
import subprocess
import timeit

import pytest

from runner.engine.git import commit_of

pytestmark = pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")


def git(directory, *words):
    settings = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
    who = ("-c", "user.name=a", "-c", "user.email=a@b.example", "-c", "protocol.file.allow=always")
    command = ["git", "-C", str(directory), *who, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **settings})
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def commit(directory):
    git(directory, "commit", "-q", "--allow-empty", "-m", "x")
    return git(directory, "rev-parse", "HEAD")


@pytest.fixture
def checkout(tmp_path):
    directory = tmp_path / "checkout"
    directory.mkdir()
    git(directory, "init", "-q", "-b", "topic/one")
    return directory


def test_a_branch_a_detached_head_and_a_directory_below(checkout):
    first = commit(checkout)
    assert commit_of(str(checkout)) == first
    second = commit(checkout)
    (checkout / "below/more").mkdir(parents=True)
    assert commit_of(str(checkout / "below/more")) == second
    git(checkout, "checkout", "-q", "--detach", first)
    assert commit_of(str(checkout)) == first


def test_packed_references_and_a_newer_loose_one(checkout):
    first = commit(checkout)
    git(checkout, "branch", "topic/one-more")
    git(checkout, "tag", "-a", "-m", "x", "v1")
    git(checkout, "pack-refs", "--all")
    assert not (checkout / ".git/refs/heads/topic/one").exists()
    assert commit_of(str(checkout)) == first
    assert commit_of(str(checkout)) != commit(checkout) == commit_of(str(checkout))


def test_worktrees_and_submodules(checkout, tmp_path):
    first = commit(checkout)
    git(checkout, "worktree", "add", "-q", "-b", "other", str(tmp_path / "tree"))
    second = commit(tmp_path / "tree")
    assert (commit_of(str(checkout)), commit_of(str(tmp_path / "tree"))) == (first, second)
    git(checkout, "pack-refs", "--all")
    assert commit_of(str(tmp_path / "tree")) == second
    outer = tmp_path / "outer"
    outer.mkdir()
    git(outer, "init", "-q")
    git(outer, "submodule", "--quiet", "add", str(checkout), "inner")
    assert commit_of(str(outer / "inner")) == first
    assert commit_of(str(outer)) is None, "no commit yet"
    assert commit_of(str(outer)) != commit(outer) == commit_of(str(outer))


def test_a_sha256_repository_has_a_commit_too(tmp_path):
    git(tmp_path, "init", "-q", "--object-format=sha256")
    assert len(commit(tmp_path)) == 64
    assert commit_of(str(tmp_path)) == git(tmp_path, "rev-parse", "HEAD")


def test_no_commit_yet_and_no_checkout(checkout, tmp_path):
    assert commit_of(str(checkout)) is None
    assert commit_of("/") is None


@pytest.mark.parametrize(
    "fault",
    ["empty", "no HEAD", "a FIFO", "a link", "a loop", "outside", "text", "bytes", "a file", "a directory",
     "a reference", "nowhere"],
)  # fmt: skip
def test_a_broken_checkout_has_no_commit(checkout, fault):
    commit(checkout)
    place, head = checkout / ".git", checkout / ".git/HEAD"
    if fault in ("empty", "a file", "nowhere"):
        shutil.rmtree(place)
        if fault == "empty":
            place.mkdir()
        else:
            place.write_text("x" if fault == "a file" else "gitdir: ../nowhere\n")
    elif fault == "a reference":
        (place / "refs/heads/topic/one").write_text("0" * 39 + "\n")
    elif fault in ("no HEAD", "a FIFO", "a link", "a directory"):
        head.unlink()
        if fault == "a FIFO":
            os.mkfifo(head)
        elif fault == "a link":
            head.symlink_to("/etc/hostname")
        elif fault == "a directory":
            head.mkdir()
    else:
        outside, loop = b"ref: refs/../../secret", b"ref: refs/heads/loop"
        texts = {"a loop": loop, "outside": outside, "text": b"word", "bytes": b"\xff\0"}
        (checkout.parent / "secret").write_text("f" * 40)
        (place / "refs/heads/loop").write_bytes(loop)
        head.write_bytes(texts[fault] + b"\n")
    assert commit_of(str(checkout)) is None


def test_a_lookup_among_ten_thousand_references_takes_about_as_long_as_reading_them(checkout):
    first = commit(checkout)
    packed = checkout / ".git/packed-refs"
    lines = "".join(f"{first} refs/tags/v{number:05}\n" for number in range(10_000))
    packed.write_text(f"# pack-refs with: peeled fully-peeled sorted \n{lines}")
    git(checkout, "pack-refs", "--all")
    assert commit_of(str(checkout)) == first
    lookups = timeit.repeat(lambda: commit_of(str(checkout)), number=1, repeat=20)
    reads = timeit.repeat(lambda: packed.read_bytes().splitlines(), number=1, repeat=20)
    assert min(lookups) < 3 * min(reads)
