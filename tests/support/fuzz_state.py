"""The state files of a pipeline, and ways to damage each with correct checksums, so that readers must look inside."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import TYPE_CHECKING
from zlib import crc32

from fuzz_values import junk, mutated, spoilt, text_of
from hypothesis import strategies as st

from runner.canonical import canonical
from runner.record.seal import DOMAIN

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hypothesis.strategies import SearchStrategy

LOGS = ("the open run's log", "the closed run's log", "the ledger")
KINDS = ("marker", "instance", "progress", "cache", "metrics", "lock", *LOGS)


def path_of(root: Path, kind: str) -> Path:
    """Return the path of the file of this kind; of several, one that matters to the next run."""
    state = root / "state"
    if kind in LOGS[:2]:
        runs = sorted((path for path in state.glob("audit_2*.jsonl")), key=lambda path: b"run.end" in path.read_bytes())
        return runs[0] if kind == LOGS[0] else runs[-1]
    if kind == "metrics":
        return state / path_of(root, LOGS[0]).name.replace("audit_", "metrics_").replace(".jsonl", ".json")
    if kind == "a stage's log":
        return state / "logs" / path_of(root, LOGS[0]).stem.removeprefix("audit_") / "last.1.log"
    markers = {"marker": "stage_copy.json", "instance": "stage_many@one.json"}
    names = {**markers, "progress": "progress_last.json", "cache": "files.json"}
    return root / "locks/pipeline.lock" if kind == "lock" else state / names.get(kind, "audit_ledger.jsonl")


def _marker(value: object) -> bytes:
    try:
        text = canonical(value)
    except ValueError:  # NaN
        return text_of(value)
    return b'%b,"checksum":"%b"}\n' % (text[:-1], sha256(b"offpipe marker v1\n" + text).hexdigest().encode())


def _cache(value: object) -> bytes:
    text = text_of(value)[:-1]
    return b'%b,"crc32":"%08x"}' % (text, crc32(text))


def chained(records: object) -> bytes:
    """Return records as the lines of a log with correct hashes. What is not a record stays as it is."""
    lines, prev = [], "0" * 64
    for record in records if isinstance(records, list) else [records]:
        if not isinstance(record, dict):
            lines.append(text_of(record))
            continue
        body = {**record, "prev": prev}
        try:
            prev = sha256(DOMAIN + canonical(body)).hexdigest()
            lines.append(canonical({**body, "hash": prev}))
        except ValueError:
            lines.append(text_of(body))
    return b"".join(line + b"\n" for line in lines)


SPELL: dict[str, Callable[[object], bytes]] = {
    "marker": _marker, "instance": _marker, "cache": _cache, **dict.fromkeys(LOGS, chained),
}  # fmt: skip


def value_in(kind: str, content: bytes) -> object:
    """Return the content of an undamaged file, without its checksums."""
    if kind in LOGS:
        records = [json.loads(line) for line in content.splitlines()]
        return [{name: value for name, value in record.items() if name != "hash"} for record in records]
    value = json.loads(content)
    return {name: member for name, member in value.items() if name not in {"checksum", "crc32"}}


def damages(kind: str, content: bytes) -> SearchStrategy[bytes]:
    """Return bytes that replace an undamaged file: odd content with correct checksums, and spoilt bytes."""
    value = value_in(kind, content)
    whole = (mutated([value], most=2) | junk).map(SPELL.get(kind, text_of))
    if kind in LOGS:
        whole |= st.lists(st.sampled_from(value), max_size=8).map(chained)
        whole |= _one_odd_record(value)
    return whole | spoilt(content)


@st.composite
def _one_odd_record(draw: st.DrawFn, records: list[object]) -> bytes:
    """Return a log with one odd record. The others stay, so that the reader gets as far as that record."""
    at = draw(st.integers(0, len(records) - 1))
    odd = draw(mutated([records[at]], most=2))
    return chained([*records[:at], odd, *records[at + 1 :]])
