"""What a program cut because it ignored that the disk was full is no output: 74, until there is room."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest
from pipeline_bench import shell, wait_for
from small_disks import fill, make_room, small_disk

from runner.engine import Options
from runner.engine.run import run
from runner.errors import EXIT_STATE
from runner.hookspecs import hookimpl
from runner.results import FAILED, SUCCEEDED

LEFT = 300 << 10  # more than 5 % of the disk
LINES = 40_000
WHOLE = b"".join(b"%011d\n" % number for number in range(LINES))
# Writes all lines to a file, to standard output or to some files of a directory, whatever the disk answers.
IGNORES = f"""
import os, sys
target, *empty = sys.argv[1:]
is_directory = target.endswith("/")
if is_directory:
    os.mkdir(target)
for path in empty:
    open(path, "w").close()
content = b"".join(b"%011d\\n" % number for number in range({LINES}))
for start in range(0, len(content), 4096):
    try:
        name = f"{{target}}{{start // 81920:03}}" if is_directory else target
        descriptor = 1 if target == "-" else os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(descriptor, content[start : start + 4096])
    except OSError:
        pass
"""
ERROR = "stage cut, output out: exit 0, but its disk had only"
HINT = "hint: make room for the outputs and 209,715 bytes more, and run it again"


@pytest.fixture
def disk(bench):
    """A disk of 4 MiB below the bench."""
    with small_disk(bench, "size=4m"):
        bench.write("ignores.py", IGNORES)
        yield bench


def cut(*words, outputs=None, **fields):
    """A stage that ignores that its disk is full."""
    command = ["{python}", "ignores.py", *(words or ["{outputs.out}"])]
    inputs = {"code": "ignores.py"}
    return {"name": "cut", "command": command, "inputs": inputs, "outputs": outputs or {"out": "mnt/cut"}, **fields}


KINDS = {
    "file": cut(),
    "standard output": cut("-", stdout="out"),
    "directory": cut("{outputs.out}/", outputs={"out": "mnt/cut/"}),
    "two disks": cut("{outputs.out}", "{outputs.other}", outputs={"out": "mnt/cut", "other": "out/other"}),
}


def content(bench):
    """All bytes of the output `mnt/cut`."""
    path = bench.root / "mnt/cut"
    return b"".join(file.read_bytes() for file in (sorted(path.iterdir()) if path.is_dir() else [path]))


def errors(done):
    """The `error:` lines of a run."""
    return [line for line in done.stderr.splitlines() if line.startswith("error:")]


def refuses(disk, *words):
    """Run, and check that nothing is published, that there is one clear error, and that the room is given back."""
    done = disk.run("-q", *words)
    assert done.returncode == 74, done.stderr
    (error,) = errors(done)
    assert ERROR in error
    assert HINT in done.stderr
    assert not disk.exists("mnt/cut")
    assert disk.leftovers() == []


def succeeds_with_room(disk, *words):
    """Make room, and check that the same command then makes every byte."""
    make_room(disk)
    disk.succeed("-q", *words)
    assert content(disk) == WHOLE
    assert disk.run("verify", "--outputs").returncode == 0
    assert disk.skips_everything()


@pytest.mark.full_after(1)
@pytest.mark.parametrize("words", [(), ("-k",), ("--durability", "process")], ids=" ".join)
@pytest.mark.parametrize("state", ["mnt/state", "state"])
@pytest.mark.parametrize("kind", KINDS)
def test_an_output_that_a_full_disk_cut_is_not_committed(disk, kind, state, words):
    disk.define(KINDS[kind], stateDir=state)
    fill(disk, LEFT)
    refuses(disk, *words)
    refuses(disk, *words)
    succeeds_with_room(disk, *words)


def test_a_retry_that_ends_with_0_on_a_full_disk_is_not_committed(disk):
    script = "head -c 480000 /dev/zero > $PIPELINE_OUTPUT_OUT; test $PIPELINE_ATTEMPT -gt 1 || exit 75"
    disk.define(shell("cut", script, outputs={"out": "mnt/cut"}, retry={"attempts": 2, "delaySeconds": 0.001}))
    fill(disk, LEFT)
    done = disk.run()
    assert done.returncode == 74, done.stderr
    assert ERROR in done.stderr
    assert [record["data"]["exit"] for record in disk.records("attempt.finished")] == [75, 0]
    assert disk.leftovers() == []
    make_room(disk)
    disk.succeed()
    assert disk.read("mnt/cut") == bytes(480_000)


def test_a_retry_that_has_room_again_is_committed(disk):
    script = """
        test $PIPELINE_ATTEMPT = 1 || rm mnt/ballast
        head -c 480000 /dev/zero > $PIPELINE_OUTPUT_OUT
        test $PIPELINE_ATTEMPT -gt 1 || exit 75
    """
    disk.define(shell("cut", script, outputs={"out": "mnt/cut"}, retry={"attempts": 2, "delaySeconds": 0.001}))
    fill(disk, LEFT)
    disk.succeed()
    assert disk.read("mnt/cut") == bytes(480_000)


def test_a_disk_that_was_full_when_a_stage_with_outputs_elsewhere_ended_is_noticed(disk):
    """Later, but before the other stage ends, somebody makes room."""
    fills = 'head -c 8M /dev/zero >mnt/big; touch full; until test -e tried; do :; done; echo x >"$PIPELINE_OUTPUT_OUT"'
    cuts = """
        until test -e full; do :; done
        head -c 480000 /dev/zero >"$PIPELINE_OUTPUT_OUT"
        touch tried
        until test -e elsewhere; do :; done
        rm mnt/big
        exit 0
    """
    both = (shell("fills", fills, outputs={"out": "elsewhere"}), shell("cut", cuts, outputs={"out": "mnt/cut"}))
    disk.define(*both)
    done = disk.run("-q", "-j2")
    assert done.returncode == 74, done.stderr
    assert ERROR in done.stderr and disk.exists("elsewhere") and not disk.exists("mnt/cut")


def test_an_old_output_stays_until_the_new_one_is_whole(disk):
    disk.define(cut())
    disk.succeed()
    disk.write("ignores.py", f"{IGNORES}# a new version\n")
    fill(disk, LEFT)
    assert disk.run().returncode == 74
    assert content(disk) == WHOLE
    assert disk.leftovers() == []
    succeeds_with_room(disk)


def test_no_checkpoint_is_kept_of_an_attempt_that_a_full_disk_cut(disk):
    checkpoint = """
        head -c 1000 /dev/zero > $PIPELINE_OUTPUT_OUT
        printf '{"v": 1, "key": "%s", "lineOffset": 1, "outputs": {"out": {"length": 1000}}}' \\
            $PIPELINE_KEY > $PIPELINE_PROGRESS
        cat $PIPELINE_PROGRESS > out/progress
        head -c 480000 /dev/zero >> $PIPELINE_OUTPUT_OUT
        true
    """
    (disk.root / "out").mkdir()
    disk.define(shell("cut", checkpoint, outputs={"out": "mnt/cut"}), stateDir="mnt/state")
    fill(disk, LEFT)
    assert disk.run().returncode == 74
    assert b'"lineOffset": 1' in disk.read("out/progress")
    assert disk.leftovers() == []
    make_room(disk)
    disk.succeed()
    assert (disk.root / "mnt/cut").stat().st_size == 481_000


def test_files_that_no_inode_was_left_for_are_missed(bench):
    script = "mkdir $PIPELINE_OUTPUT_OUT; cd $PIPELINE_OUTPUT_OUT; touch $(seq 99); true"
    bench.define(shell("cut", script, outputs={"out": "mnt/cut/"}))
    with small_disk(bench, "size=4m,nr_inodes=64"):
        done = bench.run()
        assert done.returncode == 74, done.stderr
        (error,) = errors(done)
        assert error.endswith(
            "output out: exit 0, but its disk had no inode left, so files of the output may be missing"
        )
        assert not bench.exists("mnt/cut")
        subprocess.run(["mount", "-o", "remount,nr_inodes=0", str(bench.root / "mnt")], check=True)
        bench.succeed()
        assert len(os.listdir(bench.root / "mnt/cut")) == 99


def test_a_small_disk_with_room_is_no_fault(disk):
    disk.define(cut(), stateDir="mnt/state")
    room = os.statvfs(disk.root / "mnt")
    fill(disk, len(WHOLE) + room.f_blocks * room.f_frsize // 5)
    disk.succeed()
    assert content(disk) == WHOLE


def test_a_full_disk_without_outputs_is_no_fault(disk):
    disk.define(shell("a", "echo > $PIPELINE_OUTPUT_OUT"))
    fill(disk, 0)
    disk.succeed()


# ---- beside other stages ----


def test_no_stage_starts_after_it_unless_the_run_keeps_going(disk):
    disk.define(cut(), shell("other", "echo > $PIPELINE_OUTPUT_OUT", resources={"cpus": 1}))
    fill(disk, LEFT)
    assert disk.run("-j1").returncode == 74
    assert [record["data"]["stage"] for record in disk.records("attempt.started")] == ["cut"]
    done = disk.run("-k", "-j1")
    assert done.returncode == 74
    assert len(errors(done)) == 1
    assert disk.exists("out/other.txt")


@pytest.mark.parametrize("words", [("-j2",), ("-j2", "-k")], ids=" ".join)
def test_room_that_a_failed_stage_gives_back_does_not_make_a_cut_output_good(disk, words):
    """The other stage met the full disk, and ends when the partial of the first is gone."""
    goes_on = """
        until test -s mnt/.partial-*.a; do sleep 0.01; done
        head -c 480000 /dev/zero > $PIPELINE_OUTPUT_OUT
        touch full
        while ls mnt/.partial-*.a; do sleep 0.01; done
        true
    """
    fails = "head -c 250000 /dev/zero > $PIPELINE_OUTPUT_OUT; until test -e full; do sleep 0.01; done; exit 1"
    disk.define(
        shell("a", fails, outputs={"out": "mnt/a"}),
        shell("cut", goes_on, outputs={"out": "mnt/cut"}),
    )
    fill(disk, LEFT)
    done = disk.run(*words)
    assert done.returncode == 74, done.stderr
    assert any(ERROR in error for error in errors(done))
    assert not disk.exists("mnt/cut")
    assert disk.leftovers() == []


class WaitsUntilFull:
    """Delays the publication of stage `a`, which has ended, until the other stage has filled the disk."""

    def __init__(self, root):
        self.root = root

    @hookimpl
    def offpipe_attempt_finished(self, stage):
        if stage.name == "a":
            (self.root / "ended").touch()
            wait_for((self.root / "full").exists)


def test_room_that_a_published_output_gives_back_does_not_make_a_cut_output_good(disk):
    """The first stage replaces a large output. The other one met the full disk before, and ends after that."""
    (disk.root / "mnt/a").write_bytes(bytes(2 << 20))
    goes_on = """
        until test -e ended; do sleep 0.01; done
        head -c 480000 /dev/zero > $PIPELINE_OUTPUT_OUT
        touch full
        while test -s mnt/a; do sleep 0.01; done
        true
    """
    disk.define(
        shell("a", ": > $PIPELINE_OUTPUT_OUT", outputs={"out": "mnt/a"}),
        shell("cut", goes_on, outputs={"out": "mnt/cut"}),
    )
    fill(disk, LEFT)
    result = run(str(disk.spec), Options(jobs=2), plugins=(WaitsUntilFull(disk.root),))
    assert result.exit_code == EXIT_STATE
    assert {name: stage.status for name, stage in result.stages.items()} == {"a": SUCCEEDED, "cut": FAILED}
    assert not disk.exists("mnt/cut")


# ---- file systems that keep blocks back ----


@pytest.mark.full
@pytest.mark.parametrize("size", ["64M", "1G"])
def test_blocks_that_ext4_keeps_from_everyone_are_no_room(bench, size):
    """4,096 blocks of 4 KiB are as much as a disk may be short of."""
    if shutil.which("mkfs.ext4") is None:
        pytest.skip("there is no mkfs.ext4")
    image = bench.root / "image"
    subprocess.run(["truncate", "-s", size, image], check=True)
    subprocess.run(["mkfs.ext4", "-q", "-b", "4096", "-E", "root_owner=0:0", image], check=True)
    with small_disk(bench, "loop", str(image)):
        bench.write("ignores.py", IGNORES)
        bench.define(cut())
        fill(bench, 0)
        with open(bench.root / "mnt/rest", "wb") as rest:  # what is kept for root
            while ballast(rest):
                pass
        done = bench.run()
        assert done.returncode == 74, done.stderr
        make_room(bench)
        bench.succeed()
        assert content(bench) == WHOLE


def ballast(file):
    """Write a little more; return whether there was room."""
    try:
        return os.write(file.fileno(), bytes(1 << 20))
    except OSError:
        return 0
