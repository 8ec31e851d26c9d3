"""Kills and stops on a cluster: no line is lost or published twice, and the record says what happened."""

from __future__ import annotations

import re
import signal
import time
from collections import Counter

import pytest
from dask_cluster import TTL, ended
from pipeline_bench import children, descendants, is_running, kill, kill_and_await, shell, wait_for
from small_disks import fill, make_room, small_disk

ONCE = "[ -e {here}/{name} ] || {{ touch {here}/{name}; exec sleep 1000; }}; echo {name} >>$PIPELINE_OUTPUT_OUT"

# Appends lines 1 to 3, takes a checkpoint and waits. The next attempt appends line 4 once this one has gone on.
ZOMBIE = """
import json, os, time
here, out = {here!r}, os.environ["PIPELINE_OUTPUT_OUT"]
content = json.load(open(os.environ["PIPELINE_STAGE_FILE"]))
def await_file(name):
    while not os.path.exists(f"{{here}}/{{name}}"):
        time.sleep(0.01)
def checkpoint(length, offset):
    path = content["scratch"] + ".progress"
    with open(path, "w") as file:
        json.dump({{"v": 1, "key": content["key"], "lineOffset": offset, "byteOffset": offset,
                   "outputs": {{"out": {{"length": length}}}}}}, file)
    os.rename(path, content["progress"])
with open(out, "a") as file:
    if not os.path.exists(f"{{here}}/checkpoint"):
        file.write("1\\n2\\n3\\n")
        file.flush()
        checkpoint(6, 3)
        open(f"{{here}}/checkpoint", "w").close()
        await_file("go")
        file.write("zombie\\n")
        file.flush()
        checkpoint(13, 4)
        open(out, "a").write("zombie, by path\\n")
        open(f"{{here}}/gone-on", "w").close()
        await_file("never")
    with open(f"{{here}}/resumed.new", "w") as found:
        found.write(open(out).read())
    os.rename(f"{{here}}/resumed.new", f"{{here}}/resumed")
    await_file("gone-on")
    file.write("4\\n")
"""

# Fills a directory. The first attempt keeps filling it until the next one is at work, which waits for its last file.
TREE = """
import contextlib, os, time
here, out = {here!r}, os.environ["PIPELINE_OUTPUT_OUT"]
def put(name):
    os.makedirs(out, exist_ok=True)
    open(f"{{out}}/{{name}}", "w").close()
def await_file(name):
    while not os.path.exists(f"{{here}}/{{name}}"):
        time.sleep(0.01)
if not os.path.exists(f"{{here}}/began"):
    put("old")
    os.chdir(out)
    open(f"{{here}}/began", "w").close()
    while not os.path.exists(f"{{here}}/resumed"):
        with contextlib.suppress(FileNotFoundError, FileExistsError):  # the directory is removed meanwhile
            put("again and again")
    put("zombie")
    open(f"{{here}}/gone-on", "w").close()
    await_file("never")
put("new")
open(f"{{here}}/resumed", "w").close()
await_file("gone-on")
"""


@pytest.fixture
def here(tmp_path):
    directory = tmp_path / "here"
    directory.mkdir()
    return directory


def worker_of(cluster, pid):
    return next(name for name, worker in cluster.workers.items() if pid in descendants(worker.pid))


def stage_process(bench, *marks):
    """Return the process of a stage at work, once it has left these marks."""
    wait_for(lambda: all(mark.exists() for mark in marks), "the stage's marks")
    return wait_for(bench.program_processes, "a stage at work")[0]


def start_zombie(bench, cluster, here):
    """Start a run; return it when its stage has taken a checkpoint and waits."""
    bench.write("zombie.py", ZOMBIE.format(here=str(here)))
    bench.define({"name": "a", "command": ["python3", "zombie.py"], "outputs": {"out": "out/a.txt"}})
    process = bench.start("--cluster", str(cluster.file))
    wait_for((here / "checkpoint").exists, "the checkpoint")
    return process


def kill_launchers(worker):
    for launcher in children(worker.pid):
        kill(launcher)


def test_a_stage_whose_worker_is_killed_runs_again_without_a_retry(bench, make_cluster, here):
    cluster = make_cluster("one", "two")
    bench.define(shell("a", ONCE.format(here=here, name="a")))
    process = bench.start("--cluster", str(cluster.file))
    name = worker_of(cluster, stage_process(bench, here / "a"))
    cluster.kill(name)
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 0, stdout + stderr
    lost, done = ended(bench)
    assert lost.lost and lost.worker == name and lost.exit is None
    assert done.exit == 0 and done.worker != name
    assert bench.read("out/a.txt") == b"a\n"
    assert bench.run("verify").returncode == 0
    assert f"/{name} lost: {lost.lost}\n" in bench.run("log").stdout
    assert not bench.leftovers()


