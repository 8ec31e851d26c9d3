"""The launcher's ends of its two pipes, one for requests and one for reports. It never blocks on either."""

from __future__ import annotations

import marshal
import os
import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypedDict

    Report = tuple[Any, ...] | str

    class Request(TypedDict):
        """The fields of launch.Launch as they go through the pipe: words and paths as bytes."""

        id: int
        program: bytes
        argv: list[bytes]
        env: dict[bytes, bytes]
        cwd: bytes
        stdin: bytes | None
        stdout: bytes | None
        log: bytes
        timeout: float | None
        grace: float
        affinity: list[int] | None
        address_space: int | None
        script: bytes | None
        preload: tuple[str, ...]


START = b"\0offpipe launcher\0"  # anything before it on the pipe is an error message of the interpreter


class Wire:
    """Buffers of what was received and what is still to be sent; registers with `poll` when it waits for room."""

    def __init__(self, requests: int, replies: int, poll: select.poll) -> None:
        self.requests = requests
        self._replies = replies
        self._poll = poll
        self._received = bytearray()
        self._queue = bytearray(START)
        self._waiting_for_room = False
        for descriptor in (requests, replies):
            os.set_blocking(descriptor, False)
        poll.register(requests, select.POLLIN)

    def receive(self) -> list[tuple[str, Any]] | None:
        """Return the requests received so far; None at the end of the pipe."""
        try:
            data = os.read(self.requests, 65536)
        except BlockingIOError:
            return []
        if not data:
            return None
        self._received += data
        return taken(self._received)

    def close(self) -> None:
        """Take no more requests."""
        self._poll.unregister(self.requests)

    def tell(self, kind: str, content: Report) -> bool:
        """Queue one report; return what `flush` does."""
        self._queue += frame(kind, content)
        return self.flush()

    def flush(self) -> bool:
        """Write what the pipe takes now; poll says when there is room for the rest. False if the reader is gone."""
        read = True
        try:
            while self._queue:
                del self._queue[: os.write(self._replies, self._queue)]
        except BlockingIOError:
            pass
        except BrokenPipeError:
            self._queue.clear()
            read = False
        if bool(self._queue) != self._waiting_for_room:
            self._waiting_for_room = bool(self._queue)
            if self._waiting_for_room:
                self._poll.register(self._replies, select.POLLOUT)
            else:
                self._poll.unregister(self._replies)
        return read


def frame(kind: str, content: Any) -> bytes:  # noqa: ANN401 - whatever marshal takes
    """Return the bytes of one message: its length in 4 bytes, then the tuple, marshalled."""
    encoded = marshal.dumps((kind, content))
    return len(encoded).to_bytes(4, "big") + encoded


def taken(received: bytearray) -> list[tuple[str, Any]]:
    """Remove the complete messages from the front of a buffer, and return them."""
    found = []
    while len(received) >= 4:
        end = 4 + int.from_bytes(received[:4], "big")
        if len(received) < end:
            break
        found.append(marshal.loads(memoryview(received)[4:end]))  # noqa: S302 - written by our own other end
        del received[:end]
    return found
