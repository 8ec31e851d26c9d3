"""Recovery from a run that died between any two steps finishes its commits and removes everything else."""

import hashlib
import json
import os

import pytest

from runner.canonical import canonical
from runner.errors import EXIT_STATE, StateError
from runner.paths import StatePaths, partial_path, partial_tag
from runner.record import files
from runner.record.log import AuditLog
from runner.record.markers import OutputIdentity, read_marker, write_marker
from runner.record.recovery import OpenRun, recover

OUTPUTS = {"one": "out/one.txt", "two": "two.txt", "tree": "tree/"}
TAG = partial_tag("r", "k", 1)


class DeadRun:
    """A run `r` of a stage `a` that was stopped at some step of publishing."""

    def __init__(self, root):
        self.root = root
        self.paths = StatePaths(str(root / "state"), str(root / "locks"))
        os.makedirs(self.paths.run_temporary("r"))
        os.makedirs(root / "out")
        self.log = AuditLog(self.paths.audit("r"), "r", lambda: "T")

    def real(self, path):
        return os.path.join(self.root, path.rstrip("/"))

    def start(self, stage="a", outputs=OUTPUTS, attempt=1, **more):
        tag = partial_tag("r", "k", attempt)
        started = {"stage": stage, "attempt": attempt, "outputs": outputs, "tag": tag, "key": "k", **more}
        self.log.append("attempt.started", started)

    def write(self, path, content, tag=TAG):
        partial = partial_path(self.real(path), tag)
        if path.endswith("/"):
            os.mkdir(partial)
            partial += "/file"
        with open(partial, "w", encoding="utf-8") as file:
            file.write(content)

    def commit(self, stage="a", outputs=OUTPUTS, key="key"):
        identities = {}
        for name, path in outputs.items():
            status = os.lstat(partial_path(self.real(path), TAG))
            sha256 = hashlib.sha256(b"new").hexdigest()
            identities[name] = OutputIdentity(path, status.st_size, sha256, status.st_ino, status.st_mtime_ns)
        before = read_marker(self.paths, stage)
        data = {
            "stage": stage, "key": key, "keyVersion": 1, "components": canonical({"x": 1.5}).decode(), "tag": TAG,
            "program": "/p", "outputs": {name: identity.as_record() for name, identity in identities.items()},
            "reasons": [], "replaces": [before.run, before.audit_seq] if before else None,
        }  # fmt: skip
        self.log.append("stage.commit", data)

    def checkpoint(self, stage, outputs, length=0):
        content = {"v": 1, "key": "k", "outputs": {name: {"length": length} for name in outputs}}
        files.create(self.paths.progress(stage), json.dumps(content).encode())

    def recover(self, declared=None, runs=("r",)):
        declared = {"a": OUTPUTS} if declared is None else declared
        return recover(self.paths, str(self.root), runs, declared, durable=True)

    def content(self, path):
        with open(self.real(path) + ("/file" if path.endswith("/") else ""), encoding="utf-8") as file:
            return file.read()

    def left(self):
        names = sorted(str(path.relative_to(self.root)) for path in self.root.rglob("*"))
        return [
            name for name in names
            if ".partial-" in name.rpartition("/")[2] or "progress_" in name or name.startswith("state/tmp/")
        ]  # fmt: skip


@pytest.fixture
def dead(tmp_path):
    dead = DeadRun(tmp_path)
    yield dead
    dead.log.close()


def committed(dead, *, old):
    """Stop the run right after its commit is written; with `old`, earlier outputs are at the real paths."""
    if old:
        for path in OUTPUTS.values():
            dead.write(path, "old")
            files.publish(partial_path(dead.real(path), TAG), dead.real(path))
    dead.start()
    for path in OUTPUTS.values():
        dead.write(path, "new")
    dead.checkpoint("a", OUTPUTS)
    dead.commit()


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("renamed", range(len(OUTPUTS) + 1))
def test_a_commit_is_carried_to_its_end_from_every_point_between_the_renames(dead, renamed, old):
    committed(dead, old=old)
    for path in list(OUTPUTS.values())[:renamed]:
        files.publish(partial_path(dead.real(path), TAG), dead.real(path))
    for _ in range(2):  # twice, because recovery itself can be killed
        dead.recover()
        assert [dead.content(path) for path in OUTPUTS.values()] == ["new"] * 3
        marker = read_marker(dead.paths, "a")
        assert (marker.key, marker.run, marker.audit_seq, marker.components) == ("key", "r", 1, {"x": 1.5})
        assert dead.left() == []


