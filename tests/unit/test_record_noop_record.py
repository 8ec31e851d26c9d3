"""The no-op record: its bytes, and when all files count as unchanged."""

from __future__ import annotations

import os
import shutil
import sys
import time
from types import SimpleNamespace

import pytest

from runner.engine.noop import groups
from runner.paths import StatePaths
from runner.reading import COARSE_NS, TICK_NS
from runner.record.noop_record import MAGIC, conditions_now, decode, is_damaged, record_of, record_path

CONDITIONS = b"c" * 64
DIGEST = "d" * 64
PATHS = StatePaths("/state", "/locks")


@pytest.fixture
def dependencies(tmp_path, monkeypatch):
    monkeypatch.chdir("/")  # the relative paths of a record for /state start here
    for name in ("file", "entry", "tree/one", "way/x"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    return SimpleNamespace(
        files={str(tmp_path / name) for name in ("file", "gone", "nowhere")},
        entries={str(tmp_path / "entry")},
        trees={str(tmp_path / "tree")},
        kinds={str(tmp_path / "way")},
    )


def later():
    return time.time_ns() + 2 * COARSE_NS


def new_record(dependencies, began=None):
    spec = SimpleNamespace(paths=PATHS, name="p", stages=range(3))
    return record_of(groups(**vars(dependencies)), spec, DIGEST, "run", began or later())


@pytest.mark.parametrize("gone", ["in/a.txt", "in"])
def test_no_record_is_made_once_a_file_that_the_plan_has_read_is_gone(dependencies, tmp_path, gone):
    source = tmp_path / "in/a.txt"
    dependencies.files.add(str(source))
    assert new_record(dependencies), "the plan found the file absent"
    source.parent.mkdir()
    source.touch()
    began = max(path.stat().st_ctime_ns for path in (tmp_path, *tmp_path.rglob("*"))) + 2 * TICK_NS
    assert new_record(dependencies, began)
    while time.time_ns() < began:
        time.sleep(0.001)
    (shutil.rmtree if gone == "in" else os.unlink)(tmp_path / gone)
    assert new_record(dependencies, began) is None


def test_a_record_is_read_as_it_was_written_and_current_until_something_changes(dependencies, tmp_path):
    record = decode(new_record(dependencies).encode(CONDITIONS), CONDITIONS)
    assert (record.paths.state_dir, record.paths.locks_dir) == ("/state", "/locks")
    assert (record.pipeline, record.stages, record.spec_sha256, record.spec_run) == ("p", 3, DIGEST, "run")
    assert record.is_current()
    (tmp_path / "way/y").write_text("x")
    assert record.is_current(), "of `way` only the kind of file counts"


@pytest.mark.parametrize(
    "change",
    [
        lambda top: (top / "file").write_text("y"),
        lambda top: (top / "file").unlink(),
        lambda top: (top / "file").chmod(0o755),
        lambda top: (top / "entry").write_text("y"),
        lambda top: (top / "tree/two").write_text("y"),
        lambda top: (top / "tree/one").write_text("y"),
        lambda top: (top / "gone").write_text("y"),
        lambda top: (top / "gone").symlink_to("entry"),
        lambda top: (top / "nowhere").mkdir(),
        lambda top: (top / "way").rename(top / "away"),
        lambda top: ((top / "way").rename(top / "away"), (top / "way").symlink_to("away")),
    ],
)
def test_every_change_shows(dependencies, tmp_path, change):
    record = new_record(dependencies)
    change(tmp_path)
    assert not record.is_current()


def test_a_change_since_the_plan_or_just_before_prevents_the_record(dependencies, tmp_path):
    newest = max((tmp_path / name).stat().st_ctime_ns for name in ("file", "entry", "tree", "tree/one"))
    assert new_record(dependencies, began=newest) is None
    assert new_record(dependencies, began=newest + TICK_NS // 2) is None
    assert new_record(dependencies) is not None


def test_a_file_that_appeared_or_vanished_since_the_plan_prevents_the_record(dependencies, tmp_path):
    before = max((tmp_path / name).stat().st_ctime_ns for name in ("file", "entry", "tree", "tree/one")) + 2 * TICK_NS
    while time.time_ns() < before + 2 * TICK_NS:
        pass
    assert new_record(dependencies, began=before) is not None
    (tmp_path / "gone").write_text("y")
    assert new_record(dependencies, began=before) is None
    (tmp_path / "gone").unlink()
    (tmp_path / "entry").unlink()
    assert new_record(dependencies, began=before) is None


def test_file_names_may_have_any_bytes(dependencies, tmp_path):
    for name in (b"\xff\n", "\u00e4 b".encode()):
        (tmp_path / os.fsdecode(name)).write_text("x")
        dependencies.entries.add(str(tmp_path / os.fsdecode(name)))
    record = decode(new_record(dependencies).encode(CONDITIONS), CONDITIONS)
    assert record.is_current()
    (tmp_path / os.fsdecode(b"\xff\n")).write_text("y")
    assert not record.is_current()


def test_a_damaged_record_is_not_used(dependencies):
    content = new_record(dependencies).encode(CONDITIONS)
    for at in range(0, len(content), 7):
        assert decode(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :], CONDITIONS) is None
    for length in range(0, len(content), 11):
        assert decode(content[:length], CONDITIONS) is None
    assert decode(content + b"x", CONDITIONS) is None
    assert decode(MAGIC, CONDITIONS) is None


@pytest.mark.parametrize(
    "field",
    [
        {"pipeline": "../p"}, {"pipeline": 'p"'}, {"stages": -1}, {"stages": 10**9}, {"spec_run": "a/b"},
        {"spec_run": ""}, {"spec_sha256": "d"}, {"spec_sha256": '"' * 64}, {"paths": StatePaths("state", "/l")},
        {"paths": StatePaths("/state", "")}, {"groups": [[], [], []]}, {"states": [b"1", b"2"]},
    ],
    ids="-".join,
)  # fmt: skip
def test_a_forged_record_with_a_field_that_no_run_writes_is_not_used(dependencies, field):
    """The checksum fits: a forger can compute it."""
    record = new_record(dependencies)
    for name, value in field.items():
        setattr(record, name, value)
    try:
        decoded = decode(record.encode(CONDITIONS), CONDITIONS)
    except ValueError:
        decoded = None
    assert decoded is None


def test_a_record_of_another_release_or_interpreter_is_no_damage(dependencies):
    content = new_record(dependencies).encode(CONDITIONS)
    assert not is_damaged(content)
    assert is_damaged(content[:-1]) and is_damaged(b"")
    other = content.replace(MAGIC, b"offpipe noop 3\n")
    assert decode(other, CONDITIONS) is None and not is_damaged(other)
    assert decode(content, b"x" * 64) is None


def test_the_conditions_are_the_interpreter_its_path_two_variables_and_the_spec(monkeypatch):
    before = conditions_now("spec.json", None)
    assert conditions_now("spec.json", None) == before
    assert before not in (conditions_now("spec.json", "w"), conditions_now("other.json", None))
    monkeypatch.setenv("PATH", "/other")
    assert conditions_now("spec.json", None) != before
    monkeypatch.undo()
    monkeypatch.setattr(sys, "path", [*sys.path, "/more"])
    assert conditions_now("spec.json", None) != before


def test_the_record_is_beside_the_spec_or_below_the_workspace():
    assert record_path("/a/spec.json", None) == "/a/.offpipe/noop-spec.json"
    assert record_path("/a/spec.json", "w") == os.path.abspath("w/.offpipe/noop-spec.json")
