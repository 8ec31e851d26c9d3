"""A finished output that is removed or replaced before it is published fails its own stage alone.

Finished outputs may wait for their sync where other stages and processes can reach them. What those remove or replace
is never published, and holds up no other stage. Each test makes its change while the runner is stopped before a call.
"""

from __future__ import annotations

import os
import shutil
import sys

import pytest
from call_tracer import trace, why_not
from pipeline_bench import ROOT, shell

REASON = why_not()
PATIENCE = 20.0  # seconds; less than that of any process that waits for the runner
NEVER = 1 << 30  # the position of a call that is not reached

pytestmark = pytest.mark.skipif(bool(REASON), reason=f"cannot trace here: {REASON}")

WORK = """mkdir "$PIPELINE_OUTPUT_TREE"
echo work > "$PIPELINE_OUTPUT_TREE/file"
echo work > "$PIPELINE_OUTPUT_OUT"
"""


def define(bench):
    """Define a stage with a file and a directory as outputs, and one that ends once `go` exists."""
    bench.define(
        shell("work", WORK, outputs={"out": "w/out.txt", "tree": "w/tree/"}),
        shell("beside", "until test -e go; do sleep 0.01; done; echo beside > $PIPELINE_OUTPUT_OUT"),
    )


def struck(bench, name, part, blow, when=lambda _root: True):
    """Run, and call `blow` before the runner's first call of this name on a path with this part for which `when` holds.

    Return the exit code and the output of the run.
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
    argv = [sys.executable, "-m", "runner", "run", str(bench.spec), "-k", "--run-id", "first", "-j", "2"]
    traced = trace(argv, log=str(log), cwd=str(ROOT), position=NEVER, when=deal, patience=PATIENCE)
    output = log.read_text()
    assert dealt, output
    assert not traced.hung, output
    assert "Traceback" not in output
    return traced.code, output


def partial(root, name):
    (path,) = root.glob(f"w/.partial-*.{name}")
    return path


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
    tree = partial(root, "tree")
    tree.rename(root / "elsewhere")
    tree.symlink_to(root / "elsewhere")


def link_for_directory(root):
    (root / "w").rename(root / "elsewhere")
    (root / "w").symlink_to(root / "elsewhere")


def partial_name(root, name):
    """Return the path of a partial that is gone, from that of its neighbour."""
    neighbour = partial(root, "out.txt")
    return neighbour.with_name(neighbour.name.replace("out.txt", name))


def is_committed(root):
    """Return whether `work` is committed: the log is synced next, and its outputs are not in place yet."""
    return b"stage.commit" in (root / "state/audit_first.jsonl").read_bytes()


BLOWS = [remove_file, remove_tree, file_for_tree, fifo_for_tree, link_for_tree, link_for_directory]


@pytest.mark.full_after(2)
@pytest.mark.parametrize("committed", [True, False])
@pytest.mark.parametrize("blow", BLOWS)
def test_an_output_that_is_taken_away_before_it_is_published_fails_its_stage_alone(bench, blow, committed):
    define(bench)
    if committed:
        code, output = struck(bench, "fdatasync", "audit_first", blow, when=is_committed)
    else:
        code, output = struck(bench, "fsync", "out.txt", blow)
    assert code == 1, output
    (error,) = [line for line in output.splitlines() if line.startswith("error:")]
    assert error.startswith("error: stage work")
    assert error.endswith(" before it was published")
    assert bench.read("out/beside.txt") == b"beside\n"
    stages = [record["data"]["stage"] for record in bench.records("stage.commit")]
    assert stages == (["work", "beside"] if committed else ["beside"])
    assert not bench.exists("w/out.txt")
    assert not bench.exists("w/tree")
    assert bench.run("verify", "--outputs").returncode == 3 or os.path.islink(bench.root / "w")  # no spec allows that
    if os.path.islink(bench.root / "w"):
        (bench.root / "w").unlink()
        (bench.root / "elsewhere").rename(bench.root / "w")
    bench.succeed()
    assert bench.read("w/tree/file") == bench.read("w/out.txt") == b"work\n"
    assert bench.run("verify", "--outputs").returncode == 0
    assert not bench.leftovers()


def test_a_directory_that_changes_before_its_sync_is_published_as_it_is_then(bench):
    define(bench)
    code, output = struck(bench, "fsync", "out.txt", empty_tree_of_its_file)
    assert code == 0, output
    assert os.readlink(bench.root / "w/tree/file") == "nowhere"
    assert bench.run("verify", "--outputs").returncode == 0


def take_state_away(root):
    (root / "state").rename(root / "old")
    shutil.rmtree(root / "locks")


def test_a_run_whose_log_is_taken_away_while_it_is_synced_publishes_nothing(bench):
    define(bench)
    code, output = struck(bench, "fdatasync", "audit_first", take_state_away, when=is_committed)
    assert code == 74, output
    assert "audit_first.jsonl: was removed or replaced while the run was at work" in output
    assert not bench.exists("w/out.txt")
    assert not bench.exists("w/tree")
    assert not bench.exists("state")
