"""Runs the runner without starting an interpreter: each run is a fork of a server that has loaded the runner.

A start takes 60 ms of processor time, about as much as the rest of a short run. A second server has also loaded Dask,
which takes half a second. It serves runs on a cluster, schedulers and workers.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import logging
import os
import socket
import subprocess
import sys
import threading
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ROOT = Path(__file__).resolve().parents[2]
DIED = 99
CHANGES = ("open", "write", "rename", "unlink", "rmdir", "mkdir", "ftruncate", "truncate", "fsync", "fdatasync")
CLONE_PARENT, SIGCHLD, SYS_CLONE = 0x8000, 17, {"x86_64": 56, "aarch64": 220}  # linux/sched.h, asm/unistd.h
# The loader, the C library and the interpreter read variables with these prefixes at their start.
READ_AT_START = ("COVERAGE_", "DASK_", "GLIBC_", "LANG", "LC_", "LD_", "MALLOC_", "PYTHON", "TZ")
FORKED = {"after", "cwd", "dies_at", "stderr", "stdin", "stdout", "text"}  # options that a ForkedRun may have
LOADED = (  # what verbs import besides what `preload` loads
    "runner.cli.commands",
    "runner.cli.main",
    "runner.cli.render",
    "runner.display.live",
    "runner.display.reporter",
    "runner.display.streams",
    "runner.verbs.clean",
    "runner.engine.noop",
    "runner.engine.preflight",
    "runner.verbs.prune",
    "runner.verbs.query",
    "runner.engine.run",
    "runner.audit.verify",
    "runner.audit.statements",
    "runner.record.recovery",
    "runner.record.signatures",
    "runner.extras.report.page",
)
LOADED_FOR_DASK = ("runner.extras.cluster.connection", "distributed.cli.dask_scheduler", "distributed.cli.dask_worker")
PROGRAMS = {  # modules that may be forked, and their functions
    "runner": ("runner.__main__", "program"),
    "distributed.cli.dask_scheduler": ("distributed.cli.dask_scheduler", "main"),
    "distributed.cli.dask_worker": ("distributed.cli.dask_worker", "main"),
}
_servers: dict[str, _Server] = {}


class ForkedRun(subprocess.Popen):
    """A Popen of `[python, "-m", module, *words]` that forks a server. The fork is still a child of this process.

    With `dies_at` it exits with DIED at its n-th call that changes the disk: before the call, or with `after` after it.
    """

    def __init__(self, *args: object, dies_at: int = 0, after: bool = False, **popen: object) -> None:
        self._fault = dies_at, after
        super().__init__(*args, **popen)

    def _execute_child(
        self, args, executable, preexec_fn, close_fds, pass_fds, cwd, env, startupinfo, creationflags, shell,
        p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite, *rest,
    ) -> None:  # fmt: skip
        streams = [own if own >= 0 else number for number, own in enumerate((p2cread, c2pwrite, errwrite))]
        self.pid = _server(args).fork([args[2:], os.fspath(cwd), dict(env), *self._fault], streams)
        self._child_created = True
        self._close_pipe_fds(p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite)


def offpipe(*words: object, timeout: float = 120, **popen: object) -> subprocess.CompletedProcess[str]:
    """Run `python -m runner WORDS` to its end, by default in this checkout and with the variables of this process."""
    process = start([sys.executable, "-m", "runner", *map(str, words)], **popen)
    try:
        stdout, stderr = process.communicate(timeout=timeout)
    finally:
        process.kill()  # it has ended, unless it took too long
    return subprocess.CompletedProcess(process.args, process.returncode, stdout or "", stderr or "")


def start(command: list[str], env: dict[str, str] | None = None, **popen: object) -> subprocess.Popen[str]:
    """Start a run in its own session, as a fork unless `command` or `popen` need a new interpreter."""
    options = {
        "cwd": ROOT, "stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True,
        "start_new_session": True, "env": {**os.environ, **(env or {})}, **popen,
    }  # fmt: skip
    is_plain = command[:2] == [sys.executable, "-m"] and command[2] in PROGRAMS and FORKED.issuperset(popen)
    forks = is_plain and _may_fork(command, options["env"], Path(options["cwd"]))
    return (ForkedRun if forks else subprocess.Popen)(command, **options)


def _may_fork(command: list[str], env: Mapping[str, str], cwd: Path) -> bool:
    """Return whether a run uses this checkout and the server's values of all variables that are read at a start."""
    if os.uname().machine not in SYS_CLONE or (cwd != ROOT and (cwd / "runner").exists()):
        return False
    differences = env.items() ^ _server(command).env.items()
    differences -= {("PYTHONPATH", str(ROOT))}  # a server imports the runner from there, too
    different = {name for name, _ in differences if name.startswith(READ_AT_START)}
    if command[2] != "runner":  # the fork reads these variables: see _read_dask_configuration
        different = {name for name in different if not name.startswith("DASK_DISTRIBUTED__")}
    return not different


