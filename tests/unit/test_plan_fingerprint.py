"""Keys: what they hold, that place and time do not matter, and that a change before publishing is seen."""

from __future__ import annotations

import os
import shutil
import time

import pytest
from pipeline_bench import shell
from plan_bench import PlanBench

from runner.canonical import digest
from runner.display.plan_text import reason_text
from runner.plan.digests import DigestCache


@pytest.fixture
def bench(tmp_path):
    bench = PlanBench(tmp_path / "one")
    bench.root.mkdir()
    bench.write("in.txt", "input")
    bench.write("tree/sub/x", "x")
    bench.define(shell("a", "cat", inputs={"in": "in.txt", "tree": "tree/"}))
    return bench


def test_the_key_is_the_digest_of_its_named_components(bench):
    examined = bench.fingerprint()
    assert examined.key == digest(examined.components)
    assert set(examined.components) == {"inputs", "code", "params", "command", "env", "outputs"}


def test_the_interpreter_is_a_component_of_python_stages_only(bench):
    bench.write("p.py", "pass")
    bench.define({"name": "a", "processor": "p.py", "outputs": ["o"]})
    assert bench.fingerprint().components["interpreter"].startswith("cpython-3.")


def test_where_a_stage_sees_its_files_is_a_component_of_such_stages_only_and_sealed_of_none(bench):
    stage = shell("a", "cat", inputs={"in": "in.txt", "tree": "tree/"})
    before = bench.fingerprint().key
    bench.define({**stage, "sealed": True})
    assert bench.fingerprint().key == before
    bench.define({**stage, "sealed": True, "seenAs": {"in": "./x", "tree": "t/."}})
    assert bench.fingerprint().components["seenAs"] == {"in": "x", "tree": "t/"}
    bench.complete("a")
    bench.define({**stage, "sealed": True, "seenAs": {"in": "y", "tree": "t/"}})
    (reason,) = bench.reasons()
    assert reason_text(reason, full=False) == "seenAs.in: x -> y"


def test_a_pipeline_moved_as_a_whole_has_the_same_keys(bench, tmp_path):
    shutil.copytree(bench.root, tmp_path / "two")
    assert PlanBench(tmp_path / "two").fingerprint().key == bench.fingerprint().key


def test_bytes_are_counted_over_files_and_directories(bench):
    assert bench.fingerprint().input_bytes == 6


def lengthen(bench):
    bench.write("in.txt", "longer input")


def same_size(bench):
    bench.write("in.txt", "INPUT")


def deep(bench):
    bench.write("tree/sub/x", "y")


def more(bench):
    bench.write("tree/new", "")


def gone(bench):
    os.unlink(bench.root / "in.txt")


def tree_gone(bench):
    shutil.rmtree(bench.root / "tree")


def fifo_in_tree(bench):
    os.mkfifo(bench.root / "tree/f")


@pytest.mark.parametrize("change", [lengthen, same_size, deep, more, gone, tree_gone, fifo_in_tree])
def test_a_change_after_keying_is_seen_before_publishing(bench, change):
    session = bench.session()
    before = session.plan().new_examiner().examine(session.stages[0])
    assert session.plan().new_examiner().changed_since(before) is None
    change(bench)
    changed = session.plan().new_examiner().changed_since(before)
    assert changed is not None
    assert os.path.relpath(changed, bench.root) in {"in.txt", "tree"}


def test_a_touch_or_the_same_bytes_written_anew_are_no_change(bench):
    session = bench.session()
    before = session.plan().new_examiner().examine(session.stages[0])
    os.utime(bench.root / "in.txt", (1, 1))
    os.unlink(bench.root / "tree/sub/x")
    bench.write("tree/sub/x", "x")
    assert session.plan().new_examiner().changed_since(before) is None
    assert session.plan().new_examiner().examine(session.stages[0]).key == before.key


def test_published_outputs_are_not_hashed_again_by_their_readers(bench):
    bench.define(shell("a", "true", outputs={"out": "out.txt"}), shell("b", "true", inputs={"in": "out.txt"}))
    bench.complete("a")
    session = bench.session()
    planning = session.plan()
    assert "out.txt" in session.cache.published
    session.cache.published["out.txt"] = session.cache.published["out.txt"]._replace(sha256="told")
    examined = planning.new_examiner().examine(session.stages[1])
    assert examined.components["inputs"] == {"in": [["out.txt", "told"]]}
    os.utime(bench.root / "out.txt", (1, 1))
    assert planning.new_examiner().examine(session.stages[1]).components["inputs"] != {"in": [["out.txt", "told"]]}


def test_a_same_size_rewrite_within_one_tick_is_never_hidden_by_the_cache(bench):
    """Like git's racily clean entries: both states have equal stamps, so the cache may not vouch for the first."""
    path = bench.root / "in.txt"
    now = time.time_ns()
    os.utime(path, ns=(now, now))
    session = bench.session()
    before = session.plan().new_examiner().examine(session.stages[0])
    path.write_text("INPUT")
    os.utime(path, ns=(now, now))
    again = bench.session()
    again.cache = DigestCache(session.cache.dump())
    assert bench.fingerprint().key != before.key
    assert again.plan().new_examiner().examine(again.stages[0]).key != before.key
