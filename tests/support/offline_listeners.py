"""Listeners of every kind on the loopback, in one thread. They record each connection and each byte."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

UDPLITE, ETHERTYPE = 136, 0x88B5  # netinet/in.h; IEEE 802, local experimental
CONNECTED = "connected"
PATIENCE = 10.0


class Listeners:
    """Open listeners, until `close`. `received` has what arrived, as (listener, text).

    `words`: their addresses, by the word between @ in scripts of attacks. `absent`: kinds that this machine lacks, each
    with its reason. `nonce` is part of every token that is meant for these listeners only.
    """

    def __init__(self, place: Path) -> None:
        self.nonce = os.urandom(4).hex()
        self.received: list[tuple[str, str]] = []
        self.words: dict[str, str] = {}
        self.absent: dict[str, str] = {}
        self._listening: dict[str, socket.socket] = {}
        self._held: list[socket.socket] = []
        self._poll = selectors.DefaultSelector()
        self._wake, woken = socket.socketpair()
        self._poll.register(woken, selectors.EVENT_READ, None)
        self._held.append(woken)
        self._open_internet()
        self._open_local(place)
        self._open_privileged()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    # ---- opening ----

    def _open_internet(self) -> None:
        for name, family, host in (("4", socket.AF_INET, "127.0.0.1"), ("6", socket.AF_INET6, "::1")):
            self._open(f"tcp{name}", family, socket.SOCK_STREAM, 0, (host, 0))
            self._open(f"udp{name}", family, socket.SOCK_DGRAM, 0, (host, 0))
        self._open("udplite", socket.AF_INET, socket.SOCK_DGRAM, UDPLITE, ("127.0.0.1", 0))
        self._open("inherited", socket.AF_INET, socket.SOCK_STREAM, 0, ("127.0.0.1", 0))

    def _open_local(self, place: Path) -> None:
        kinds = {"stream": socket.SOCK_STREAM, "dgram": socket.SOCK_DGRAM, "seqpacket": socket.SOCK_SEQPACKET}
        for name, kind in kinds.items():
            path = place / f"{name}.{self.nonce}"
            self._open(f"path-{name}", socket.AF_UNIX, kind, 0, str(path), str(path))
            path.chmod(0o777)
            self._open(f"abstract-{name}", socket.AF_UNIX, kind, 0, f"\0{name}.{self.nonce}", f"{name}.{self.nonce}")

    def _open_privileged(self) -> None:
        self._open("raw4", socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP, ("127.0.0.1", 0))
        self._open("raw6", socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6, ("::1", 0))
        self._open("packet", socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETHERTYPE), ("lo", ETHERTYPE))

    def _open(self, name: str, family: int, kind: int, protocol: int, address: object, word: str = "") -> None:
        try:
            made = socket.socket(family, kind, protocol)
        except OSError as error:
            self.absent[name] = f"no {name} listener here: {error.strerror}"
            return
        made.bind(address)
        made.setblocking(False)
        if kind in {socket.SOCK_STREAM, socket.SOCK_SEQPACKET}:
            made.listen(64)
        self.words[name] = word or str(made.getsockname()[1])
        self._listening[name] = made
        self._poll.register(made, selectors.EVENT_READ, name)

    # ---- listening ----

    def _serve(self) -> None:
        while True:
            for key, _ in self._poll.select():
                if key.data is None:
                    return
                self._hear(key.fileobj, key.data)

    def _hear(self, sock: socket.socket, name: str) -> None:
        try:
            if sock is self._listening.get(name) and sock.type in {socket.SOCK_STREAM, socket.SOCK_SEQPACKET}:
                connection, _ = sock.accept()
                self._poll.register(connection, selectors.EVENT_READ, name)
                self.received.append((name, CONNECTED))
                return
            data, sender = sock.recvfrom(65536)
        except OSError:
            data, sender = b"", None
        if sock is self._listening.get(name):
            self._take(name, data)
            self._answer(sock, data, sender)
            return
        self._take(name, data)
        if not data:
            self._poll.unregister(sock)
            sock.close()
        elif name != "inherited":
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_WR)  # so that no client waits for an answer

    def _take(self, name: str, data: bytes) -> None:
        text = data.decode("utf-8", "backslashreplace")
        if data and (self.nonce in text or name not in {"raw4", "raw6", "packet"}):  # those get traffic of all
            self.received.append((name, text))

    def _answer(self, sock: socket.socket, data: bytes, sender: object) -> None:
        if sock.family in {socket.AF_INET, socket.AF_INET6} and sock.type == socket.SOCK_DGRAM and data:
            sock.sendto(data[:2] + b"\x81\x83" + data[4:], sender)  # answer a DNS query: no such name

    # ---- asking ----

    def connection(self) -> socket.socket:
        """Return a new connection to the listener `inherited`, and forget that it was made."""
        made = socket.create_connection(("127.0.0.1", int(self.words["inherited"])))
        self.forget_connection()
        return made

    def forget_connection(self) -> None:
        """Wait for a connection to the listener `inherited`, and remove it from `received`."""
        self._wait_until(lambda: ("inherited", CONNECTED) in self.received)
        self.received.remove(("inherited", CONNECTED))

    def settle(self) -> None:
        """Return when everything sent so far has arrived: when a message sent now to each listener has."""
        sent = []
        for name in set(self._listening) - {"raw4", "raw6", "packet"}:
            listening = self._listening[name]
            with socket.socket(listening.family, listening.type, listening.proto) as sender:
                sender.connect(listening.getsockname())
                sender.send(b"settled")
                sent.append(name)
                if listening.type != socket.SOCK_DGRAM:
                    self._wait_until(lambda name=name: (name, CONNECTED) in self.received)
        for name in sent:
            self._wait_until(lambda name=name: (name, "settled") in self.received)
            self.received.remove((name, "settled"))
            if self._listening[name].type != socket.SOCK_DGRAM:
                self.received.remove((name, CONNECTED))

    @staticmethod
    def _wait_until(fact) -> None:
        deadline = time.monotonic() + PATIENCE
        while not fact():
            assert time.monotonic() < deadline, "a listener received nothing"
            time.sleep(0.001)

    def close(self) -> None:
        self._wake.close()  # its peer wakes the thread, which ends
        self._thread.join()
        for key in list(self._poll.get_map().values()):
            key.fileobj.close()
        self._poll.close()
