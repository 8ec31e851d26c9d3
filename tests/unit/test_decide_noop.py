import os
import subprocess
import sys
from pathlib import Path

import pytest
from noop_shared import AROUND, MANY, made

from runner.decide.noop import MAGIC, conditions_now, decode, is_damaged, record_path

ROOT = Path(__file__).resolve().parents[2]


def test_looking_at_it_leaves_the_process_where_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    found = made(tmp_path, 2)
    before, descriptors = os.getcwd(), os.listdir("/proc/self/fd")
    assert found.is_current(AROUND)
    (tmp_path / "1").unlink()
    assert not found.is_current(AROUND)
    os.rename(tmp_path, f"{tmp_path}-away")
    assert not found.is_current(AROUND)
    assert (os.getcwd(), os.listdir("/proc/self/fd")) == (before, descriptors)


def test_a_directory_that_nobody_may_go_back_to_is_not_left(tmp_path, monkeypatch):
    """As that is which a program of another user was started in."""
    found = made(tmp_path, 2)
    (tmp_path / "closed").mkdir()
    monkeypatch.chdir(tmp_path / "closed")

    def refuse(_descriptor):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "fchdir", refuse)
    assert not found.is_current(AROUND)
    assert os.getcwd() == str(tmp_path / "closed")


# ---- two processes: in one of their own, since a process with threads does not share the work ------------------------

SETTINGS = {
    "plain": "",
    "refused": "def refuse(): raise BlockingIOError(11, 'Resource temporarily unavailable')\nos.fork = refuse",
    "killed": """
def fork(fork=os.fork):
    child = fork()
    if child == 0:
        signal.pause()
    os.kill(child, signal.SIGKILL)
    return child
os.fork = fork
""",
    "unheard": "signal.signal(signal.SIGCHLD, signal.SIG_IGN)",
    "one": "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})",
    "threaded": "import threading",
}
CHILDLESS = {"refused", "one", "threaded"}


def told(top, setting, looked="look(Path(sys.argv[1]))"):
    program = f"import os, signal, sys\nfrom pathlib import Path\nfrom noop_shared import *\n{setting}\n{looked}"
    env = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests/support'}"}
    command = [sys.executable, "-S", "-c", program, str(top)]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("setting", SETTINGS)
def test_whatever_becomes_of_the_child_every_change_shows(tmp_path, setting):
    done = told(tmp_path, SETTINGS[setting])
    shares = setting not in CHILDLESS and len(os.sched_getaffinity(0)) > 1
    assert done.stdout.split() == [*(["meanwhile"] if shares else []), "True", *["False"] * 6]
    assert done.stderr == ""


def test_no_child_is_left_when_what_is_done_meanwhile_fails(tmp_path):
    looked = f"""
try:
    made(Path(sys.argv[1]), {MANY}).is_current(AROUND, lambda: 1 / 0)
except ZeroDivisionError:
    os.waitpid(-1, 0)
"""
    done = told(tmp_path, "os.sched_getaffinity = lambda process: {0, 1}", looked)
    assert done.stderr.count("ChildProcessError: ") == 1


# ---- the file --------------------------------------------------------------------------------------------------------


def test_of_other_bytes_nothing_is_read(tmp_path):
    content = made(tmp_path, 2).encode()
    for at in range(0, len(content), 7):
        assert decode(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]) is None
    for length in range(0, len(content), 11):
        assert decode(content[:length]) is None
    assert decode(content + b"x") is None
    assert decode(MAGIC) is None


def test_a_record_of_another_release_is_no_damage(tmp_path):
    content = made(tmp_path, 2).encode()
    assert not is_damaged(content)
    assert is_damaged(content[:-1])
    assert is_damaged(b"")
    other = content.replace(MAGIC, b"offpipe noop 1\n")
    assert decode(other) is None and not is_damaged(other)


def test_the_conditions_are_the_interpreter_its_path_and_two_variables(monkeypatch):
    before = conditions_now((), "1")
    assert conditions_now((), "1") == before
    assert conditions_now(("w",), "1") != before and conditions_now((), "2") != before
    monkeypatch.setenv("PATH", "/other")
    assert conditions_now((), "1") != before
    monkeypatch.undo()
    monkeypatch.setattr(sys, "path", [*sys.path, "/more"])
    assert conditions_now((), "1") != before


def test_the_record_is_beside_the_spec_or_below_the_workspace():
    assert record_path("/a/spec.json", None) == "/a/.offpipe/noop-spec.json"
    assert record_path("/a/spec.json", "w") == os.path.abspath("w/.offpipe/noop-spec.json")
