"""Every change, cut, swap or forgery in a state directory is found, by file, line and field."""

from __future__ import annotations

import json
import os
import shutil
from itertools import product

import pytest
from audit_bench import LEDGER, State, make_runs
from pipeline_bench import PipelineBench
from suites import full_but

from runner.canonical import GENESIS, canonical
from runner.record.events import OPENED, decode
from runner.record.ledger import Ledger
from runner.record.log import Position
from runner.record.markers import Marker
from runner.record.seal import PLAIN

FIRST, RESUMED, THIRD, IDLE = (f"audit_{run}.jsonl" for run in ("first", "resumed", "third", "idle2"))


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    bench = PipelineBench(tmp_path_factory.mktemp("story"))
    make_runs(bench)
    yield bench
    bench.close()


@pytest.fixture
def state(story, tmp_path):
    return State(story.root / "state", tmp_path / "state")


# ---- undisturbed -----------------------------------------------------------------------------------------------------


def test_nothing_is_found_where_nothing_was_changed(state):
    result = state.verify()
    assert (result.damage, result.incomplete, result.notes) == ([], [], [])
    assert (result.runs, result.pipeline, result.head) == (6, "bench", state.records(LEDGER)[-1]["hash"])
    assert result.records == sum(len(state.lines(path.name)) for path in state.path.glob("audit_*"))


def test_missing_markers_and_files_without_a_record_are_no_damage(state):
    for name in ("files.json", "logs", "tmp"):
        path = state.file(name)
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    for stage in ("a", "b@1", "c"):
        state.file(f"stage_{stage}.json").unlink()  # as `clean` does
    state.file("progress_a.json").write_text("anything")
    assert state.damage() == []


def test_one_run_is_verified_with_the_whole_ledger(state):
    state.edit(FIRST, lambda lines: lines[:-1])
    assert state.damage(run="third") == []
    assert {file for file, _, _ in state.damage(run="first")} >= {FIRST}
    assert not state.verify(run="none").known
    state.edit(LEDGER, lambda lines: lines[1:])
    assert (LEDGER, 1, "seq") in state.damage(run="third")


# ---- lines -----------------------------------------------------------------------------------------------------------


def flip(line, old, new):
    assert old in line
    return line.replace(old, new, 1)


def respelled(line, **changes):
    """Return the line of a record with other values and its old hash."""
    return canonical({**json.loads(line), **changes}) + b"\n"


