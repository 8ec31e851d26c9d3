"""The only writer: every byte that the runner or the SDK puts on disk goes through here.

Every stage that uses the SDK loads this module, so it imports only `os` and our leaves.
Every function raises StateError (exit 74) with the errno's name and the path.

Never repeat an fsync that failed. The kernel reports the failure once and then regards the lost bytes as written: a
later fsync succeeds without them, even in another process. So bytes that may not be on disk are written again, cut off,
or removed.
"""

from __future__ import annotations

import os

from runner.errors import Fault, StateError
from runner.paths import aside_path, is_partial

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

SYNCING = 8  # files that are synced at the same time
PAGE = 1 << 12  # bytes
_CHUNK = 1 << 20


class naming:  # noqa: N801 - reads as a statement: `with naming(path, "write"):`; contextlib would cost each stage 1 ms
    """Turn an OSError inside the block into a StateError that names `path` and the verb that failed."""

    def __init__(self, path: str, verb: str) -> None:
        self.path = path
        self.verb = verb

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            raise StateError.from_os(error, self.path, self.verb) from error


def replace(path: str, content: bytes, *, temporary: str, sync: bool = False, mode: int | None = None) -> None:
    """Replace the file at `path` in one step: write `temporary`, on the same file system, and rename it.

    With `sync` the content is on disk before the rename; `sync_file` of the directory makes the rename itself durable.
    `mode` is that of the new file; by default the umask decides.
    """
    try:
        with naming(path, "write"):
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
            try:
                if mode is not None:
                    os.fchmod(descriptor, mode)
                write(descriptor, content, path)
                if sync:
                    os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.rename(temporary, path)
    except StateError:
        _discard_quietly(temporary)
        raise


def _discard_quietly(path: str) -> None:
    """Remove what could not be written, if the disk allows; the caller raises the first error."""
    try:
        discard(path)
    except StateError:
        pass


def open_append(path: str, *, truncate: bool = False, new: bool = False) -> int:
    """Open or create `path` for appending; return the descriptor (close-on-exec). `new`: EEXIST if it exists."""
    return _open(path, os.O_APPEND | (os.O_TRUNC if truncate else 0) | (os.O_EXCL if new else 0))


def append(descriptor: int, content: bytes, path: str) -> None:
    """Append `content` in one write, or nothing: if the disk fills up, the part that was written is cut off again."""
    written = 0
    with naming(path, "append to"):
        try:
            while written < len(content):  # only a short write leads to a second round, which gets its errno
                written += os.write(descriptor, content[written:])
        except OSError:
            try:
                if written:
                    os.ftruncate(descriptor, os.fstat(descriptor).st_size - written)
            except OSError:  # raise the first error; the next run cuts the torn line
                pass
            raise


def write(descriptor: int, content: bytes, path: str) -> None:
    """Write all of `content`, in as many calls as it takes; `path` is for the error."""
    view = memoryview(content)
    with naming(path, "write"):
        while view:
            view = view[os.write(descriptor, view) :]


def create(path: str, content: bytes = b"", *, new: bool = False) -> None:
    """Write a file that nobody reads before this returns (a stage file, an empty log). It is not atomic.

    `new`: EEXIST if it exists; a new file that cannot be written whole is removed.
    """
    descriptor = _open(path, os.O_EXCL if new else 0)
    try:
        with naming(path, "write"):
            try:
                write(descriptor, content, path)
                if os.fstat(descriptor).st_size > len(content):
                    os.ftruncate(descriptor, len(content))  # not O_TRUNC: it waits for the disk if ext4 still writes it
            finally:
                os.close(descriptor)
    except StateError:
        if new:
            _discard_quietly(path)
        raise


def touch(path: str) -> None:
    """Create an empty file at `path` unless a file exists."""
    os.close(open_append(path))


def truncate(path: str, length: int) -> None:
    """Cut the file at `path` to `length` bytes."""
    with naming(path, "truncate"):
        os.truncate(path, length)


