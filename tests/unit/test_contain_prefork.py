"""A launch that was prepared: its process waits for its turn, and nobody can tell."""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pipeline_bench import ROOT, children, descendants, is_running, open_files, wait_for
from warm_bench import LEVELS, warm_bench

from runner.contain.prefork import _Waiting
from runner.contain.script import looked_at
from runner.contain.wire import frame
from runner.errors import OffpipeError
from runner.levels import KERNEL, SCAN


def inside(pid):
    """The number of a process in its own namespace."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("NSpid:")).split()[-1])


@pytest.fixture(params=LEVELS)
def bench(request, tmp_path):
    with warm_bench(request.param, tmp_path) as it:
        yield it


def test_what_was_prepared_is_the_process_that_waited(bench):
    launch, pid = bench.prepared()
    number = inside(pid)
    assert bench.run(launch)[1] == f"{number}\n"
    assert bench.processes() == []


def test_it_holds_nothing_while_it_waits(bench):
    """No file of the stage is open, and its standard streams are nobody's."""
    os.mkfifo(bench.directory / "fifo")
    bench.script("reads.py", "print(input())\n")
    launch, pid = bench.prepared("reads.py", stdin=str(bench.directory / "fifo"))
    bench.descriptors()

    def kinds():
        return [file.partition(":")[0] for file in open_files(pid)]

    wait_for(lambda: kinds() == ["/dev/null"] * 3 + ["pipe"] * 2)  # its gate, and what tells of a failure
    bench.launcher.submit(launch)
    (bench.directory / "fifo").write_text("a word\n")
    assert bench.ended().code == 0
    assert Path(launch.log).read_text() == "a word\n"


def test_its_stage_is_told_what_it_was_prepared_with(bench):
    bench.script("shows.py", "import os, sys\nprint(sys.argv[1:], os.environ['MINE'], os.getcwd())\n")
    launch, _ = bench.prepared("shows.py", "one", "\u00fc", env={"MINE": "a value"})
    assert bench.run(launch)[1] == f"['one', '\u00fc'] a value {bench.directory}\n"


@pytest.mark.parametrize("change", ["edited", "removed", "elsewhere"])
def test_a_program_that_has_changed_meanwhile_is_run_as_it_is(bench, change):
    (bench.directory / "place").mkdir()
    (bench.directory / "other").mkdir()
    bench.script("place/it.py", "import sys\nprint('old', sys.path[0])\n")
    (bench.directory / "link").symlink_to("place")
    launch, pid = bench.prepared("link/it.py")
    if change == "edited":
        bench.script("place/it.py", "import sys\nprint('new', sys.path[0])\n")
        expected = f"new {bench.directory}/place\n"
    elif change == "removed":
        (bench.directory / "place/it.py").unlink()
        expected = (
            f"{sys.executable}: can't open file '{bench.directory}/link/it.py': [Errno 2] No such file or directory\n"
        )
    else:
        bench.script("other/it.py", "import sys\nprint('old', sys.path[0])\n")
        (bench.directory / "link").unlink()
        (bench.directory / "link").symlink_to("other")
        expected = f"old {bench.directory}/other\n"
    assert bench.run(launch)[1] == expected
    assert not is_running(pid)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGSEGV])
def test_one_that_is_killed_while_it_waits_is_not_missed(bench, number):
    launch, pid = bench.prepared()
    os.kill(pid, number)
    wait_for(lambda: pid not in bench.processes())
    ended, said = bench.run(launch)
    assert (ended.code, ended.signal, ended.failed_to_start, ended.left_behind) == (0, None, None, 0)
    assert said.strip().isdecimal()
    assert bench.processes() == []


def test_one_that_is_killed_and_not_missed_yet_is_another_process(bench):
    """The launcher is stopped, so that it finds it dead only when its turn has come."""
    launch, pid = bench.prepared()
    os.kill(bench.launcher.pid, signal.SIGSTOP)
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z")
    bench.launcher.submit(launch)
    os.kill(bench.launcher.pid, signal.SIGCONT)
    assert (bench.ended().code, bench.processes()) == (0, [])


def test_the_gate_of_one_that_is_dead_and_not_waited_for_yet_cannot_be_opened(tmp_path):
    script = os.fsencode(tmp_path / "script.py")
    dead = _Waiting.__new__(_Waiting)
    dead._request, dead._seen = {"script": script}, looked_at(os.fsdecode(script))
    gate, dead._opens = os.pipe()
    os.close(gate)
    assert not dead.begin()
    os.close(dead._opens)


