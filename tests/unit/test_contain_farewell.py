"""A forked stage that is as good as over says so before its end is reported, and no other stage does."""

import contextlib
import fcntl
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from pipeline_bench import ROOT, wait_for
from warm_bench import LEVELS, warm_bench

from runner.contain.client import Launcher
from runner.contain.farewell import FEW, FIFO, LITTLE, open_farewells
from runner.levels import KERNEL


class Telling(Launcher):
    """Keeps what it was told, in order; `look` is called between a farewell and whatever comes behind it.

    `left` are the ids that were `leaving` then.
    """

    def __init__(self, *given):
        super().__init__(*given)
        self.told = []
        self.left = []
        self.look = lambda: None
        self._later = []

    def _frames(self):
        frames, self._later = [*self._later, *super()._frames()], []
        for number, (kind, _) in enumerate(frames):
            self.told.append(kind)
            if kind == "leaving":
                self._later = frames[number + 1 :]
                self.look()
                return frames[: number + 1]
        return frames

    def receive(self):
        heard = super().receive()
        while self._later:
            self.left += self.leaving
            heard += super().receive()
        self.left += self.leaving
        return heard


@pytest.fixture
def kernel(tmp_path):
    with warm_bench(KERNEL, tmp_path, Telling) as it:
        yield it


def run(bench, source, **fields):
    """What is told of a stage behind its start, and its end."""
    bench.script("it.py", source)
    bench.launcher.told.clear()
    launch = bench.launch("it.py", **fields)
    bench.launcher.submit(launch)
    return bench.launcher.told, ended_with(bench)


def ended_with(bench):
    ended = bench.ended()
    assert not bench.launcher.leaving
    return ended


SUCCEEDS = {
    "nothing": "",
    "output": "print('a line')\nopen('file', 'w').write('text')\n",
    "exit": "import sys\nsys.exit(0)\n",
    "no code": "raise SystemExit\n",
    "had a process": "import os\nos.waitpid(os.posix_spawn('/bin/true', ['true'], {}), 0)\n",
}


@pytest.mark.parametrize("source", SUCCEEDS.values(), ids=SUCCEEDS)
def test_who_succeeds_bids_farewell(kernel, source):
    told, ended = run(kernel, source)
    assert (told, ended.code) == (["leaving", "exit"], 0)
    assert kernel.launcher.left == [ended.id]


OTHERS = """
import os, subprocess, sys
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/tests/support", sys.argv[1] + "/tests/unit"]
from pathlib import Path
from test_contain_farewell import Telling
from warm_bench import warm_bench
subprocess.run(["mount", "-t", "ramfs", "none", "/proc/fs/nfsd"], check=True)
os.mkfifo("/proc/fs/nfsd/farewells")
fifo = os.open("/proc/fs/nfsd/farewells", os.O_RDWR | os.O_NONBLOCK)
with warm_bench(sys.argv[2], Path(), Telling) as bench:
    bench.script("it.py", "")
    bench.run(bench.launch("it.py"))
    print(*bench.launcher.told)
try:
    print(os.read(fifo, 100))
except BlockingIOError:
    print("nothing was said")
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount something for others")
@pytest.mark.parametrize("level", LEVELS)
def test_no_stage_bids_it_by_a_fifo_that_is_anothers(tmp_path, level):
    done = subprocess.run(
        ["unshare", "-m", sys.executable, "-c", OTHERS, str(ROOT), level], cwd=tmp_path, check=False, timeout=60,
        capture_output=True, text=True,
    )  # fmt: skip
    if "Operation not permitted" in done.stderr or "Skipped" in done.stderr:
        pytest.skip(f"root may not mount here, or this level cannot be had: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    told = "ready leaving exit" if level == KERNEL else "ready exit"
    assert done.stdout == f"{told}\nnothing was said\n"


HALF_MADE = """
import os, sys
sys.path.insert(0, sys.argv[1])
from runner.contain import calls, farewell
from runner.levels import RefusedError
mount = calls.mount

def refused(what, *given):
    if what.startswith(sys.argv[2]):
        raise RefusedError("mount", what, 1)
    mount(what, *given)

def full(*given):
    raise OSError(28, "it is full")

calls.mount = refused
if sys.argv[2] == "mkfifo":
    os.mkfifo = full
