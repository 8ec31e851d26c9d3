"""What the runner's end of the launcher does when things go wrong."""

import errno
import os
import select
import signal
import sys
import time

import pytest

from runner.errors import EXIT_INTERNAL, OffpipeError
from runner.levels import SCAN, RefusedError
from runner.processes import process_identity
from runner.sandbox.launcher import Launch, Launcher
from runner.sandbox.protocol import START, message

FORK_ENV = {"LANG": "C.UTF-8"}


def launch(log, *argv, number=1):
    return Launch(number, list(argv), {"PATH": "/usr/bin:/bin"}, "/", None, None, str(log))


@pytest.fixture
def log(tmp_path):
    (tmp_path / "log").touch()
    return tmp_path / "log"


def receive_all(launcher):
    """Return the exits until the launcher is found dead, and the error."""
    exits = []
    while True:
        select.select([launcher], [], [], 60)
        try:
            exits += launcher.receive()
        except OffpipeError as error:
            return exits, error


def test_start_returns_before_the_launcher_is_ready():
    with Launcher.start() as launcher:
        assert launcher.layers == {}
        launcher.await_ready()
        assert launcher.layers == {"level": "scan"} and launcher.receive() == []
        assert launcher.started_at == process_identity(launcher.pid) is not None


def test_an_interpreter_that_is_not_there_is_an_error(tmp_path):
    descriptors = os.listdir("/dev/fd")
    with pytest.raises(OffpipeError) as caught:
        Launcher.start(interpreter=str(tmp_path / "python"))
    assert "No such file or directory" in str(caught.value)
    assert os.listdir("/dev/fd") == descriptors


@pytest.fixture
def refused(tmp_path):
    """A launcher that has reported why its level was refused, and has ended."""
    report = START + message("refused", RefusedError("unshare(user)", errno.EPERM).args)
    program = tmp_path / "refused"
    program.write_text(f"#!{sys.executable}\nimport os\nos.write(1, {report!r})\n")
    program.chmod(0o755)
    with Launcher.start(interpreter=str(program), fork_env=FORK_ENV) as launcher:
        os.waitid(os.P_PID, launcher.pid, os.WEXITED | os.WNOWAIT)
        yield launcher


def test_a_refused_launcher_still_reports_why_after_a_request_to_load(refused):
    refused.load({"json"})
    refused.await_ready()
    assert "unshare(user) failed: EPERM" in str(refused.refusal)


def test_the_launcher_started_instead_of_a_refused_one_loads_the_same_modules(refused, log, tmp_path):
    refused.load({"json"})
    script = tmp_path / "script.py"
    script.write_text("import sys\nprint('json' in sys.modules)\n")
    argv, preload = [sys.executable, "-B", str(script)], ("json",)
    with refused.instead(SCAN) as launcher:
        launcher.await_ready()
        launcher.submit(Launch(1, argv, FORK_ENV, "/", None, None, str(log), script=str(script), preload=preload))
        while not (exits := launcher.receive()):
            select.select([launcher], [], [], 60)
    assert exits[0].code == 0 and log.read_text() == "True\n"


def test_a_launcher_that_was_killed_is_an_error_that_says_so():
    launcher = Launcher.start()
    os.kill(launcher.pid, signal.SIGKILL)
    exits, error = receive_all(launcher)
    assert exits == [] and error.exit_code == EXIT_INTERNAL
    assert f"process {launcher.pid} was killed by SIGKILL while it was needed" in str(error)
    launcher.close()


def test_submit_to_a_dead_launcher_is_an_error(log):
    launcher = Launcher.start()
    os.kill(launcher.pid, signal.SIGKILL)
    os.waitid(os.P_PID, launcher.pid, os.WEXITED | os.WNOWAIT)
    with pytest.raises(OffpipeError, match="was killed by SIGKILL"):
        launcher.submit(launch(log, "/bin/true"))
    launcher.close()


def test_exits_reported_before_a_death_are_not_lost(log):
    launcher = Launcher.start()
    launcher.submit(launch(log, "/bin/true", number=41))
    select.select([launcher], [], [])
    exits = []
    while not exits:  # the greeting comes first
        select.select([launcher], [], [])
        exits = launcher.receive()
    launcher.submit(launch(log, "/bin/true", number=42))
    select.select([launcher], [], [])
    os.kill(launcher.pid, signal.SIGKILL)
    assert [ended.launch for ended in receive_all(launcher)[0]] == [42]
    launcher.close()


def test_a_crash_of_the_launcher_brings_its_traceback_and_leaves_no_process(log, tmp_path):
    launcher = Launcher.start()
    launcher.submit(launch(log, "/bin/sh", "-c", f"echo $$ > {tmp_path}/pid; exec sleep 600"))
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        time.sleep(0.002)
    launcher._request("launch", {"id": 2})
    _, error = receive_all(launcher)
    assert "ended with exit code 70" in str(error) and "KeyError" in str(error)
    assert process_identity(int((tmp_path / "pid").read_text())) is None
    launcher.close()


def test_the_output_of_an_interpreter_that_cannot_start_is_shown(tmp_path):
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho no library >&2\nexit 3\n")
    broken.chmod(0o755)
    launcher = Launcher.start(interpreter=str(broken))
    _, error = receive_all(launcher)
    assert "ended with exit code 3" in str(error) and "no library" in str(error)
    launcher.close()


def test_an_interpreter_that_complains_and_works_is_no_fault(tmp_path, log):
    import sys

    noisy = tmp_path / "python"
    noisy.write_text(f'#!/bin/sh\necho could not find something >&2\nexec {sys.executable} "$@"\n')
    noisy.chmod(0o755)
    with Launcher.start(interpreter=str(noisy)) as launcher:
        launcher.submit(launch(log, "/bin/true"))
        exits = []
        while not exits:
            select.select([launcher], [], [], 60)
            exits = launcher.receive()
        assert exits[0].code == 0


def test_close_may_be_called_again_and_ends_a_stopped_launcher():
    launcher = Launcher.start()
    os.kill(launcher.pid, signal.SIGSTOP)
    launcher.close()
    launcher.close()
    assert process_identity(launcher.pid) is None


@pytest.mark.full
def test_reports_that_nobody_reads_do_not_stop_the_launcher(log, tmp_path):
    with Launcher.start() as launcher:
        for number in range(1500):  # their reports are more than a pipe holds
            launcher.submit(launch(log, "no-such-program-with-quite-a-long-name", number=number))
        launcher.submit(launch(log, "/bin/sh", "-c", f"echo > {tmp_path}/late", number=-1))
        while not (tmp_path / "late").exists():
            time.sleep(0.005)
        exits = []
        while len(exits) < 1501:
            select.select([launcher], [], [], 60)
            exits += launcher.receive()
    assert {ended.launch for ended in exits} == {-1, *range(1500)}


def test_signals_with_handlers_in_between_lose_nothing(log):
    alarms = []
    previous = signal.signal(signal.SIGALRM, lambda *_: alarms.append(1))
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    try:
        with Launcher.start() as launcher:
            exits = []
            for number in range(50):
                launcher.submit(Launch(number, ["/bin/true", *["x" * 100_000] * 10], {}, "/", None, None, str(log)))
            while len(exits) < 50:
                select.select([launcher], [], [], 60)
                exits += launcher.receive()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert alarms and all(ended.code == 0 for ended in exits)
