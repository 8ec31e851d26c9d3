"""The program itself, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True)
class ProgramReport:
    """How the program ended, and what it wrote; bytes that are no UTF-8 are escaped."""

    words: tuple[str, ...]
    exit_code: int
    stdout: str
    stderr: str

    def json(self) -> Any:
        """Return standard output as the JSON that `--json` makes it."""
        return json.loads(self.stdout)


def run_program(
    words: Sequence[str], env: Mapping[str, str | None], cwd: str | os.PathLike[str], stdin: bytes, timeout: float
) -> ProgramReport:
    """Run `offpipe WORDS`. Raises subprocess.TimeoutExpired when it takes longer than `timeout` seconds."""
    merged = {**os.environ, **env}
    ended = subprocess.run(
        # Not by `offpipe`, which need not be on the PATH; and no runner.py that lies in cwd.
        [sys.executable, "-P", "-m", "runner", *words],
        cwd=cwd, input=stdin, capture_output=True, timeout=timeout, check=False,
        env={name: value for name, value in merged.items() if value is not None},
    )  # fmt: skip
    out, err = (stream.decode("utf-8", "backslashreplace") for stream in (ended.stdout, ended.stderr))
    return ProgramReport(tuple(words), ended.returncode, out, err)
