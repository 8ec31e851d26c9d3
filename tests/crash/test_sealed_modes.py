"""A sealed stage that takes rights away from what it leaves does not stop the run, nor the next one."""

from __future__ import annotations

import os
import signal

import pytest
from offline_run import open_place
from offline_users import UnavailableError, lacking, user
from pipeline_bench import PipelineBench, descendants, kill, shell, wait_for

from runner.paths import is_partial

TREE = "mkdir out/d; echo x >out/d/x; chmod a-w out/d/x out/d"
FILE = "echo x >out/f;"
LEAVES = {  # what a stage leaves, and the mode of its output
    "a directory that nobody may write to": ("out/d/", TREE, 0o555),
    "a file that nobody may write": ("out/f", f"{FILE} chmod 400 out/f", 0o400),
    "a file in a directory that nobody may write to": ("out/f", f"{FILE} chmod 555 out", 0o644),
    "a file in a directory without rights": ("out/f", f"{FILE} chmod 000 out", 0o644),
    "a file in a view without rights": ("out/f", f"{FILE} chmod 000 out .", 0o644),
    "other files without rights": ("out/f", f"{FILE} mkdir -p a/b; touch a/c a/b/c; chmod 000 a/b/c a/c a/b a", 0o644),
    "a temporary directory without rights": ("out/f", f"{FILE} touch $TMPDIR/x; chmod 000 $TMPDIR/x $TMPDIR", 0o644),
}


@pytest.fixture(params=["somebody", "root"])
def somebody(request):
    """A bench in which root, or a user without rights, runs the pipeline."""
    with open_place() as place:
        try:
            owner = user(request.param, place)
        except UnavailableError as error:
            pytest.skip(str(error))
        if reason := lacking("kernel", owner.prefix, owner.interpreter):
            pytest.skip(reason)
        (place / "bench").mkdir()
        owner.owns(place / "bench")
        made = PipelineBench(place / "bench")
        below = {"command": owner.below("kernel"), "env": {**os.environ, **owner.env}, "cwd": owner.cwd}
        start = made.start
        made.start = lambda *words: start(*words, **below)
        made.define = lambda *stages, define=made.define: (define(*stages), made.spec.chmod(0o644))
        yield made
        made.close()


def left(bench):
    return [
        *filter(lambda path: is_partial(path.name), bench.root.rglob("*")),
        *bench.leftovers(),
        *bench.root.glob("state/tmp/*/*"),
    ]


@pytest.mark.full_after(4)
@pytest.mark.parametrize("what", LEAVES)
def test_an_output_is_published_from(what, somebody):
    path, script, mode = LEAVES[what]
    somebody.define(shell("a", script, outputs={"out": path}, sealed=True))
    somebody.succeed()
    assert (somebody.root / path).stat().st_mode & 0o777 == mode & ~0o022
    assert left(somebody) == []
    assert somebody.skips_everything()


@pytest.mark.full_after(4)
@pytest.mark.parametrize("what", LEAVES)
def test_a_stage_fails_as_unsealed_and_leaves(what, somebody):
    path, script, _ = LEAVES[what]
    somebody.define(shell("a", f"{script}; exit 3", outputs={"out": path}, sealed=True))
    for _ in range(2):
        assert somebody.run().returncode == 1
        assert left(somebody) == []


@pytest.mark.full_after(4)
@pytest.mark.parametrize("what", LEAVES)
def test_after_a_kill_the_next_run_clears_away(what, somebody):
    path, script, mode = LEAVES[what]
    waits = f"{script}; echo ready >&2; sleep 600"
    somebody.define(shell("a", waits, outputs={"out": path}, sealed=True))
    process = somebody.start()
    wait_for(lambda: any("ready" in log.read_text() for log in somebody.root.glob("state/logs/*/a.1.log")))
    below = descendants(process.pid)
    for pid in [process.pid, *below]:
        kill(pid, signal.SIGKILL)
    process.wait()
    somebody.define(shell("a", script, outputs={"out": path}, sealed=True))
    somebody.succeed()
    assert (somebody.root / path).stat().st_mode & 0o777 == mode & ~0o022
    assert left(somebody) == []
