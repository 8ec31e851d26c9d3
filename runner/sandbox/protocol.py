"""The messages between runner and launcher, over two pipes: requests one way, reports the other.

A message is its length in 4 bytes, then a marshalled tuple of its kind and its content. Both ends run the same
interpreter, so they agree on marshal's format. Before its first report the launcher sends START.

Requests: ("load", modules for Python stages); ("launch", a Request); ("terminate", None) and ("kill", None), for all
launches. Reports: first ("ready", (process, layers)), where `process` is the launcher's number outside its namespaces,
or None; or ("refused", the fields of RefusedError). Then ("network", (id of a launch, fields of NetworkCalls)) while a
launch runs; ("exit", (id, fields of AttemptResult)); ("crash", text).
"""

from __future__ import annotations

import marshal
import os
import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Request = dict[str, Any]  # the fields of launcher.Launch, words and paths as bytes
    Message = tuple[str, Any]

START = b"\0offpipe launcher\0"  # any bytes before it on the pipe are an error message of the interpreter


class Wire:
    """The launcher's ends. They never block: buffers hold incomplete requests, and reports that found no room."""

    def __init__(self, requests: int, reports: int, poll: select.poll) -> None:
        self.requests = requests
        self._reports = reports
        self._poll = poll
        self._received = bytearray()
        self._queue = bytearray(START)
        self._waits_for_room = False
        for descriptor in (requests, reports):
            os.set_blocking(descriptor, False)
        poll.register(requests, select.POLLIN)

    def receive(self) -> list[Message] | None:
        """Return the requests received so far; None at the end of the pipe."""
        try:
            data = os.read(self.requests, 65536)
        except BlockingIOError:
            return []
        if not data:
            return None
        self._received += data
        return take_messages(self._received)

    def report(self, kind: str, content: object) -> None:
        """Write one report, or queue it."""
        self._queue += message(kind, content)
        self.flush()

    def flush(self) -> None:
        """Write as much as the pipe takes; `poll` says when to write the rest."""
        try:
            while self._queue:
                del self._queue[: os.write(self._reports, self._queue)]
        except BlockingIOError:
            pass
        except BrokenPipeError:
            self._queue.clear()  # the runner is gone, so the pipe of requests has ended too
        if bool(self._queue) != self._waits_for_room:
            self._waits_for_room = bool(self._queue)
            if self._waits_for_room:
                self._poll.register(self._reports, select.POLLOUT)
            else:
                self._poll.unregister(self._reports)


def message(kind: str, content: object) -> bytes:
    """Return the bytes of one message."""
    encoded = marshal.dumps((kind, content))  # type: ignore[arg-type] # any type that marshal knows
    return len(encoded).to_bytes(4, "big") + encoded


def take_messages(received: bytearray) -> list[Message]:
    """Remove the complete messages from the front of a buffer, and return them."""
    messages = []
    while len(received) >= 4:
        end = 4 + int.from_bytes(received[:4], "big")
        if len(received) < end:
            break
        messages.append(marshal.loads(memoryview(received)[4:end]))  # noqa: S302 - written by our own other end
        del received[:end]
    return messages