@pytest.mark.parametrize("step", ["exchanged", "aside", "placed"])
def test_recovery_finishes_the_replacement_of_a_directory_from_every_step(dead, step):
    committed(dead, old=True)
    real = dead.real("tree/")
    partial = partial_path(real, TAG)
    aside = partial_path(real, f"{int(TAG, 16) ^ 0xFFFFFF:06x}")
    if step == "exchanged":
        assert files._exchange(partial, real)
    else:
        os.rename(real, aside)
        if step == "placed":
            os.rename(partial, real)
    dead.recover()
    assert dead.content("tree/") == "new"
    assert dead.left() == []


def test_a_lost_marker_is_written_from_its_record_and_a_present_one_left(dead):
    committed(dead, old=False)
    dead.recover()
    dead.log.append("run.stopped", {})  # everything before it is on disk
    inode = os.stat(dead.paths.marker("a")).st_ino
    dead.recover()
    assert os.stat(dead.paths.marker("a")).st_ino == inode
    os.truncate(dead.paths.marker("a"), 10)
    dead.recover()
    assert read_marker(dead.paths, "a").key == "key"


def test_the_last_commit_of_a_stage_counts(dead):
    committed(dead, old=False)
    dead.recover()
    dead.start(attempt=2)
    for path in OUTPUTS.values():
        dead.write(path, "newer")
    dead.commit(key="key2")
    (open_run,) = dead.recover()
    assert [dead.content(path) for path in OUTPUTS.values()] == ["newer"] * 3
    assert (read_marker(dead.paths, "a").key, open_run.attempts) == ("key2", {"a": 2})


def test_an_output_that_is_in_neither_place_leaves_the_stage_out_of_date(dead):
    committed(dead, old=True)
    os.unlink(partial_path(dead.real("two.txt"), TAG))
    dead.recover()
    assert read_marker(dead.paths, "a") is None
    assert dead.content("two.txt") == "old"
    assert dead.left() == []


def test_a_file_that_has_the_inode_by_chance_is_not_taken_for_the_output(dead):
    committed(dead, old=False)
    dead.recover()
    identity = read_marker(dead.paths, "a").outputs["one"]
    real = dead.real("out/one.txt")
    assert identity.at(real)
    with open(real, "w", encoding="utf-8") as file:
        file.write("!!!")  # same inode and size, another mtime
    os.utime(real, ns=(0, identity.mtime_ns + 1))
    assert not identity.at(real)
    os.unlink(dead.paths.marker("a"))
    dead.recover()
    assert read_marker(dead.paths, "a") is None


def test_a_stage_that_is_no_longer_declared_is_carried_to_its_end_too(dead):
    committed(dead, old=False)
    dead.recover(declared={})
    assert [dead.content(path) for path in OUTPUTS.values()] == ["new"] * 3
    assert read_marker(dead.paths, "a") is not None
    assert dead.left() == []


def test_partials_without_a_checkpoint_are_removed(dead):
    dead.start()
    for path in OUTPUTS.values():
        dead.write(path, "half")
    dead.recover()
    assert dead.left() == []


def test_a_partial_that_a_checkpoint_vouches_for_stays(dead):
    dead.start()
    dead.write("two.txt", "half")
    dead.write("out/one.txt", "half")
    dead.checkpoint("a", ["two"], 4)
    dead.recover()
    assert dead.left() == [f".partial-{TAG}.two.txt", "state/progress_a.json"]


@pytest.mark.parametrize("declared", [{}, {"b": {"x": "other.txt"}}, {"a": {"two": "other.txt"}}])
def test_a_partial_of_an_output_that_is_no_longer_declared_is_removed(dead, declared):
    dead.start()
    dead.write("two.txt", "half")
    dead.checkpoint("a", ["two"], 4)
    dead.recover(declared)
    assert dead.left() == []


def test_of_attempts_on_a_cluster_only_the_last_can_leave_a_checkpoint(dead):
    """An attempt that was given up may have reported later than its successor."""
    dead.start()
    dead.start(attempt=2)
    dead.write("two.txt", "half", tag=partial_tag("r", "k", 2))
    dead.checkpoint("a", ["two"], 4)
    first, second = (dead.paths.progress("a", partial_tag("r", "k", attempt)) for attempt in (1, 2))
    files.make_directories(dead.paths.temporary)
    os.rename(dead.paths.progress("a"), second)
    files.create(first, b"late")
    dead.recover()
    assert dead.left() == [f".partial-{partial_tag('r', 'k', 2)}.two.txt", "state/progress_a.json"]


def test_a_stage_that_took_over_anothers_output_has_its_own_checkpoint(dead):
    """The stage was renamed while its run was open: both names are in the log, and they share a partial."""
    dead.start("a", {"two": "two.txt"})
    dead.start("b", {"two": "two.txt"})
    dead.write("two.txt", "half")
    dead.checkpoint("b", ["two"], 4)
    dead.recover({"b": {"two": "two.txt"}})
    assert dead.left() == [f".partial-{TAG}.two.txt", "state/progress_b.json"]


