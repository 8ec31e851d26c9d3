"""The banned modules, which reach or serve a network, and the faults of imports of them.

docs/offline-guard.md has the same table, and a test compares the two. A name includes all names below it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.errors import Fault
from runner.results import listed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

# asyncio, multiprocessing and the like have other uses, so only the kernel guards them.
BANNED: dict[str, tuple[str, ...]] = {
    what: tuple(names.split())
    for what, names in {
        "sockets": "socket _socket socketserver ssl _ssl asyncore asynchat",
        "the standard library's protocols": (
            "urllib http ftplib smtplib smtpd imaplib poplib nntplib telnetlib xmlrpc wsgiref webbrowser nis"
        ),
        "HTTP and WebSocket": (
            "requests urllib3 aiohttp httpx httpcore httplib2 pycurl treq niquests websockets websocket "
            "socketio engineio socks mechanize scrapy selenium playwright"
        ),
        "servers and network frameworks": (
            "twisted tornado gevent eventlet uvicorn gunicorn hypercorn waitress cherrypy pyftpdlib aiosmtpd"
        ),
        "remote shells and files": "paramiko asyncssh fabric scp pysftp smbclient smbprotocol hdfs",
        "calls and messages": (
            "grpc grpclib Pyro5 rpyc zmq pynng pika aio_pika kafka aiokafka confluent_kafka nats paho aiomqtt "
            "stomp celery"
        ),
        "names and directories": "dns aiodns pycares ldap ldap3 whois",
        "database servers": (
            "redis pymongo motor psycopg psycopg2 asyncpg pg8000 pymysql aiomysql MySQLdb mysql cassandra "
            "elasticsearch opensearchpy clickhouse_driver clickhouse_connect influxdb influxdb_client "
            "pymemcache memcache"
        ),
        "clouds": (
            "boto boto3 botocore aiobotocore aioboto3 s3fs gcsfs adlfs minio azure google.cloud "
            "googleapiclient dropbox openai anthropic"
        ),
    }.items()
}

ALLOWED = ("urllib.parse",)  # below a banned name, but harmless: it only splits text

_SHOWN_STAGES = 8
# Only some modules of these packages are harmful, so the hint allows a module, not the whole package.
_OF_MODULES = frozenset({"urllib", "http", "xmlrpc", "wsgiref", "google"})


class BanList:
    """The banned names. The spec comes before the built-in list. In each, the most specific name counts."""

    def __init__(self, banned: Iterable[str] = (), allowed: Iterable[str] = ()) -> None:
        """`banned` and `allowed` are the spec's lists; a name in both is banned."""
        self._built_in = dict.fromkeys((name for names in BANNED.values() for name in names), True)
        self._built_in.update(dict.fromkeys(ALLOWED, False))
        self._spec = {**dict.fromkeys(allowed, False), **dict.fromkeys(banned, True)}

    @property
    def names(self) -> tuple[str, ...]:
        """All banned names, in the order of the lists."""
        return tuple(name for name, is_banned in (*self._built_in.items(), *self._spec.items()) if is_banned)

    def bans(self, name: str) -> bool:
        """Whether a module of this name is banned, unless it is the pipeline's own."""
        by_spec = _most_specific(name, self._spec)
        return self._spec[by_spec] if by_spec else self._built_in.get(_most_specific(name, self._built_in), False)

    def banned_by_spec(self, name: str) -> str:
        """Return the name in the spec's list that bans `name`, or "". It bans the pipeline's own modules too."""
        by_spec = _most_specific(name, self._spec)
        return by_spec if by_spec and self._spec[by_spec] else ""

    def has_effect(self, allowed: str) -> bool:
        """Whether allowing a name changes anything: it is banned, or is above or below a banned name."""
        return any(f"{name}.".startswith(f"{allowed}.") or f"{allowed}.".startswith(f"{name}.") for name in self.names)

    def hint(self, names: Sequence[str]) -> str:
        """Return the hint for an import of these banned names."""
        by_spec = dict.fromkeys(filter(None, map(self.banned_by_spec, names)))
        if by_spec:
            return f'drop the import, or take {_listed(by_spec)} out of "offline": {{"bannedImports": [...]}}'
        allowed = _listed(dict.fromkeys(map(_to_allow, names)))
        return f'drop the import, or allow it (and still have no network): "offline": {{"allowImports": [{allowed}]}}'


class BannedImport(Fault):
    """A banned import of a stage. `chain`: the places of the imports that lead to it; its own place comes last.

    `statement` is the import, after its place.
    """

    __slots__ = ("stage", "statement")

    def __init__(self, stage: str, statement: str, chain: Sequence[str], hint: str) -> None:
        self.stage = stage
        self.statement = f"{chain[-1]}: {statement}"
        importers = f"\n  imported by {' -> '.join(chain)}" if len(chain) > 1 else ""
        super().__init__(f"stage {stage} imports a banned module", self.statement + importers, hint)


def merged(faults: Iterable[Fault]) -> tuple[Fault, ...]:
    """Return the faults, each once, with one for each banned import. It is the first stage's, and names the others."""
    blocks: dict[object, list[Fault]] = {}
    for fault in faults:
        key = fault.statement if isinstance(fault, BannedImport) else fault
        blocks.setdefault(key, []).append(fault)
    return tuple(map(_block, blocks.values()))


def _block(faults: list[Fault]) -> Fault:
    first = faults[0]
    others = list(dict.fromkeys(fault.stage for fault in faults if isinstance(fault, BannedImport)))[1:]
    if not others:
        return first
    more = "1 more stage imports" if len(others) == 1 else f"{len(others):,} more stages import"
    return Fault(first.where, f"{first.what}\n  {more} it: {listed(others, _SHOWN_STAGES)}", first.hint)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _to_allow(name: str) -> str:
    """Return the name to allow: `http.client` for that module, but `socket` for `socket.socket`."""
    top, _, rest = name.partition(".")
    return ".".join([top, *rest.split(".")[:1]]) if rest and top in _OF_MODULES else top


def _most_specific(name: str, rules: Mapping[str, bool]) -> str:
    """Return the longest of `rules` that is `name` or above it, or ""."""
    while name and name not in rules:
        name = name.rpartition(".")[0]
    return name