LINE_EDITS = {
    "a letter of a value": (lambda line: flip(line, b'"ev":"', b'"ev":"x'), "hash"),
    "the hash": (lambda line: flip(line, b'"hash":"', b'"hash":"0')[:-2] + line[-2:], "hash"),
    "a time": (lambda line: respelled(line, ts="2020-01-01T00:00:00.000000Z"), "hash"),
    "white space": (lambda line: b" " + line, "data"),
    "white space inside": (lambda line: flip(line, b',"run":', b', "run":'), "run"),
    "white space at the end": (lambda line: line[:-1] + b" \n", "v"),
    "a carriage return": (lambda line: line[:-1] + b"\r\n", "v"),
    "the order of keys": (lambda line: b'{"v":1,' + flip(line, b',"v":1}', b"}")[1:], "data"),
    "an escape": (lambda line: flip(line, b'"prev"', b'"\\u0070rev"'), "prev"),
    "a number with a fraction": (lambda line: flip(line, b',"v":1}', b',"v":1.0}'), ""),
    "a number with an exponent": (lambda line: flip(line, b',"v":1}', b',"v":1e0}'), ""),
    "a key twice": (lambda line: flip(line, b'"v":1}', b'"v":1,"v":1}'), "v"),
    "a field more": (lambda line: respelled(line, extra=1), '"extra"'),
    "a field less": (lambda line: canonical({k: v for k, v in json.loads(line).items() if k != "ts"}) + b"\n", "ts"),
    "NaN": (lambda line: flip(line, b',"v":1}', b',"v":NaN}'), ""),
    "another version": (lambda line: flip(line, b',"v":1}', b',"v":7}'), "v"),
    "text as number": (lambda line: flip(line, b',"v":1}', b',"v":"1"}'), "v"),
    "a bool as number": (lambda line: flip(line, b',"v":1}', b',"v":true}'), "v"),
    "half of it": (lambda line: line[: len(line) // 2] + b"\n", ""),
    "all of it": (lambda line: b"\n", ""),
    "zeros": (lambda line: b"\0" * (len(line) - 1) + b"\n", ""),
    "bytes that are no text": (lambda line: line[:-3] + b"\xff\xfe\n", ""),
    "a byte order mark": (lambda line: b"\xef\xbb\xbf" + line, ""),
    "another run": (lambda line: respelled(line, run="other"), "hash"),
}  # fmt: skip


def edits_of_lines():
    """By default, every edit of one line and one edit of every other line; all others are left to --full."""
    for name, where, edit in product((FIRST, RESUMED, IDLE, LEDGER), ("first", "middle", "last"), LINE_EDITS):
        is_default = edit == "a time" or (name, where) == (FIRST, "middle")
        yield pytest.param(name, where, edit, marks=() if is_default else pytest.mark.full)


@pytest.mark.parametrize(("name", "where", "edit"), [*edits_of_lines()])
def test_a_changed_line_is_named_with_its_field(state, name, where, edit):
    lines = state.lines(name)
    at = {"first": 0, "middle": len(lines) // 2, "last": len(lines) - 1}[where]
    change, field = LINE_EDITS[edit]
    lines[at] = change(lines[at])
    state.put(name, lines)
    faults = state.damage()
    assert (name, at + 1, field) in faults
    assert {fault[1] for fault in faults if fault[0] == name} <= {0, at + 1, len(lines)}


def test_only_the_changed_line_is_reported(state):
    state.edit(FIRST, lambda lines: [*lines[:2], respelled(lines[2], ts="T"), *lines[3:]])
    assert state.damage() == [(FIRST, 3, "hash")]


def test_all_damage_is_reported_and_not_only_the_first(state):
    for name, at in ((FIRST, 1), (FIRST, 4), (RESUMED, 2), (LEDGER, 3)):
        state.edit(name, lambda lines, at=at: [*lines[:at], respelled(lines[at], ts="T"), *lines[at + 1 :]])
    state.file("metrics_third.json").write_bytes(b"{}\n")
    assert set(state.damage()) >= {
        (FIRST, 2, "hash"), (FIRST, 5, "hash"), (RESUMED, 3, "hash"), (LEDGER, 4, "hash"),
        ("metrics_third.json", 0, ""),
    }  # fmt: skip


ARRANGEMENTS = {
    "deleted": (lambda lines: [*lines[:2], *lines[3:]], (3, "seq")),
    "the first deleted": (lambda lines: lines[1:], (1, "seq")),
    "two deleted": (lambda lines: [*lines[:1], *lines[3:]], (2, "seq")),
    "swapped": (lambda lines: [*lines[:1], lines[2], lines[1], *lines[3:]], (2, "seq")),
    "duplicated": (lambda lines: [*lines[:3], lines[2], *lines[3:]], (4, "seq")),
    "reversed": (lambda lines: lines[::-1], (1, "seq")),
    "all twice": (lambda lines: lines + lines, None),
    "merged": (lambda lines: [*lines[:1], lines[1][:-1] + lines[2], *lines[3:]], (2, "")),
    "cut short and joined": (lambda lines: [*lines[:1], lines[1][:40] + lines[2], *lines[3:]], (2, "")),
}  # fmt: skip


@pytest.mark.parametrize("name", full_but([FIRST, LEDGER, RESUMED], [FIRST, LEDGER]))
@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
def test_lines_that_were_moved_are_named(state, name, arrangement):
    change, place = ARRANGEMENTS[arrangement]
    count = len(state.lines(name))
    state.edit(name, change)
    place = place or (count + 1, "seq")
    faults = state.damage()
    assert (name, *place) in faults
    assert len(faults) <= 4 or arrangement in {"reversed", "all twice"}


def test_a_line_of_another_log_is_named(state):
    state.edit(FIRST, lambda lines: [*lines[:2], state.lines(THIRD)[2], *lines[3:]])
    faults = state.damage()
    assert {(FIRST, 3, "run"), (FIRST, 3, "prev")} <= set(faults)


@pytest.mark.parametrize("name", [FIRST, RESUMED, IDLE])
@pytest.mark.parametrize("count", [1, 2, 1000])
def test_a_tail_cut_by_lines_is_named(state, name, count):
    state.edit(name, lambda lines: lines[:-count])
    assert {fault[0] for fault in state.damage()} >= {name}


@pytest.mark.parametrize("name", full_but([FIRST, RESUMED, IDLE], [FIRST]))
@pytest.mark.parametrize("count", [1, 2, 70, 200, 600])
def test_a_tail_cut_by_bytes_is_named(state, name, count):
    whole = state.file(name).read_bytes()
    state.file(name).write_bytes(whole[:-count])
    kept = whole[:-count].count(b"\n")
    assert any(fault[0] == name and fault[1] in {kept, kept + 1} for fault in state.damage())


def test_the_ledgers_last_line_cut_off_is_incomplete_and_more_is_damage(state):
    lines = state.lines(LEDGER)
    state.put(LEDGER, lines[:-1])
    result = state.verify()
    assert (result.damage, [remark.file for remark in result.incomplete]) == ([], [IDLE])
    for count in range(2, len(lines)):
        state.put(LEDGER, lines[:-count])
        assert state.damage(), count
    state.put(LEDGER, [*lines[:-1], lines[-1][:-30]])
    assert sorted(remark.file for remark in state.verify().incomplete) == [IDLE, LEDGER]


@pytest.mark.parametrize("name", [FIRST, LEDGER])
def test_a_line_end_that_was_changed_is_no_torn_line(state, name):
    for byte in (b"", b"\0", b" ", b"\r", b"x"):
        state.edit(name, lambda lines, byte=byte: [*lines[:-1], lines[-1][:-1] + byte])
        found = state.verify().findings
        assert bool(found.damage) == bool(name == FIRST or byte), byte
        assert found.damage or found.incomplete
        state.edit(name, lambda lines: [*lines[:-1], lines[-1].rstrip(b"\0 \rx\n") + b"\n"])


# ---- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [FIRST, RESUMED, IDLE, "metrics_first.json", "metrics_idle1.json"])
def test_a_deleted_file_is_named(state, name):
    state.file(name).unlink()
    assert (name, 0, "") in state.damage()


def test_without_the_ledger_every_log_is_damage(state):
    state.file(LEDGER).unlink()
    assert {fault[0] for fault in state.damage()} >= {FIRST, RESUMED, THIRD}


@pytest.mark.parametrize(("one", "other"), [
    (FIRST, THIRD), ("audit_idle1.jsonl", IDLE), ("metrics_first.json", "metrics_third.json"),
    ("stage_a.json", "stage_c.json"), (FIRST, LEDGER),
])  # fmt: skip
def test_swapped_files_are_both_named(state, one, other):
    content = state.file(one).read_bytes()
    state.file(one).write_bytes(state.file(other).read_bytes())
    state.file(other).write_bytes(content)
    assert {name for name, _, _ in state.damage()} >= {one, other}


@pytest.mark.parametrize("stage", ["a", "b@1", "c"])
def test_an_edited_marker_is_named_though_its_checksum_is_right(state, stage):
    path = state.file(f"stage_{stage}.json")
    marker = Marker.decode(path.read_bytes())
    for edited in (
        marker._replace(key="0" * 64), marker._replace(reasons=[]), marker._replace(components={}),
        marker._replace(outputs={name: made._replace(sha256="0" * 64) for name, made in marker.outputs.items()}),
        marker._replace(outputs={name: made._replace(inode=1) for name, made in marker.outputs.items()}),
        marker._replace(audit_seq=0), marker._replace(run="first", audit_seq=1), marker._replace(run="nowhere"),
    ):  # fmt: skip
        path.write_bytes(edited.encode())
        assert [fault[0] for fault in state.damage()] == [path.name]
    for content in (b"", b"\0" * 100, b"{}", b"[" * 100_000, path.read_bytes()[:-1]):
        path.write_bytes(content)
        assert [fault[0] for fault in state.damage()] == [path.name]


def test_an_older_marker_that_was_put_back_is_named(state):
    record = next(record for record in state.records(FIRST) if record["ev"] == "stage.commit")
    commit = decode(record["ev"], record["data"])
    state.file("stage_a.json").write_bytes(commit.marker("first", record["seq"]).encode())
    assert state.damage() == [("stage_a.json", 0, "auditSeq")]


@pytest.mark.parametrize("run", ["first", "resumed", "idle1", "third", "moved"])
def test_edited_metrics_are_named(state, run):
    path = state.file(f"metrics_{run}.json")
    path.write_bytes(path.read_bytes().replace(b"0", b"1", 1))
    assert state.damage() == [(path.name, 0, "")]


# ---- forgeries: every hash is right ----------------------------------------------------------------------------------


def rewritten(field, value):
    def change(records):
        for record in records:
            if field in record["data"]:
                record["data"][field] = value

    return change


@pytest.mark.parametrize("name", [FIRST, RESUMED, IDLE])
def test_a_consistent_rewrite_of_one_log_does_not_fit_the_ledger(state, name):
    state.rewrite(name, rewritten("user", "nobody"))
    faults = state.damage()
    assert {(name, len(state.lines(name)), "hash")} <= set(faults)
    assert {fault[0] for fault in faults} == {name}


def test_a_consistent_rewrite_of_a_logs_end_does_not_fit_the_ledger(state):
    last = len(state.lines(FIRST)) - 1
    state.rewrite(FIRST, rewritten("status", "SUCCEEDED"), start=last)
    assert state.damage() == [(FIRST, last + 1, "hash")]


def test_a_consistent_rewrite_of_the_ledger_does_not_fit_the_logs(state):
    def drop(records):
        del records[2:4]

    state.rewrite(LEDGER, drop)
    assert ("audit_resumed.jsonl", 1, "data.ledgerHead") in state.damage()


SEALED = {
    "records": 3, "metricsSha256": "0" * 64, "outputs": 7, "outputsSha256": "0" * 64,
    "specSha256": "0" * 64, "ledgerHead": "0" * 63 + "1",
}  # fmt: skip


@pytest.mark.parametrize("field", SEALED)
def test_what_a_log_says_of_itself_must_be_true_even_if_the_ledger_was_rewritten_to_fit(state, field):
    """The last run and the ledger's last line are rewritten; only a contradiction remains."""
    state.rewrite(IDLE, rewritten(field, SEALED[field]))
    refit(state, IDLE)
    name = "metrics_idle2.json" if field == "metricsSha256" else IDLE
    faults = state.damage()
    assert [fault[0] for fault in faults] == [name]
    assert faults[0][2] == ("" if field == "metricsSha256" else f"data.{field}")


@pytest.mark.parametrize(
    ("holder", "is_right"), [("moved", True), ("first", False), ("idle2", False), ("nobody", False), (3, False)]
)  # the first had another spec
def test_a_log_without_its_spec_must_name_a_log_that_has_it(state, holder, is_right):
    def leave_out(records):
        del records[0]["data"]["spec"]
        records[0]["data"]["specIn"] = holder

    state.rewrite(IDLE, leave_out)
    refit(state, IDLE)
    assert state.damage() == ([] if is_right else [(IDLE, 1, "data.specIn")])
    state.rewrite(IDLE, rewritten("specSha256", "0" * 64))
    refit(state, IDLE)
    assert state.damage() == [(IDLE, 1, "data.specIn")]


def test_a_missing_log_is_not_reported_again_by_runs_that_name_its_spec(state):
    def leave_out(records):
        del records[0]["data"]["spec"]
        records[0]["data"]["specIn"] = "first"

    state.rewrite(IDLE, leave_out)
    refit(state, IDLE)
    state.file(FIRST).unlink()
    assert (IDLE, 1, "data.specIn") not in state.damage()


def refit(state, name, seal=PLAIN):
    """Let the ledger's last line refer to the end of a rewritten log."""
    end = state.records(name)[-1]

    def change(records):
        records[-1]["data"].update(logSeq=end["seq"], logHash=end["hash"])

    state.rewrite(LEDGER, change, start=len(state.lines(LEDGER)) - 1, seal=seal)


def test_a_consistent_rewrite_of_everything_shows_against_the_head_only(state):
    head = state.records(LEDGER)[-1]["hash"]
    state.rewrite(IDLE, rewritten("user", "nobody"))
    refit(state, IDLE)
    assert state.damage() == []
    assert state.damage(expect_head=head) == [(LEDGER, len(state.lines(LEDGER)), "hash")]


def test_a_rollback_shows_against_the_head_and_an_earlier_head_by_its_line(state, story):
    lines = state.records(LEDGER)
    last = state.verify(expect_head=lines[-2]["hash"]).findings.damage
    assert len(last) == 1 and f"that of line {len(lines) - 1}; 1 record was appended since" in last[0].what
    assert state.damage(expect_head=lines[-1]["hash"]) == []
    state.file(IDLE).unlink()
    state.edit(LEDGER, lambda lines: lines[:-1])
    assert state.damage() == []
    assert state.damage(expect_head=lines[-1]["hash"]) == [(LEDGER, len(lines) - 1, "hash")]


def test_a_forged_log_is_named(state):
    lines = [line.replace(b'"run":"first"', b'"run":"forged"') for line in state.lines(FIRST)]
    state.put("audit_forged.jsonl", lines)
    state.rewrite("audit_forged.jsonl", lambda records: None)
    assert ("audit_forged.jsonl", 0, "") in state.damage()


@pytest.mark.parametrize("name", ["audit_.jsonl", "audit_-x.jsonl", "audit_é.jsonl", "audit_" + "x" * 101 + ".jsonl"])
def test_a_log_with_a_name_that_no_run_has_is_named(state, name):
    state.file(name).write_bytes(b"")
    assert [fault[0] for fault in state.damage()] == ([name] if name != "audit_.jsonl" else [])


@pytest.mark.parametrize("run", ["first", "idle1", "resumed"])
def test_a_run_id_that_comes_again_is_named(state, run):
    end = state.records(f"audit_{run}.jsonl")[0]
    ledger = Ledger(str(state.file(LEDGER)), "bench", lambda: "T")
    ledger.append(OPENED, run, Position(0, end["hash"]), sync=False)
    assert (LEDGER, len(state.lines(LEDGER)), "run") in state.damage()


def test_a_run_that_is_called_like_a_path_is_not_followed(state):
    ledger = Ledger(str(state.file(LEDGER)), "bench", lambda: "T")
    ledger.append(OPENED, "../../etc/x", Position(0, GENESIS), sync=False)
    assert {fault[:2] for fault in state.damage()} == {(LEDGER, len(state.lines(LEDGER)))}


def test_another_pipelines_records_are_named(state):
    Ledger(str(state.file(LEDGER)), "other", lambda: "T").append(OPENED, "x", Position(0, GENESIS), sync=False)
    faults = state.damage()
    assert (LEDGER, len(state.lines(LEDGER)), "data.pipeline") in faults
    assert ("audit_x.jsonl", 0, "") in faults


def test_nothing_is_written_and_nothing_but_reading_is_needed(state):
    before = {path: path.stat().st_mtime_ns for path in [state.path, *state.path.rglob("*")]}
    for path in before:
        path.chmod(0o555 if path.is_dir() else 0o444)
    assert state.damage() == []
    assert {path: path.stat().st_mtime_ns for path in [state.path, *state.path.rglob("*")]} == before
    for path in before:
        os.chmod(path, 0o755 if path.is_dir() else 0o644)
