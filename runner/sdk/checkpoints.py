"""The checkpoints of a stage: the outputs that its jobs write, and the progress file that vouches for them."""

from __future__ import annotations

import os

from runner.errors import Fault, StateError, UsageError
from runner.record import files
from runner.sdk.output import Output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, TypeVar

    T = TypeVar("T")
    Progress = dict[str, Any]  # the content of a progress file

PROGRESS_VERSION = 1
FAULTS_VARIABLE = "PIPELINE_FAULTS"
DEFAULT_EVERY_LINES = 10_000
DEFAULT_EVERY_SECONDS = 1.0


class Checkpoints:
    """The checkpoints of a stage, shared by its jobs, of which only one is open at a time.

    `every_lines` and `every_seconds` limit the interval between two checkpoints, None for no limit. An output is on
    disk before the progress file vouches for it, unless the run has durability `process`.
    """

    def __init__(self, stage_file: Mapping[str, object]) -> None:
        """`stage_file` is the content of that file. Raises StateError if a field is missing."""
        self.every_lines, self.every_seconds = _intervals(stage_file.get("checkpoint"))
        self._key: str = field(stage_file, "key", str)
        self._outputs: dict[str, str] = field(stage_file, "outputs", dict)
        self._path: str = field(stage_file, "progress", str)
        self._temporary = f"{field(stage_file, 'scratch', str)}.progress"
        self._sync = stage_file.get("durability") != "process"
        self._is_busy = False  # a job is open
        self._jobs_started = 0
        self._opened: dict[str, Output] = {}
        plan = os.environ.get(FAULTS_VARIABLE)
        self._faults = Faults(plan) if plan else None
        self._resumed = self._load()
        if self._resumed is None:
            # Otherwise, after a kill before the first checkpoint, the lengths would be those of another attempt.
            files.discard(self._path)
        else:
            for name, entry in self._resumed["outputs"].items():
                self._opened[name] = Output(self._outputs[name], keep=entry["length"])
            if self._faults:
                self._faults.note("resumed")

    def _load(self) -> Progress | None:
        """Return the content of the progress file; None, to start from the beginning, if it does not fit this stage.

        The runner checks the checksum, and every value, before the stage starts.
        """
        import json

        try:
            with open(self._path, "rb") as stream:
                content: Progress = json.loads(stream.read())
            kept = content["outputs"].items()
            are_long_enough = all(os.stat(self._outputs[name]).st_size >= entry["length"] for name, entry in kept)
            # Without a checksum or a job, nothing vouches for the offsets: the SDK did not write them.
            is_ours = content["checksum"] and "job" in content
            if are_long_enough and is_ours and (content["v"], content["key"]) == (PROGRESS_VERSION, self._key):
                return content
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            pass
        return None

    def begin(self, *, keeps: bool) -> tuple[int, Progress | None]:
        """Begin a job; return its index among the jobs with outputs, and the progress of it or a later job, if any."""
        if self._is_busy:
            raise UsageError(Fault("", "a job is still open", "end its `with` block before the next one starts"))
        self._is_busy = True
        if not keeps:
            return -1, None
        index = self._jobs_started
        self._jobs_started += 1
        resumed = self._resumed
        return index, resumed if resumed and index <= resumed["job"] else None

    def end(self) -> None:
        """End the job."""
        self._is_busy = False

    def open_output(self, name: str) -> Output:
        """Return the output `name`, which is emptied when it is first opened, unless the stage resumed with it."""
        if name not in self._opened:
            self._opened[name] = Output(self._outputs[name], keep=0)
        return self._opened[name]

    def save(self, job: int, line_offset: int, byte_offset: int, *, done: bool) -> None:
        """Take a checkpoint: sync the outputs first, and only then write the progress file that vouches for them.

        The progress file is not synced: after a power cut, an older checkpoint or none does no harm.
        """
        import json

        from runner.canonical import digest

        outputs: dict[str, object] = {}
        for name, output in self._opened.items():
            output.settle(sync=self._sync)
            outputs[name] = {"length": output.length, "inode": output.inode}
        content: dict[str, object] = {
            "v": PROGRESS_VERSION,
            "key": self._key,
            "lineOffset": line_offset,
            "byteOffset": byte_offset,
            "outputs": outputs,
            "job": job,
            **({"done": True} if done else {}),
        }
        content["checksum"] = digest(content)  # the runner checks it before the next attempt starts
        if self._faults:
            self._faults.reach("before")
        files.replace(self._path, json.dumps(content).encode(), temporary=self._temporary)
        if self._faults:
            self._faults.reach("after")

    def close(self) -> None:
        """Close all outputs."""
        for output in self._opened.values():
            output.close()


class Faults:
    """Kills the stage at one of its checkpoints, as a test has planned in the file that PIPELINE_FAULTS names.

    `at_checkpoint` counts from 1; `when` is `before` or `after` its progress file is in place. Each checkpoint creates
    a file `PLAN.checkpoint-N`, so that a plan of kind `count` shows how many there are. A stage that resumes creates
    `PLAN.resumed`.
    """

    def __init__(self, path: str) -> None:
        import json

        with open(path, "rb") as file:
            plan = json.loads(file.read())
        self._path = path
        self._at = plan["at_checkpoint"] if plan["kind"] == "kill_at_checkpoint" else 0
        self._when = "before" if plan.get("when") == "before" else "after"
        self._count = 0

    def reach(self, when: str) -> None:
        """Count a checkpoint `before` it is taken, record it `after`, and kill the stage at the planned one."""
        if when == "before":
            self._count += 1
        else:
            self.note(f"checkpoint-{self._count}")
        if (when, self._count) == (self._when, self._at):
            self.note("fired")
            os.kill(os.getpid(), 9)  # SIGKILL

    def note(self, event: str) -> None:
        """Create the file `PLAN.EVENT` for the test."""
        files.create(f"{self._path}.{event}")


def field(stage_file: Mapping[str, object], name: str, kind: type[T]) -> T:
    """Return a field of the stage file; StateError if it is missing or of another type."""
    value = stage_file.get(name)
    if not isinstance(value, kind):
        raise StateError(Fault("stage file", f'"{name}" is missing or not of type {kind.__name__}'))
    return value


def _intervals(checkpoint: object) -> tuple[int | None, float | None]:
    """Return the two intervals, None for no limit; the defaults if the spec gives neither."""
    given = checkpoint if isinstance(checkpoint, dict) else {}
    lines, seconds = given.get("everyLines"), given.get("everySeconds")
    if lines is None and seconds is None:
        return DEFAULT_EVERY_LINES, DEFAULT_EVERY_SECONDS
    return lines, seconds