def copy_start(source: str, target: str, length: int) -> None:
    """Copy the first `length` bytes of a file, which may be growing, to a new one with its mode; make them durable."""
    with naming(target, "write"):
        reading = os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        with open(reading, "rb") as old, open(_open(target, os.O_TRUNC), "wb", buffering=0) as new:
            while length and (chunk := old.read(min(length, _CHUNK))):
                write(new.fileno(), chunk, target)
                length -= len(chunk)
            os.fchmod(new.fileno(), os.fstat(reading).st_mode & 0o7777)
    if length:
        raise StateError(Fault(source, "became shorter while it was copied", "run again"))
    sync_file(target)


def make_directories(path: str) -> None:
    """Create the directory `path` and its missing parents, at any depth: os.makedirs recurses, and so has a limit."""
    missing, parent = [], path.rstrip("/") or "/"
    while not os.path.isdir(parent) and parent not in ("", "/"):
        missing.append(parent)
        parent = os.path.dirname(parent)
    with naming(path, "make the directory"):
        for directory in reversed(missing):
            try:
                os.mkdir(directory)
            except OSError as error:  # EEXIST, or the errno that a file system checks first: EROFS, EACCES on NFS
                if not os.path.isdir(directory):
                    if isinstance(error, FileExistsError):
                        raise no_directory(path, directory) from error
                    raise


def no_directory(path: str, at: str) -> StateError:
    """Return the error for a file that is in the way of the directory `path`: `at` that path, or above it."""
    return StateError(Fault(path, "cannot make the directory: EEXIST (File exists)", f"move away what is at {at}"))


def rename(source: str, target: str) -> None:
    """Rename `source` over `target`, on the same file system."""
    with naming(target, "rename to"):
        os.rename(source, target)


def move(source: str, target: str) -> None:
    """Rename `source` into another directory, on the same file system.

    If it is a directory, the system changes the entry ".." in it. So its owner must have the right to write meanwhile.
    """
    with naming(target, "rename to"):
        try:
            os.rename(source, target)
        except PermissionError:
            mode = os.lstat(source).st_mode
            if mode & 0o200 or os.path.islink(source):
                raise
            os.chmod(source, mode & 0o7777 | 0o200)
            os.rename(source, target)
            os.chmod(target, mode & 0o7777)


def set_aside(path: str, aside: str) -> None:
    """Rename a directory. Remove it if it cannot be renamed, as in a lower layer of an overlay (EXDEV)."""
    with naming(path, "move"):
        try:
            os.rename(path, aside)
        except OSError as error:
            from errno import EXDEV

            if error.errno != EXDEV:
                raise
            discard(path)


def publish(partial: str, real: str) -> None:
    """Rename a finished partial to `real` in one step, and remove the file or directory that was there.

    A directory and the old one are exchanged (RENAME_EXCHANGE). Where the system cannot do that, the old
    one is moved aside first, and moved back if the second step fails.
    """
    with naming(real, "publish"):
        try:
            os.rename(partial, real)
        except OSError as error:
            from errno import EEXIST, EISDIR, ENOTDIR, ENOTEMPTY

            if error.errno not in {EEXIST, EISDIR, ENOTDIR, ENOTEMPTY}:  # an exchange helps only against these
                raise
            if not _exchange(partial, real):
                _replace_by_steps(partial, real)
    if os.path.lexists(partial):
        discard(partial)


def discard(path: str) -> None:
    """Remove the file, link or tree at `path`, if there is one."""
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
                from runner.record.removal import remove_tree  # here, because stages rarely need it

                remove_tree(path)


def discard_at_once(path: str, aside: str) -> None:
    """Remove a file or tree so that no part of a tree is ever found at `path`: it is renamed to `aside` first."""
    if os.path.isdir(path) and not os.path.islink(path) and not is_partial(os.path.basename(path)):
        discard(aside)
        set_aside(path, aside)
        path = aside
    discard(path)


