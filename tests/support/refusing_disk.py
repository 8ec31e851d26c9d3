"""Runs of a pipeline in which the disk refuses one call: any call of any kind, with each errno that fits it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import Counter
from errno import EDQUOT, EFBIG, EIO, EMFILE, ENOSPC, EROFS, errorcode
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from call_tracer import trace
from crash_checks import Place

from runner.errors import EXIT_OK, EXIT_PENDING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from call_tracer import Call, Traced

CHECKOUT = Path(__file__).resolve().parents[2]
FITTING = {
    "openat": (ENOSPC, EDQUOT, EIO, EROFS, EMFILE),  # ENOSPC: no room in the directory, or out of inodes
    "write": (ENOSPC, EDQUOT, EFBIG, EIO),
    "fsync": (EIO, ENOSPC, EDQUOT),
    "fdatasync": (EIO, ENOSPC, EDQUOT),
    "rename": (ENOSPC, EDQUOT, EIO, EROFS),
    "mkdir": (ENOSPC, EDQUOT, EIO, EROFS),
    "unlink": (EIO, EROFS),
}
SYNCS = ("fsync", "fdatasync")
REMOVALS = ("unlink", "unlinkat", "rmdir")


class Refusal(NamedTuple):
    """One refused call: the nth `name` that `role`, a part of the run, makes on a file of the workspace fails.

    `part`: only calls on paths that contain it count.
    """

    role: str
    name: str
    nth: int
    error: int
    part: str = "/"

    def __str__(self) -> str:
        return f"{self.role}: {self.name} {self.nth} of {self.part}: {errorcode[self.error]}"


class RefusingDisk:
    """Runs `spec` in workspaces below `directory`."""

    def __init__(self, spec: str, directory: Path) -> None:
        self._spec = spec
        self._directory = directory
        self._number = 0
        self._log = directory / "log"
        self.wanted: dict[str, str] = {}

    def refusals(self, role: str) -> list[list[Refusal]]:
        """Return, per call of an undisturbed run, a refusal per errno. Its outputs are what all others must make."""
        place = self.place()
        traced = self.traced(place)
        assert traced.code == 0, self.output()
        self.wanted = place.outputs()
        self.leave(place)
        counts = Counter(call.name for call in traced.calls if _is_at(place, call, role))
        return [
            [Refusal(role, name, nth, error) for error in FITTING.get(name, (EIO,))]
            for name in counts
            for nth in range(1, counts[name] + 1)
        ]

    def faults(self, refusal: Refusal) -> list[str]:
        """Return the faults of a run with this refusal, and of the run that follows."""
        place = self.place()
        traced = self.traced(place, refusal)
        if not traced.struck:  # launcher and runner work in parallel, so there may be a call or two less
            self.leave(place)
            return []
        call = traced.calls[traced.struck - 1]
        faults = [*self._faults_then(place, refusal, call, traced), *self.faults_after(place)]
        self.leave(place)
        return [f"{refusal} {call.path}: {fault}" for fault in faults]

    def output(self) -> str:
        return self._log.read_text("utf-8", "backslashreplace")

    def _faults_then(self, place: Place, refusal: Refusal, call: Call, traced: Traced) -> Iterator[str]:
        output = self.output()
        if traced.hung:
            yield "hangs"
        if "Traceback" in output or "internal error" in output:
            yield output
        if refusal.role == "stage":
            yield from self._faults_of_stage(place, refusal, traced)
        elif not (traced.code == 0 and _is_forgiven(call)):
            errors = re.findall(r"^error: .*$", output, re.MULTILINE)
            if traced.code != 74 or [bool(re.fullmatch(_words(place, refusal), line)) for line in errors] != [True]:
                yield f"exit {traced.code}: {output}"
        if refusal.name in SYNCS:
            later = [each for each in traced.calls[traced.struck :] if each.path == call.path]
            kept = takewhile(lambda each: each.name != "truncate", later)  # a line in doubt is cut off
            yield from (f"synced again: {each}" for each in kept if each.name in SYNCS)
        yield from place.faults_of_state()
        yield from place.faults_of_outputs(self.wanted)
        if refusal.name not in REMOVALS:
            yield from (f"left: {path}" for path in place.state.glob("tmp/**/*"))
        yield from place.faults_of_verify(EXIT_OK, EXIT_PENDING)

    def _faults_of_stage(self, place: Place, refusal: Refusal, traced: Traced) -> Iterator[str]:
        if traced.code != 1 or not re.search(r"^error: stage \w+: failed with exit 74$", self.output(), re.MULTILINE):
            yield f"exit {traced.code}: {self.output()}"
        logs = "".join(path.read_text() for path in sorted(place.state.glob("logs/*/*")))
        if "Traceback" in logs or not re.search(f"^{_words(place, refusal)}$", logs, re.MULTILINE):
            yield f"the stage says: {logs}"

    def faults_after(self, place: Place) -> Iterator[str]:
        """Run again, undisturbed, and yield the faults."""
        done = self._run(place)
        if done.returncode:
            yield f"the next run fails with {done.returncode}: {done.stderr}"
            return
        if place.outputs() != self.wanted:
            yield "the outputs are not those of an undisturbed run"
        yield from place.faults_of_state()
        yield from place.faults_of_end()
        yield from place.faults_of_verify(EXIT_OK)

    def traced(self, place: Place, refusal: Refusal | None = None) -> Traced:
        """Run the pipeline, one stage at a time, with this refusal."""
        argv = [sys.executable, "-m", "runner", "run", self._spec, "--workspace", str(place.workspace), "-q", "-j1"]
        self._log.write_bytes(b"")
        if refusal is None:
            return trace(argv, log=str(self._log), cwd=str(CHECKOUT))
        return trace(
            argv, log=str(self._log), cwd=str(CHECKOUT), position=refusal.nth, error=refusal.error,
            when=lambda call: call.name == refusal.name
            and _is_at(place, call, refusal.role)
            and refusal.part in call.path,
        )  # fmt: skip

    def _run(self, place: Place) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "runner", "run", self._spec, "--workspace", str(place.workspace)]
        return subprocess.run(argv, cwd=CHECKOUT, capture_output=True, text=True, timeout=60, check=False)

    def place(self) -> Place:
        self._number += 1
        workspace = self._directory / f"workspace-{self._number}"
        workspace.mkdir()
        return Place(self._spec, workspace)

    @staticmethod
    def leave(place: Place) -> None:
        shutil.rmtree(place.workspace)


def _is_at(place: Place, call: Call, role: str) -> bool:
    return call.role == role and call.path.startswith(f"{place.workspace}/")


def _is_forgiven(call: Call) -> bool:
    """Whether the run may succeed although this call fails.

    It can do without the digest cache, and without the note in the lock file that its holder is gone. A directory may
    exist already, and what cannot be removed in one way is removed in another.
    """
    return "/files." in call.path or call.path.endswith("/pipeline.lock") or call.name in ("mkdir", *REMOVALS)


def _words(place: Place, refusal: Refusal) -> str:
    return rf"error: {place.workspace}/.*: cannot [a-z ]+: {errorcode[refusal.error]} \(.*\)"