def test_one_that_somebody_has_stopped_is_ended_by_its_time_limit(bench):
    launch, pid = bench.prepared(timeout=0.2, grace=0.2)
    os.kill(pid, signal.SIGSTOP)
    ended, _ = bench.run(launch)
    assert ended.timed_out and ended.signal in (signal.SIGTERM, signal.SIGKILL)


def test_only_the_last_that_was_prepared_waits(bench):
    first, pid = bench.prepared()
    second, _ = bench.prepared()
    wait_for(lambda: not is_running(pid))
    assert len(bench.processes()) == 1
    assert bench.run(first)[0].code == 0  # as any other
    assert bench.run(second)[0].code == 0


def test_prepared_twice_is_prepared_once(bench):
    launch, pid = bench.prepared()
    bench.launcher.prepare(launch)
    number = inside(pid)
    assert bench.run(launch)[1] == f"{number}\n"


def test_what_was_changed_after_it_was_prepared_is_started_as_it_is(bench):
    bench.script("shows.py", "import os\nprint(os.environ['MINE'])\n")
    launch, _ = bench.prepared("shows.py", env={"MINE": "old"})
    assert bench.run(launch.replace(env={**launch.env, "MINE": "new"}))[1] == "new\n"


@pytest.mark.parametrize(
    "fields",
    [{"script": None}, {"program": "/bin/echo"}, {"address_space": 1 << 33}],
    ids=lambda fields: next(iter(fields)),
)
def test_what_is_no_fork_does_not_wait_and_runs_all_the_same(bench, fields):
    launch = bench.launch(**fields)
    bench.launcher.prepare(launch)
    assert bench.run(bench.launch())[0].code == 0  # requests are heard in their order
    assert bench.processes() == []
    ended, said = bench.run(launch)
    assert ended.code == 0 and said.strip()


def test_what_ended_stages_left_is_killed_and_what_waits_is_not(bench):
    bench.script("leaves.py", """
        import os, time
        if os.fork() == 0:
            time.sleep(600)
    """)  # fmt: skip
    launch, pid = bench.prepared()
    number = inside(pid)
    for count in (1, 2, 3):
        ended, _ = bench.run(bench.launch("leaves.py"))
        assert (ended.code, ended.left_behind) == (0, 1), count
    ended, said = bench.run(launch)
    assert (said, ended.left_behind) == (f"{number}\n", 0)


def test_a_prepared_stage_that_leaves_something_is_told_from_another(bench):
    bench.script("leaves.py", "import os, time\nif os.fork() == 0:\n    time.sleep(600)\n")
    launch, _ = bench.prepared("leaves.py")
    bench.started()
    ended, _ = bench.run(launch)
    assert (ended.id, ended.left_behind) == (launch.id, 1)
    assert bench.finish().left_behind == 0


def test_its_time_begins_with_its_turn(bench):
    bench.started()
    launch, _ = bench.prepared(timeout=600)
    bench.finish()
    submitted = time.monotonic()
    ended, _ = bench.run(launch)
    assert (ended.code, ended.timed_out) == (0, False)
    assert ended.seconds <= time.monotonic() - submitted


def test_environments_do_not_get_mixed_up(bench):
    """Of one that is as long as the last only what is other comes through the pipe."""
    bench.script("shows.py", "import os\nprint(os.environ.get('ONE'), os.environ.get('TWO'))\n")
    first, _ = bench.prepared("shows.py", env={"ONE": "1"})
    assert bench.run(bench.launch("shows.py", env={"TWO": "2"}))[1] == "None 2\n"
    bench.script("shows.py", "import os\nprint(os.environ.get('ONE'), os.environ.get('TWO'), 'edited')\n")
    assert bench.run(first)[1] == "1 None edited\n"  # by another process
    assert bench.run(bench.launch("shows.py", env={"TWO": "3"}))[1] == "None 3 edited\n"


@pytest.mark.parametrize("verb", ["terminate", "kill"])
def test_it_is_no_stage_that_could_be_ended(bench, verb):
    """What ends all stages leaves it alone: it is none yet, and its turn may come."""
    bench.started()
    launch, pid = bench.prepared()
    number = inside(pid)
    getattr(bench.launcher, verb)()
    assert bench.ended().signal is not None
    assert bench.run(launch)[1] == f"{number}\n"


def test_it_ends_with_the_launcher(bench):
    """Also one that does not see the end of its gate."""
    _, pid = bench.prepared()
    os.kill(pid, signal.SIGSTOP)
    bench.launcher.close()
    assert not is_running(pid)