def test_a_run_whose_worker_is_killed_in_its_second_round_goes_on(bench, make_cluster, here):
    cluster = make_cluster("one", "two")
    once = (
        f"[ -e {here}/began ] || {{ touch {here}/began; exec sleep 1000; }}; echo {{each.name}} >$PIPELINE_OUTPUT_OUT"
    )
    bench.write("names", "name\np\nq\n")
    bench.define(
        shell("table", "cat names >$PIPELINE_OUTPUT_T", inputs={"x": "names"}, outputs={"t": "w/names.tsv"}),
        shell("row", once, each={"rows": "{outputs.table.t}"}, outputs={"out": "r/{each.name}"}),
    )
    process = bench.start("--cluster", str(cluster.file), "-j1")
    name = worker_of(cluster, stage_process(bench, here / "began"))
    cluster.kill(name)
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 0, stdout + stderr
    assert [(attempt.stage.partition("@")[0], attempt.lost is not None) for attempt in ended(bench)] == [
        ("table", False), ("row", True), ("row", False), ("row", False),
    ]  # fmt: skip
    assert [bench.read(f"r/{word}") for word in "pq"] == [b"p\n", b"q\n"]
    assert len(bench.records("run.expanded")) == 1
    assert bench.run("verify").returncode == 0
    assert not bench.leftovers()


@pytest.mark.full
def test_a_killed_launcher_loses_its_stages_and_not_its_worker(bench, make_cluster, here):
    cluster = make_cluster("one")
    bench.define(shell("a", ONCE.format(here=here, name="a")))
    process = bench.start("--cluster", str(cluster.file))
    stage_process(bench, here / "a")
    kill_launchers(cluster.workers["one"])
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 0, stdout + stderr
    assert [attempt.lost is not None for attempt in ended(bench)] == [True, False]
    assert bench.read("out/a.txt") == b"a\n"


@pytest.mark.full
def test_a_stage_that_is_lost_three_times_fails_as_retryable(bench, make_cluster, here):
    cluster = make_cluster("one")
    bench.define(shell("a", f"touch {here}/$PIPELINE_ATTEMPT; exec sleep 1000"))
    process = bench.start("--cluster", str(cluster.file))
    for attempt in "123":
        wait_for((here / attempt).exists, "a stage at work")
        kill_launchers(cluster.workers["one"])
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 75, stdout + stderr
    assert "lost" in stderr
    assert len(ended(bench)) == 3


@pytest.mark.full
@pytest.mark.parametrize("goes_on", [pytest.param("the launcher", marks=pytest.mark.full), "the worker"])
def test_nothing_that_a_given_up_attempt_writes_is_published(bench, make_cluster, here, goes_on):
    """The stage of the stopped worker goes on after the next attempt has resumed from its checkpoint."""
    cluster = make_cluster("one", "two", **TTL)
    process = start_zombie(bench, cluster, here)
    name = worker_of(cluster, stage_process(bench))
    cluster.kill(name, signal.SIGSTOP)
    wait_for((here / "resumed").exists, "the next attempt")
    assert (here / "resumed").read_text() == "1\n2\n3\n"
    if goes_on == "the worker":  # it ends its stage when it goes on, so the stage writes first
        (here / "go").touch()
        wait_for((here / "gone-on").exists, "the writing of the attempt that was given up")
        cluster.kill(name, signal.SIGCONT)
    else:
        (here / "go").touch()
    stdout, stderr = process.communicate(timeout=30)
    cluster.kill(name, signal.SIGCONT)
    assert process.returncode == 0, stdout + stderr
    assert bench.read("out/a.txt") == b"1\n2\n3\n4\n"
    assert [attempt.lost is not None for attempt in ended(bench)] == [True, False]
    assert bench.run("verify", "--outputs").returncode == 0
    assert_leftovers_go(bench)


def assert_leftovers_go(bench):
    """Check that the next attempt of the stage removes what the one that was given up has left."""
    wait_for(lambda: not bench.program_processes(), "the end of the attempt that was given up")
    assert bench.leftovers() != []
    assert bench.skips_everything()
    bench.succeed("-f")
    assert bench.leftovers() == []


