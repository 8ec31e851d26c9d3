"""The only writer: every byte that the runner or the SDK puts on disk goes through here.

Loaded in every stage that uses the SDK, so it imports nothing but `os` and our leaves.
Every function raises StateError (exit 74) with the errno's name and the path.

A failed fsync is never tried again. The kernel reports it once, and then takes what is lost for written: a later fsync
succeeds without it, even in another process. So what may not be on disk is written again, cut off, or removed.
"""

from __future__ import annotations

import os

from runner.errors import Fault, StateError
from runner.paths import aside_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

SYNCING = 8  # files that are made durable at a time
PAGE = 1 << 12  # bytes
_CHUNK = 1 << 20


class naming:  # noqa: N801 - reads as a statement: `with naming(path, "write"):`; contextlib would cost each stage 1 ms
    """Turn an OSError inside the block into a StateError that names `path` and what was tried."""

    __slots__ = ("path", "verb")

    def __init__(self, path: str, verb: str) -> None:
        self.path = path
        self.verb = verb

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            raise StateError.from_os(error, self.path, self.verb) from error


def replace(path: str, content: bytes, *, temporary: str, sync: bool = False) -> None:
    """Put `content` at `path`, whole or not at all, by way of the file `temporary` on the same file system.

    With `sync` the content is on disk before the rename; `sync_directory` makes the rename itself durable.
    """
    with naming(path, "write"):
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
            try:
                _write_all(descriptor, content)
                if sync:
                    os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.rename(temporary, path)
        except OSError:
            try:
                os.unlink(temporary)
            except OSError:
                pass
            raise


def open_append(path: str, *, truncate: bool = False, new: bool = False) -> int:
    """Open `path` for appending, made when missing, and return the descriptor (close-on-exec); `new`: EEXIST if not."""
    return _open(path, os.O_APPEND | (os.O_TRUNC if truncate else 0) | (os.O_EXCL if new else 0))


def append(descriptor: int, content: bytes, path: str) -> None:
    """Append `content` in one write, or nothing: what a full disk let through is taken back before the error."""
    written = 0
    with naming(path, "append to"):
        try:
            while written < len(content):  # a second round is only ever there to learn why the first was short
                written += os.write(descriptor, content[written:])
        except OSError:
            try:
                if written:
                    os.ftruncate(descriptor, os.fstat(descriptor).st_size - written)
            except OSError:  # the first error is the one to raise; the next run cuts a torn line
                pass
            raise


def write(descriptor: int, content: bytes, path: str) -> None:
    """Write all of `content`, in as many calls as it takes; `path` is for the error."""
    with naming(path, "write"):
        _write_all(descriptor, content)


def create(path: str, content: bytes = b"") -> None:
    """Write a file that nobody reads before this returns (a stage file, an empty log), not atomically."""
    descriptor = _open(path)
    with naming(path, "write"):
        try:
            _write_all(descriptor, content)
            if os.fstat(descriptor).st_size > len(content):
                os.ftruncate(descriptor, len(content))  # last: emptying what was just written waits for the disk (ext4)
        finally:
            os.close(descriptor)


def touch(path: str) -> None:
    """Make an empty file at `path` unless there is one."""
    os.close(open_append(path))


def truncate(path: str, length: int) -> None:
    """Cut the file at `path` to `length` bytes."""
    with naming(path, "truncate"):
        os.truncate(path, length)


def make_directories(path: str) -> None:
    """Make `path` and its parents where they are missing; os.makedirs calls itself, and so makes only some hundred."""
    missing, parent = [], path.rstrip("/") or "/"
    while not os.path.isdir(parent) and parent not in ("", "/"):
        missing.append(parent)
        parent = os.path.dirname(parent)
    with naming(path, "make the directory"):
        for directory in reversed(missing):
            try:
                os.mkdir(directory)
            except OSError as error:  # EEXIST, or what comes before that: EROFS, EACCES on NFS
                if not os.path.isdir(directory):
                    if isinstance(error, FileExistsError):
                        raise no_directory(path, directory) from error
                    raise


def no_directory(path: str, at: str) -> StateError:
    """Return the error for something else `at` the place of the directory at `path`, or of one above it."""
    return StateError(Fault(path, "cannot make the directory: EEXIST (File exists)", f"move away what is at {at}"))


def rename(source: str, target: str) -> None:
    """Rename `source` over `target`, on the same file system."""
    with naming(target, "rename to"):
        os.rename(source, target)


def set_aside(path: str, aside: str) -> None:
    """Rename a directory. Remove it where it cannot be renamed: in a lower layer of an overlay (EXDEV)."""
    with naming(path, "move"):
        try:
            os.rename(path, aside)
        except OSError as error:
            from errno import EXDEV

            if error.errno != EXDEV:
                raise
            discard(path)


def publish(partial: str, real: str) -> None:
    """Put a finished partial in the place of `real`, in one step, and remove what was there.

    A directory is exchanged with what it replaces (RENAME_EXCHANGE). Where that is not possible, the old directory is
    moved aside first; if the second step fails, it is moved back.
    """
    with naming(real, "publish"):
        try:
            os.rename(partial, real)
        except OSError as error:
            from errno import EEXIST, EISDIR, ENOTDIR, ENOTEMPTY

            if error.errno not in {EEXIST, EISDIR, ENOTDIR, ENOTEMPTY}:  # nothing else is mended by an exchange
                raise
            if not _exchange(partial, real):
                _replace_by_steps(partial, real)
    if os.path.lexists(partial):
        discard(partial)