farewell.make_fifo()
print(os.path.ismount(farewell.PLACE), os.listdir(farewell.PLACE), farewell.open_farewells())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount without a namespace of its own users")
@pytest.mark.parametrize("fails", ["mounting", "mkfifo", "protecting"])
def test_of_one_that_is_half_made_nothing_is_left(tmp_path, fails):
    done = subprocess.run(
        ["unshare", "-m", sys.executable, "-c", HALF_MADE, str(ROOT), fails], cwd=tmp_path, check=False, timeout=60,
        capture_output=True, text=True,
    )  # fmt: skip
    if "Operation not permitted" in done.stderr:
        pytest.skip(f"root may not mount here: {done.stderr.splitlines()[-1]}")
    assert (done.stdout, done.stderr) == ("False [] None\n", "")


def test_no_stage_does_where_every_descriptor_is_needed(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (FEW - 1, hard))
    try:
        with warm_bench(KERNEL, tmp_path, Telling) as bench:
            assert run(bench, "")[0] == ["exit"]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_prepared_or_not(kernel):
    for prepares in (False, True, True, False):
        kernel.launcher.told.clear()
        launch = kernel.launch()
        if prepares:
            kernel.launcher.prepare(launch)
        kernel.run(launch)
        assert kernel.launcher.told == ["leaving", "exit"]


MAPS = "import mmap, os\nmapped = mmap.mmap(os.open('it.py', os.O_RDWR), 0)\n"
MORE_TO_COME = {
    "code": "import sys\nsys.exit(3)\n",
    "error": "1 / 0\n",
    "killed": "import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\n",
    "at the end": "import atexit\natexit.register(print, 'end')\n",
    "file": "file = open('file', 'w')\nfile.write('text')\n",
    "memory": f"held = b'x' * {LITTLE * 1024}\n",
    "memory given back": f"held = b'x' * {LITTLE * 1024}\ndel held\n",
    "process": "import os, time\nif os.fork() == 0:\n    time.sleep(600)\n",
    "dead process": "import os\nif os.fork() == 0:\n    os._exit(0)\n",
    "orphan": "import os, time\nif not os.fork():\n    os.fork() and os._exit(0)\n    time.sleep(600)\nos.wait()\n",
    "a fork that succeeds": "import os, sys\nif os.fork() == 0:\n    sys.exit(0)\nos.wait()\nsys.exit(3)\n",
    "mapped": MAPS,
    "mapped by what is hidden": f"{MAPS}import sys\ndel sys.modules['mmap']\n",
}


FAILS = ("code", "error", "killed", "a fork that succeeds")


@pytest.mark.parametrize("source", MORE_TO_COME.values(), ids=MORE_TO_COME)
def test_who_does_not_or_holds_or_leaves_something_does_not(kernel, source):
    kernel.launcher.load(["mmap"])
    told, ended = run(kernel, source, preload=("mmap",) if "mmap" in source else ())
    assert told == ["exit"]
    assert (ended.code == 0) == (source not in [MORE_TO_COME[name] for name in FAILS])


def test_who_comes_to_map_something_later_does_not(kernel):
    told, ended = run(kernel, MAPS)
    assert (told, ended.code) == (["exit"], 0)


def test_who_asked_for_a_network_does_not(kernel):
    """Here a process of its own, for what it would need to ask itself keeps it from ending at once."""
    asks = "import socket\ntry:\n    socket.socket()\nexcept OSError:\n    pass\n"
    starts = f"os.posix_spawn(sys.executable, [sys.executable, '-c', {asks!r}], {{}})"
    told, ended = run(kernel, f"import os, sys\nos.waitpid({starts}, 0)\n")
    assert told == ["exit"] and ended.code == 0 and ended.network


def test_who_is_asked_to_end_does_not(kernel):
    kernel.launcher.load(["signal"])
    kernel.script("it.py", """
        import signal, sys
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        open("ready", "w").close()
        signal.sigwait({signal.SIGTERM})
        sys.exit(0)
    """)  # fmt: skip
    kernel.launcher.submit(kernel.launch("it.py", preload=("signal",)))
    wait_for((kernel.directory / "ready").exists)
    kernel.launcher.told.clear()
    kernel.launcher.terminate()
    assert (ended_with(kernel).code, kernel.launcher.told) == (0, ["exit"])


