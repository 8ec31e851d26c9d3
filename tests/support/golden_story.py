"""A scripted story: a pipeline in a directory, what is done to it step by step, and what each step shows and leaves."""

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

MTIME = 1_767_225_600  # of all that a story writes: it is in the keys of processors
TICK = 0.05  # seconds until a file's time stamps tell all
LOOKS = (["plan", "--json"], ["status", "--json"], ["verify", "--json", "--outputs"], ["log"])
EVENT = re.compile(r"^\d{4}-\d\d-\d\dT\S+ (\S+)", re.MULTILINE)


class Story:
    """`steps` is what there is to record. `python` names the stages that are Python programs."""

    def __init__(self, root: Path, *python: str) -> None:
        root.mkdir()
        root.chmod(0o755)
        self.root = root.resolve()
        self.steps: list[dict[str, object]] = []
        self._tokens = Tokens(self.root, frozenset(python))
        self._state = State(self.root, self._tokens)

    def write(self, path: str, content: str | bytes, mode: int = 0o644, mtime: int = MTIME) -> None:
        target = self.root / path
        for directory in reversed([one for one in target.parents if not one.exists()]):
            directory.mkdir(mode=0o755)
            directory.chmod(0o755)
        target.write_bytes(content if isinstance(content, bytes) else content.encode())
        target.chmod(mode)
        os.utime(target, (mtime, mtime))

    # ---- steps ----

    def run(self, step: str, *words: str, program: Program, env: dict[str, str] | None = None) -> None:
        """`python -m runner WORDS`, then what it left, and what the verbs that only look say of it."""
        with self.running(*words, env=env) as process:
            out, err = process.communicate()
        self.add(step, words, Answer(process.returncode, out, err))
        self.look(program, env)

    def note(self, step: str, program: Program) -> None:
        """What lies there now, and what the verbs that only look say of it."""
        self.add(step, ())
        self.look(program)

    def call(self, program: Program, step: str, *words: str) -> None:
        """A verb that starts no stage, and what it left; of what it printed the last word of each line."""
        answer = program.answer(Call([words[0], "spec.json", *words[1:]], str(self.root)))
        self.add(step, words, answer)
        if answer.json() is None:
            lines = [self._tokens.text(line.rpartition(" ")[2]) for line in answer.out.splitlines()]
            self.steps[-1]["lines"] = sorted(lines) if "--state" in words else lines

    def look(self, program: Program, env: dict[str, str] | None = None) -> None:
        """Have the verbs that only look say what they see, as part of the last step."""
        shown = {
            verb[0]: self._shown(program.answer(Call([*verb, "spec.json"], str(self.root), env))) for verb in LOOKS
        }
        if shown["status"]["json"]["stages"] == shown["plan"]["json"]["stages"]:
            shown["status"]["json"]["stages"] = "<as in plan>"
        self.steps[-1].update(shown)

    def add(self, step: str, words: tuple[str, ...], answer: Answer | None = None) -> None:
        """Note a step: what was said, if a program has ended, and what lies there now."""
        state = self._state.look()
        self.steps.append({"step": step, "words": " ".join(words), **(self._shown(answer) if answer else {}), **state})

    def _shown(self, answer: Answer) -> dict[str, object]:
        """What an answer says, with its JSON; and of the events of a run their names."""
        shown = outcome(answer._replace(err=self._tokens.text(answer.err)))
        if answer.json() is not None:
            return {**shown, "json": self._tokens.value(answer.json())}
        return {**shown, "events": re.findall(EVENT, answer.out)} if re.match(EVENT, answer.out) else shown

    # ---- processes ----

    @contextmanager
    def running(self, *words: str, env: dict[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
        """A run, which is killed at the end of the block if it has not ended."""
        self.settle()
        process = subprocess.Popen(
            [sys.executable, "-m", "runner", *words],
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
        """Send a signal to a run, and wait for the end of all that is below it."""
        below = descendants(process.pid)
        process.send_signal(number)
        out, err = process.communicate()
        wait_for(lambda: not any(map(is_running, below)))
        return Answer(process.returncode, out, err)

    def settle(self) -> None:
        """Wait until a write would show in the time stamps of all that is there: a run trusts no younger ones."""
        while time.time() - max(path.lstat().st_ctime for path in self.root.rglob("*")) < TICK:
            time.sleep(TICK / 5)
