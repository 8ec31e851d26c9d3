"""posix_spawn(3) by ctypes: with Python's own, a process of which threads have been made leaves two signals ignored.

They are the C library's own, which Python has no number for: its posix_spawn ignores them in the child unless told to
reset them (glibc's spawni.c, musl's posix_spawn.c), and a program would inherit that.

Loaded by the launcher program only. Flags: spawn.h of glibc and musl, which have them alike.
"""

from __future__ import annotations

import ctypes
import errno
import os

from runner.sandbox.syscalls import libc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

SETSIGDEF, SETSIGMASK, SETSID = 0x04, 0x08, 0x80
OWN_SIGNALS = (32, 33, 34)  # of the C library: nptl's, and one more of musl's
OPAQUE = 1024  # bytes, of which posix_spawnattr_t and posix_spawn_file_actions_t take 336 and 80
SIGNAL_SET = 128  # bytes of a sigset_t


class Attributes:
    """A session of its own, and no signal blocked: made once, for many programs. This process ignores none."""

    def __init__(self) -> None:
        self._buffer = ctypes.create_string_buffer(OPAQUE)
        none = ctypes.create_string_buffer(SIGNAL_SET)
        _check(libc.posix_spawnattr_init(self._buffer))
        _check(libc.posix_spawnattr_setsigmask(self._buffer, none))
        _check(libc.posix_spawnattr_setsigdefault(self._buffer, _signals(OWN_SIGNALS)))
        _check(libc.posix_spawnattr_setflags(self._buffer, ctypes.c_short(SETSIGDEF | SETSIGMASK | SETSID)))

    def spawn(self, program: bytes, argv: Sequence[bytes], env: Mapping[bytes, bytes], streams: Sequence[int]) -> int:
        """Execute `program` with these as descriptors 0, 1, 2 in a new process, and return that. OSError: not done."""
        actions = ctypes.create_string_buffer(OPAQUE)
        _check(libc.posix_spawn_file_actions_init(actions))
        try:
            for number, descriptor in enumerate(streams):
                _check(libc.posix_spawn_file_actions_adddup2(actions, descriptor, number))
            pid = ctypes.c_int()
            words, variables = _strings(argv), _strings([b"%s=%s" % pair for pair in env.items()])
            _check(libc.posix_spawn(ctypes.byref(pid), program, actions, self._buffer, words, variables))
        finally:
            libc.posix_spawn_file_actions_destroy(actions)
        return pid.value


def _strings(words: Sequence[bytes]) -> ctypes.Array[ctypes.c_char_p]:
    """Words as C has them: an array of pointers, ended by NULL. OSError for what C would take for the end of a word."""
    if b"\0" in b"".join(words):
        raise OSError(errno.EINVAL, "a word with NUL")
    return (ctypes.c_char_p * (len(words) + 1))(*words, None)


def _signals(numbers: Iterable[int]) -> ctypes.Array[ctypes.c_char]:
    """A sigset_t, as bits: sigaddset refuses the C library's own. These machines are little-endian."""
    return ctypes.create_string_buffer(sum(1 << (number - 1) for number in numbers).to_bytes(SIGNAL_SET, "little"))


def _check(number: int) -> None:
    if number:
        raise OSError(number, os.strerror(number))