def test_a_torn_line_is_cut_and_counted_and_the_log_goes_on_behind_it(dead):
    dead.start()
    with open(dead.paths.audit("r"), "ab") as file:
        file.write(b'{"data":{"stage"')
    (open_run,) = dead.recover()
    assert (open_run.torn_bytes, open_run.last) == (16, dead.log.last)


@pytest.mark.parametrize("line", [0, 1, 2])
def test_a_damaged_log_is_refused_and_named_with_its_line(dead, line):
    for _ in range(3):
        dead.start()
    with open(dead.paths.audit("r"), "rb+") as file:
        whole = file.read().splitlines(keepends=True)
        file.seek(sum(len(record) for record in whole[:line]) + 30)
        file.write(b"#")
    with pytest.raises(StateError, match="damaged") as caught:
        dead.recover()
    assert caught.value.exit_code == EXIT_STATE
    assert f"audit_r.jsonl:{line + 1}: " in str(caught.value)


def test_runs_are_recovered_oldest_first_and_one_that_wrote_nothing_is_new(dead):
    committed(dead, old=False)
    recovered = dead.recover(runs=("r", "fresh"))
    assert [(open_run.run, open_run.last is None, open_run.attempts) for open_run in recovered] == [
        ("r", False, {"a": 1}),
        ("fresh", True, {}),
    ]


def test_scratch_of_every_run_is_removed(dead):
    os.makedirs(f"{dead.paths.run_temporary('r')}/1")
    os.makedirs(f"{dead.paths.run_temporary('older')}/1")
    dead.recover()
    assert not os.path.exists(dead.paths.temporary)


def test_a_newer_marker_is_never_overwritten(dead):
    committed(dead, old=False)
    files.create(dead.paths.marker("a"), b'{"v": 2}')
    with pytest.raises(StateError, match="newer release"):
        dead.recover()
    with open(dead.paths.marker("a"), "rb") as file:
        assert file.read() == b'{"v": 2}'


def test_a_marker_of_a_later_run_is_kept_when_the_outputs_are_its_own(dead):
    committed(dead, old=False)
    dead.recover()
    later = read_marker(dead.paths, "a")._replace(run="later", key="later")
    for path in OUTPUTS.values():
        dead.write(path, "later")
        files.publish(partial_path(dead.real(path), TAG), dead.real(path))
    write_marker_anew(dead, later)
    dead.recover()
    assert read_marker(dead.paths, "a").run == "later"


def write_marker_anew(dead, marker):
    os.makedirs(dead.paths.temporary)
    write_marker(dead.paths, marker)


def test_the_partial_of_an_attempt_whose_record_was_lost_goes_too(dead):
    """A power cut may take the unsynced record and leave the partial, whose name the next attempt uses again."""
    dead.start("other", {"x": "x.txt"})
    dead.write("two.txt", "half")
    dead.recover()
    assert dead.left() == []


def test_a_sealed_log_is_never_cut(dead):
    dead.log.append("run.end", {})
    with open(dead.paths.audit("r"), "ab") as file:
        file.write(b'{"data":{"stage"')
    before = os.path.getsize(dead.paths.audit("r"))
    with pytest.raises(StateError, match=r"audit_r\.jsonl:2: the record is damaged"):
        dead.recover()
    assert os.path.getsize(dead.paths.audit("r")) == before


@pytest.mark.parametrize(("parts", "expected"), [
    (["a"], ("a",)), ([""], ()), (["", "a"], ()), (["a", ""], ()), (["a", "b a"], ("a", "b")), (["a", "a"], ("a",)),
])  # fmt: skip
def test_an_open_run_selects_the_stages_of_all_its_parts(dead, parts, expected):
    for number, part in enumerate(parts):
        dead.log.append("run.resumed" if number else "run.start", {"stages": part.split()})
    (open_run,) = dead.recover()
    assert open_run.selected == expected
    assert open_run.selected_with(("a",)) == (expected and tuple(dict.fromkeys((*expected, "a"))))
    assert OpenRun("new").selected_with(("a",)) == ("a",)


def test_open_runs_know_the_attempts_of_each_other(dead):
    dead.start()
    old, new = dead.recover(runs=("r", "new"))
    assert old.logs.tags == new.logs.tags == {"a": {TAG: "k"}}


def test_open_runs_know_the_last_position_of_each_stage_and_of_each_commit_that_it_would_replace(dead):
    for attempt, (position, replaces) in enumerate([(0, None), (1, None), (2, None), (1, ["s", 3]), (1, None)], 1):
        dead.start(attempt=attempt, **({"position": position, "replaces": replaces} if position else {}))
    old, new = dead.recover(runs=("r", "new"))
    assert old.logs.positions == new.logs.positions == {("a", None): 2, ("a", ("s", 3)): 1}