def test_the_end_of_its_terminal_is_not_its_own(kernel):
    """What it had open is closed while it is there yet, and it is the leader of the session."""
    kernel.launcher.load(["signal"])
    told, ended = run(kernel, """
        import os, signal
        signal.signal(signal.SIGHUP, lambda *_: os.close(os.open("heard", os.O_CREAT)))
        terminal = os.openpty()[1]
        os.open(os.ttyname(terminal), os.O_RDWR)
    """, preload=("signal",))  # fmt: skip
    assert (told, ended.code, ended.signal) == (["leaving", "exit"], 0, None)
    assert not (kernel.directory / "heard").exists()
    assert run(kernel, "import os\nos.open(os.ttyname(os.openpty()[1]), os.O_RDWR)\n")[1].code == 0


FULL = """
import os, signal, sys
reads, writes = os.pipe()
os.set_blocking(writes, False)
try:
    while os.write(writes, b"x" * 4096): pass
except BlockingIOError:
    os.set_blocking(writes, True)
os.dup2(writes, 1)
print("a line")
"""  # what is printed waits for a reader


def test_what_it_says_last_can_be_broken_off(kernel):
    """Nobody reads the pipe that it writes to, and its own watchdog ends it."""
    kernel.launcher.load(["signal"])
    source = f"{FULL}signal.setitimer(signal.ITIMER_REAL, 0.2)\n"
    _, ended = run(kernel, source, preload=("signal",), timeout=30)
    assert (ended.signal, ended.timed_out) == (signal.SIGALRM, False)


LATE = f"""{FULL}
def late(*_):
    global file
    os.read(reads, 1 << 20)
    {{}}
signal.signal(signal.SIGALRM, late)
signal.setitimer(signal.ITIMER_REAL, 0.2)
"""  # the handler runs in the last flush, and lets it go on
MASK = "open('mask', 'w').write(repr(signal.pthread_sigmask(signal.SIG_BLOCK, ())))"
LATE_ENDS = {
    "file": ("file = open('late', 'w'); file.write('text')", ["exit"], "late", "text"),
    "at the end": (f"import atexit; atexit.register(lambda: {MASK})", ["exit"], "mask", "set()"),
    "word": ("sys.stderr.write('text')", ["leaving", "exit"], "1.log", "text"),
}


@pytest.mark.parametrize("case", LATE_ENDS.values(), ids=LATE_ENDS)
def test_what_a_handler_does_while_the_last_is_written_is_not_lost(kernel, case):
    what, expected, path, content = case
    kernel.launcher.load(["signal"])
    told, ended = run(kernel, LATE.format(what), preload=("signal",), timeout=30)
    assert (told, ended.code, ended.signal) == (expected, 0, None)
    assert (kernel.directory / path).read_text() == content


def test_what_a_handler_says_then_can_be_broken_off_too(kernel):
    """It has room for a part of it, and nobody reads on."""
    kernel.launcher.load(["signal"])
    more = "os.read(reads, 4096); print('y' * 5000); signal.signal(signal.SIGALRM, signal.SIG_DFL)"
    source = LATE.format(f"{more}; signal.setitimer(signal.ITIMER_REAL, 0.2)").replace(
        "os.read(reads, 1 << 20)", "pass"
    )
    _, ended = run(kernel, source, preload=("signal",), timeout=30)
    assert (ended.signal, ended.timed_out) == (signal.SIGALRM, False)


def test_what_is_no_fork_does_not(kernel):
    kernel.script("it.py", "")
    launch = kernel.launch("it.py", script=None)
    assert kernel.run(launch)[0].code == 0
    assert kernel.launcher.told == ["ready", "exit"]


def test_what_it_locked_is_free_by_then(kernel):
    lock = kernel.directory / "lock"
    lock.touch()
    free = []

    def look():
        with lock.open("w") as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            free.append(True)

    kernel.launcher.look = look
    for _ in range(20):
        told, _ = run(kernel, "import os\nos.lockf(os.open('lock', os.O_RDWR), os.F_LOCK, 0)\n")
        assert told == ["leaving", "exit"]
    assert len(free) == 20


# ---- what others do to the FIFO -------------------------------------------------------------------------------------

