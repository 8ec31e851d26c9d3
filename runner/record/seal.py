"""The hash of a record: SHA-256, or HMAC-SHA-256 with a key that is kept where no run writes.

Loads built-in modules only, because a run with nothing to do writes records, too.
"""

from __future__ import annotations

import os

from runner.canonical import KEY_VARIABLE
from runner.errors import Fault, StateError, UsageError
from runner.hashing import sha256_of
from runner.reading import open_regular

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

SIGNING_VARIABLE = "OFFPIPE_SIGNING_KEY_FILE"  # names the file with the private key that signs the ledger
DOMAIN = b"offpipe audit record v1\n"
_KEY_DOMAIN = b"offpipe audit key id v1\n"
_SHORTEST, _LONGEST = 16, 1 << 16  # bytes
_ID_DIGITS = 16
_RIGHTS = (("its group may", 0, 0o020), ("others may", 0o004, 0o002))  # to read, and to change


class Seal:
    """Hashes records, with a key or without; `id` identifies the key without revealing it, None without a key."""

    __slots__ = ("_key", "id")

    def __init__(self, key: bytes | None = None) -> None:
        self._key = key
        self.id = None if key is None else sha256_of(_KEY_DOMAIN + key)[:_ID_DIGITS]

    def __repr__(self) -> str:
        return f"Seal({self.id})"

    def hash(self, body: bytes) -> str:
        """Return the hex hash of a record, given its canonical bytes without `hash`."""
        if self._key is None:
            return sha256_of(DOMAIN + body)
        from hmac import digest

        return digest(self._key, DOMAIN + body, "sha256").hex()

    def of(self, key_id: object) -> Seal | None:
        """Return the seal for records with `key_id`; None if that key is missing here."""
        return PLAIN if key_id is None else self if key_id == self.id else None

    def refuse_other(self, key_id: str | None, path: str) -> None:
        """Raise UsageError if the log at `path` has another key than this one: nothing may be appended to it."""
        if key_id is None or key_id == self.id:
            return
        given = f"the key given is {self.id}" if self.id else "no key is given"
        hint = f"name the file that holds the key in {KEY_VARIABLE}"
        raise UsageError(Fault(path, f"is keyed with {key_id}, {given}", hint))


PLAIN = Seal()


def read_key_file(path: str, inside: Sequence[str]) -> Seal:
    """Return the seal with the key in the file at `path`: all of its bytes, unchanged.

    Raises what `read_key` raises, and UsageError for a key that is too short or too long.
    """
    content, _ = read_key(path, inside, "audit key")
    if not _SHORTEST <= len(content) <= _LONGEST:
        size = f"{len(content)}" if len(content) < _SHORTEST else "more"
        what = f"an audit key has {_SHORTEST} to {_LONGEST:,} bytes, this one has {size}"
        raise UsageError(Fault(path, what, "for example: (umask 077; head -c 32 /dev/urandom > KEYFILE)"))
    return Seal(content)


def read_key(path: str, inside: Sequence[str], name: str) -> tuple[bytes, int]:
    """Return the content and the mode of the file at `path`, whose key is called `name` in messages.

    UsageError for a key inside one of the directories `inside`, if there are any, also by another name: stages write
    there, or a copy of the log would include the key. StateError if the file cannot be read.
    """
    try:
        with open(open_regular(path), "rb") as file:
            content, status = file.read(_LONGEST + 1), os.fstat(file.fileno())
    except OSError as error:
        raise StateError.from_os(error, path, f"read the {name}") from error
    hint = "keep it where no stage writes, and where no copy of the workspace takes it along"
    for directory in inside:
        for base in (os.path.abspath(directory), os.path.realpath(directory)):
            if base in (os.path.commonpath((base, place)) for place in (os.path.abspath(path), os.path.realpath(path))):
                raise UsageError(Fault(path, f"the {name} is inside {directory}", hint))
    if inside and status.st_nlink > 1:
        raise UsageError(Fault(path, f"the {name} has other names (hard links), which may be anywhere", hint))
    return content, status.st_mode


def warning_about(path: str) -> Fault | None:
    """Return a warning if other users may read or change the key in the file at `path`, else None.

    A group may read it: you may have made the group for that.
    """
    try:
        mode = os.stat(path).st_mode & 0o777
    except OSError:
        return None  # reading the key gives the error
    from shlex import quote

    words = []
    for who, reads, changes in _RIGHTS:
        acts = " and ".join(act for act, bit in (("read", reads), ("change", changes)) if mode & bit)
        words += [f"{who} {acts} the audit key"] if acts else []
    return Fault(path, f"{', '.join(words)} (mode {mode:03o})", f"chmod 600 {quote(path)}") if words else None
