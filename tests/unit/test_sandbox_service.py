"""The launcher program against real processes, by way of the runner's end."""

import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from suites import full_but

from runner.errors import OffpipeError
from runner.levels import FILTER, KERNEL, SCAN
from runner.processes import is_alive, process_identity
from runner.results import AttemptResult
from runner.sandbox.launcher import Launch, Launcher

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin"}
LONG = 60.0


class Bench:
    """A launcher, and a directory in which its stages run and log."""

    def __init__(self, launcher, directory):
        self.launcher = launcher
        self.directory = directory
        self.log = directory / "log"
        self.log.touch()
        self.count = 0

    def submit(self, *argv, **fields):
        self.count += 1
        values = {"cwd": str(self.directory), "env": ENVIRONMENT, "stdin": None, "stdout": None, "log": str(self.log)}
        self.launcher.submit(Launch(id=self.count, argv=list(argv), **(values | fields)))
        return self.count

    def wait(self, number=1):
        exits = []
        until = time.monotonic() + LONG
        while len(exits) < number:
            assert select.select([self.launcher], [], [], until - time.monotonic())[0], "no exit was reported"
            exits += [report for report in self.launcher.receive() if isinstance(report, AttemptResult)]
        return exits

    def run(self, *argv, **fields):
        number = self.submit(*argv, **fields)
        (ended,) = self.wait()
        assert ended.launch == number
        return ended

    def python(self, code, **fields):
        return self.run(sys.executable, "-I", "-S", "-c", textwrap.dedent(code), **fields)


LEVELS = ["kernel", "tree"]


@pytest.fixture(params=full_but(LEVELS, LEVELS[:1]))
def bench(request, tmp_path):
    """A bench for promises that hold however a program is started."""
    level = KERNEL if request.param == "kernel" else SCAN
    with Launcher.start(level) as launcher:
        launcher.await_ready()
        if launcher.refusal is not None:
            pytest.skip(f"no level {level} here: {launcher.refusal}")
        yield Bench(launcher, tmp_path)


@pytest.fixture
def tree(tmp_path):
    """A bench for promises that need a subreaper."""
    with Launcher.start() as launcher:
        yield Bench(launcher, tmp_path)


def until(fact, what="it never came true"):
    end = time.monotonic() + LONG
    while not fact():
        assert time.monotonic() < end, what
        time.sleep(0.002)


def pids(path, number):
    until(lambda: path.exists() and len(path.read_text().split()) >= number, f"{path.name} never held {number} lines")
    return [int(word) for word in path.read_text().split()]


def gone(pid):
    return process_identity(pid) is None


def test_reports_the_exit_code(bench):
    ended = bench.run("/bin/sh", "-c", "exit 7")
    assert (ended.code, ended.signal, ended.sent, ended.timed_out) == (7, None, False, False)
    assert ended.failed_to_start is None and ended.left_behind == 0


def test_a_word_with_a_nul_starts_no_program(bench):
    ended = bench.run("/bin/echo", "a\0b", "c", env={**ENVIRONMENT, "X": "1"})
    assert ended.failed_to_start
    assert bench.log.read_bytes() == b""


def test_reports_a_signal_of_the_programs_own_as_not_sent(bench):
    ended = bench.run("/bin/sh", "-c", "kill -9 $$")
    assert (ended.code, ended.signal, ended.sent) == (None, 9, False)


def test_measures_time_cpu_and_memory(bench):
    ended = bench.python("""
        import time
        block = b"x" * 64_000_000
        end = time.process_time() + 0.2
        while time.process_time() < end: pass
    """)
    assert ended.seconds >= 0.2 and 0.2 <= ended.cpu_seconds <= ended.seconds + 0.1
    assert 64_000_000 <= ended.max_rss_bytes <= 200_000_000


def test_gives_the_program_its_words_environment_and_directory_byte_for_byte(bench):
    code = "import os,sys,json; print(json.dumps([sys.argv[1:], os.environb[b'A'][0], os.getcwd()]))"
    words = ["-X", "utf8", "-I", "-S", "-c", code, "a b", "\u00fc", ""]
    ended = bench.run(sys.executable, *words, env={"A": os.fsdecode(b"\xff")})
    assert ended.code == 0, bench.log.read_text()
    words, value, directory = json.loads(bench.log.read_text())
    assert (words, value, directory) == (["a b", "\u00fc", ""], 255, str(bench.directory))


