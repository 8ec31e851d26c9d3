"""Tools in a sealed stage: how they write, what they leave, and how they replace what they wrote."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from harmless_lives import bench_as_user
from sealed_stages import look, sealed

if TYPE_CHECKING:
    from pipeline_bench import PipelineBench

FILES = {"inputs": {"in": "in.txt", "tree": "tree/"}, "outputs": {"out": "out/o.txt"}}
WAYS = {
    "with an index beside the input": "echo x >in.txt.idx; cat in.txt >out/o.txt",
    "with a lock beside the input": "mkdir in.txt.lock; cat in.txt >out/o.txt; rmdir in.txt.lock",
    "with an index beside the output": "cat in.txt >out/o.txt; echo x >out/o.txt.idx",
    "by a temporary file": "cat in.txt >out/.o.tmp; mv out/.o.tmp out/o.txt",
    "by a temporary file in root": "cat in.txt >o.tmp; mv o.tmp out/o.txt",
    "by a temporary file in TMPDIR": 'cat in.txt >"$TMPDIR/o"; mv "$TMPDIR/o" out/o.txt',
    "again": "echo old >out/o.txt; rm out/o.txt; cat in.txt >out/o.txt",
    "over a temporary name": "echo old >out/o.txt; cat in.txt >out/n; mv -f out/n out/o.txt",
    "by a hard link": "cat in.txt >out/n; ln out/n out/o.txt; rm out/n",
    "through a link": "ln -s o.txt out/link; cat in.txt >out/link",
    "through a link to its directory": "ln -s out d; cat in.txt >d/o.txt",
    "in a new directory": "rmdir out; mkdir out; cat in.txt >out/o.txt",
    "in a directory that took its name": "mkdir made; cat in.txt >made/o.txt; rmdir out; mv made out",
    "without leave to write there": "cat in.txt >out/o.txt; chmod 500 out",
    "without leave to enter": "cat in.txt >out/o.txt; chmod 000 out .",
}
LOST = {
    "the directory is a link within root": "rmdir out; mkdir d; ln -s d out; cat in.txt >out/o.txt",
    "the directory is a link to TMPDIR": "rmdir out; ln -s /tmp out; cat in.txt >out/o.txt",
    "the directory is a link to what is not there": "rmdir out; ln -s {outside} out",
    "the directory is a link to an input": "rmdir out; ln -s tree out",
    "the directory is a file": "rmdir out; cat in.txt >out",
    "the directory is gone": "rmdir out",
}


@pytest.fixture
def bench(bench):
    bench.write("in.txt", "in\n")
    bench.write("tree/o.txt", "input\n")
    return bench


def files(bench: PipelineBench) -> list[str]:
    """Everything in root but the directories of offpipe."""
    paths = sorted(str(path.relative_to(bench.root)) for path in bench.root.rglob("*") if not path.is_dir())
    return [path for path in paths if not path.startswith(("state/", "locks/", ".offpipe/"))]


def left(bench: PipelineBench) -> list[str]:
    """What of attempts is on the disk, also if it is a directory."""
    return [str(path) for path in bench.root.rglob(".partial-*")] + os.listdir(bench.root / "state/tmp")


@pytest.mark.parametrize("way", WAYS)
def test_a_tool_may_write_its_output(bench, way):
    assert look(bench, WAYS[way], **FILES) == []
    assert bench.read("out/o.txt") == b"in\n"
    assert files(bench) == ["in.txt", "look.seen", "out/o.txt", "spec.json", "tree/o.txt"]
    assert left(bench) == []


@pytest.mark.parametrize("way", LOST)
def test_an_output_whose_directory_was_replaced_counts_as_not_written(bench, tmp_path_factory, way):
    outside = tmp_path_factory.mktemp("outside")
    (outside / "o.txt").write_text("outside\n")
    bench.write("out/o.txt", "earlier\n")
    bench.define(sealed("look", "sh", "-ec", LOST[way].format(outside=outside), **FILES))
    done = bench.run()
    assert done.returncode == 1
    assert 'stage look, output out: exit 0, but the stage did not write "out/o.txt"' in done.stderr
    assert (outside / "o.txt").read_text() == "outside\n"
    assert bench.read("out/o.txt") == b"earlier\n" and bench.read("tree/o.txt") == b"input\n"
    assert left(bench) == []


@pytest.mark.parametrize("target", ["n", "/etc/passwd", "../tree/o.txt"])
def test_an_output_that_is_a_link_is_refused(bench, target):
    bench.define(sealed("look", "sh", "-ec", f"echo n >out/n; ln -s {target} out/o.txt", **FILES))
    done = bench.run()
    assert done.returncode == 1
    assert 'output out: "out/o.txt" should be a file, but the stage made a symbolic link' in done.stderr
    assert files(bench) == ["in.txt", "spec.json", "tree/o.txt"]


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("rm in.txt", "Device or resource busy"),
        ("mv in.txt other", "Device or resource busy"),
        ("echo x >>in.txt", "Read-only file system"),
        ("chmod 600 in.txt", "Read-only file system"),
        ("ln in.txt out/o.txt", "Invalid cross-device link"),
        ("echo x >tree/index", "Read-only file system"),
        ("rm tree/o.txt", "Read-only file system"),
    ],
)
def test_an_input_cannot_be_changed(bench, script, says):
    bench.define(sealed("look", "env", "LC_ALL=C", "sh", "-ec", script, **FILES))
    done = bench.run()
    assert done.returncode == 1 and says in done.stderr and "hint: it is sealed" in done.stderr
    assert files(bench) == ["in.txt", "spec.json", "tree/o.txt"] and bench.read("in.txt") == b"in\n"


def test_what_a_stage_leaves_goes_with_its_view(bench):
    script = (
        "mkdir -p a/b out/c; echo >a/b/stray; echo >out/c/stray; echo >.hidden; mkfifo pipe; chmod 000 a/b; echo >o2"
    )
    assert look(bench, f"{script}; cat in.txt >out/o.txt", **FILES) == []
    assert files(bench) == ["in.txt", "look.seen", "out/o.txt", "spec.json", "tree/o.txt"]
    assert left(bench) == []


def test_earlier_outputs_and_those_of_others_are_not_there(bench):
    bench.write("out/o.txt", "earlier\n")
    bench.write("out/d/earlier", "earlier\n")
    bench.write("out/other.txt", "other\n")
    script = "ls -A out; echo >out/o.txt; mkdir out/d; cp in.txt out/d/new"
    assert look(bench, script, inputs={"in": "in.txt"}, outputs={"out": "out/o.txt", "d": "out/d/"}) == []
    assert files(bench) == ["in.txt", "look.seen", "out/d/new", "out/o.txt", "out/other.txt", "spec.json", "tree/o.txt"]


@pytest.mark.parametrize("mode", [0o555, 0o700, 0o777])
def test_a_directory_keeps_its_mode_and_links(bench, mode):
    script = f"mkdir out/d; cp in.txt out/d/x; ln -s x out/d/link; ln -s /nowhere out/d/far; chmod {mode:o} out/d"
    assert look(bench, script, outputs={"d": "out/d/"}, inputs={"in": "in.txt"}) == []
    made = bench.root / "out/d"
    assert made.stat().st_mode & 0o777 == mode
    assert (os.readlink(made / "link"), os.readlink(made / "far")) == ("x", "/nowhere")
    made.chmod(0o755)


def test_a_failed_attempt_leaves_nothing_and_the_next_one_begins_anew(bench):
    script = 'ls -A out; echo x >out/o.txt; echo >stray; [ "$PIPELINE_ATTEMPT" = 2 ] || exit 75'
    retry = {"attempts": 2, "delaySeconds": 0}
    assert look(bench, script, **FILES, retry=retry) == []
    assert len(bench.records("attempt.started")) == 2 and left(bench) == []


@pytest.mark.parametrize("user", ["root", "unprivileged"])
@pytest.mark.parametrize("script", ["chmod 500 out", "chmod 000 out .", "chmod 500 out/d", "chmod 000 a"])
def test_modes_keep_no_user_from_the_outputs(user, script):
    make = "mkdir -p a out/d; echo o >out/o.txt; echo x >out/d/x; echo >a/b"
    with bench_as_user("kernel", user) as bench:
        bench.define(sealed("look", "sh", "-ec", f"{make}; {script}", outputs={"out": "out/o.txt", "d": "out/d/"}))
        bench.succeed()
        assert bench.read("out/o.txt") == b"o\n" and bench.read("out/d/x") == b"x\n"
        assert left(bench) == []