@pytest.mark.full
def test_a_directory_that_a_given_up_attempt_goes_on_filling_is_not_published(bench, make_cluster, here):
    cluster = make_cluster("one", "two", **TTL)
    bench.write("tree.py", TREE.format(here=str(here)))
    bench.define({"name": "a", "command": ["python3", "tree.py"], "outputs": {"out": "out/tree/"}})
    process = bench.start("--cluster", str(cluster.file))
    wait_for((here / "began").exists, "the first attempt")
    name = worker_of(cluster, stage_process(bench))
    cluster.kill(name, signal.SIGSTOP)
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 0, stdout + stderr
    assert [path.name for path in (bench.root / "out/tree").iterdir()] == ["new"]
    assert [attempt.lost is not None for attempt in ended(bench)] == [True, False]
    assert bench.run("verify", "--outputs").returncode == 0
    cluster.kill(name, signal.SIGCONT)
    assert_leftovers_go(bench)


@pytest.mark.full
def test_a_checkpoint_of_a_killed_run_is_resumed_on_one_machine_by_a_copy(bench, make_cluster, here):
    cluster = make_cluster("one")
    process = start_zombie(bench, cluster, here)
    cluster.kill("one", signal.SIGSTOP)
    kill_and_await(process)
    second = bench.start()
    wait_for((here / "resumed").exists, "the next attempt")
    (here / "go").touch()
    stdout, stderr = second.communicate(timeout=30)
    assert second.returncode == 0, stdout + stderr
    assert (here / "resumed").read_text() == "1\n2\n3\n"
    assert bench.read("out/a.txt") == b"1\n2\n3\n4\n"


@pytest.mark.full
def test_status_shows_the_checkpoints_of_a_killed_run(bench, make_cluster, here):
    cluster = make_cluster("one")
    process = start_zombie(bench, cluster, here)
    assert "a  incomplete, 3 lines\n" in bench.run("status").stdout
    kill_and_await(process)
    wait_for(lambda: not bench.program_processes(), "the end of the stage")
    assert "a  incomplete, 3 lines\n" in bench.run("status").stdout


def test_workers_end_the_stages_of_a_killed_run_and_the_same_command_goes_on(bench, make_cluster, here):
    cluster = make_cluster("one", "two")
    bench.define(shell("a", "echo a >$PIPELINE_OUTPUT_OUT"), shell("b", ONCE.format(here=here, name="b"), needs=["a"]))
    process = bench.start("--cluster", str(cluster.file))
    stage = stage_process(bench, here / "b")
    began = time.monotonic()
    kill_and_await(process)
    wait_for(lambda: not bench.program_processes() and not is_running(stage), "the end of the stage")
    assert time.monotonic() - began < 10
    bench.succeed("--cluster", str(cluster.file))
    assert [record["data"]["stage"] for record in bench.records("stage.commit")] == ["a", "b"]
    assert len({record["run"] for record in bench.records()}) == 1
    assert not bench.leftovers()


@pytest.mark.full
def test_a_scheduler_that_is_killed_ends_the_run_and_the_same_command_goes_on(bench, make_cluster, here):
    cluster = make_cluster("one", "two")
    bench.define(shell("a", ONCE.format(here=here, name="a")))
    process = bench.start("--cluster", str(cluster.file))
    stage_process(bench, here / "a")
    kill(cluster.scheduler.pid)
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 74, stdout + stderr
    assert "the scheduler is gone" in stderr
    wait_for(lambda: not bench.program_processes(), "the end of the stage")
    bench.succeed("--cluster", str(make_cluster("one").file))
    assert bench.read("out/a.txt") == b"a\n"


@pytest.mark.full
def test_two_runs_share_a_cluster(make_bench, workers):
    benches, started = [make_bench("first"), make_bench("second")], []
    for bench in benches:
        bench.define(*(shell(f"s{number}", f"echo {number} >$PIPELINE_OUTPUT_OUT") for number in range(12)))
        started.append(bench.start("--cluster", str(workers.file)))
    for bench, process in zip(benches, started, strict=True):
        stdout, stderr = process.communicate(timeout=30)
        assert process.returncode == 0, stdout + stderr
        assert [bench.read(f"out/s{number}.txt") for number in range(12)] == [b"%d\n" % number for number in range(12)]
        assert not any(attempt.lost for attempt in ended(bench))


