import hashlib
import json
import os
import time
from types import SimpleNamespace
from zlib import crc32

import pytest

from runner.errors import InputError
from runner.plan.code.cache import Parsed
from runner.plan.digests import CHUNK, UNUSED_KEPT, DigestCache, FileDigest, Signature

SECOND = 1_000_000_000
LATER = 3600 * SECOND


def much_later():
    return time.time_ns() + LATER


def sha(content):
    return hashlib.sha256(content).hexdigest()


def faked(path, *, mtime, ctime):
    """Return the status of a file with the time stamps of another file system."""
    real = os.stat(path)
    return SimpleNamespace(
        st_mode=real.st_mode, st_size=real.st_size, st_mtime_ns=mtime, st_ctime_ns=ctime, st_ino=real.st_ino
    )


def holding(entries, **options):
    """Return a cache with these entries."""
    cache = DigestCache(**options)
    cache._entries = dict(entries)
    return cache


def fresh(cache, **options):
    return DigestCache(cache.dump(), **options)


@pytest.mark.parametrize("content", [b"", b"a", b"x" * CHUNK, b"y" * (2 * CHUNK + 17)])
def test_digest_is_the_sha256_of_the_content(tmp_path, content):
    path = tmp_path / "file"
    path.write_bytes(content)
    assert DigestCache().file(str(path)) == (sha(content), Signature.of(os.stat(path)))
    assert DigestCache().read(str(path)) == (content, (sha(content), Signature.of(os.stat(path))))


def test_ticks_count_every_byte_and_may_interrupt(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"z" * (3 * CHUNK))
    ticks = []
    cache = DigestCache()
    cache.tick = ticks.append
    cache.file(str(path))
    assert sum(ticks) == 3 * CHUNK and max(ticks) <= CHUNK

    def interrupt(count):
        raise KeyboardInterrupt

    descriptors = len(os.listdir("/proc/self/fd"))
    cache = DigestCache()  # on a slow machine, the first cache may know the file
    cache.tick = interrupt
    with pytest.raises(KeyboardInterrupt):
        cache.file(str(path))
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_settled_file_is_not_read_again_not_even_by_the_next_run(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"content")
    cache = DigestCache(clock=much_later)
    cache.file(str(path))
    assert cache.dirty
    ticks = []
    again = fresh(cache)
    again.tick = ticks.append
    assert again.file(str(path))[0] == sha(b"content")
    assert ticks == [] and not again.dirty


def test_file_written_in_the_tick_of_hashing_is_hashed_again_and_then_kept(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"one")
    stamp = os.stat(path).st_ctime_ns
    now = stamp + 1_000_000
    cache = DigestCache(clock=lambda: now)
    cache.file(str(path))
    assert not cache.dirty
    now = stamp + LATER
    cache.file(str(path))
    assert cache.dirty
    assert fresh(cache).known(str(path), os.stat(path)).sha256 == sha(b"one")


def test_racy_write_of_the_same_size_and_stamp_is_seen(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"one")
    status = os.stat(path)
    cache = DigestCache(clock=lambda: status.st_ctime_ns)
    assert cache.file(str(path), status)[0] == sha(b"one")
    path.write_bytes(b"two")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert cache.file(str(path), status)[0] == sha(b"two")  # even though the caller's status is the same


@pytest.mark.parametrize(
    ("mtime", "ctime", "began", "kept"),
    [
        (5 * SECOND + 7, 5 * SECOND + 7, 6 * SECOND, True),
        (5 * SECOND + 7, 5 * SECOND + 7, 5 * SECOND + 9_000_000, False),
        (1 * SECOND, 5 * SECOND, 6 * SECOND, False),  # a clock of whole seconds
        (1 * SECOND, 5 * SECOND, 8 * SECOND, True),
        (9 * SECOND, 5 * SECOND + 7, 6 * SECOND, True),  # an mtime of the future that no write would give
        (6 * SECOND + 7, 5 * SECOND + 7, 6 * SECOND, False),
        (5 * SECOND + 7, 9 * SECOND + 7, 6 * SECOND, False),  # a server whose clock is ahead
    ],
)
def test_entry_is_kept_only_when_a_later_write_must_show(tmp_path, monkeypatch, mtime, ctime, began, kept):
    path = tmp_path / "file"
    path.write_bytes(b"x")
    status = faked(path, mtime=mtime, ctime=ctime)
    monkeypatch.setattr("os.fstat", lambda descriptor: status)
    cache = DigestCache(clock=lambda: began)
    cache.file(str(path), status)
    assert cache.dirty is kept


