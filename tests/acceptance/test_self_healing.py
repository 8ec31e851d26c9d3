"""A damaged marker, checkpoint or cache gives one warning and counts as missing; the plain command repairs it.

It names the file in one warning, redoes the work, exits with 0, and leaves the right bytes. The next run is silent.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest
from harmless_lives import bench_as_user
from pipeline_bench import shell, unstamped
from suites import full_but

GIB = 1 << 30

# Both note that they ran. `slow` fails once, after a checkpoint. The next attempt resumes from it, or starts anew.
FIRST = "echo first >> $HOME/notes; tr a-z A-Z < in.txt > $PIPELINE_OUTPUT_OUT"
SLOW = """
if test -e "$PIPELINE_OUTPUT_OUT"; then echo resumed >> $HOME/notes; else echo anew >> $HOME/notes; cp out/first.txt "$PIPELINE_OUTPUT_OUT"; fi
if test -e $HOME/broken; then
    echo "{\\"v\\": 1, \\"key\\": \\"$PIPELINE_KEY\\", \\"outputs\\": {\\"out\\": {\\"length\\": 7}}}" > "$PIPELINE_PROGRESS"; exit 1
fi
echo end >> "$PIPELINE_OUTPUT_OUT"
"""  # noqa: E501 - a shell script
RIGHT = {"out/first.txt": b"SOME\nTEXT\n", "out/slow.txt": b"SOME\nTEXT\nend\n"}
RESUMED = b"SOME\nTEend\n"  # only a resumed attempt makes this: it keeps seven bytes and appends `end`


class Pipeline:
    """A bench with the pipeline laid out: finished, or stopped at the checkpoint of `slow`."""

    def __init__(self, bench):
        self.bench = bench
        self.state = bench.root / "state"
        bench.write("in.txt", "some\ntext\n")
        bench.define(
            shell("first", FIRST, inputs={"in": "in.txt"}),
            shell("slow", SLOW, inputs={"in": "out/first.txt"}),
        )
        os.utime(bench.root / "in.txt", (1_600_000_000, 1_600_000_000))

    def finish(self):
        self.run()
        assert self.outputs() == RIGHT

    def stop(self):
        self.bench.write("broken", "")
        assert self.run().returncode == 1
        (self.bench.root / "broken").unlink()
        self.bench.write("notes", "")

    def run(self, *words):
        """Run with the caches on, even if the suite runs without them."""
        return self.bench.run(*words, env={"HOME": str(self.bench.root), "OFFPIPE_PLAIN": ""})

    def outputs(self):
        return {path: self.bench.read(path) for path in RIGHT}

    def notes(self):
        """Return what ran since the last call."""
        path = self.bench.root / "notes"
        lines = path.read_text().split() if path.exists() else []
        path.write_text("")
        return lines


@pytest.fixture
def pipeline(bench):
    return Pipeline(bench)


def put(content):
    def damage(path):
        path.write_bytes(content(path.read_bytes()) if callable(content) else content)

    return damage


def instead(make):
    def damage(path):
        path.unlink()
        make(path)

    return damage


def tree(path):
    path.mkdir()
    (path / "inside").write_text("x")


def moved(path):
    os.rename(path, path.with_name("moved"))
    path.symlink_to("moved")


def device(path):
    if os.getuid():
        pytest.skip("only root can make a device")
    os.mknod(path, 0o20666, os.makedev(1, 5))  # /dev/zero, which never ends


DAMAGED = "is damaged"
LARGE = "is larger than"
DAMAGES = {
    # how the file is damaged, and what the warning says
    "empty": (put(b""), DAMAGED),
    "truncated": (put(lambda content: content[: len(content) // 2]), DAMAGED),
    "zeros, as a power cut leaves them": (put(lambda content: bytes(len(content))), DAMAGED),
    "other bytes": (put(bytes(range(256)) * 20), DAMAGED),
    "a directory": (instead(Path.mkdir), "is a directory, not a regular file"),
    "a directory with something in it": (instead(tree), "is a directory, not a regular file"),
    "a FIFO": (instead(os.mkfifo), "is a FIFO, not a regular file"),
    "a link to what it was": (moved, "is a symbolic link, not a regular file"),
    "a link to itself": (instead(lambda path: path.symlink_to(path.name)), "is a symbolic link, not a regular file"),
    "a device": (instead(device), "is a character device, not a regular file"),
    "huge": (lambda path: os.truncate(path, GIB), LARGE),
}
FEW_DAMAGES = ("truncated", "huge")
OTHER_DAMAGES = ("another checksum", "that of another stage")


def flipped(path):
    """Change one digit of a digest: the length stays, and the file is still JSON."""
    content = path.read_bytes()
    at = content.index(b'"sha256":"') + 12 if b'"sha256":"' in content else content.index(b'",') - 4
    path.write_bytes(content[:at] + (b"0" if content[at : at + 1] != b"0" else b"1") + content[at + 1 :])


def assert_one_warning(pipeline, done, path, what):
    warnings = [line for line in unstamped(done.stderr).splitlines() if "warning" in line]
    assert len(warnings) == 1, done.stderr
    assert warnings[0].startswith(f"warning: {path}: {what}")
    assert warnings[0].endswith(", and counts as missing")


def assert_quiet(pipeline):
    """Another run says nothing and does nothing."""
    done = pipeline.run()
    assert (done.returncode, done.stderr) == (0, "")
    assert pipeline.notes() == []
    assert pipeline.outputs() == RIGHT


@pytest.mark.parametrize("damage", full_but([*DAMAGES, *OTHER_DAMAGES], ["truncated", *OTHER_DAMAGES]))
def test_a_damaged_marker_gives_one_warning_and_its_stage_runs_again(pipeline, damage):
    pipeline.finish()
    pipeline.notes()
    path = pipeline.state / "stage_slow.json"
    others = {
        "another checksum": (flipped, DAMAGED),
        "that of another stage": (
            lambda path: shutil.copy(pipeline.state / "stage_first.json", path), 'is the marker of the stage "first"',
        ),
    }  # fmt: skip
    make, what = {**DAMAGES, **others}[damage]
    make(path)
    done = pipeline.run()
    assert done.returncode == 0, done.stderr
    assert_one_warning(pipeline, done, path, what)
    assert pipeline.notes() == ["anew"]
    assert pipeline.outputs() == RIGHT
    assert_quiet(pipeline)


@pytest.mark.parametrize("damage", full_but(DAMAGES, FEW_DAMAGES))
def test_a_damaged_checkpoint_gives_one_warning_and_its_stage_starts_anew(pipeline, damage):
    pipeline.stop()
    path = pipeline.state / "progress_slow.json"
    make, what = DAMAGES[damage]
    make(path)
    done = pipeline.run()
    assert done.returncode == 0, done.stderr
    assert_one_warning(pipeline, done, path, what)
    assert pipeline.notes() == ["anew"]
    assert not os.path.lexists(path)
    assert_quiet(pipeline)


def test_resumes_from_a_sound_checkpoint(pipeline):
    """The tests above would see this if a run trusted the damaged checkpoints."""
    pipeline.stop()
    done = pipeline.run()
    assert (done.returncode, "warning" in done.stderr, pipeline.notes()) == (0, False, ["resumed"])
    assert pipeline.outputs()["out/slow.txt"] == RESUMED


def test_a_checkpoint_with_another_key_is_discarded_without_a_warning(pipeline):
    pipeline.stop()
    path = pipeline.state / "progress_slow.json"
    pipeline.bench.write("state/progress_slow.json", re.sub(rb'("key": ?")', rb"\g<1>0", path.read_bytes()))
    done = pipeline.run()
    assert (done.returncode, "warning" in done.stderr) == (0, False)
    assert pipeline.notes() == ["anew"]
    assert_quiet(pipeline)


@pytest.mark.full
@pytest.mark.parametrize("damage", [*DAMAGES, "another checksum", "a marker"])
def test_a_damaged_cache_gives_one_warning_and_nothing_runs_again(pipeline, damage):
    pipeline.finish()
    pipeline.notes()
    path = pipeline.state / "files.json"
    others = {
        "another checksum": (flipped, DAMAGED),
        "a marker": (lambda path: shutil.copy(pipeline.state / "stage_first.json", path), DAMAGED),
    }
    make, what = {**DAMAGES, **others}[damage]
    make(path)
    done = pipeline.run()
    assert done.returncode == 0, done.stderr
    assert_one_warning(pipeline, done, path, what)
    assert_quiet(pipeline)


@pytest.mark.parametrize(
    "damage",
    full_but(["empty", "other bytes", "a directory with something in it", "a FIFO", "huge"], ["a FIFO"]),
)
def test_damaged_metrics_do_not_keep_a_run_from_resuming(pipeline, damage):
    pipeline.stop()
    path = next(pipeline.state.glob("metrics_*.json"))
    make, what = DAMAGES[damage]
    make(path)
    done = pipeline.run()
    assert done.returncode == 0, done.stderr
    assert_one_warning(pipeline, done, path, what)
    assert pipeline.notes() == ["resumed"]
    assert pipeline.bench.metrics()["status"] == "succeeded"
    done = pipeline.run()
    assert (done.returncode, done.stderr) == (0, "")


def test_each_of_several_damaged_files_has_its_warning(pipeline):
    pipeline.stop()
    damaged = [pipeline.state / name for name in ("files.json", "progress_slow.json", "stage_first.json")]
    for path in damaged:
        path.write_bytes(b"gone")
    done = pipeline.run()
    warnings = sorted(line for line in unstamped(done.stderr).splitlines() if "warning" in line)
    assert warnings == [f"warning: {path}: is damaged, and counts as missing" for path in damaged]
    assert (done.returncode, pipeline.notes()) == (0, ["anew"])
    assert_quiet(pipeline)
    assert pipeline.run("verify", "--outputs").returncode == 0


def test_a_committed_stage_of_a_killed_run_is_not_redone_for_its_marker(pipeline):
    """The record of its commit is enough: `first` gets its marker back without running."""
    pipeline.stop()
    (pipeline.state / "stage_first.json").write_bytes(b"gone")
    done = pipeline.run()
    assert done.returncode == 0
    assert_one_warning(pipeline, done, pipeline.state / "stage_first.json", DAMAGED)
    assert pipeline.notes() == ["resumed"]


def test_verbs_that_only_read_warn_too_and_leave_the_damaged_file(pipeline):
    pipeline.finish()
    path = pipeline.state / "stage_slow.json"
    path.write_bytes(b"gone")
    for words in (("plan",), ("status",), ("explain", "slow"), ("validate",), ("run", "-n")):
        done = pipeline.run(*words)
        assert done.returncode == 0
        assert done.stderr == f"warning: {path}: is damaged, and counts as missing\n", words
    assert path.read_bytes() == b"gone"


def test_a_warning_spoils_neither_json_nor_a_quiet_run(pipeline):
    pipeline.finish()
    path = pipeline.state / "stage_slow.json"
    path.write_bytes(b"gone")
    assert [stage["stage"] for stage in pipeline.bench.json("plan")["stages"] if stage["decision"] == "run"] == ["slow"]
    done = pipeline.run("run", "-q")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert pipeline.run().stderr == ""


@pytest.mark.full
@pytest.mark.parametrize("name", ["stage_slow.json", "progress_slow.json", "files.json"])
@pytest.mark.parametrize("user", ["root", "unprivileged"])
def test_a_file_that_cannot_be_read_counts_as_missing(name, user):
    """Root can read any file, so it gets no warning."""
    with bench_as_user("kernel", user) as bench:
        pipeline = Pipeline(bench)
        if name.startswith("progress"):
            pipeline.stop()
        else:
            pipeline.finish()
        path = pipeline.state / name
        path.chmod(0)
        done = pipeline.run()
        assert done.returncode == 0, done.stderr
        if user == "root":
            assert "warning" not in done.stderr
        else:
            assert_one_warning(pipeline, done, path, "cannot be read: EACCES (Permission denied)")
            assert pipeline.outputs() == RIGHT
        done = pipeline.run()
        assert (done.returncode, done.stderr) == (0, "")