OPEN = "import os\nfifo = os.open('/proc/fs/nfsd/farewells', os.O_RDWR | os.O_NONBLOCK)\n"
HARMS = {
    "babble": f"{OPEN}os.write(fifo, b'x' * 7)\nos._exit(0)\n",
    "babble in part": f"{OPEN}os.write(fifo, bytes([1]))\nos._exit(0)\n",
    "fill": f"{OPEN}try:\n    while True:\n        os.write(fifo, b'x' * 4095)\nexcept BlockingIOError:\n"
    "    os._exit(0)\n",
    "read": f"{OPEN}for _ in range(2000):\n    os.write(fifo, b'x' * 16)\n    try:\n        os.read(fifo, 65536)\n"
    "    except BlockingIOError:\n        pass\nos._exit(0)\n",
}  # fmt: skip


@pytest.mark.parametrize("harm", HARMS.values(), ids=HARMS)
def test_whatever_a_stage_does_there_ends_are_told_and_the_next_one_is_heard(kernel, harm):
    told, ended = run(kernel, harm)
    assert (told, ended.code) == (["exit"], 0)
    assert run(kernel, "")[0] == ["leaving", "exit"]


def test_who_says_it_again_and_again_is_told_once(kernel):
    said = f"{OPEN}for number in range(10000):\n    os.sched_yield() or os.write(fifo, (1).to_bytes(4, 'big'))\n"
    told, ended = run(kernel, said)
    assert (told.count("leaving"), ended.id) == (1, 1)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may change its root directory")
def test_another_file_by_that_name_is_left_alone(kernel):
    assert run(kernel, "")[0] == ["leaving", "exit"]
    for kind in ("file", "fifo"):
        inner = kernel.directory / kind / "proc/fs/nfsd"
        inner.mkdir(parents=True)
        if kind == "file":
            (inner / "farewells").write_text("kept")
        else:
            os.mkfifo(inner / "farewells")
            fifo = os.open(inner / "farewells", os.O_RDONLY | os.O_NONBLOCK)
        told, ended = run(kernel, f"import os\nos.chroot({kind!r})\n")
        assert (told, ended.code) == (["exit"], 0)
    assert (kernel.directory / "file/proc/fs/nfsd/farewells").read_text() == "kept"
    assert os.read(fifo, 10) == b""
    os.close(fifo)


def test_nothing_of_it_is_outside(kernel):
    before = Path("/proc/self/mountinfo").read_bytes()
    assert run(kernel, "")[0] == ["leaving", "exit"]
    assert not os.path.exists(FIFO)
    assert Path("/proc/self/mountinfo").read_bytes() == before


@pytest.fixture
def farewells(tmp_path, monkeypatch):
    monkeypatch.setattr("runner.contain.farewell.FIFO", os.fsencode(tmp_path / "fifo"))
    monkeypatch.setattr("runner.contain.farewell.LITTLE", 1 << 40)
    monkeypatch.delitem(sys.modules, "mmap", raising=False)  # this process may hold more than a stage
    os.mkfifo(tmp_path / "fifo")
    yield (made := open_farewells())
    with contextlib.suppress(OSError):
        os.close(made.descriptor)


def test_where_nobody_listens_it_does_not_wait(farewells):
    os.close(farewells.descriptor)
    pid = os.fork()
    if pid == 0:
        signal.alarm(30)
        farewells.of(1)()
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


def test_a_fork_says_nothing_for_its_parent(farewells):
    """Whatever its number is: in a namespace of its own numbers begin anew."""
    for made, heard in (("before the fork", set()), ("after it", {7})):
        bid = farewells.of(7)
        pid = os.fork()
        if pid == 0:
            (bid if made == "before the fork" else farewells.of(7))()
            os._exit(0)
        os.waitpid(pid, 0)
        assert farewells.heard() == heard, made


@pytest.mark.parametrize(("said", "heard"), [
    (b"", set()), (b"\0\0\0\1", {1}), (b"\0\0\0\1\0\0\1\0", {1, 256}), (b"\1", set()), (b"\0\0\0\1\0", set()),
])  # fmt: skip
def test_only_whole_numbers_are_heard(farewells, said, heard):
    os.write(farewells.descriptor, said)
    assert farewells.heard() == heard