def _server(command: list[str]) -> _Server:
    """Return the server for a command, and start it at the first command of its kind."""
    loads = "dask" if command[2] != "runner" or "--cluster" in command else ""
    if loads not in _servers:
        _servers[loads] = _Server(loads)
    return _servers[loads]


class _Server:
    """The server as its clients see it.

    A separate thread starts it, and becomes the parent of all forks, because `call_tracer` waits for every child of the
    thread that it runs in.
    """

    def __init__(self, loads: str) -> None:
        self.env = dict(os.environ)
        self._requests, theirs = socket.socketpair()
        self._lines = self._requests.makefile("rw")
        is_started = threading.Event()
        threading.Thread(target=self._run, args=(theirs, loads, is_started), daemon=True).start()
        is_started.wait()

    def _run(self, theirs: socket.socket, loads: str, is_started: threading.Event) -> None:
        with theirs:
            process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno()), loads],
                cwd=ROOT, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()], start_new_session=True,
            )  # fmt: skip
        is_started.set()
        process.wait()

    def fork(self, request: list[object], streams: list[int]) -> int:
        line = json.dumps(request)  # before anything is sent: a request that cannot be encoded leaves nothing behind
        socket.send_fds(self._requests, [b" "], streams)
        print(line, file=self._lines, flush=True)
        return int(self._lines.readline())


# ---- in the server and its forks -------------------------------------------------------------------------------------


def serve(requests: socket.socket, loads: str) -> None:
    from runner.engine.start import make_hooks, preload
    from runner.errors import UsageError

    for name in [*LOADED, *(LOADED_FOR_DASK if loads else ())]:
        with contextlib.suppress(ImportError, UsageError):  # environments of other versions of Python lack the extras
            import_module(name)
    preload(SimpleNamespace(stages=()), durable=True)
    make_hooks(())
    lines = requests.makefile("rw")
    gc.freeze()
    while (received := socket.recv_fds(requests, 1, 3))[0]:
        words, cwd, env, dies_at, after = json.loads(lines.readline())
        streams = received[1]
        if (pid := _fork_sibling()) == 0:
            _become(words, cwd, env, streams)
            if words[0] != "runner":
                _read_dask_configuration()
            _die_at(dies_at, after=after)
            module, name = PROGRAMS[words[0]]
            sys.exit(getattr(import_module(module), name)())
        for descriptor in streams:
            os.close(descriptor)
        print(pid, file=lines, flush=True)


def _fork_sibling() -> int:
    """Fork a sibling of this process; return its ID, and 0 in the child."""
    api = ctypes.pythonapi
    api.PyOS_BeforeFork()
    pid = api.syscall(SYS_CLONE[os.uname().machine], CLONE_PARENT | SIGCHLD, 0, 0, 0, 0)
    (api.PyOS_AfterFork_Parent if pid else api.PyOS_AfterFork_Child)()
    return pid


def _become(words: list[str], cwd: str, env: dict[str, str], streams: list[int]) -> None:
    os.setsid()
    os.chdir(cwd)
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
    os.closerange(3, max(streams) + 1)
    os.environ.clear()
    os.environ.update(env)
    sys.argv[:] = [str(import_module(PROGRAMS[words[0]][0]).__file__), *words[1:]]
    sys.orig_argv[:] = [sys.executable, "-m", *words]
    sys.path[0] = cwd


def _read_dask_configuration() -> None:
    """Configure Dask and its logs as its own programs do at their start. The loaded runner uses other logs."""
    import dask
    from distributed.config import initialize_logging

    dask.config.refresh()
    logging.captureWarnings(capture=False)
    logging.root.handlers.clear()
    initialize_logging(dask.config.config)


def _die_at(number: int, *, after: bool) -> None:
    if not number:
        return
    count = 0

    def dying(call: Callable[..., object]) -> Callable[..., object]:
        def wrapped(*args: object, **kwargs: object) -> object:
            nonlocal count
            count += 1
            if count == number and not after:
                os._exit(DIED)
            try:
                return call(*args, **kwargs)
            finally:  # also if it failed and changed nothing, as mkdir of an existing directory
                if count == number:
                    os._exit(DIED)

        return wrapped

    opens, makes = os.open, dying(os.open)
    for name in CHANGES[1:]:
        setattr(os, name, dying(getattr(os, name)))
    os.open = lambda path, flags, *rest, **named: (  # type: ignore[assignment]
        makes if flags & os.O_CREAT else opens
    )(path, flags, *rest, **named)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2])