def test_environment_is_exactly_the_one_given(bench):
    bench.run("/usr/bin/env", env={"ONLY": "this"})
    assert bench.log.read_text() == "ONLY=this\n"


def test_the_program_may_be_another_than_its_first_word(bench):
    assert bench.run("name", "-c", "echo $0", program="/bin/sh").code == 0
    assert bench.log.read_text() == "name\n"


def test_names_why_a_program_did_not_start(bench):
    plain = bench.directory / "plain"
    plain.write_text("echo never\n")
    plain.chmod(0o644)
    script = bench.directory / "script"
    script.write_text("echo never\n")
    script.chmod(0o755)
    nowhere = bench.directory / "nowhere"
    nowhere.write_text("#!/no/such/interpreter\n")
    nowhere.chmod(0o755)
    assert bench.run("/no/such/program").failed_to_start == "ENOENT (No such file or directory)"
    assert bench.run(str(nowhere)).failed_to_start == "ENOENT (No such file or directory)"
    assert bench.run(str(plain)).failed_to_start == "EACCES (Permission denied)"
    assert bench.run(str(script)).failed_to_start == "ENOEXEC (Exec format error)"
    assert bench.run("/bin/true", "x" * 200_000).failed_to_start == "E2BIG (Argument list too long)"
    assert bench.log.read_text() == ""
    assert bench.run("/bin/true").code == 0


def test_names_the_file_that_could_not_be_connected(bench):
    missing = str(bench.directory / "missing")
    for field in ("stdin", "stdout", "log"):
        ended = bench.run("/bin/true", **{field: missing})
        assert ended.failed_to_start == f"ENOENT (No such file or directory) opening {missing}"
        assert (ended.code, ended.signal) == (None, None)
    assert bench.run("/bin/true", cwd=missing).failed_to_start.endswith(f"entering {missing}")


def test_two_megabytes_of_words_and_output_pass(bench):
    words = ["x" * 100_000] * 14 + ["last"]
    code = "import sys; print(sum(map(len, sys.argv[1:])))"
    ended = bench.run(sys.executable, "-I", "-S", "-c", code, *words)
    assert ended.failed_to_start is None and bench.log.read_text() == "1400004\n"
    assert bench.run("/bin/true", *words, *words).failed_to_start == "E2BIG (Argument list too long)"


def test_stage_inherits_no_descriptor(bench):
    bench.run("/bin/sh", "-c", "ls -l /proc/self/fd")
    lines = [line for line in bench.log.read_text().splitlines() if "->" in line]
    targets = {line.split()[-3]: line.split()[-1] for line in lines}
    assert targets.pop("0") == "/dev/null"
    assert targets.pop("1") == targets.pop("2") == str(bench.log)
    assert list(targets.values()) == [targets["3"]] and targets["3"].startswith("/proc/")  # the one ls lists with


def test_descriptors_that_the_runner_inherited_reach_no_stage(tmp_path):
    code = """
        import os, select, sys
        os.dup2(os.open("/etc/hostname", os.O_RDONLY), 9, inheritable=True)
        from runner.sandbox.launcher import Launch, Launcher
        open(sys.argv[1], "w").close()
        with Launcher.start() as launcher:
            launcher.submit(Launch(1, ["/bin/ls", "/proc/self/fd"], {}, "/", None, None, sys.argv[1]))
            select.select([launcher], [], [])
            while not launcher.receive(): pass
    """
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), tmp_path / "log"], cwd=REPOSITORY, check=True, close_fds=False
    )
    assert (tmp_path / "log").read_text().split() == ["0", "1", "2", "3"]


