"""The way of a run with nothing to do: from the words of the command line to its end, in built-in modules only.

Answers when everything is exactly as a plan found it that had nothing to do (decide.noop), and leaves everything else,
faults included, to the long way, which is what the rest of this package is.
"""

from __future__ import annotations

import gc
import os
import stat
import time

from runner import __version__
from runner.decide.noop import conditions_now, decode, is_plain, record_path
from runner.glance import plain_run
from runner.paths import StatePaths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any


LARGEST = 1 << 29  # bytes of a record


def answer(words: Sequence[str]) -> int | None:
    """Return 0 when these words ask for a run that has nothing to do, with that recorded and told; None else.

    Raises StateError when the disk refuses the record.
    """
    collects = gc.isenabled()
    gc.disable()  # a record is many objects, and no garbage
    try:
        return _answer(words)
    finally:
        if collects:
            gc.enable()


def _answer(words: Sequence[str]) -> int | None:
    began = time.monotonic()
    if is_plain():
        return None
    plain = plain_run(words)
    if plain is None:
        return None
    spec, workspace, durable, quiet, *_ = plain  # where nothing runs, how is of no matter
    try:
        for descriptor in (0, 1, 2):
            os.fstat(descriptor)
        record = decode(_read(record_path(spec, workspace)))
    except (OSError, ValueError):
        return None
    conditions = conditions_now((os.path.abspath(spec), workspace or ""), __version__)
    if record is None or not record.is_current(conditions, _load):
        return None
    told = record.told
    paths = StatePaths(told["state"], told["locks"])
    if not _is_plain_and_alone(paths):
        return None
    ended = _recorded(paths, told, words, began, durable=durable)
    if ended is None:
        return None
    if not quiet:
        run, head = ended
        text = f"{told['name']}: nothing to do, {told['stages']} up to date (run {run})\nledger head: {head}\n"
        try:
            os.write(1, text.encode())
        except OSError:
            pass  # nobody to tell: that never fails a run
    return 0


def _load() -> None:
    """Load what is used next."""
    import runner.record.noop
    import runner.record.others  # noqa: F401 - to have it loaded


def _read(path: str) -> bytes:
    """Return a file of ours; ValueError for anything else in its place, which is not waited for, or followed."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    with open(descriptor, "rb", buffering=0) as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST:
            raise ValueError(path)
        return file.readall()


def _is_plain_and_alone(paths: StatePaths) -> bool:
    """Whether records are hashed without a key, and no other run is at work, or has left something."""
    from runner.record.others import has_leftovers, is_held
    from runner.record.spelling import KEY_VARIABLE

    if KEY_VARIABLE in os.environ or is_held(paths.pipeline_lock, paths.state_dir, doubtful=True):
        return False
    return not has_leftovers(paths, doubtful=True)


def _recorded(
    paths: StatePaths, told: dict[str, Any], words: Sequence[str], began: float, *, durable: bool
) -> tuple[str, str] | None:
    """Record the run; return its id and the ledger's new head, or None where the long way has to.

    Raises StateError when the disk refuses, with nothing left of the run: what an fsync failed on is not tried again.
    """
    from runner.record.noop import PlainLedger, take_back, write_log
    from runner.record.spelling import drawn_run_id

    name = told["nameJson"]
    try:
        ledger = PlainLedger(paths.ledger, name)
    except (OSError, ValueError):
        return None
    try:
        opening = _opening(told, words, ledger.head)
        run = drawn_run_id(time.time(), os.urandom)
    except (OSError, ValueError, KeyError):
        ledger.close()
        return None
    try:
        if os.path.lexists(paths.audit(run)):
            return None
        digest = write_log(paths, run, opening, name, told["stages"], time.monotonic() - began, durable=durable)
        try:
            return run, ledger.append(run, digest, durable=durable)
        except BaseException:
            take_back(paths, run)
            raise
    finally:
        ledger.close()


def _opening(told: dict[str, Any], words: Sequence[str], head: str) -> bytes:
    """Return the payload of record 0 (see api.journal): of the record what does not change, and what is of this run."""
    from pwd import getpwuid

    uid, system = os.getuid(), os.uname()
    with open("/proc/sys/kernel/random/boot_id", "rb", buffering=0) as file:
        boot_id = file.readall().strip().decode()
    parts: dict[str, bytes] = {
        **told["opening"],
        "argv": b"[%b]" % b",".join(_text(word) for word in ("offpipe", *words)),
        "bootId": _text(boot_id),
        "host": _text(system.nodename),
        "ledgerHead": _text(head),
        "uid": b"%d" % uid,
        "user": _text(getpwuid(uid).pw_name),
        "versions": told["versions"].replace(b"SYSTEM", _text(system.release)),
    }
    return b"{%b}" % b",".join(b'"%b":%b' % (key.encode(), parts[key]) for key in sorted(parts))


def _text(text: str) -> bytes:
    """Return a string as JSON; ValueError for one that needs escapes."""
    if not (text.isascii() and text.isprintable()) or '"' in text or "\\" in text:
        raise ValueError(text)
    return b'"%b"' % text.encode()
