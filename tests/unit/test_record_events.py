"""Records that were forged with the right hashes: every field that readers act on or use in a path is checked first."""

import json
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.canonical import GENESIS
from runner.errors import StateError
from runner.paths import StatePaths
from runner.record import events
from runner.record.events import (
    AttemptFinished,
    AttemptStarted,
    LedgerEntry,
    NetworkAttempt,
    OutputsRemoved,
    RunEnded,
    RunExpanded,
    RunOpened,
    RunWarning,
    StageCommit,
    StageFinished,
    StageSkipped,
    decode,
    encode,
)
from runner.record.ledger import read_head
from runner.record.log import AuditLog, encode_record, intact_record
from runner.record.markers import OutputIdentity
from runner.record.recovery import recover

HEAD = {"pipeline": "p", "open": ["r"], "logSeq": 0, "logHash": "h", "keyId": None}
OPENING = {"stages": ["a"]}
ATTEMPT = {"stage": "a", "attempt": 1, "outputs": {"out": "out/a.txt"}}
OUTPUT = {"path": "out/a.txt", "size": 1, "sha256": "0", "inode": "2", "mtimeNs": "3"}
COMMIT = {"stage": "a", "key": "k", "keyVersion": 1, "components": "{}", "tag": "0000aa", "reasons": [],
          "outputs": {"out": OUTPUT}}  # fmt: skip
REMOVAL = {"stage": "a", "commit": ["r", 3], "outputs": {"out": "out/a.txt"}, "size": 1}
NETWORK = {"stage": "a", "program": "curl", "family": "AF_INET", "count": 1, "action": "fail"}
SOUND = {
    "opened": HEAD,
    "run.start": OPENING,
    "attempt.started": ATTEMPT,
    "stage.commit": COMMIT,
    "offline.attempt": NETWORK,
    "outputs.removed": REMOVAL,
    "run.expanded": {"spec": "{}", "specSha256": "0"},
    "stage.finished": {"stage": "a", "status": "failed", "why": "exit 1"},
}
NOT_NEEDED = {"run.start": {"stages"}, "opened": {"logSeq", "logHash", "keyId"}}  # by readers that act on the event
NO_NAMES = ["", ".", "../../x", "a/b", "a\0", "-x", "a" * 101, "é", None, 5, ["a"]]
NO_PATHS = ["", "/etc/passwd", "../x", "a/../../x", "a\0", None, 5, ["a"]]
EVERY = {
    "attempt.finished": AttemptFinished("a"),
    "attempt.started": AttemptStarted("a", 1, "k", "0000aa", "/p", {"out": "o"}, 5, [["x", "y", None, 1]], {}),
    "offline.attempt": NetworkAttempt("a", 1, "curl", "AF_INET", 3, "fail"),
    "outputs.removed": OutputsRemoved("a", ["r", 3], {"out": "out/a.txt"}, 1),
    "run.start": RunOpened(["a"], "h", "{}", "0", None),
    "run.expanded": RunExpanded("{}", "0"),
    "run.stopped": RunEnded("failed", {"failed": 1}, "f", 3, 0, "0"),
    "run.warning": RunWarning("a.json", "is odd", "so"),
    "stage.commit": StageCommit(
        "a", "k", 1, "{}", "0000aa", "/p", {"out": OutputIdentity.from_json(OUTPUT)}, [], ["r", 3]
    ),
    "stage.finished": StageFinished("a", "failed", "exit 1"),
    "stage.skipped": StageSkipped("a", "k"),
    "closed": LedgerEntry("p", ["r"], 3, "h", None),
}


REFERENCE = "".join((Path(__file__).parents[2] / "docs" / name).read_text() for name in ("on-disk.md", "audit.md"))


def fits(event, data):
    try:
        return decode(event, data) is not None
    except ValueError:
        return False


def test_every_event_is_in_the_reference():
    names = {value for name, value in vars(events).items() if name.isupper() and isinstance(value, str)}
    assert names > events._TYPES.keys()  # also the events without a type
    assert sorted(name for name in names if f"`{name}`" not in REFERENCE) == []


def test_every_type_of_event_is_tried_here():
    assert set(map(type, EVERY.values())) == set(get_args(events.Event))


@pytest.mark.parametrize("name", EVERY)
def test_an_event_reads_back_as_it_was_written(name):
    assert decode(name, encode(EVERY[name])) == EVERY[name]


def test_a_commit_keeps_former_outputs_and_gives_them_to_its_marker():
    former = OutputIdentity.from_json({**OUTPUT, "path": "out/old.txt", "run": "q"})
    commit = EVERY["stage.commit"]._replace(former=(former,))
    assert decode("stage.commit", encode(commit)) == commit
    assert encode(commit)["former"] == [{**OUTPUT, "path": "out/old.txt", "run": "q"}]
    assert commit.marker("r", 4).former == (former,) and EVERY["stage.commit"].marker("r", 4).former == ()


def test_a_commit_keeps_the_version_of_the_program_and_gives_it_to_its_marker():
    commit = EVERY["stage.commit"]._replace(program_version="tool 1.2")
    assert decode("stage.commit", encode(commit)) == commit
    assert commit.marker("r", 4).program_version == "tool 1.2"
    assert not fits("stage.commit", {**COMMIT, "programVersion": 5})


