"""What a stage has finished may wait for its sync, beside stages and processes that can reach it.

What they take away or replace there fails its own stage, holds up nobody, and is never published.

Each blow is dealt while the runner is stopped before one call of its own.
"""

from __future__ import annotations

import os
import shutil
import sys

import pytest
from call_tracer import trace, why_not
from pipeline_bench import ROOT, shell

REASON = why_not()
PATIENCE = 20.0  # seconds; less than that of whoever waits for the runner
NEVER = 1 << 30  # the position of a call that is not reached

pytestmark = pytest.mark.skipif(bool(REASON), reason=f"cannot trace here: {REASON}")

WORK = """mkdir "$PIPELINE_OUTPUT_TREE"
echo work > "$PIPELINE_OUTPUT_TREE/file"
echo work > "$PIPELINE_OUTPUT_OUT"
"""


def define(bench):
    """A stage of a file and a directory, and one that ends when `go` is there."""
    bench.define(
        shell("work", WORK, outputs={"out": "w/out.txt", "tree": "w/tree/"}),
        shell("beside", "until test -e go; do sleep 0.01; done; echo beside > $PIPELINE_OUTPUT_OUT"),
    )


def struck(bench, name, part, blow, *words, when=lambda _root: True):
    """Run, and deal the blow before the runner's first call of that name on a path that has that part, as of `when`.

    Return the exit code, and what the run said.
    """
    dealt = []

    def deal(call):
        is_here = call.role == "runner" and call.name == name and part in call.path
        if is_here and not dealt and when(bench.root):
            dealt.append(str(call))
            blow(bench.root)
            (bench.root / "go").touch()
        return False

    log = bench.root / "said"
    argv = [sys.executable, "-m", "runner", "run", str(bench.spec), "-k", "--run-id", "first", *words]
    traced = trace(argv, log=str(log), cwd=str(ROOT), position=NEVER, when=deal, patience=PATIENCE)
    said = log.read_text()
    assert dealt, said
    assert not traced.hung, said
    assert "Traceback" not in said
    return traced.code, said


def partial(root, name):
    (found,) = root.glob(f"w/.partial-*.{name}")
    return found


def remove_file(root):
    partial(root, "out.txt").unlink()


def remove_tree(root):
    shutil.rmtree(partial(root, "tree"))


def empty_tree_of_its_file(root):
    (partial(root, "tree") / "file").unlink()
    (partial(root, "tree") / "file").symlink_to("nowhere")


def file_for_tree(root):
    remove_tree(root)
    (root / "other").write_text("other")
    (root / "other").rename(partial_name(root, "tree"))


def fifo_for_tree(root):
    remove_tree(root)
    os.mkfifo(partial_name(root, "tree"))


def link_for_tree(root):
    found = partial(root, "tree")
    found.rename(root / "elsewhere")
    found.symlink_to(root / "elsewhere")


def link_for_directory(root):
    (root / "w").rename(root / "elsewhere")
    (root / "w").symlink_to(root / "elsewhere")


def partial_name(root, name):
    """The path of a partial that is not there any more, told by its neighbour."""
    neighbour = partial(root, "out.txt")
    return neighbour.with_name(neighbour.name.replace("out.txt", name))


def is_committed(root):
    """Whether the stage is: the log is what is synced next, and what was finished is not in its place yet."""
    return b"stage.commit" in (root / "state/audit_first.jsonl").read_bytes()


BLOWS = [remove_file, remove_tree, file_for_tree, fifo_for_tree, link_for_tree, link_for_directory]


@pytest.mark.full_after(2)
@pytest.mark.parametrize(("committed", "at_once"), [(True, True), (False, False), (True, False), (False, True)])
@pytest.mark.parametrize("blow", BLOWS)
def test_an_output_that_is_taken_away_before_it_is_published_fails_its_stage_alone(bench, blow, committed, at_once):
    """`at_once`: nothing else runs, and the runner itself syncs."""
    define(bench)
    if at_once:
        (bench.root / "go").touch()
    words = "-j", "1" if at_once else "2"
    if committed:
        code, said = struck(bench, "fdatasync", "audit_first", blow, *words, when=is_committed)
    else:
        code, said = struck(bench, "fsync", "out.txt", blow, *words)
    assert code == 1, said
    (error,) = [line for line in said.splitlines() if line.startswith("error:")]
    assert error.startswith("error: stage work")
    assert error.endswith(" before it was published")
    assert bench.read("out/beside.txt") == b"beside\n"
    found = [record["data"]["stage"] for record in bench.records("stage.commit")]
    assert found == (["work", "beside"] if committed else ["beside"])
    assert not bench.exists("w/out.txt")
    assert not bench.exists("w/tree")
    assert bench.run("verify", "--outputs").returncode == 3 or os.path.islink(bench.root / "w")  # which no spec allows
    if os.path.islink(bench.root / "w"):
        (bench.root / "w").unlink()
        (bench.root / "elsewhere").rename(bench.root / "w")
    bench.succeed()
    assert bench.read("w/tree/file") == bench.read("w/out.txt") == b"work\n"
    assert bench.run("verify", "--outputs").returncode == 0
    assert not bench.leftovers()


def test_what_is_in_a_directory_is_published_as_it_is_then(bench):
    define(bench)
    code, said = struck(bench, "fsync", "out.txt", empty_tree_of_its_file, "-j", "2")
    assert code == 0, said
    assert os.readlink(bench.root / "w/tree/file") == "nowhere"
    assert bench.run("verify", "--outputs").returncode == 0


def take_state_away(root):
    (root / "state").rename(root / "old")
    shutil.rmtree(root / "locks")


@pytest.mark.parametrize("at_once", [True, False])
def test_a_run_whose_log_is_taken_away_while_it_is_synced_publishes_nothing(bench, at_once):
    define(bench)
    if at_once:
        (bench.root / "go").touch()
    words = "-j", "1" if at_once else "2"
    code, said = struck(bench, "fdatasync", "audit_first", take_state_away, *words, when=is_committed)
    assert code == 74, said
    assert "audit_first.jsonl: was removed or replaced while the run was at work" in said
    assert not bench.exists("w/out.txt")
    assert not bench.exists("w/tree")
    assert not bench.exists("state")
