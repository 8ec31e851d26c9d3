"""Ways to damage a state directory: each is a name and the damaged files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from golden_seals import LEDGER, Files, Record, joined, marker, parsed, sealed

if TYPE_CHECKING:
    from collections.abc import Iterator

REHASHED = frozenset(("hash", "prev", "logHash"))  # `sealed` would repair these


def damages(files: Files) -> Iterator[tuple[str, Files]]:
    yield "none", files
    yield "none, hashed anew", sealed(files)
    events: set[str] = set()
    for name in sorted(name for name in files if name.endswith(".jsonl")):
        yield from by_line(name, files)
        yield from by_field(name, files, events)
    for name in (LEDGER, "audit_one.jsonl"):
        yield from by_spelling(name, files)
    for name in ("metrics_one.json", "metrics_three.json", "stage_sort.json", "stage_tree.json"):
        yield from by_json(name, files)
    for name in sorted(files):
        yield f"{name} missing", {other: content for other, content in files.items() if other != name}
        yield f"{name} empty", {**files, name: b""}
        yield f"{name} cut", {**files, name: half(files[name])}
    yield from by_file(files)


def by_line(name: str, files: Files) -> Iterator[tuple[str, Files]]:
    lines = files[name].splitlines(keepends=True)
    for number, line in enumerate(lines, 1):
        before, after = lines[: number - 1], lines[number:]
        yield f"{name}:{number} missing", {**files, name: b"".join([*before, *after])}
        if number in (1, len(lines) // 2, len(lines)):
            yield f"{name}:{number} twice", {**files, name: b"".join([*before, line, line, *after])}
            yield f"{name}:{number} behind the next", {**files, name: b"".join([*before, *after[:1], line, *after[1:]])}
    yield f"{name} without its line end", {**files, name: files[name][:-1]}
    yield f"{name} with half a line more", {**files, name: files[name] + b'{"data":'}
    yield f"{name} with an empty line", {**files, name: files[name] + b"\n"}


def by_field(name: str, files: Files, events: set[str]) -> Iterator[tuple[str, Files]]:
    """Change or drop each field of the first record of each event, mostly with all hashes recomputed."""
    records = parsed(files[name])
    for number, record in enumerate(records):
        if record["ev"] in events:
            continue
        events.add(record["ev"])
        for way in [(field,) for field in record] + [("data", field) for field in record["data"]]:
            case = f"{name}:{number + 1} {record['ev']} {'.'.join(way)}"
            for what, value in (("changed", other(at(record, way))), ("missing", None)):
                damaged = [
                    *records[:number],
                    put(record, way, value, missing=what == "missing"),
                    *records[number + 1 :],
                ]
                changed = {**files, name: joined(damaged)}
                if way[-1] in REHASHED or way == ("seq",) or (what == "changed" and len(way) == 1):
                    yield f"{case} {what}", changed
                else:
                    yield f"{case} {what}, hashed anew", sealed(changed)


def by_spelling(name: str, files: Files) -> Iterator[tuple[str, Files]]:
    """Spell the second record in other ways."""
    lines = files[name].splitlines(keepends=True)
    line, record = lines[1], parsed(lines[1])[0]
    version = b'"v":%d' % record["v"]
    ways = {
        "white space": line.replace(b":", b": ", 1),
        "order of keys": json.dumps(dict(reversed(record.items())), separators=(",", ":")).encode() + b"\n",
        "escape": line.replace(b"data", b"\\u0064ata", 1),
        "number": line.replace(version, version + b".0"),
        "large number": line.replace(b'"seq":1', b'"seq":9007199254740993'),
        "NaN": line.replace(b'"seq":1', b'"seq":NaN'),
        "key twice": line.replace(version, b"%b,%b" % (version, version)),
        "field more": line.replace(version, version + b',"w":1'),
        "not UTF-8": line.replace(b'"ev":"', b'"ev":"\xff', 1),
        "no JSON": b"record\n",
        "no object": b"[]\n",
        "deep": b"[" * 100_000 + b"\n",
        "CR LF": line.replace(b"\n", b"\r\n"),
        "newer": line.replace(version, b'"v":%d' % (record["v"] + 1)),
    }
    for what, spelled in ways.items():
        assert spelled != line, what
        yield f"{name}:2 spelled: {what}", {**files, name: b"".join([lines[0], spelled, *lines[2:]])}


def by_json(name: str, files: Files) -> Iterator[tuple[str, Files]]:
    """Change or drop each field of a marker or metrics file; recompute a marker's checksum or don't."""
    value = json.loads(files[name])
    for field in value:
        for what in ("changed", "missing"):
            damaged = put(value, (field,), other(value[field]), missing=what == "missing")
            yield f"{name} {field} {what}", {**files, name: json.dumps(damaged, separators=(",", ":")).encode() + b"\n"}
            if name.startswith("stage_") and field != "checksum":
                yield f"{name} {field} {what}, with its checksum", {**files, name: marker(damaged)}


def by_file(files: Files) -> Iterator[tuple[str, Files]]:
    one, two = files["audit_one.jsonl"], files["audit_two.jsonl"]
    yield "two logs exchanged", {**files, "audit_one.jsonl": two, "audit_two.jsonl": one}
    yield (
        "two markers exchanged",
        {**files, "stage_sort.json": files["stage_tree.json"], "stage_tree.json": files["stage_sort.json"]},
    )
    yield "a log under another name", {**files, "audit_four.jsonl": two}
    forged = joined([{**record, "run": "four"} for record in parsed(two)])
    yield "a forged log", {**files, "audit_four.jsonl": forged}
    yield "metrics of no run", {**files, "metrics_four.json": files["metrics_two.json"]}
    yield "a marker of no stage", {**files, "stage_four.json": files["stage_sort.json"]}
    ledger = files[LEDGER].splitlines(keepends=True)
    for cut in range(1, len(ledger)):
        yield f"the ledger without its last {cut}", {**files, LEDGER: b"".join(ledger[:-cut])}


def damages_of_killed(files: Files) -> Iterator[tuple[str, Files]]:
    log = "audit_first.jsonl"
    whole = files[log][: files[log].rindex(b"\n") + 1]
    yield "none", files
    for number, _ in enumerate(whole.splitlines(), 1):
        lines = whole.splitlines(keepends=True)
        yield f"only {number} lines", {**files, log: b"".join(lines[:number])}
        yield f"line {number} missing", {**files, log: b"".join(lines[: number - 1] + lines[number:])}
    for name in files:
        yield f"{name} missing", {other: content for other, content in files.items() if other != name}
        yield f"{name} empty", {**files, name: b""}


def half(content: bytes) -> bytes:
    """Return a file cut in the middle of its middle line, whatever its length in bytes."""
    lines = content.splitlines(keepends=True)
    middle = len(lines) // 2
    return b"".join(lines[:middle]) + lines[middle][: len(lines[middle]) // 2]


def at(record: Record, way: tuple[str, ...]) -> object:
    for step in way:
        record = record[step]  # type: ignore[assignment]
    return record


def put(record: Record, way: tuple[str, ...], value: object, *, missing: bool) -> Record:
    if len(way) > 1:
        return {**record, way[0]: put(record[way[0]], way[1:], value, missing=missing)}  # type: ignore[arg-type]
    if missing:
        return {name: member for name, member in record.items() if name != way[0]}
    return {**record, way[0]: value}


def other(value: object) -> object:
    """Return another value of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 1
    if isinstance(value, str):
        return f"{value[:-1]}{'0' if value[-1:] != '0' else '1'}"
    return [*value, "x"] if isinstance(value, list) else {**value, "x": 1} if isinstance(value, dict) else "x"