def test_an_attempt_keeps_the_position_of_its_values_and_what_it_would_replace():
    started = EVERY["attempt.started"]._replace(cpus=2, position=1, replaces=["r", 3])
    assert decode("attempt.started", encode(started)) == started
    assert not encode(EVERY["attempt.started"]).keys() & {"cpus", "position", "replaces"}
    for wrong in ({"position": -1}, {"position": "1"}, {"replaces": ["../x", 1]}, {"replaces": [[], 1]}):
        assert not fits("attempt.started", {**ATTEMPT, **wrong})


def test_fields_are_spelled_as_the_other_state_files_spell_theirs():
    assert list(encode(EVERY["stage.commit"])) == [
        "stage", "key", "keyVersion", "components", "tag", "program", "outputs", "reasons", "replaces",
    ]  # fmt: skip
    assert list(encode(EVERY["run.stopped"])) == [
        "status", "stages", "metricsSha256", "records", "outputs", "outputsSha256",
    ]  # fmt: skip


def test_an_event_of_another_release_is_none():
    assert decode("stage.renamed", {"stage": "../x"}) is None


@pytest.mark.parametrize("event", SOUND)
def test_an_event_fits_only_if_every_field_is_there_and_of_its_kind(event):
    sound = SOUND[event]
    assert fits(event, sound)
    for name in sound.keys() - NOT_NEEDED.get(event, set()):
        assert not fits(event, {key: value for key, value in sound.items() if key != name}), name
        assert not fits(event, {**sound, name: 1.5}), name


@pytest.mark.parametrize("name", NO_NAMES)
def test_a_name_that_becomes_part_of_a_path_is_checked(name):
    assert not fits("closed", {**HEAD, "open": [name]})
    assert not fits("attempt.started", {**ATTEMPT, "stage": name})
    assert not fits("attempt.finished", {"stage": name})
    assert not fits("stage.commit", {**COMMIT, "stage": name})
    assert not fits("stage.commit", {**COMMIT, "replaces": [name, 1]})
    line, _ = encode_record(0, name if isinstance(name, str) else "", "t", "e", {}, GENESIS)
    assert intact_record(line) is None


@pytest.mark.parametrize("name", NO_NAMES)
def test_selected_stages_may_be_any_text_because_no_path_has_them(name):
    assert fits("run.resumed", {"stages": [name]}) == isinstance(name, str)


@pytest.mark.parametrize("path", NO_PATHS)
def test_no_path_leads_out_of_the_workspace(path):
    assert not fits("attempt.started", {**ATTEMPT, "outputs": {"out": path}})
    if isinstance(path, str):
        assert not fits("stage.commit", {**COMMIT, "outputs": {"out": {**OUTPUT, "path": path}}})
        assert not fits("stage.commit", {**COMMIT, "former": [{**OUTPUT, "path": path}]})


@pytest.mark.parametrize("former", [5, "x", {}, ["x"], [None], [{}]])
def test_former_outputs_are_a_list_of_identities(former):
    assert fits("stage.commit", {**COMMIT, "former": [OUTPUT]})
    assert not fits("stage.commit", {**COMMIT, "former": former})


@pytest.mark.parametrize("tag", ["", "0000a", "0000AA", "../../", "0000aa0", 5])
def test_a_tag_is_six_hex_digits(tag):
    assert not fits("stage.commit", {**COMMIT, "tag": tag})


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*HEAD, *COMMIT, *NETWORK]), inner),
    max_leaves=8,
)


@settings(max_examples=40)
@given(value=st.dictionaries(st.sampled_from([*HEAD, *COMMIT, *NETWORK]), values), event=st.sampled_from([*SOUND]))
def test_random_data_fits_only_with_every_needed_field_and_never_crashes(value, event):
    assert not fits(event, value) or SOUND[event].keys() - NOT_NEEDED.get(event, set()) <= value.keys()


@pytest.mark.parametrize(
    ("event", "data"),
    [("stage.commit", {**COMMIT, "stage": "../x"}), ("attempt.started", {}), ("run.start", {"stages": 5}),
     ("stage.commit", {**COMMIT, "components": "[" * 100_000}), ("offline.attempt", {"action": "fail"})],
)  # fmt: skip
def test_recovery_refuses_a_record_of_another_shape_and_names_its_line(tmp_path, event, data):
    paths = StatePaths(str(tmp_path / "state"), str(tmp_path / "locks"))
    (tmp_path / "state").mkdir()
    log = AuditLog(paths.audit("r"), "r", lambda: "t")
    log.append("run.start", {})
    log.append(event, data)
    log.close()
    before = (tmp_path / "state/audit_r.jsonl").read_bytes()
    with pytest.raises(StateError, match=r"audit_r\.jsonl:2: the record is damaged\nhint: restore it"):
        recover(paths, str(tmp_path), ("r",), {}, durable=False)
    assert (tmp_path / "state/audit_r.jsonl").read_bytes() == before


@pytest.mark.parametrize("data", [{}, {"pipeline": "p", "open": ["../x"]}, {"pipeline": 5, "open": []}])
def test_the_ledgers_head_is_checked_too(tmp_path, data):
    log = AuditLog(str(tmp_path / "ledger"), "r", lambda: "t")
    log.append("opened", data)
    log.close()
    with pytest.raises(StateError, match="ledger:1: the record is damaged"):
        read_head(str(tmp_path / "ledger"))
    assert json.loads((tmp_path / "ledger").read_bytes())["data"] == data
