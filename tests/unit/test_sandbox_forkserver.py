import subprocess
import sys
import venv
from pathlib import Path

import pytest

from runner.levels import SCAN
from runner.sandbox.launcher import Launch, Launcher

ROOT = Path(__file__).resolve().parents[2]
FORK_ENV = {"LANG": "C.UTF-8", "TZ": "UTC", "PYTHONPATH": str(ROOT)}
SHOWS = "import sys\nprint(open('/proc/self/cmdline').read().split('\\0')[2].rpartition('/')[2], sys.argv[1:])\n"


@pytest.fixture
def start(tmp_path):
    """Return a function that runs a script in a warm launcher and returns how it ended and what it printed."""
    (tmp_path / "script.py").write_text(SHOWS)

    def started(
        *,
        interpreter=sys.executable,
        fork_env=FORK_ENV,
        env=FORK_ENV,
        program=None,
        script="script.py",
        level=SCAN,
        **more,
    ):
        log = tmp_path / "log"
        log.write_bytes(b"")
        path = str(tmp_path / script)
        argv = [interpreter, "-B", path, "word"]
        with Launcher.start(level, interpreter=interpreter, fork_env=fork_env) as launcher:
            launcher.await_ready()
            launcher.load(more.get("preload", ()))
            launcher.submit(
                Launch(1, argv, dict(env), str(tmp_path), None, None, str(log), program=program, script=path, **more)
            )
            ended = []
            while not ended:
                ended = launcher.receive()
        return ended[0], log.read_text()

    return started


def test_a_script_runs_in_a_fork_of_the_launcher(start):
    ended, output = start()
    assert (ended.code, output) == (0, "program.py ['word']\n")


@pytest.mark.parametrize(
    "changed",
    [
        {"PYTHONHASHSEED": "1"}, {"LC_ALL": "C"}, {"LANG": "de_DE.UTF-8"}, {"PYTHONPATH": "/elsewhere"},
        {"LD_PRELOAD": "libc.so.6"}, {"COVERAGE_RCFILE": "x"},
    ],
    ids=lambda changed: next(iter(changed)),
)  # fmt: skip
def test_another_environment_gets_another_interpreter(start, changed):
    _, output = start(env={**FORK_ENV, **changed})
    assert output == "script.py ['word']\n"


def test_an_empty_variable_that_an_interpreter_ignores_needs_none(start):
    _, output = start(env={**FORK_ENV, "LD_PRELOAD": "", "PYTHONHASHSEED": ""})
    assert output == "program.py ['word']\n"


def test_another_program_is_started_as_it_is(start):
    _, output = start(program="/bin/echo")
    assert output.startswith("-B ")


def test_a_cold_launcher_forks_no_stage(start):
    _, output = start(fork_env=None)
    assert output == "script.py ['word']\n"


def test_a_missing_script_fails_with_the_interpreters_own_message(start, tmp_path):
    ended, output = start(script="gone.py")
    alone = subprocess.run(
        [sys.executable, "-B", str(tmp_path / "gone.py")], capture_output=True, text=True, check=False
    )
    assert (ended.code, output) == (alone.returncode, alone.stderr)


def test_where_a_pth_file_starts_threads_the_launcher_starts_cold(start, tmp_path):
    """With threads, it could enter no namespace."""
    venv.create(tmp_path / "venv", symlinks=True)
    packages = next((tmp_path / "venv/lib").glob("python*/site-packages"))
    line = "import threading, time; threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
    (packages / "threads.pth").write_text(line)
    ended, output = start(interpreter=str(tmp_path / "venv/bin/python"))
    assert (ended.code, output) == (0, "script.py ['word']\n")


def test_collections_pass_over_what_was_loaded_before_a_stage(start, tmp_path):
    (tmp_path / "asks.py").write_text(
        "def main():\n    import gc\n    cycle = []\n    cycle.append(cycle)\n    del cycle\n"
        "    print(gc.get_freeze_count() > 1000, gc.collect() > 0, gc.isenabled())\nmain()\n"
    )
    ended, output = start(script="asks.py")
    assert (ended.code, output) == (0, "True True True\n")


SHOWS_MODULE = SHOWS + "import string\nprint(string.__file__.rpartition('/')[2], hasattr(string, 'mine'))\n"


@pytest.mark.parametrize("name", ["string.py", "string/__init__.py"])
def test_a_module_beside_the_program_is_not_hidden_by_what_was_loaded(start, tmp_path, name):
    """Such a stage gets a new interpreter. A file of that name that cannot be imported does not matter."""
    (tmp_path / "shows.py").write_text(SHOWS_MODULE)
    (tmp_path / "string.txt").touch()
    assert start(script="shows.py", preload=("string",))[1].startswith("program.py ['word']\nstring.py False")
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine = True\n")
    assert start(script="shows.py", preload=("string",))[1] == f"shows.py ['word']\n{name.rpartition('/')[2]} True\n"
