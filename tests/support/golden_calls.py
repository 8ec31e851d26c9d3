"""Calls the program hundreds of times quickly: in one process that has its modules loaded, or in forks of it.

Uses only the public interface: `python -m runner`, or the same as a function, `runner.cli.main`.
"""

from __future__ import annotations

import json
import os
import re
import runpy
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

from pipeline_bench import unstamped

from runner.cli.parser import VERBS

if TYPE_CHECKING:
    import io

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60  # seconds that one call may take
UMASK = 0o022
LOOKING = VERBS.keys() - {"run", "clean", "prune", "report", "export", "completion", "learn"}
FAULT = re.compile(r"^(error|warning): ((?:.*\n(?!error: |warning: |hint: ))*.*)", re.MULTILINE)
PLACE = re.compile(r"(\S+|[^\"]*?#/[^\"]*?): ")
FACTS = re.compile(r"^stage [\w.-]+|(?<!\S)[\w./-]+:\d+")
OPTION = re.compile(r"(?<!\S)--?[a-zA-Z][\w/-]*")


class Call(NamedTuple):
    """A command line without the program's name, the working directory, and variables besides `environment`."""

    words: list[str]
    cwd: str
    env: dict[str, str] | None = None


class Answer(NamedTuple):
    exit: int
    out: str
    err: str

    def json(self) -> object:
        """Return standard output as JSON, or None if it is not JSON."""
        try:
            return json.loads(self.out)
        except ValueError:
            return None


def environment(**more: str) -> dict[str, str]:
    """Return a small environment: the caller's variables must not affect a golden file."""
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "HOME") if name in os.environ}
    return {**kept, "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1", **more}


class Program:
    """A process that performs calls one after another; a context manager."""

    def __enter__(self) -> Self:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "umask": UMASK}
        self._process = subprocess.Popen([sys.executable, __file__], env=environment(), **pipes)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def answer(self, call: Call) -> Answer:
        """Perform a call. In the texts `<cwd>` stands for the working directory."""
        self._process.stdin.write(f"{json.dumps(call)}\n")
        self._process.stdin.flush()
        code, *shown = json.loads(self._process.stdout.readline())
        return Answer(code, *(text.replace(f"{call.cwd}/", "<cwd>/") for text in shown))


def answers(calls: list[Call]) -> list[Answer]:
    """Perform calls in order."""
    with Program() as program:
        return [program.answer(call) for call in calls]


def outcome(answer: Answer) -> dict[str, object]:
    """Return the exit code, the place of each error and warning, and the number of hints; no wording."""
    shown: dict[str, object] = {"exit": answer.exit}
    found = FAULT.findall(unstamped(answer.err))
    for kind in ("error", "warning"):
        if places := [place_of(text) for severity, text in found if severity == kind]:
            shown[f"{kind}s"] = places
    if hints := len(re.findall(r"^hint: ", answer.err, re.MULTILINE)):
        shown["hints"] = hints
    value = answer.json()
    if isinstance(value, dict) and value.keys() & {"errors", "faults"}:
        faults = value.get("errors", value.get("faults"))
        inside = [place_of(": ".join(filter(None, (fault["where"], fault["what"])))) for fault in faults]
        if inside != shown.get("errors", []):
            shown["json"] = inside
    return shown


def place_of(text: str) -> str:
    """Return the place at the start of a fault. Without one: stage and `FILE:LINE` in it, or else the first option."""
    if found := PLACE.match(text):
        return found[1]
    return " ".join(FACTS.findall(text)) or next(iter(OPTION.findall(text)), "")


# ---- in the process that answers -------------------------------------------------------------------------------------


def answer(call: Call) -> tuple[int, str, str]:
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        perform = look if call.words[:1] and call.words[0] in LOOKING else fork
        code = perform(call, out.fileno(), err.fileno())
        return code, read_all(out), read_all(err)


def look(call: Call, *streams: int) -> int:
    """Perform a call in this process, in a tenth of the time of a fork. Fine for verbs that only read."""
    from runner.cli.main import main

    before, kept = dict(os.environ), [os.dup(1), os.dup(2)]
    try:
        enter(call, *streams)
        return main(call.words)
    finally:
        signal.alarm(0)
        os.environ.clear()
        os.environ.update(before)
        for number, descriptor in enumerate(kept, 1):
            os.dup2(descriptor, number)
            os.close(descriptor)


def fork(call: Call, *streams: int) -> int:
    """Perform a call as `python -m runner` in a fork."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    code: object = None
    try:
        enter(call, *streams)
        sys.path.insert(0, call.cwd)  # as -m does
        sys.argv = ["runner", *call.words]
        runpy.run_module("runner", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code
    finally:
        os._exit(code if isinstance(code, int) else 99)


def enter(call: Call, out: int, err: int) -> None:
    os.dup2(out, 1)
    os.dup2(err, 2)
    os.chdir(call.cwd)
    os.environ.update(call.env or {})
    signal.alarm(PATIENCE)


def read_all(stream: io.BufferedIOBase) -> str:
    stream.seek(0)
    return stream.read().decode("utf-8", "backslashreplace")


if __name__ == "__main__":
    sys.path.pop(0)  # stages must not find the modules in tests/support
    replies = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        print(json.dumps(answer(Call(*json.loads(line)))), file=replies, flush=True)
