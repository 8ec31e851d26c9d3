"""Every change to the ledger is found, for each kind of line: each field, each cut, each swap."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from itertools import islice
from typing import TYPE_CHECKING

import pytest
from audit_bench import LEDGER, State, chained, make_history
from pipeline_bench import ROOT, PipelineBench
from suites import full_but

from runner.canonical import KEY_VARIABLE, canonical
from runner.cli.render import runs_json, runs_lines, status_lines
from runner.engine import Options
from runner.record.seal import PLAIN, Seal
from runner.verbs.history import runs
from runner.verbs.query import status

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = b"k" * 40


@pytest.fixture(scope="module", params=[False, pytest.param(True, marks=pytest.mark.full)], ids=["plain", "keyed"])
def history(request, tmp_path_factory):
    """A workspace whose ledger has each kind of line, and its seal."""
    base = tmp_path_factory.mktemp("history")
    (base / "key").write_bytes(KEY)
    bench = PipelineBench(base / "work")
    with pytest.MonkeyPatch.context() as patch:
        if request.param:
            patch.setenv(KEY_VARIABLE, str(base / "key"))
        make_history(bench)
    bench.close()
    return base, Seal(KEY) if request.param else PLAIN


@pytest.fixture
def state(history, tmp_path):
    return State(history[0] / "work/state", tmp_path / "state")


@pytest.fixture
def seal(history):
    return history[1]


def kinds(records) -> list[str]:
    return [f"{record['ev']}{'' if 'logHash' in record['data'] else ' without a log'}" for record in records]


def one_of_each(records) -> dict[int, dict[str, object]]:
    """Return the last record, and the last of each kind before it, by position."""
    places = {kind: at for at, kind in enumerate(kinds(records[:-1]))}
    return {at: records[at] for at in (*places.values(), len(records) - 1)}


def changed(value: object) -> Iterator[tuple[str, object]]:
    """Yield each place in a JSON value with a copy of the value that differs there, and nowhere else."""
    if isinstance(value, dict):
        for name, member in value.items():
            yield f".{name} left out", {key: other for key, other in value.items() if key != name}
            for place, other in changed(member):
                yield f".{name}{place}", {**value, name: other}
        yield ".more", {**value, "more": 1}
    elif isinstance(value, list):
        for at, member in enumerate(value):
            for place, other in changed(member):
                yield f"[{at}]{place}", [*value[:at], other, *value[at + 1 :]]
        yield "[]", [*value, "more"]
    elif isinstance(value, int):
        yield "", value + 1
    elif value is None:
        yield "", "none"
    else:
        text = str(value)
        yield "", f"{'b' if text[:1] == 'a' else 'a'}{text[1:]}"


def test_the_story_has_each_kind_of_line_and_is_intact(state, seal):
    result = state.verify(seal=seal)
    assert (result.damage, result.incomplete, result.notes, result.missing_key) == ([], [], [], None)
    assert set(kinds(state.records(LEDGER))) == {
        "opened", "ended", "ended without a log", "superseded", "closed", "noop", "pruned without a log",
    }  # fmt: skip
    (pruned,) = (record["data"] for record in state.records(LEDGER) if record["ev"] == "pruned")
    assert pruned["runs"] and pruned["commits"] and result.pruned == len(pruned["runs"])


def test_each_changed_field_is_found_in_its_line(state, seal):
    records, lines, unnoticed, tried = one_of_each(state.records(LEDGER)), state.lines(LEDGER), [], 0
    for at, record in records.items():
        for place, forged in changed(record):
            state.put(LEDGER, [*lines[:at], canonical(forged) + b"\n", *lines[at + 1 :]])
            tried += 1
            if (LEDGER, at + 1) not in [found[:2] for found in state.damage(seal=seal)]:
                unnoticed.append((at + 1, record["ev"], place))
    assert unnoticed == []
    assert tried > 15 * len(records)


@pytest.mark.full
def test_each_changed_field_is_found_although_its_line_has_the_right_hash(state, seal):
    """The next line names the old hash. For the last line, the printed head does."""
    records, lines, unnoticed = state.records(LEDGER), state.lines(LEDGER), []
    head = records[-1]["hash"]
    for at, record in one_of_each(records).items():
        for place, data in changed(record["data"]):
            (line,) = chained([{**record, "data": data}], records[:at], seal)
            state.put(LEDGER, [*lines[:at], line, *lines[at + 1 :]])
            if not state.damage(seal=seal, expect_head=head):
                unnoticed.append((at + 1, record["ev"], place))
    assert unnoticed == []


@pytest.mark.parametrize("step", full_but([4, 1], [4]))
def test_a_line_of_another_shape_is_left_out_of_every_answer(state, step):
    """A forger may give it the right hash. Then only the head shows the change."""
    records, lines = state.records(LEDGER), state.lines(LEDGER)

    def misshapen(value: object) -> Iterator[object]:
        yield from (1, "\x1b[31m", [1], {"a": [1]}, True)
        for name, member in value.items() if isinstance(value, dict) else ():
            yield from ({**value, name: other} for other in misshapen(member))

    for at, record in one_of_each(records[:-2]).items():  # `status` refuses to go on behind a damaged end
        for forged in islice(misshapen(record), None, None, step):
            state.put(LEDGER, [*lines[:at], json.dumps(forged).encode() + b"\n", *lines[at + 1 :]])
            past = runs(str(state.path), Options())
            assert len(records) > len(past) > 3
            assert "\x1b" not in "".join(runs_lines(past))
            assert runs_json(past)
            assert "".join(status_lines(status(str(state.path), Options()), full=True))


@pytest.mark.parametrize(
    "how", ["removed", "doubled", "swapped with the next", "moved to the end", "cut in the middle"]
)
def test_lines_that_are_not_where_they_were_are_found(state, seal, how):
    lines, unnoticed = state.lines(LEDGER), []
    for at, line in enumerate(lines[:-1]):
        before, after = lines[:at], lines[at + 1 :]
        arranged = {
            "removed": [*before, *after],
            "doubled": [*before, line, line, *after],
            "swapped with the next": [*before, after[0], line, *after[1:]],
            "moved to the end": [*before, *after, line],
            "cut in the middle": [*before, line[: len(line) // 2] + b"\n", *after],
        }
        state.put(LEDGER, arranged[how])
        if not state.damage(seal=seal):
            unnoticed.append((at + 1, json.loads(line)["ev"]))
    assert unnoticed == []


def test_a_cut_tail_is_damage_or_incomplete_and_never_has_the_expected_head(state, seal):
    lines, records = state.lines(LEDGER), state.records(LEDGER)
    head = records[-1]["hash"]
    for kept in range(1, len(lines)):
        state.put(LEDGER, lines[:kept])
        assert state.damage(seal=seal, expect_head=head), kept
        result = state.verify(seal=seal)
        if any("logHash" in record["data"] for record in records[kept + 1 :]):
            assert result.damage, kept
        state.put(LEDGER, [*lines[:kept], lines[kept][:-30]])
        torn = state.verify(seal=seal)
        assert torn.damage or any(remark.file == LEDGER for remark in torn.incomplete), kept


def test_the_independent_checker_of_the_docs_knows_each_kind_of_line(state, seal, history, tmp_path):
    program = re.search(r"```python\n(.*?)```", (ROOT / "docs/audit.md").read_text(), re.DOTALL)[1]
    words = [sys.executable, "-I", "-c", program, str(state.path), *([str(history[0] / "key")] if seal.id else [])]

    def check() -> subprocess.CompletedProcess[str]:
        return subprocess.run(words, capture_output=True, text=True, check=False)

    records, lines = state.records(LEDGER), state.lines(LEDGER)
    done = check()
    assert (done.stdout, done.stderr) == (f"intact, head {records[-1]['hash']}\n", "")
    for at in [*one_of_each(records)][:-1]:
        _, forged = next(changed(records[at]["data"]))
        for line in (canonical({**records[at], "data": forged}) + b"\n", b""):
            state.put(LEDGER, [*lines[:at], line, *lines[at + 1 :]])
            assert check().returncode == 1, kinds(records)[at]