def test_works_when_the_runner_has_no_stdio(tmp_path):
    code = """
        import os, select, sys
        from runner.sandbox.launcher import Launch, Launcher
        for descriptor in (0, 1, 2): os.close(descriptor)
        os.close(os.open(sys.argv[1], os.O_CREAT))
        with Launcher.start() as launcher:
            assert min(launcher.fileno(), launcher._requests) > 2
            launcher.submit(Launch(1, ["/bin/echo", "there"], {}, "/", None, None, sys.argv[1]))
            select.select([launcher], [], [])
            while not launcher.receive(): pass
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code), tmp_path / "log"], cwd=REPOSITORY, check=True)
    assert (tmp_path / "log").read_text() == "there\n"


def test_stdin_and_stdout_are_the_declared_files_and_stderr_is_the_log(bench):
    (bench.directory / "in").write_text("b\na\n")
    (bench.directory / "out").write_text("kept\n")
    ended = bench.run(
        "/bin/sh", "-c", "sort; echo said >&2", stdin=str(bench.directory / "in"), stdout=str(bench.directory / "out")
    )
    assert ended.code == 0
    assert (bench.directory / "out").read_text() == "kept\na\nb\n"
    assert bench.log.read_text() == "said\n"


def test_stdin_is_empty_unless_declared(bench):
    assert bench.run("/bin/cat").code == 0


@pytest.mark.parametrize("ignoring", [False, True])
def test_signal_dispositions_and_mask_are_reset(tmp_path, ignoring):
    code = """
        import os, select, signal, sys
        if sys.argv[2] == "True":
            for number in (signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGCHLD, signal.SIGPIPE):
                signal.signal(number, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2, signal.SIGTERM])
        from runner.sandbox.launcher import Launch, Launcher
        open(sys.argv[1], "w").close()
        with Launcher.start() as launcher:
            launcher.submit(Launch(1, ["/bin/grep", "^Sig", "/proc/self/status"], {}, "/", None, None, sys.argv[1]))
            select.select([launcher], [], [])
            while not launcher.receive(): pass
    """
    log = tmp_path / "log"
    subprocess.run([sys.executable, "-c", textwrap.dedent(code), log, str(ignoring)], cwd=REPOSITORY, check=True)
    fields = dict(line.split(":\t") for line in log.read_text().splitlines())
    assert [int(fields[name], 16) for name in ("SigBlk", "SigIgn")] == [0, 0]


def test_writing_to_a_closed_pipe_ends_a_stages_program(bench):
    assert bench.run("/bin/sh", "-c", "yes | head -1").code == 0
    assert bench.log.read_text() == "y\n"  # no "Broken pipe" from yes


def test_stage_is_leader_of_its_own_session(bench):
    bench.python("import os; print(os.getpid() == os.getsid(0) == os.getpgrp())")
    assert bench.log.read_text() == "True\n"


def test_sets_the_requested_limits(tree):
    code = """
        import os, resource
        print(sorted(os.sched_getaffinity(0)), resource.getrlimit(resource.RLIMIT_AS))
        print(resource.getrlimit(resource.RLIMIT_FSIZE))
    """
    cpu = min(os.sched_getaffinity(0))
    tree.python(code, affinity=[cpu], address_space=1 << 30, file_size=1 << 20)
    assert tree.log.read_text() == f"[{cpu}] ({1 << 30}, {1 << 30})\n({1 << 20}, {1 << 20})\n"


def test_a_limit_that_cannot_be_set_is_named(tree):
    assert tree.run("/bin/true", affinity=[100_000]).failed_to_start.endswith("setting affinity")


def test_time_limit_ends_the_stage(bench):
    ended = bench.run("/bin/sleep", "600", timeout=0.05)
    assert (ended.code, ended.signal, ended.timed_out, ended.sent) == (None, signal.SIGTERM, True, True)
    assert 0.05 <= ended.seconds < 30


def test_what_ignores_term_is_killed_after_the_grace(bench):
    ended = bench.run("/bin/sh", "-c", "trap '' TERM; while :; do sleep 600; done", timeout=0.3, grace=0.2)
    assert (ended.signal, ended.timed_out, ended.sent) == (signal.SIGKILL, True, True)
    assert 0.5 <= ended.seconds < 30


@pytest.mark.parametrize(("trap", "number"), [("-", signal.SIGTERM), ("''", signal.SIGKILL)])
def test_a_call_for_a_network_ends_a_launch_that_it_fails(tmp_path, trap, number):
    ask = f"{sys.executable} -I -S -c 'import socket; socket.socket()'"
    with Launcher.start(FILTER) as launcher:
        launcher.await_ready()
        if launcher.refusal is not None:
            pytest.skip(f"no level {FILTER} here: {launcher.refusal}")
        bench = Bench(launcher, tmp_path)
        ended = bench.run("/bin/sh", "-c", f"trap {trap} TERM; {ask}; sleep 600", ends_on_network=True, grace=0.2)
    assert (ended.signal, ended.sent, ended.timed_out) == (number, True, False)


def test_terminate_lets_a_stage_end_in_its_own_way(bench):
    bench.submit("/bin/sh", "-c", "trap 'exit 9' TERM; echo $$ > ready; while :; do sleep 0.01; done")
    pids(bench.directory / "ready", 1)
    bench.launcher.terminate()
    (ended,) = bench.wait()
    assert (ended.code, ended.sent, ended.timed_out) == (9, True, False)


def test_terminate_right_after_submit_is_not_lost(bench):
    numbers = {bench.submit("/bin/sleep", "600", grace=600) for _ in range(20)}
    bench.launcher.terminate()
    exits = bench.wait(20)
    assert {ended.launch for ended in exits} == numbers and {ended.signal for ended in exits} == {signal.SIGTERM}


def test_terminate_lists_the_machines_processes_once_for_all_stages(tree):
    def reads():
        with open(f"/proc/{tree.launcher.pid}/io") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("syscr"))

    names = [tree.directory / str(number) for number in range(40)]
    for name in names:
        tree.submit("/bin/sh", "-c", f"trap '' TERM; : > {name}; while :; do sleep 600; done", grace=600)
    until(lambda: all(name.exists() for name in names))
    before, processes = reads(), sum(name.isdecimal() for name in os.listdir("/proc"))
    tree.launcher.terminate()
    tree.submit("/bin/sh", "-c", "exit 7")  # requests are served in their order
    (ended,) = tree.wait()
    assert ended.code == 7 and reads() - before < 5 * processes


def test_kill_cuts_the_grace_short(bench):
    bench.submit("/bin/sh", "-c", "trap '' TERM; echo $$ > ready; while :; do sleep 0.01; done", grace=600)
    pids(bench.directory / "ready", 1)
    bench.launcher.terminate()
    bench.launcher.kill()
    (ended,) = bench.wait()
    assert (ended.signal, ended.sent) == (signal.SIGKILL, True)


FAMILY = """
    import os, signal, sys, time
    def name():
        descriptor = os.open("pids", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, b"%d\\n" % os.getpid())
    def stay():
        name()
        while True: time.sleep(600)
    if os.fork() == 0:                  # a child in another process group
        os.setpgid(0, 0); stay()
    if os.fork() == 0:                  # a daemon: own session, double fork
        os.setsid()
        if os.fork() == 0: stay()
        os._exit(0)
    if os.fork() == 0:                  # deaf
        signal.signal(signal.SIGTERM, signal.SIG_IGN); stay()
    if os.fork() == 0:                  # stopped
        name(); os.kill(os.getpid(), signal.SIGSTOP); stay()
    while len(open("pids").read().split()) < 4: time.sleep(0.001)
