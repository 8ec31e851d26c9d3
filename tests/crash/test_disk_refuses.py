"""A full disk, a file size limit or a read-only place ends a run with 74, errno and path; the next run recovers."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

import pytest
from pipeline_bench import shell
from small_disks import fill, make_room, small_disk
from suites import full_but


def one_error(done):
    """Return the only `error:` line; check that there is no traceback."""
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    return line


def define(bench):
    bench.write("in.txt", "x" * 5000)
    bench.define(
        shell("a", "cp in.txt $PIPELINE_OUTPUT_OUT", inputs={"in": "in.txt"}),
        shell("b", "cp out/a.txt $PIPELINE_OUTPUT_OUT", inputs={"in": "out/a.txt"}),
        stateDir="mnt/state",
    )


@pytest.fixture
def small(bench):
    """A tmpfs below the bench for the state directory."""
    with small_disk(bench, "size=256k"):
        yield bench


@pytest.fixture
def few_inodes(bench):
    with small_disk(bench, "size=1m,nr_inodes=64"):
        yield bench


@pytest.mark.full
@pytest.mark.parametrize("pages", range(14))
def test_a_state_directory_that_fills_up_at_any_point_is_reported_and_recovered_from(small, pages):
    define(small)
    fill(small, pages * 4096)
    done = small.run()
    assert done.returncode != 0 or pages > 4
    if done.returncode != 0:
        assert done.returncode == 74, done.stderr
        assert re.fullmatch(
            r"error: .*mnt/state.*: cannot [a-z ]+: ENOSPC \(No space left on device\)", one_error(done)
        )
    make_room(small)
    small.succeed()
    assert small.read("out/b.txt") == small.read("in.txt")
    assert [path for path in small.leftovers() if "mnt/state/tmp/" in path] == []
    assert small.succeed("plan").stdout.count("skip") == 2


@pytest.mark.parametrize("blocks", full_but([0, 1, 2, 4, 8, 16], [4]))
def test_a_file_size_limit_is_reported_and_recovered_from(bench, blocks):
    """The runner gets EFBIG. The signal SIGXFSZ would kill it without a message."""
    bench.define(*(shell(f"s{n}", "touch $PIPELINE_OUTPUT_OUT") for n in range(20)))
    done = bench.run(command=("sh", "-c", f'ulimit -f {blocks}; exec "$@"', "sh"))
    assert done.returncode != 0 or blocks > 1
    if done.returncode != 0:
        assert done.returncode == 74, done.stderr
        assert re.fullmatch(r"error: .*/(state|locks)/.*: cannot [a-z ]+: EFBIG \(File too large\)", one_error(done))
    bench.succeed()
    assert bench.leftovers() == []
    assert bench.skips_everything()


@pytest.mark.full
def test_a_stage_over_the_file_size_limit_fails_and_the_next_run_goes_on(bench):
    bench.define(shell("a", "exec head -c 3000000 /dev/zero > $PIPELINE_OUTPUT_OUT"))
    done = bench.run(command=("sh", "-c", 'ulimit -f 2000; exec "$@"', "sh"))
    assert done.returncode == 1
    assert "SIGXFSZ" in done.stderr
    bench.succeed()


def test_a_full_disk_under_an_output_is_the_stages_failure(small):
    define(small)
    small.define(shell("a", "head -c 200000 /dev/zero > $PIPELINE_OUTPUT_OUT", outputs={"out": "mnt/a"}))
    fill(small, 100_000)
    done = small.run()
    assert done.returncode == 1, done.stderr
    assert not small.exists("mnt/a")
    assert small.leftovers() == []
    make_room(small)
    small.succeed()


def test_a_read_only_source_is_enough_with_a_workspace_elsewhere(small, tmp_path_factory):
    work = tmp_path_factory.mktemp("work")
    shutil.copytree(small.root, small.root / "mnt/source", ignore=shutil.ignore_patterns("mnt"))
    small.root, mount = small.root / "mnt/source", small.root / "mnt"
    small.spec = small.root / "spec.json"
    small.write("in.txt", "text")
    small.define(shell("a", "cp in.txt $PIPELINE_OUTPUT_OUT", inputs={"in": "in.txt"}))
    subprocess.run(["mount", "-o", "remount,ro", str(mount)], check=True)
    try:
        small.succeed("--workspace", str(work))
        assert (work / "out/a.txt").read_text() == "text"
        assert "skip" in small.succeed("plan", "--workspace", str(work)).stdout
    finally:
        small.root = mount.parent


def test_a_full_disk_at_a_run_with_nothing_to_do_is_reported(small):
    define(small)
    small.succeed()
    fill(small, 0)
    done = small.run()
    assert done.returncode == 74, done.stderr
    assert "ENOSPC" in one_error(done)
    make_room(small)
    small.succeed()


@pytest.mark.full
def test_an_unwritable_log_directory_ends_the_run_before_the_stage_starts(bench):
    bench.define(shell("a", "touch started; touch $PIPELINE_OUTPUT_OUT"))
    bench.write("state/logs", "a file is in the way")
    done = bench.run()
    assert done.returncode == 74
    assert re.search(r"state/logs/.*: (ENOTDIR|EEXIST) ", one_error(done))
    assert not bench.exists("started")
    (bench.root / "state/logs").unlink()
    bench.succeed()


@pytest.mark.full_after(1)
@pytest.mark.parametrize("left", [0, 4, 8])
def test_a_disk_without_inodes_is_reported_and_recovered_from(few_inodes, left):
    define(few_inodes)
    (few_inodes.root / "mnt/ballast").mkdir()
    for number in range(os.statvfs(few_inodes.root / "mnt").f_favail - left):
        few_inodes.write(f"mnt/ballast/{number}", "")
    done = few_inodes.run()
    assert done.returncode == 74, done.stderr
    assert re.fullmatch(r"error: .*mnt/state.*: cannot [a-z ]+: ENOSPC \(No space left on device\)", one_error(done))
    shutil.rmtree(few_inodes.root / "mnt/ballast")
    few_inodes.succeed()
    assert [path for path in few_inodes.leftovers() if "mnt/state/tmp/" in path] == []
    assert few_inodes.read("out/b.txt") == few_inodes.read("in.txt")


@pytest.mark.full_after(1)
@pytest.mark.parametrize("has_run", [False, True])
def test_a_read_only_state_directory_is_reported(small, has_run):
    define(small)
    if has_run:
        small.succeed()
    before = tree(small)
    subprocess.run(["mount", "-o", "remount,ro", str(small.root / "mnt")], check=True)
    done = small.run()
    assert done.returncode == 74, done.stderr
    assert re.search(r"mnt/state.*EROFS \(Read-only file system\)$", one_error(done))
    subprocess.run(["mount", "-o", "remount,rw", str(small.root / "mnt")], check=True)
    assert tree(small) == before
    small.succeed()


def tree(bench):
    everything = [path for path in (bench.root / "mnt").rglob("*") if path.is_file()]
    return {str(path): path.read_bytes() for path in everything}
