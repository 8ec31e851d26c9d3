"""Orphans: outputs of earlier specs that are still there, and the stages that made them."""

from __future__ import annotations

import hashlib
import os

import pytest
from pipeline_bench import shell
from plan_bench import PlanBench

from runner.plan.orphans import ADOPTED, CHANGED, COPY, REMOVABLE, Places, find_orphans
from runner.record.markers import read_marker, write_marker


@pytest.fixture
def bench(tmp_path):
    """The stages `a` and `b` are complete, and the spec no longer declares them."""
    bench = PlanBench(tmp_path)
    bench.define(shell("a", "true"), shell("b", "true"))
    bench.complete()
    bench.define(shell("c", "true"))
    return bench


def orphans(bench, **options):
    session = bench.session(**options)
    return find_orphans(session.spec, session.markers(), session.cache)


def states(bench, **options):
    return {former.path: former.state for former in orphans(bench, **options).former}


def test_an_orphan_is_known_with_its_stage_and_its_run(bench):
    assert states(bench) == {"out/a.txt": REMOVABLE, "out/b.txt": REMOVABLE}
    former = orphans(bench).former[0]
    assert (former.stage, former.run) == ("a", "run")
    assert former.remark() == 'is an orphan: stage "a" made it in run run, and no stage declares it any more'


def test_a_warning_of_one_says_who_made_it_and_one_of_several_names_three(bench):
    os.unlink(bench.root / "out/b.txt")
    (one,) = orphans(bench).warnings("here")
    assert one.what == f'"out/a.txt" {orphans(bench).former[0].remark()}'
    bench.define(*(shell(name, "true") for name in "abdefghij"))
    bench.complete()
    bench.define(shell("c", "true", inputs={"x": "out/a.txt"}))
    (bench.root / "out/j.txt").write_text("mine")
    several, used, changed = orphans(bench).warnings("here")
    assert several.what == (
        "7 outputs that no stage declares any more are orphans: out/b.txt, out/d.txt, out/e.txt and 4 more"
    )
    assert several.hint == "no glob matches them; `offpipe clean --orphans` removes them"
    assert used.what.startswith('"out/a.txt" is an orphan that the spec names') and "out/j.txt" in changed.what
    assert [*orphans(bench).warnings("here", [CHANGED])] == [changed]


def test_an_orphan_that_is_gone_is_absent(bench):
    os.unlink(bench.root / "out/a.txt")
    assert orphans(bench).absent == {str(bench.root / "out/a.txt"): "out/a.txt"}
    assert states(bench) == {"out/b.txt": REMOVABLE}


def test_an_output_that_is_declared_again_is_no_orphan(bench):
    bench.define(shell("c", "true", outputs={"x": "out/a.txt"}))
    assert states(bench) == {"out/b.txt": REMOVABLE}


def test_an_output_in_or_around_a_declared_one_is_no_orphan(bench):
    bench.define(shell("c", "true", outputs={"x": "out/"}))
    assert states(bench) == {}


@pytest.mark.parametrize("pattern", ["out/a.txt", "./out/../out/a.txt", ["x.txt", "out/a.txt"]])
def test_an_orphan_that_an_input_names_is_adopted(bench, pattern):
    bench.define(shell("c", "true", inputs={"x": pattern}))
    assert states(bench) == {"out/a.txt": ADOPTED, "out/b.txt": REMOVABLE}
    assert orphans(bench).removable() == [str(bench.root / "out/b.txt")]


def test_an_orphan_that_only_a_glob_matches_is_not_adopted(bench):
    bench.define(shell("c", "true", inputs={"x": "out/a.*"}))
    assert states(bench)["out/a.txt"] == REMOVABLE


def test_the_spec_itself_is_adopted(bench):
    bench.define(shell("make", "true", outputs={"x": "spec2.json"}))
    bench.complete()
    bench.spec = bench.root / "spec2.json"
    bench.define(shell("c", "true"))
    paths = bench.session().spec.paths
    marker = read_marker(paths, "make")
    output = marker.outputs["x"]._replace(sha256=hashlib.sha256(bench.spec.read_bytes()).hexdigest())
    write_marker(paths, marker._replace(outputs={"x": output}))
    assert states(bench)["spec2.json"] == ADOPTED


def test_the_same_content_under_another_identity_is_a_copy(bench):
    path = bench.root / "out/a.txt"
    path.chmod(0o600)
    assert states(bench)["out/a.txt"] == REMOVABLE
    (bench.root / "new").write_bytes(path.read_bytes())
    (bench.root / "new").rename(path)
    assert states(bench)["out/a.txt"] == COPY
    assert orphans(bench).holds(str(path)) and str(path) not in orphans(bench).removable()
    path.write_bytes(b"other")
    assert states(bench)["out/a.txt"] == CHANGED


def test_an_identity_that_fits_is_trusted_unless_paranoid(bench):
    """The marker has the file's change time but another digest: only reading the file shows that."""
    session = bench.session()
    marker = read_marker(session.spec.paths, "a").in_place(str(bench.root))
    lie = {name: output._replace(sha256="0" * 64) for name, output in marker.outputs.items()}
    (bench.root / "state/stage_a.json").write_bytes(marker._replace(outputs=lie).encode())
    assert states(bench)["out/a.txt"] == REMOVABLE
    assert states(bench, paranoid=True)["out/a.txt"] == CHANGED


def test_a_file_in_the_place_of_a_former_directory_is_known_by_its_own_marker(bench):
    session = bench.session()
    marker = read_marker(session.spec.paths, "b")
    tree = marker.outputs["out"]._replace(path="out/a.txt/")
    write_marker(session.spec.paths, marker._replace(outputs={"out": tree}))
    assert states(bench) == {"out/a.txt": REMOVABLE}


def test_a_changed_orphan_hides_nothing(bench):
    (bench.root / "out/a.txt").write_text("other")
    result = orphans(bench)
    assert not result.holds(str(bench.root / "out/a.txt")) and result.holds(str(bench.root / "out/b.txt"))
    assert result.holds(str(bench.root / "w/../out/b.txt"))
    assert result.below(str(bench.root / "out")).path == "out/b.txt" and result.below(str(bench.root / "ou")) is None


def test_places_are_outputs_and_everything_in_and_above_them():
    places = Places(["out/d/", "w/x/y"])
    assert all(path in places for path in ("out/d", "out/d/e", "out/", "w", "w/x/y/z"))
    assert all(path not in places for path in ("out/e", "w/z", "ou"))