"""
FAMILY = "import os; os.close(os.open('pids', os.O_CREAT))\n" + textwrap.dedent(FAMILY)


def test_what_a_stage_left_is_gone_before_its_exit_is_reported(tree):
    ended = tree.python(FAMILY)
    assert ended.code == 0, tree.log.read_text()
    assert ended.left_behind == 4
    assert all(gone(pid) for pid in pids(tree.directory / "pids", 4))


@pytest.mark.parametrize("how", ["timeout", "terminate", "kill", "close"])
def test_the_whole_tree_ends_with_its_stage(tree, how):
    limit = 1.0 if how == "timeout" else None
    tree.submit(sys.executable, "-I", "-S", "-c", FAMILY + "time.sleep(600)", timeout=limit, grace=0.1)
    family = pids(tree.directory / "pids", 4)
    if how == "close":
        tree.launcher.close()
    else:
        getattr(tree.launcher, how, lambda: None)()
        assert tree.wait()[0].sent
    assert all(gone(pid) for pid in family)


def test_term_reaches_daemons_and_stopped_processes(tree):
    code = """
        import os, signal, time
        def answer(*_):
            os.close(os.open(f"answer.{role}", os.O_CREAT)); os._exit(0)
        role = "main"
        if os.fork() == 0:
            os.setsid()
            role = "daemon"
            if os.fork(): os._exit(0)
        elif os.fork() == 0:
            role = "stopped"
        signal.signal(signal.SIGTERM, answer)
        os.close(os.open(f"ready.{role}", os.O_CREAT))
        if role == "stopped": os.kill(os.getpid(), signal.SIGSTOP)
        while role != "main" or not os.path.exists("answer.daemon") or not os.path.exists("answer.stopped"):
            time.sleep(0.01)
        os._exit(0)
    """.replace("answer(*_):", "answer(*_):\n            if role == 'main': return")
    tree.submit(sys.executable, "-I", "-S", "-c", textwrap.dedent(code), grace=LONG)
    roles = ("main", "daemon", "stopped")
    until(lambda: all((tree.directory / f"ready.{role}").exists() for role in roles))
    tree.launcher.terminate()
    (ended,) = tree.wait()
    assert (ended.code, ended.sent) == (0, True)


def test_processes_that_go_on_forking_are_ended(tree):
    code = """
        import os, time
        for _ in range(8):
            if os.fork() == 0:
                while True:
                    if os.fork(): os._exit(0)
                    os.setsid()
        time.sleep(0.1)
    """
    ended = tree.python(code)
    assert ended.code == 0 and ended.left_behind > 0  # at each moment some are exiting, which do not count
    assert tree.run("/bin/true").left_behind == 0


LEAK = """
    import os
    from multiprocessing.shared_memory import SharedMemory
    memory = SharedMemory(create=True, size=1)
    open("name", "w").write(memory.name)
    memory.close()