def discard(path: str) -> None:
    """Remove the file, link or tree at `path`; nothing there is fine."""
    with naming(path, "remove"):
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
        except OSError:
            if not os.path.isdir(path) or os.path.islink(path):
                raise
            try:
                os.rmdir(path)
            except OSError:
                from runner.record.removal import remove_tree  # which stages can do without

                remove_tree(path)


def _replace_by_steps(partial: str, real: str) -> None:
    """Swap two names by way of a third, that of another attempt's partial: recovery removes what a crash leaves."""
    aside = aside_path(partial)
    discard(aside)
    set_aside(real, aside)
    try:
        os.rename(partial, real)
    except OSError:
        if os.path.lexists(aside):
            os.rename(aside, real)
        raise
    discard(aside)


def _exchange(first: str, second: str) -> bool:
    """Swap two names in one step; False where the system or the file system cannot (renameat2, Linux 3.15)."""
    import ctypes  # 2 ms, which only directories need

    at_fdcwd, rename_exchange = -100, 2  # linux/fcntl.h, linux/fs.h
    renameat2 = getattr(ctypes.CDLL(None), "renameat2", None)
    if renameat2 is None:
        return False
    return bool(renameat2(at_fdcwd, os.fsencode(first), at_fdcwd, os.fsencode(second), rename_exchange) == 0)


def _open(path: str, flags: int = 0) -> int:
    with naming(path, "open"):  # a FIFO is refused, not waited for
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | flags, 0o666)


def _write_all(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


# ---- durability ------------------------------------------------------------------------------------------------------


def sync_descriptor(descriptor: int, path: str) -> None:
    """Make what was written to `descriptor` durable (fdatasync); `path` is for the error."""
    with naming(path, "sync"):
        os.fdatasync(descriptor)


def sync_file(path: str) -> None:
    """Make the content of the file at `path` durable."""
    _sync(path, os.O_RDONLY)


def sync_directory(path: str) -> None:
    """Make the renames into the directory at `path` durable."""
    _sync(path, os.O_RDONLY | os.O_DIRECTORY)


def sync_files(paths: Sequence[str]) -> None:
    """Make many files or directories durable, some at a time: a disk that flushes does it for all who wait for it."""
    from threading import Thread

    left = iter(paths)  # each thread takes the next
    errors: list[StateError] = []

    def sync_next() -> None:
        try:
            for path in left:
                sync_file(path)
        except StateError as error:
            errors.append(error)

    threads = [Thread(target=sync_next) for _ in paths[1:SYNCING]]
    try:
        for thread in threads:
            thread.start()
    except RuntimeError:  # the system has no more threads for us; it takes longer then
        pass
    sync_next()
    for thread in threads:
        if thread.ident is not None:
            thread.join()
    if errors:
        raise errors[0]


def sync_tree(path: str) -> None:
    """Make every file and directory below `path` durable; what is no regular file has nothing to sync."""
    found: list[str] = []
    pending = [path]
    while pending:
        found.append(directory := pending.pop())
        with naming(directory, "list"), os.scandir(directory) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
                elif entry.is_file(follow_symlinks=False):
                    found.append(entry.path)
    sync_files(found)


def sync_or_discard(path: str) -> None:
    """Make a finished output durable. One that cannot be made so is removed: a later fsync would claim that it is."""
    try:
        (sync_tree if os.path.isdir(path) else sync_file)(path)
    except StateError:
        try:
            discard(path)
        except StateError:
            pass  # the first error is the one to raise
        raise


def sync_or_take_back(descriptor: int, path: str, durable: int) -> int:
    """Make a log durable and return its size; when that fails, take back all but the `durable` bytes it had before."""
    try:
        sync_descriptor(descriptor, path)
    except StateError:
        take_back(path, durable)
        raise
    return os.fstat(descriptor).st_size


def append_line(descriptor: int, line: bytes, path: str, *, sync: bool) -> None:
    """Append to a log that many processes append to, one at a time; with `sync` durable, or not at all.

    The lines before may not be on the disk, if their writer was killed or the disk failed.
    """
    before = os.fstat(descriptor).st_size
    if sync:
        write_again(path, max(0, before - PAGE))
    append(descriptor, line, path)
    if sync:
        sync_or_take_back(descriptor, path, before)


def take_back(path: str, durable: int) -> None:
    """Cut a log back to what is surely on disk; else the next run would read from memory what is not, and act on it."""
    try:
        truncate(path, durable)
    except StateError:
        pass  # the first error is the one to raise


def write_again(path: str, start: int = 0) -> None:
    """Write the bytes of a file from `start` on over themselves, so that the next sync writes them to the disk anew.

    Whoever reads it, or kills us, meanwhile finds it as it was. The caller holds the lock that its writers take.
    """
    with naming(path, "write"):
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            while chunk := os.pread(descriptor, _CHUNK, start):
                start += os.pwrite(descriptor, chunk, start)
        finally:
            os.close(descriptor)


def sync_again(path: str) -> None:
    """Make durable what a process that is dead wrote to the log at `path`, and may have failed to sync."""
    write_again(path)
    sync_file(path)


def _sync(path: str, flags: int) -> None:
    with naming(path, "sync"):
        descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO in its place could hold us for ever
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
