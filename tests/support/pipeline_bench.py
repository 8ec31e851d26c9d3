"""A pipeline in a directory of its own, run by real runner processes; and ways to wait for facts about them."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from forked_runs import start

from runner.cli.parser import VERBS

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 30.0
STAMP = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ ", re.MULTILINE)


class PipelineBench:
    """Files, a spec and runs below `root`. Runs started with `start` are ended by `close`.

    With a `cluster`, the address of a scheduler, its runs have --cluster.
    """

    def __init__(self, root: Path, cluster: str = "") -> None:
        self.root = root
        self.cluster = cluster
        self.spec = root / "spec.json"
        self._started: list[subprocess.Popen[str]] = []

    # ---- laying out ----

    def write(self, path: str, content: str | bytes, mode: int = 0o644) -> Path:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)
        target.chmod(mode)
        return target

    def define(self, *stages: dict[str, object], **top: object) -> None:
        self.spec.write_text(json.dumps({"specVersion": 1, "name": "bench", "stages": stages, **top}))

    def read(self, path: str) -> bytes:
        return (self.root / path).read_bytes()

    def exists(self, path: str) -> bool:
        return os.path.lexists(self.root / path)

    # ---- running ----

    def start(self, *words: str, command: tuple[str, ...] = (), env: dict[str, str] | None = None, **popen: object):
        """Start `offpipe WORDS SPEC` in a session of its own; `command` stands before the interpreter (nohup, ...)."""
        words = [*command, sys.executable, "-m", "runner", *self._arguments(words)]
        process = start(with_default_signals(words), env, **popen)
        self._started.append(process)
        return process

    def run(self, *words: str, timeout: float = 120, **popen: object) -> subprocess.CompletedProcess[str]:
        """Run to the end. The spec goes after the verb; with no verb the words are options of `run`."""
        process = self.start(*words, **popen)
        stdout, stderr = process.communicate(timeout=timeout)
        return subprocess.CompletedProcess(process.args, process.returncode, stdout or "", stderr or "")

    def succeed(self, *words: str, **popen: object) -> subprocess.CompletedProcess[str]:
        done = self.run(*words, **popen)
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    def close(self) -> None:
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.communicate()

    def _arguments(self, words: tuple[str, ...]) -> list[str]:
        verb = words[0] if words and words[0] in VERBS else "run"
        where = ["--cluster", self.cluster] if self.cluster and verb == "run" else []
        return [verb, str(self.spec), *words[words[:1] == (verb,) :], *where]

    # ---- looking ----

    def program_processes(self) -> list[int]:
        """The pids, as this process sees them, of programs that stages run; a stage knows only those of its namespace.

        A forked Python stage is not among them: /proc shows the launcher's environment for it.
        """
        mark = b"PIPELINE_STAGE_FILE=" + os.fsencode(self.root)
        return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal() and _has_mark(path, mark)]

    def json(self, *words: str) -> dict[str, object]:
        return json.loads(self.run(*words, "--json").stdout)

    def records(self, event: str | None = None) -> list[dict[str, object]]:
        """The audit records of all runs, oldest run first, without lines that a kill cut short."""
        logs = sorted(
            (path for path in (self.root / "state").glob("audit_*.jsonl") if path.name != "audit_ledger.jsonl"),
            key=lambda path: path.stat().st_mtime_ns,
        )
        lines = [line for path in logs for line in path.read_bytes().splitlines(keepends=True)]
        parsed = [json.loads(line) for line in lines if line.endswith(b"\n")]
        return [record for record in parsed if event in (None, record["ev"])]

    def metrics(self) -> dict[str, object]:
        """The content of the newest metrics file."""
        files = (self.root / "state").glob("metrics_*.json")
        return json.loads(max(files, key=lambda path: path.stat().st_mtime_ns).read_text())

    def attempts(self, stage: str) -> list[dict[str, object]]:
        return self.metrics()["stages"][stage]["attempts"]  # type: ignore[index]

    def skips_everything(self) -> bool:
        """Whether one more plain run exits 0 and starts nothing."""
        before = len(self.records("attempt.started"))
        return self.run().returncode == 0 and len(self.records("attempt.started")) == before

    def has_only_refused(self) -> bool:
        """Whether runs wrote nothing into the state directory but lines of the ledger."""
        return not self.exists("state") or os.listdir(self.root / "state") == ["audit_ledger.jsonl"]

    def leftovers(self) -> list[str]:
        """Partials, progress files and scratch files: only an active run or a checkpoint may have them."""
        everything = [path for path in self.root.rglob("*") if path.is_file() or path.is_symlink()]
        return sorted(
            str(path.relative_to(self.root))
            for path in everything
            if ".partial-" in str(path) or path.name.startswith("progress_") or "state/tmp/" in str(path)
        )


def with_default_signals(command: list[str]) -> list[str]:
    """Return a command in which HUP and INT have their default action, also if the tests ignore them.

    They do under nohup, or in the background of a shell.
    """
    ignored = [name for name in ("HUP", "INT") if signal.getsignal(signal.Signals[f"SIG{name}"]) is signal.SIG_IGN]
    return ["env", f"--default-signal={','.join(ignored)}", *command] if ignored else command


def _has_mark(process: Path, mark: bytes) -> bool:
    try:
        return mark in (process / "environ").read_bytes()  # empty for a zombie
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False


def unstamped(text: str) -> str:
    """The stderr of a run, without the time of each message."""
    return STAMP.sub("", text)


def wait_for(fact: Callable[[], object], what: str = "") -> object:
    """Call `fact` until its result is true, and return that; fail after half a minute."""
    deadline = time.monotonic() + PATIENCE
    while not (answer := fact()):
        assert time.monotonic() < deadline, f"did not come: {what or fact}"
        time.sleep(0.002)
    return answer


def lasting_directory(prefix: str) -> Path:
    """Make a directory for what is built once; it is removed when this process ends."""
    directory = tempfile.TemporaryDirectory(prefix=prefix)
    atexit.register(directory.cleanup)
    return Path(directory.name)


def is_running(pid: int) -> bool:
    """Whether a process exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def children(pid: int) -> list[int]:
    """The children of a process: of all its threads, because each has those that it started."""
    pids: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that ended just now
            pids += map(int, (task / "children").read_text().split())
    return sorted(pids)


def descendants(pid: int) -> list[int]:
    pids, waiting = [], [pid]
    while waiting:
        try:
            below = children(waiting.pop())
        except (FileNotFoundError, ProcessLookupError):
            continue
        pids += below
        waiting += below
    return pids


def open_files(pid: int) -> list[str]:
    """The targets of a process's descriptors, in the order of their numbers; none if the process is gone."""
    targets, place = [], f"/proc/{pid}/fd"
    with contextlib.suppress(FileNotFoundError):
        for number in sorted(os.listdir(place), key=int):
            with contextlib.suppress(FileNotFoundError):  # closed since it was listed
                targets.append(os.readlink(f"{place}/{number}"))
    return targets


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass  # it has ended already


def kill_and_await(process: subprocess.Popen[str]) -> None:
    """SIGKILL a run, and wait until all processes below it, the launcher and the stages, have ended too."""
    below = descendants(process.pid)
    kill(process.pid)
    process.wait()
    wait_for(lambda: not any(map(is_running, below)))


def shell(name: str, script: str, *, outputs: dict[str, str] | None = None, **fields: object) -> dict[str, object]:
    """A stage that is a shell script; it writes to $PIPELINE_OUTPUT_X."""
    declared = {"out": f"out/{name}.txt"} if outputs is None else outputs
    return {"name": name, "command": ["sh", "-c", script], "outputs": declared, **fields}