def test_it_ends_with_a_launcher_that_is_killed(bench):
    _, pid = bench.prepared()
    os.kill(bench.launcher.pid, signal.SIGKILL)
    wait_for(lambda: not is_running(pid))


def test_it_ends_with_a_launcher_that_crashes(bench):
    bench.started()
    _, pid = bench.prepared()
    os.write(bench.launcher._requests, frame("launch", {"id": 1}))
    with pytest.raises(OffpipeError, match="KeyError"):
        bench.ended()
    assert not is_running(pid)


# ---- where there is not enough for it -------------------------------------------------------------------------------


def limit(bench, more):
    """Let the launcher open so many descriptors more than it has."""
    wanted = len(bench.descriptors()) + more
    hard = resource.prlimit(bench.launcher.pid, resource.RLIMIT_NOFILE)[1]
    resource.prlimit(bench.launcher.pid, resource.RLIMIT_NOFILE, (wanted, hard))


@pytest.mark.parametrize("more", [2, 3], ids=["no gate", "no report"])
def test_where_there_is_nothing_for_it_its_stage_starts_later(bench, more):
    launch, other = bench.launch(), bench.launch()
    assert bench.run(bench.launch())[0].code == 0
    before = bench.descriptors()
    limit(bench, more - 1)
    bench.launcher.prepare(launch)
    bench.launcher.submit(other)  # heard after it
    assert (bench.ended().failed_to_start is not None) == (more == 2)
    assert bench.processes() == []
    limit(bench, 10)
    assert bench.run(launch)[0].code == 0
    assert len(bench.descriptors()) == len(before)


def test_it_makes_room_for_one_that_starts_now(bench):
    launch, pid = bench.prepared()
    assert bench.run(bench.launch())[0].code == 0  # so the launcher is through with preparing
    limit(bench, 1)
    assert bench.run(bench.launch())[0].code == 0
    assert not is_running(pid)
    assert bench.run(launch)[0].code == 0


@pytest.mark.parametrize("way", ["run", "edited", "killed", "replaced"])
def test_the_launcher_closes_what_it_has_opened_for_it(bench, way):
    bench.prepared()
    assert bench.run(bench.launch())[0].code == 0  # since it may look for processes that a stage has left
    assert bench.run(bench.prepared()[0])[0].code == 0
    before = bench.descriptors()
    for _ in range(3):
        launch, pid = bench.prepared()
        if way == "edited":
            bench.script("pid.py", f"print({pid})\n")
        elif way == "killed":
            os.kill(pid, signal.SIGKILL)
            wait_for(lambda pid=pid: pid not in bench.processes())
        elif way == "replaced":
            bench.prepared()
        assert bench.run(launch)[0].code == 0
    assert bench.run(bench.launch(address_space=1 << 33))[0].code == 0
    bench.launcher.prepare(bench.launch(address_space=1 << 33))  # no fork, and so nobody waits any more
    assert bench.run(bench.launch())[0].code == 0
    assert len(bench.descriptors()) == len(before)


# ---- a runner that is killed ----------------------------------------------------------------------------------------

RUNNER = """
import os, sys
from runner.contain.client import Launch, Launcher
warm = {"LANG": "C.UTF-8", "TZ": "UTC", "PYTHONPATH": sys.argv[1]}
launcher = Launcher.start(sys.argv[2], warm=warm)
launcher.await_ready()
if launcher.refusal:
    sys.exit(f"this level cannot be had here: {launcher.refusal}")
script = os.path.abspath("script.py")
open("log", "w").close()
argv, log = [sys.executable, "-B", script], os.path.abspath("log")
launcher.prepare(Launch(1, argv, warm, os.getcwd(), None, None, log, script=script))
print(launcher.pid, flush=True)
input()
"""


@pytest.mark.parametrize("level", [SCAN, KERNEL])
def test_it_ends_with_a_runner_that_is_killed(tmp_path, level):
    (tmp_path / "script.py").write_text("print('has run')\n")
    with subprocess.Popen(
        [sys.executable, "-c", RUNNER, str(ROOT), level], cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as runner:  # fmt: skip
        said = runner.stdout.readline()
        if not said and "cannot be had" in (why := runner.stderr.read()):
            pytest.skip(why)
        launcher = int(said)
        wait_for(lambda: children(launcher))
        below = descendants(runner.pid)
        runner.kill()
        wait_for(lambda: not any(map(is_running, below)))
    assert (tmp_path / "log").read_text() == ""
