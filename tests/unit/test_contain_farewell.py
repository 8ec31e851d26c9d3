"""A forked stage that is as good as over says so before its end is reported, and no other stage does."""

import errno
import fcntl
import os
import resource
from pathlib import Path

import pytest
from warm_bench import LEVELS, warm_bench

from runner.contain.client import Launcher
from runner.contain.farewell import FEW, FIFO, LITTLE, Farewells
from runner.levels import FILTER, KERNEL


class Telling(Launcher):
    """Keeps what it was told, in order; `hold` is called between a farewell and whatever comes behind it."""

    def __init__(self, *given):
        super().__init__(*given)
        self.told = []
        self.hold = lambda: None

    def _frames(self):
        frames = super()._frames()
        for kind, _ in frames:
            self.told.append(kind)
            if kind == "leaving":
                self.hold()
        return frames


@pytest.fixture
def kernel(tmp_path):
    with warm_bench(KERNEL, tmp_path, Telling) as it:
        yield it


@pytest.fixture(params=[level for level in LEVELS if level != KERNEL])
def other(request, tmp_path):
    """A launcher at a level at which there is no /proc of its own."""
    with warm_bench(request.param, tmp_path, Telling) as it:
        yield it


def run(bench, source, **fields):
    """What is told of a stage behind its start, and its end."""
    bench.script("it.py", source)
    bench.launcher.told.clear()
    launch = bench.launch("it.py", **fields)
    ended, _ = bench.run(launch)
    assert not bench.launcher.leaving
    return bench.launcher.told[:], ended


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


def test_no_stage_does_where_a_fifo_would_be_anothers(other):
    assert run(other, SUCCEEDS["output"])[0] == ["exit"]


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
}


@pytest.mark.parametrize("source", MORE_TO_COME.values(), ids=MORE_TO_COME)
def test_who_does_not_or_holds_or_leaves_something_does_not(kernel, source):
    told, ended = run(kernel, source)
    assert told == ["exit"]
    assert (ended.code == 0) == (source not in list(MORE_TO_COME.values())[:3])


@pytest.mark.parametrize("level", [FILTER, KERNEL])
def test_who_asked_for_a_network_does_not(tmp_path, level):
    source = "import socket\ntry:\n    socket.socket()\nexcept OSError:\n    pass\n"
    with warm_bench(level, tmp_path, Telling) as bench:
        told, ended = run(bench, source, preload=("socket",))
    assert told == ["exit"] and ended.network


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

    kernel.launcher.hold = look
    for _ in range(20):
        told, _ = run(kernel, "import os\nos.lockf(os.open('lock', os.O_RDWR), os.F_LOCK, 0)\n")
        assert told == ["leaving", "exit"]
    assert len(free) == 20


# ---- what others do to the FIFO -------------------------------------------------------------------------------------

OPEN = "import os\nfifo = os.open('/proc/fs/nfsd/farewells', os.O_RDWR | os.O_NONBLOCK)\n"
HARMS = {
    "remove": "import os\ntry:\n    os.unlink('/proc/fs/nfsd/farewells')\nexcept OSError as error:\n    print(error)\n",
    "add": "try:\n    open('/proc/fs/nfsd/file', 'w')\nexcept OSError as error:\n    print(error)\n",
    "babble": f"{OPEN}os.write(fifo, b'x' * 7)\n",
    "fill": f"{OPEN}try:\n    while True:\n        os.write(fifo, b'x' * 4096)\nexcept BlockingIOError:\n    pass\n",
    "read": f"{OPEN}for _ in range(2000):\n    os.write(fifo, b'x' * 16)\n    try:\n        os.read(fifo, 65536)\n"
    "    except BlockingIOError:\n        pass\n",
    "say what others are": f"{OPEN}for number in range(100):\n    os.write(fifo, number.to_bytes(4, 'big'))\n",
}  # fmt: skip


@pytest.mark.parametrize("harm", HARMS.values(), ids=HARMS)
def test_whatever_a_stage_does_there_ends_are_told_and_the_next_one_is_heard(kernel, harm):
    told, ended = run(kernel, harm)
    assert told[-1] == "exit" and ended.code == 0
    assert run(kernel, "")[0] == ["leaving", "exit"]


def test_nothing_can_be_added_or_removed_there(kernel):
    for harm in ("remove", "add"):
        kernel.script("it.py", HARMS[harm])
        assert "Read-only file system" in kernel.run(kernel.launch("it.py"))[1]


def test_nothing_of_it_is_outside(kernel):
    run(kernel, "")
    assert not os.path.exists(FIFO)
    assert b"ramfs" not in Path("/proc/self/mountinfo").read_bytes()


def test_where_nobody_listens_it_is_an_error_and_no_waiting(tmp_path, monkeypatch):
    monkeypatch.setattr("runner.contain.farewell.FIFO", os.fsencode(tmp_path / "fifo"))
    monkeypatch.setattr("runner.contain.farewell.LITTLE", 1 << 40)
    os.mkfifo(tmp_path / "fifo")
    pid = os.fork()
    if pid == 0:
        try:
            Farewells(-1).bid(1)
        except OSError as error:
            os._exit(error.errno)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == errno.ENXIO