"""


def test_a_resource_tracker_removes_shared_memory_that_the_stage_left_and_is_not_counted(bench):
    ended = bench.run(sys.executable, "-I", "-c", textwrap.dedent(LEAK))
    assert (ended.code, ended.left_behind) == (0, 0), bench.log.read_text()
    assert not os.path.exists(f"/dev/shm/{(bench.directory / 'name').read_text()}")


def test_a_resource_tracker_does_not_hide_what_else_was_left(bench):
    left = "os.spawnlp(os.P_NOWAIT, 'sleep', 'sleep', '600')"
    assert bench.run(sys.executable, "-I", "-c", textwrap.dedent(LEAK) + left).left_behind == 1


@pytest.mark.full
def test_what_calls_itself_a_resource_tracker_and_does_not_end_is_killed_and_counted(bench):
    code = "import time; time.sleep(600)  # from multiprocessing.resource_tracker import main;main(5)"
    left = f"import os, sys; os.spawnl(os.P_NOWAIT, sys.executable, 'python', '-S', '-c', {code!r})"
    assert bench.python(left).left_behind == 1


def test_parallel_stages_are_not_harmed_by_the_sweep_of_another(tree):
    tree.submit("/bin/sh", "-c", "sleep 600 & echo $! > pids; sleep 600 & echo $! >> pids; wait")
    children = pids(tree.directory / "pids", 2)
    for _ in range(5):
        assert tree.run("/bin/sh", "-c", "setsid sleep 600 & exit 0").left_behind == 1
    assert not any(gone(pid) for pid in children)
    tree.launcher.kill()
    assert tree.wait()[0].launch == 1
    assert all(gone(pid) for pid in children)


def test_a_group_left_behind_is_ended_on_every_system(bench):
    """The process left behind holds one end of a pipe."""
    os.mkfifo(bench.directory / "fifo")
    reads = os.open(bench.directory / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    ended = bench.run("/bin/sh", "-c", "exec 3> fifo; sleep 600 &")
    assert ended.left_behind == 1
    poll = select.poll()
    poll.register(reads, select.POLLIN)
    assert poll.poll(LONG * 1000) and os.read(reads, 1) == b""
    os.close(reads)


@pytest.mark.full
def test_a_hundred_launches_at_once(bench):
    numbers = {bench.submit("/bin/sh", "-c", f"exit {count}") for count in range(100)}
    exits = bench.wait(100)
    assert {ended.launch for ended in exits} == numbers
    assert all(ended.code == ended.launch - 1 for ended in exits)


def test_an_exec_that_waits_does_not_hold_up_others(bench):
    fifo = bench.directory / "fifo"
    os.mkfifo(fifo)
    waiting = bench.submit("/bin/true", stdin=str(fifo))
    assert bench.run("/bin/true").code == 0
    bench.launcher.terminate()
    (ended,) = bench.wait()
    assert (ended.launch, ended.signal) == (waiting, signal.SIGTERM)


def test_much_output_grows_no_process_of_ours(tree):
    def resident(pid):
        with open(f"/proc/{pid}/status") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))

    tree.run("/bin/true")
    before = resident(tree.launcher.pid), resident(os.getpid())
    tree.run("/bin/sh", "-c", "head -c 200000000 /dev/zero")
    assert tree.log.stat().st_size == 200_000_000
    assert resident(tree.launcher.pid) - before[0] < 2048 and resident(os.getpid()) - before[1] < 8192


def test_launcher_is_deaf_to_what_a_terminal_or_init_sends(tree):
    tree.run("/bin/true")
    assert os.getsid(tree.launcher.pid) == tree.launcher.pid
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        os.kill(tree.launcher.pid, number)
    assert tree.run("/bin/true").code == 0


def test_launcher_is_deaf_from_its_first_moment(tmp_path):
    for _ in range(10):
        with Launcher.start() as launcher:
            for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
                os.kill(launcher.pid, number)
            assert Bench(launcher, tmp_path).run("/bin/true").code == 0


def test_a_killed_launcher_takes_its_stages_with_it(tmp_path):
    launcher = Launcher.start()
    bench = Bench(launcher, tmp_path)
    bench.submit("/bin/sh", "-c", "echo $$ > pids; exec sleep 600")
    (main,) = pids(tmp_path / "pids", 1)
    os.kill(launcher.pid, signal.SIGKILL)
    until(lambda: gone(main))
    launcher.close()


RUNNER = """
    import os, sys, time
    from runner.sandbox.launcher import Launch, Launcher
    open("log", "w").close()
    launcher = Launcher.start()
    launcher.submit(Launch(1, [sys.executable, "-I", "-S", "-c", sys.argv[1]], {}, os.getcwd(), None, None, "log"))
    if sys.argv[2] == "copy" and os.fork() == 0:   # holds a copy of the runner's end of the pipe
        open("holder", "w").write(f"{os.getpid()}\\n")
        time.sleep(600)
    while not os.path.exists("pids") or len(open("pids").read().split()) < 4: time.sleep(0.001)
    open("launcher", "w").write(f"{launcher.pid}\\n{launcher.started_at}\\n")
    time.sleep(600)
