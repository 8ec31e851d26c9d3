"""Recomputes all hashes of a state directory, so that a damaged record has the right hash.

Written from docs/audit.md alone: each record in the chain of its file, logs tied to the ledger, the ledger to logs.
"""

from __future__ import annotations

import hashlib
import json

from golden_tokens import canonical

LEDGER = "audit_ledger.jsonl"
ZEROS = "0" * 64

Files = dict[str, bytes]
Record = dict[str, object]


def parsed(content: bytes) -> list[Record]:
    return [json.loads(line) for line in content.splitlines()]


def joined(records: list[Record]) -> bytes:
    return b"".join(canonical(record) + b"\n" for record in records)


def chained(records: list[Record]) -> list[Record]:
    """Return the records with `prev` and `hash` recomputed."""
    prev, chain = ZEROS, []
    for record in records:
        body = {name: value for name, value in record.items() if name != "hash"} | {"prev": prev}
        prev = hashlib.sha256(b"offpipe audit record v1\n" + canonical(body)).hexdigest()
        chain.append({**body, "hash": prev})
    return chain


def sealed(files: Files) -> Files:
    """Return the files with all hashes in logs and ledger recomputed, also those of each other."""
    files, heads, ledger = dict(files), {}, []
    for record in parsed(files[LEDGER]):
        log, data = f"audit_{record.get('run')}.jsonl", record.get("data")
        if log in files and isinstance(data, dict):
            records = chained([with_head(entry, heads) for entry in parsed(files[log])])
            files[log] = joined(records)
            number = data.get("logSeq")
            if isinstance(number, int) and number < len(records):
                data["logHash"] = records[number]["hash"]
        ledger = chained([*ledger, record])
        heads[record.get("hash")] = ledger[-1]["hash"]
    return {**files, LEDGER: joined(ledger)}


def with_head(record: Record, heads: dict[object, object]) -> Record:
    """Return a record whose `ledgerHead` is replaced by the new hash of the same ledger record."""
    data = record.get("data")
    if isinstance(data, dict) and data.get("ledgerHead") in heads:
        return {**record, "data": {**data, "ledgerHead": heads[data["ledgerHead"]]}}
    return record


def marker(body: Record) -> bytes:
    """Return a completion marker with its checksum recomputed."""
    text = canonical({name: value for name, value in body.items() if name != "checksum"})
    checksum = hashlib.sha256(b"offpipe marker v1\n" + text).hexdigest()
    return b'%b,"checksum":"%b"}\n' % (text[:-1], checksum.encode())
