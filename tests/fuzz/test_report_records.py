"""`report` answers any record with valid hashes with a page or a message."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from fuzz_calls import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.canonical import GENESIS
from runner.engine import Options
from runner.errors import EXIT_DAMAGED, EXIT_OK, DamagedRecordError
from runner.extras.report.page import make_page
from runner.record.log import encode_record

if TYPE_CHECKING:
    from random import Random

pytestmark = pytest.mark.full
VALUES = (
    None, 0, -1, 1 << 52, "", "x<b>", [], {}, [[1]], {"a": {}}, True, ["a", "b"], [None] * 4, "2026-11-29T02:00:00Z",
)  # fmt: skip


def changed(value: object, random: Random) -> object:
    """Return a value with one part replaced or left out, at any depth, even inside text that is JSON."""
    if isinstance(value, dict) and value and random.random() < 0.8:
        name = random.choice(sorted(value))
        rest = {other: member for other, member in value.items() if other != name}
        return rest if random.random() < 0.2 else {**rest, name: changed(value[name], random)}
    if isinstance(value, list) and value and random.random() < 0.8:
        index = random.randrange(len(value))
        return [*value[:index], changed(value[index], random), *value[index + 1 :]]
    if isinstance(value, str) and value.startswith("{") and random.random() < 0.7:
        return json.dumps(changed(json.loads(value), random), sort_keys=True, separators=(",", ":"))
    return random.choice(VALUES)


def test_any_payload_gives_a_page_or_a_message(place, tmp_path) -> None:
    logs = [path for path in (place / "state").glob("audit_*.jsonl") if path.name != "audit_ledger.jsonl"]

    @settings(max_examples=examples(30))
    @given(random=st.randoms(use_true_random=False))
    def check(random: Random) -> None:
        copy = tmp_path / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(place / "state", copy, ignore=shutil.ignore_patterns("tmp", "logs", "files.json"))
        log = copy / random.choice(sorted(path.name for path in logs))
        records = [json.loads(line) for line in log.read_text().splitlines()]
        chosen, prev, lines = random.randrange(len(records)), GENESIS, []
        for seq, record in enumerate(records):
            data = changed(record["data"], random) if seq == chosen else record["data"]
            data = data if isinstance(data, dict) else {}
            line, prev = encode_record(seq, record["run"], record["ts"], record["ev"], data, prev)
            lines.append(line)
        log.write_bytes(b"".join(lines))
        with suppress(DamagedRecordError):  # a message
            page = make_page(str(copy), Options(), records[0]["run"])
            assert page.exit_code in {EXIT_OK, EXIT_DAMAGED} and page.html.endswith("</html>")

    check()