def _replace_by_steps(partial: str, real: str) -> None:
    """Replace a directory in two renames. The old one gets a partial's name meanwhile, so recovery can remove it."""
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
    """Swap two names in one step (renameat2, Linux 3.15); False if the system or the file system cannot."""
    import ctypes  # here, because it takes 2 ms and only directories need it

    at_fdcwd, rename_exchange = -100, 2  # linux/fcntl.h, linux/fs.h
    renameat2 = getattr(ctypes.CDLL(None), "renameat2", None)
    if renameat2 is None:
        return False
    return bool(renameat2(at_fdcwd, os.fsencode(first), at_fdcwd, os.fsencode(second), rename_exchange) == 0)


def _open(path: str, flags: int = 0) -> int:
    with naming(path, "open"):  # O_NONBLOCK: a FIFO is refused at once
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | flags, 0o666)


# ---- durability ------------------------------------------------------------------------------------------------------


def sync_descriptor(descriptor: int, path: str) -> None:
    """Make the content written to `descriptor` durable (fdatasync); `path` is for the error."""
    with naming(path, "sync"):
        os.fdatasync(descriptor)


def sync_file(path: str) -> None:
    """Make the content of the file at `path` durable; of a directory, the names in it."""
    with naming(path, "sync"):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO must not block for ever
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def sync_files(paths: Sequence[str]) -> None:
    """Make many files or directories durable, SYNCING at a time: one flush of the disk serves all that wait for it."""
    from threading import Thread

    remaining = iter(paths)  # shared: each thread takes the next path
    errors: list[StateError] = []

    def sync_next() -> None:
        try:
            for path in remaining:
                sync_file(path)
        except StateError as error:
            errors.append(error)

    threads = [Thread(target=sync_next) for _ in paths[1:SYNCING]]
    try:
        for thread in threads:
            thread.start()
    except RuntimeError:  # no more threads: fewer of them do all the work
        pass
    sync_next()
    for thread in threads:
        if thread.ident is not None:
            thread.join()
    if errors:
        raise errors[0]


def sync_tree(path: str) -> None:
    """Make every regular file and directory below `path` durable; nothing else has content to sync."""
    paths: list[str] = []
    pending = [path]
    while pending:
        paths.append(directory := pending.pop())
        with naming(directory, "list"), os.scandir(directory) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
                elif entry.is_file(follow_symlinks=False):
                    paths.append(entry.path)
    sync_files(paths)


def sync_or_discard(path: str) -> None:
    """Make a finished output durable, or remove it: after a failed fsync, a later one succeeds without the bytes."""
    try:
        (sync_tree if os.path.isdir(path) else sync_file)(path)
    except StateError:
        _discard_quietly(path)
        raise


def sync_or_take_back(descriptor: int, path: str, durable: int) -> int:
    """Make a log durable and return its size; if that fails, cut it back to its first `durable` bytes."""
    try:
        sync_descriptor(descriptor, path)
    except StateError:
        take_back(path, durable)
        raise
    return os.fstat(descriptor).st_size


def append_line(descriptor: int, line: bytes, path: str, *, sync: bool) -> None:
    """Append a line to a log that processes append to in turn. With `sync` it becomes durable, or is removed.

    The lines before it may not be on disk, if their writer was killed or the disk failed; so the last page is
    written again.
    """
    before = os.fstat(descriptor).st_size
    if sync:
        write_again(path, max(0, before - PAGE))
    append(descriptor, line, path)
    if sync:
        sync_or_take_back(descriptor, path, before)


def take_back(path: str, durable: int) -> None:
    """Cut a log back to the bytes that are surely on disk: no run may act on lines that only memory holds."""
    try:
        truncate(path, durable)
    except StateError:
        pass  # the caller raises the first error


def write_again(path: str, start: int = 0) -> None:
    """Overwrite a file from `start` on with its own bytes, so that the next sync writes them to disk again.

    Readers see the same content all the time, and after a kill. The caller holds the lock of the file's writers.
    """
    with naming(path, "write"):
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            while chunk := os.pread(descriptor, _CHUNK, start):
                start += os.pwrite(descriptor, chunk, start)
        finally:
            os.close(descriptor)


def sync_again(path: str) -> None:
    """Make durable the log of a dead process, whose last sync may have failed."""
    write_again(path)
    sync_file(path)
