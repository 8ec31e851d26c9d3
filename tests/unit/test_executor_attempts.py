"""An attempt gets the partials that a checkpoint of its key and of a recorded attempt vouches for."""

import json
import os
from types import SimpleNamespace

import pytest

from runner.errors import Fault, StateError
from runner.executor.attempts import Attempts
from runner.executor.job import Job
from runner.paths import partial_path, partial_tag
from runner.plan.digests import DigestCache
from runner.plan.fingerprint import Fingerprint
from runner.record import files
from runner.record.events import ATTEMPT_STARTED
from runner.record.markers import Markers
from runner.results import AttemptResult
from runner.spec.load import load_spec

KEY = "key"
FIRST, SECOND, LOST = partial_tag("r", KEY, 1), partial_tag("r", KEY, 2), partial_tag("other", KEY, 1)


class Place:
    """A workspace with a stage that has two outputs; `attempts` knows attempt 1 of run `r`."""

    def __init__(self, root, **stage):
        (root / "state").mkdir()
        spec = {"name": "a", "command": ["true"], "outputs": {"one": "one.txt", "two": "two.txt"}, **stage}
        (root / "spec.json").write_text(json.dumps({"specVersion": 1, "name": "p", "stages": [spec]}))
        self.root = root
        self.spec = load_spec(str(root / "spec.json"))
        self.recorded = []
        log = SimpleNamespace(run="r", append=lambda event, _: self.recorded.append(event))
        planner = SimpleNamespace(cache=DigestCache(), markers=Markers(self.spec.paths))
        planning = SimpleNamespace(new_examiner=lambda: None, planner=planner)
        run = SimpleNamespace(
            planning=planning,
            spec=self.spec,
            log=log,
            earlier={"a": 1},
            tags={"a": {FIRST: KEY}},
            positions={},
            level="scan",
            durable=False,
            is_remote=False,
            most_cpus=2,
            shown=None,
            refuse_unsealed=lambda _: None,
        )
        self.attempts = Attempts(run)

    def job(self):
        job = Job(self.spec, *self.spec.stages)
        job.fingerprint = Fingerprint(KEY)
        return job

    def start(self):
        """Start the next attempt as a run does."""
        job = self.job()
        self.attempts.prepare(job)
        self.attempts.started(job)
        return job

    def write_partials(self, tag, content="0123456789", names=("one.txt", "two.txt")):
        for name in names:
            with open(partial_path(str(self.root / name), tag), "w", encoding="utf-8") as file:
                file.write(content)

    def checkpoint(self, length=4, key=KEY):
        progress = {"v": 1, "key": key, "outputs": {name: {"length": length} for name in ("one", "two")}}
        (self.root / "state/progress_a.json").write_text(json.dumps(progress))

    def left(self):
        """Return the content of each partial by name, and None for a progress file."""
        partials = {path.name: path.read_text() for path in self.root.glob(".partial-*")}
        return partials | {path.name: None for path in self.root.glob("state/progress_*")}


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def kept(tag, content):
    return {f".partial-{tag}.one.txt": content, f".partial-{tag}.two.txt": content, "progress_a.json": None}


def test_each_attempt_has_partials_of_its_own_beside_the_real_paths(place):
    assert place.start().partials == {
        "one": partial_path(str(place.root / "one.txt"), SECOND),
        "two": partial_path(str(place.root / "two.txt"), SECOND),
    }
    assert place.start().tag == partial_tag("r", KEY, 3)
    assert place.job().real == {"one": str(place.root / "one.txt"), "two": str(place.root / "two.txt")}


def test_partials_of_a_checkpoint_are_cut_and_handed_over(place):
    place.write_partials(FIRST)
    place.checkpoint()
    place.start()
    assert place.left() == kept(SECOND, "0123")
    assert place.recorded == [ATTEMPT_STARTED]


def test_an_attempt_without_a_checkpoint_gets_no_partial_of_another(place):
    place.write_partials(FIRST)
    place.write_partials(LOST)
    place.start()
    assert place.left() == {}


@pytest.mark.parametrize("spoil", ["another key", "an attempt that is not on record", "too short", "one is missing"])
def test_all_partials_are_removed_if_one_does_not_fit_the_checkpoint(place, spoil):
    place.write_partials(LOST if spoil == "an attempt that is not on record" else FIRST)
    place.checkpoint(length=11 if spoil == "too short" else 4, key="old" if spoil == "another key" else KEY)
    if spoil == "one is missing":
        os.unlink(partial_path(str(place.root / "two.txt"), FIRST))
    place.start()
    assert place.left() == {}


def test_two_partials_that_fit_one_output_are_both_removed(place):
    place.start()
    place.write_partials(FIRST)
    place.write_partials(SECOND)
    place.checkpoint()
    place.start()
    assert place.left() == {}


def test_partials_of_a_checkpoint_survive_a_failed_attempt(place):
    job = place.start()
    place.write_partials(SECOND)
    place.checkpoint()
    place.attempts.sweep(job)
    assert place.left() == kept(SECOND, "0123456789")  # the next attempt cuts them
    place.checkpoint(key="old")
    place.attempts.sweep(job)
    assert place.left() == {}


def test_an_attempt_that_asked_for_a_network_leaves_nothing(place):
    job = place.start()
    place.write_partials(SECOND)
    place.checkpoint()
    place.attempts.discard(job)
    assert place.left() == {}


def test_an_up_to_date_stage_loses_its_old_checkpoint(place):
    place.write_partials(FIRST)
    place.attempts.record_skip(place.job())
    assert len(place.left()) == 2  # without a checkpoint, nothing looks for partials
    place.checkpoint()
    place.attempts.record_skip(place.job())
    assert place.left() == {}


def test_an_output_that_takes_stdout_exists_from_the_start(tmp_path):
    place = Place(tmp_path, stdout="one")
    place.start()
    assert place.left() == {f".partial-{SECOND}.one.txt": ""}


def fail(place, printed):
    """Let an attempt print `printed` into its output, and fail. Return what is kept of it."""
    job = place.start()
    with open(job.partials["one"], "w", encoding="utf-8") as file:
        file.write(printed)
    place.attempts.finish(job, AttemptResult(0, code=3))
    assert place.left() == {}
    return [path.read_text() for path in place.root.glob("state/logs/r/*.stdout")]


def test_what_a_failed_attempt_printed_into_an_output_is_kept_whole(tmp_path):
    place = Place(tmp_path, stdout="one")
    assert fail(place, "x" * 100_000) == ["x" * 100_000]
    assert fail(place, "y") == ["y"]
    assert fail(place, "") == []


@pytest.mark.parametrize("hindrance", ["a disk that is nearly full", "logs on another file system"])
def test_the_end_is_kept_of_output_that_cannot_be_kept_whole(tmp_path, monkeypatch, hindrance):
    def refuse(source, target):
        raise StateError(Fault(target, "EXDEV"))

    place = Place(tmp_path, stdout="one")
    if hindrance == "logs on another file system":
        monkeypatch.setattr(files, "rename", refuse)
    else:
        monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=9, f_frsize=4096))
    assert fail(place, "x" * 100_000 + "y") == ["x" * 65_535 + "y"]