@pytest.mark.full
def test_a_run_does_not_wait_for_a_worker_that_is_busy_for_another_run(make_bench, make_cluster, here):
    cluster, bench, second = make_cluster("one"), make_bench("first"), make_bench("second")
    bench.define(shell("a", ONCE.format(here=here, name="a")))
    process = bench.start("--cluster", str(cluster.file))
    stage_process(bench, here / "a")
    second.define(shell("b", "echo b >$PIPELINE_OUTPUT_OUT"))
    done = second.run("--cluster", str(cluster.file), "--cluster-wait", "1")
    assert done.returncode == 74
    assert "no usable worker within 1 s, 1 at work for others" in done.stderr
    cluster.add("two")
    second.succeed("--cluster", str(cluster.file))
    assert [attempt.worker for attempt in ended(second)] == ["two"]
    kill_and_await(process)


@pytest.mark.full
def test_a_run_goes_on_when_a_worker_comes_after_the_last_has_gone(bench, make_cluster, here):
    cluster = make_cluster("one")
    bench.define(shell("a", ONCE.format(here=here, name="a")))
    process = bench.start("--cluster", str(cluster.file))
    stage_process(bench, here / "a")
    cluster.kill("one")
    wait_for(lambda: bench.records("run.warning"), "the warning")
    cluster.add("two")
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 0, stdout + stderr
    assert "no worker is usable: the run waits for one" in stderr
    assert [attempt.worker for attempt in ended(bench)] == ["one", "two"]


@pytest.mark.full
@pytest.mark.parametrize("variable", ["PIPELINE_OUTPUT_OUT", "PIPELINE_PROGRESS"])
def test_a_link_to_the_root_that_a_stage_leaves_is_not_followed(bench, workers, variable):
    bench.define(shell("a", f"rm -f ${variable}; ln -s / ${variable}; exit 3"))
    done = bench.run("--cluster", str(workers.file), timeout=30)
    assert done.returncode == 1, done.stderr
    assert [attempt.exit for attempt in ended(bench)] == [3]


@pytest.mark.full
@pytest.mark.parametrize("what", ["the launcher", "the worker"])
def test_attempts_that_wait_for_a_worker_are_not_lost_with_it(bench, make_cluster, here, what):
    """Each time only the attempt at work is lost: the others have not started."""
    cluster = make_cluster("w0")
    held = f"touch {here}/$PIPELINE_STAGE.$PIPELINE_ATTEMPT; until [ -e {here}/go ]; do sleep 0.02; done"
    bench.define(*(shell(f"s{number}", f"{held}; echo >$PIPELINE_OUTPUT_OUT") for number in range(6)))
    process = bench.start("--cluster", str(cluster.file), "-j", "6")
    for number in range(4):
        wait_for(lambda count=number: len(list(here.iterdir())) > count, "a stage at work")
        if what == "the worker":
            cluster.kill(f"w{number}")
            cluster.add(f"w{number + 1}")
        else:
            kill_launchers(cluster.workers["w0"])
        wait_for(lambda count=number: len(lost_stages(bench)) > count, "the record of the lost attempt")
        if any(times == 2 for times in Counter(lost_stages(bench)).values()):
            break  # the third time fails it
    (here / "go").touch()
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stdout + stderr
    assert len(lost_stages(bench)) == number + 1


def lost_stages(bench):
    return [attempt.stage for attempt in ended(bench) if attempt.lost]


@pytest.mark.full
def test_a_worker_that_can_take_no_lease_is_left_out_by_name(bench, make_cluster):
    """Otherwise it would always be free again at once, and take and lose the attempts of all stages."""
    cluster = make_cluster("one")
    bench.define(
        shell("a", "rm -rf state/tmp/cluster-*; echo >$PIPELINE_OUTPUT_OUT"),
        shell("b", "echo >$PIPELINE_OUTPUT_OUT", needs=["a"]),
    )
    done = bench.run("--cluster", str(cluster.file), "--cluster-wait", "1", timeout=30)
    assert done.returncode == 74, done.stderr
    assert re.search(r"/one: left out: /.*/state/tmp/cluster-\w+/\d+: cannot open: ENOENT", done.stderr)


@pytest.mark.full
def test_an_output_that_a_full_disk_cut_is_not_committed(bench, make_cluster):
    """The runner sees the disk that it shares with the workers."""
    bench.define(shell("cut", "head -c 480000 /dev/zero > $PIPELINE_OUTPUT_OUT; true", outputs={"out": "mnt/cut"}))
    with small_disk(bench, "size=4m"):
        bench.cluster = make_cluster("one").address
        fill(bench, 300 << 10)
        done = bench.run()
        assert done.returncode == 74, done.stderr
        assert "stage cut, output out: exit 0, but its disk had only" in done.stderr
        assert not bench.exists("mnt/cut")
        assert bench.leftovers() == []
        make_room(bench)
        bench.succeed()
        assert bench.read("mnt/cut") == bytes(480_000)