"""


@pytest.mark.parametrize("copy", ["", "copy"])
def test_everything_dies_with_a_killed_runner(tmp_path, copy):
    environment = {"PYTHONPATH": REPOSITORY, "PATH": os.environ["PATH"]}
    stage = FAMILY + "time.sleep(600)"
    runner = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(RUNNER), stage, copy], cwd=tmp_path, env=environment
    )
    launcher, started = pids(tmp_path / "launcher", 2)
    assert is_alive(launcher, started)
    runner.kill()
    runner.wait()
    until(lambda: not is_alive(launcher, started), "the launcher outlived its runner")
    assert all(gone(pid) for pid in pids(tmp_path / "pids", 4))
    if copy:
        os.kill(pids(tmp_path / "holder", 1)[0], signal.SIGKILL)


def test_no_process_of_a_stage_lives_when_the_end_of_a_killed_launcher_is_reported(tmp_path):
    """The kill hits the process outside the namespace. The one inside, and a large stage, end a while later."""
    with Launcher.start(KERNEL) as launcher:
        launcher.await_ready()
        if launcher.refusal is not None:
            pytest.skip(f"no level {KERNEL} here: {launcher.refusal}")
        held = tmp_path / "held"
        code = f"""
            import fcntl, time
            held = open({str(held)!r}, "w")
            fcntl.flock(held, fcntl.LOCK_EX)
            large = bytearray(b"x") * (256 << 20)
            print("ready", file=held, flush=True)
            time.sleep(1000)
        """
        Bench(launcher, tmp_path).submit(sys.executable, "-I", "-S", "-c", textwrap.dedent(code))
        until(lambda: held.exists() and held.read_text() == "ready\n", "the stage never got ready")
        os.kill(launcher._child, signal.SIGKILL)
        assert select.select([launcher], [], [], LONG)[0]
        with pytest.raises(OffpipeError, match="was killed by SIGKILL"):
            launcher.receive()
        with open(held) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