def test_same_size_content_with_another_stamp_is_read(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"one")
    cache = DigestCache(clock=much_later)
    cache.file(str(path))
    other = tmp_path / "other"
    other.write_bytes(b"two")
    os.utime(other, ns=(0, os.stat(path).st_mtime_ns))
    os.replace(other, path)
    assert cache.file(str(path))[0] == sha(b"two")


def test_a_write_whose_time_was_put_back_is_seen_by_the_next_run(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"one")
    before = os.stat(path)
    cache = DigestCache(clock=much_later)
    cache.file(str(path))
    while os.stat(path).st_ctime_ns == before.st_ctime_ns:  # the kernel's clock has ticks
        path.write_bytes(b"two")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert os.stat(path)[:-3] == before[:-3] and os.stat(path).st_mtime_ns == before.st_mtime_ns
    assert fresh(cache).file(str(path))[0] == sha(b"two")


def test_without_trust_everything_is_read(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"content")
    cache = DigestCache(clock=much_later)
    cache.file(str(path))
    ticks = []
    wary = fresh(cache, trust=False)
    wary.tick = ticks.append
    wary.file(str(path))
    wary.file(str(path))
    assert sum(ticks) == 2 * len(b"content")


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"null",
        b'{"v": 1}',
        b'{"v": 2, "files": {}}',
        b'{"v": 1, "files": []}',
        b'{"v": 1, "files": {"/a": [1, 2, 3, "x"]}}',
        b'{"v": 1, "files": {"/a": [1, 2, 3, "4", "x"]}}',
        b'{"v": 1, "files": {"/a": [1, 2, 3, 4, 5]}}',
        b'{"v": 1, "files": {"/a": null}}',
        b'{"v": 1, "files": {"/a": [1, 2',
        b"[" * 100_000,
    ],
)
@pytest.mark.parametrize("checksum", ["fits", "is missing"])
def test_damaged_cache_is_an_empty_cache_and_says_so(damage, checksum):
    if checksum == "fits":
        damage = b'%b,"crc32":"%08x"}' % (damage[:-1], crc32(damage[:-1]))
    cache = DigestCache(damage)
    assert json.loads(cache.dump())["files"] == {}
    assert cache.parsed.get("00") is None and not cache.dirty
    assert cache.damaged == (b'"v": 2' not in damage)


def test_no_cache_is_an_empty_cache_and_no_damage():
    cache = DigestCache(None)
    assert json.loads(cache.dump())["files"] == {}
    assert not cache.damaged


def test_no_flipped_bit_turns_into_a_digest_or_hides_an_import():
    holder = holding({"/a": FileDigest("ab" * 32, Signature(1, 2, 3, 4))})
    holder.parsed.put("00", Parsed(()))
    content = holder.dump()
    assert not DigestCache(content).damaged
    for at in range(len(content)):
        for bit in range(8):
            flipped = content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :]
            cache = DigestCache(flipped)
            assert (json.loads(cache.dump())["files"], cache.parsed.get("00")) == ({}, None), (at, bit)


def test_cache_keeps_names_that_are_no_utf8_and_what_was_parsed():
    name = os.fsdecode(b"/dir/\xff\xe4")
    cache = holding({name: FileDigest("ab", Signature(1, 2, 3, 4))})
    cache.parsed.put("00", Parsed((), ("a",)))
    again = DigestCache(cache.dump())
    assert again.parsed.get("00") == Parsed((), ("a",))
    assert json.loads(again.dump())["files"] == {name: [1, 2, 3, 4, "ab"]}


def test_cache_does_not_grow_for_ever(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"content")
    old = {f"/old/{number}": FileDigest("ab", Signature(1, 2, 3, number)) for number in range(UNUSED_KEPT + 100)}
    cache = holding(old, clock=much_later)
    cache.file(str(path))
    kept = json.loads(cache.dump())["files"]
    assert len(kept) == UNUSED_KEPT + 1
    assert str(path) in kept and "/old/99" not in kept and "/old/100" in kept


def test_fifo_is_refused_and_not_opened(tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    with pytest.raises(InputError) as caught:
        DigestCache().file(str(path))
    (fault,) = caught.value.faults
    assert (fault.where, fault.what) == (str(path), "is a FIFO, not a regular file")


def test_fifo_that_took_the_place_of_a_file_is_refused(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"x")
    status = os.stat(path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(InputError, match="is a FIFO"):
        DigestCache().file(str(path), status)


def test_directory_and_device_are_refused(tmp_path):
    with pytest.raises(InputError, match="is a directory"):
        DigestCache().file(str(tmp_path))
    with pytest.raises(InputError, match="is a character device"):
        DigestCache().file("/dev/null")


def test_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        DigestCache().file(str(tmp_path / "missing"))
