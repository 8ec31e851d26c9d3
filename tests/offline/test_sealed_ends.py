"""What a sealed stage leaves in its directory leads the runner nowhere else, and does not stop it."""

from __future__ import annotations

import pytest
from harmless_lives import bench_as_user
from suites import full_but

USERS = pytest.mark.parametrize("user", ["unprivileged", pytest.param("root", marks=pytest.mark.full)])
# Each leaves something in the way of what the runner does at the end of an attempt.
WAYS = {
    "parent-link": "mv $OUT aside; ln -s $OUTSIDE $OUT",
    "parent-link-relative": "mv $OUT aside; ln -s ../outside $OUT",
    "parent-fifo": "mv $OUT aside; mkfifo $OUT",
    "parent-file": "mv $OUT aside; echo > $OUT",
    "output-link": "rm -f $OUT/x; ln -s $OUTSIDE/x $OUT/x",
    "output-fifo": "rm -f $OUT/x; mkfifo $OUT/x",
    "output-directory": "rm -f $OUT/x; mkdir -p $OUT/x/y",
    "state-link": "mv state aside; ln -s $OUTSIDE state",
    "state-fifo": "mv state aside; mkfifo state",
    "state-file": "mv state aside; echo > state",
    "progress-link": "ln -s $OUTSIDE/x state/progress_$PIPELINE_STAGE.json",
    "progress-fifo": "mkfifo state/progress_$PIPELINE_STAGE.json",
    "progress-directory": "mkdir -p state/progress_$PIPELINE_STAGE.json/x",
    "closed": "mkdir -p deep/er; chmod 0 deep $OUT .",
    "links": "ln -s $OUTSIDE all; ln -s / top; ln $PWD/spare hard",
    "own": "rm -rf $HOME/* /tmp/* /var/tmp/*; ln -s $OUTSIDE /tmp/l; ln -s $OUTSIDE /var/tmp/l; ln -s $OUTSIDE $HOME/l",
    "closed-own": "mkdir -p /tmp/a/b /var/tmp/a/b; chmod 0 /tmp/a /var/tmp/a /tmp /var/tmp",
    "partial": "echo x > .partial-000000.x; mkdir .partial-000001.; echo x > $OUT/.partial-000000.x",
}
PREPARED = "echo done > $OUT/x; echo spare > spare\n"


@pytest.fixture
def bench(user):
    with bench_as_user("kernel", user) as made:
        outside = made.root.parent / "outside"
        outside.mkdir()
        (outside / "x").write_text("outside\n")
        made.owner.owns(outside, *outside.iterdir())
        yield made


def define(bench, ending):
    """Define a stage for each way; `ending` is what its script ends with."""
    before = f"OUTSIDE={bench.root.parent}/outside OUT=out-$PIPELINE_STAGE\n{PREPARED}"
    bench.define(
        *(
            {"name": way, "command": ["sh", "-c", before + ending(way)], "outputs": {"x": f"out-{way}/x"}}
            for way in WAYS
        ),
        defaults={"sealed": True},
    )


def tree(place):
    return {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*")}


@USERS
@pytest.mark.parametrize("code", full_but([0, 1], [0]))
def test_an_attempt_ends_like_any_other_whatever_it_leaves(bench, code):
    outside = bench.root.parent / "outside"
    define(bench, lambda way: f"{WAYS[way]}\nexit {code}")
    assert bench.run("-k").returncode == 1
    ended = {record["data"]["stage"] for record in bench.records("attempt.finished")}
    assert ended == WAYS.keys()
    assert tree(outside) == {"x": b"outside\n"}
    assert bench.leftovers() == []
    assert not bench.alive()
    define(bench, lambda _: "")
    bench.succeed()
    assert {bench.read(f"out-{way}/x") for way in WAYS} == {b"done\n"}
    assert tree(outside) == {"x": b"outside\n"}
    assert bench.leftovers() == []
    assert {path.name for path in bench.root.glob("out-*/*")} == {"x"}
