"""A scripted story: a pipeline in a directory, and for each step what the program says and leaves on disk."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from golden_calls import UMASK, Answer, Call, Program, environment, outcome
from golden_state import State
from golden_tokens import Tokens
from pipeline_bench import descendants, is_running, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MTIME = 1_767_225_600  # of all files of a story, since keys of processors contain it
TICK = 0.05  # seconds after which offpipe trusts the time stamps of a file
LOOKS = (["plan", "--json"], ["status", "--json"], ["verify", "--json", "--outputs"], ["log"])
EVENT = re.compile(r"^\d{4}-\d\d-\d\dT\S+ (\S+)", re.MULTILINE)


class Story:
    """Collects `steps`. `python` names the stages that are Python programs. With a `cluster`, runs have --cluster."""

    def __init__(self, root: Path, *python: str, cluster: str = "") -> None:
        root.mkdir()
        root.chmod(0o755)
        self.root = root.resolve()
        self._cluster = ("--cluster", cluster) if cluster else ()
        self.steps: list[dict[str, object]] = []
        self._tokens = Tokens(self.root, frozenset(python))
        self._state = State(self.root, self._tokens)

    def write(self, path: str, content: str | bytes, mode: int = 0o644, mtime: int = MTIME) -> None:
        target = self.root / path
        for directory in reversed([parent for parent in target.parents if not parent.exists()]):
            directory.mkdir(mode=0o755)
            directory.chmod(0o755)
        target.write_bytes(content if isinstance(content, bytes) else content.encode())
        target.chmod(mode)
        os.utime(target, (mtime, mtime))

    # ---- steps ----

    def run(self, step: str, *words: str, program: Program, env: dict[str, str] | None = None) -> None:
        """Run `python -m runner WORDS`, then look."""
        with self.running(*words, env=env) as process:
            out, err = process.communicate()
        self.add(step, words, Answer(process.returncode, out, err))
        self.look(program, env)

    def note(self, step: str, program: Program) -> None:
        """Look without a run."""
        self.add(step, ())
        self.look(program)

    def call(self, program: Program, step: str, *words: str) -> None:
        """Call another verb. Keep only the last word of each line that it prints."""
        answer = program.answer(Call([words[0], "spec.json", *words[1:]], str(self.root)))
        self.add(step, words, answer)
        if answer.json() is None:
            lines = [self._tokens.text(line.rpartition(" ")[2]) for line in answer.out.splitlines()]
            self.steps[-1]["lines"] = sorted(lines) if "--state" in words else lines

    def look(self, program: Program, env: dict[str, str] | None = None) -> None:
        """Add the answers of the reading verbs to the last step."""
        shown = {
            verb[0]: self._shown(program.answer(Call([*verb, "spec.json"], str(self.root), env))) for verb in LOOKS
        }
        if shown["status"]["json"]["stages"] == shown["plan"]["json"]["stages"]:
            shown["status"]["json"]["stages"] = "<as in plan>"
        self.steps[-1].update(shown)

    def add(self, step: str, words: tuple[str, ...], answer: Answer | None = None) -> None:
        """Add a step: an answer, if there is one, and the files on disk."""
        state = self._state.look()
        self.steps.append({"step": step, "words": " ".join(words), **(self._shown(answer) if answer else {}), **state})

    def _shown(self, answer: Answer) -> dict[str, object]:
        """Return an answer without wording; of the events that `log` prints, only the names."""
        shown = outcome(answer._replace(err=self._tokens.text(answer.err)))
        if answer.json() is not None:
            return {**shown, "json": self._tokens.value(answer.json())}
        return {**shown, "events": re.findall(EVENT, answer.out)} if re.match(EVENT, answer.out) else shown

    # ---- processes ----

    @contextmanager
    def running(self, *words: str, env: dict[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
        """Start a run. Kills it at the end of the block if it has not ended."""
        self.settle()
        process = subprocess.Popen(
            [sys.executable, "-m", "runner", *words, *self._cluster],
            cwd=self.root, env=environment(**(env or {})), umask=UMASK, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
            errors="backslashreplace",
        )  # fmt: skip
        try:
            yield process
        finally:
            if process.poll() is None:
                self.end(process, signal.SIGKILL)

    def end(self, process: subprocess.Popen[str], number: int) -> Answer:
        """Send a signal to a run, and wait until all its processes have ended."""
        below = descendants(process.pid)
        process.send_signal(number)
        out, err = process.communicate()
        wait_for(lambda: not any(map(is_running, below)))
        return Answer(process.returncode, out, err)

    def settle(self) -> None:
        """Wait until offpipe trusts the time stamps of all files. Younger files are not in the no-op record."""
        while time.time() - max(path.lstat().st_ctime for path in self.root.rglob("*")) < TICK:
            time.sleep(TICK / 5)
