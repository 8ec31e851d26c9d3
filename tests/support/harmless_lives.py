"""A bench for one level and one user that finds every process of its runs, however well it hides."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from offline_run import open_place, processes_in
from offline_users import UnavailableError, User, lacking, user
from pipeline_bench import PipelineBench, children, wait_for

if TYPE_CHECKING:
    import subprocess

LEVELS = [(level, user) for user in ("root", "unprivileged") for level in ("kernel", "filter")]

# Every kind of process that could outlive its stage. `sleeper` is this bench's own program: /proc/PID/exe shows it.
KINDS = """
here=$PWD
./sleeper 1000 &
setsid ./sleeper 1000 &
setsid -f ./sleeper 1000
(cd /; env -i "$here/sleeper" 1000 & setsid -f env -i "$here/sleeper" 1000)
(trap '' TERM INT HUP; exec ./sleeper 1000) &
setsid sh -c 'trap "" TERM INT HUP; exec ./sleeper 1000' &
stopped() { until grep -q sleeper "/proc/$1/comm"; do :; done; kill -STOP "$1"; }
./sleeper 1000 & stopped $!
setsid ./sleeper 1000 & stopped $!
"""
MANY = "n=0; while [ $n -lt 200 ]; do ./sleeper 1000 & n=$((n + 1)); done\n"
KINDS_COUNT, MANY_COUNT = 9, 200
# In the second run the file "go" exists, so the stage does not wait.
ENDING = ': > "there-$PIPELINE_STAGE"\nuntil test -e go; do sleep 0.02; done\necho done > "$PIPELINE_OUTPUT_OUT"\n'


def crowded(name: str, crowd: str = KINDS) -> dict[str, object]:
    """Return a stage that starts a crowd, then waits for the file "go"; if "go" exists already, it starts none."""
    script = f"if ! test -e go; then\n{crowd}fi\n{ENDING}"
    return {"name": name, "command": ["sh", "-c", script], "outputs": {"out": f"out/{name}"}}


class Lives(PipelineBench):
    """A bench whose runs work in `root`, so that all of the launcher's processes are found there."""

    def __init__(self, root: Path, owner: User, level: str) -> None:
        super().__init__(root)
        self.owner, self.level = owner, level
        sleep = shutil.which("sleep")
        assert sleep
        shutil.copy(sleep, root / "sleeper")
        owner.owns(root, root / "sleeper")

    def start(self, *words: str, wrapper: tuple[str, ...] = (), **popen: object):
        """Start a run like PipelineBench.start; `wrapper` stands before the interpreter, and runs as the user too."""
        below = {
            "command": self.wrapped(wrapper), "cwd": self.root,
            "env": {"PYTHONPATH": self.owner.cwd, **self.owner.env, **popen.pop("env", {})},
        }  # fmt: skip
        return super().start(*words, **{**below, **popen})

    def wrapped(self, wrapper: tuple[str, ...]) -> tuple[str, ...]:
        """The words before PipelineBench's own."""
        return (*self.owner.prefix, *wrapper, *self.owner.below(self.level)[len(self.owner.prefix) :])

    def alive(self) -> set[int]:
        return processes_in(self.root) | set(self.program_processes())

    def sleepers(self) -> int:
        return sum(os.path.basename(_link(pid, "exe")) == "sleeper" for pid in self.alive())

    def start_crowd(self, *words: str, stages: int = 1, sleepers: int = KINDS_COUNT, **popen: object):
        """Start a run and wait until the crowd of every stage is there."""
        process = self.start(*words, **popen)
        wait_for(lambda: len(list(self.root.glob("there-*"))) == stages or process.poll() is not None, "the stages")
        wait_for(lambda: self.sleepers() >= sleepers * stages or process.poll() is not None, "the crowd")
        assert process.poll() is None, process.communicate()
        return process

    def launcher(self, process: subprocess.Popen[str]) -> list[int]:
        """The pids of the launcher: of the outer and the inner process at level `kernel`, else of the only one."""
        outer = children(process.pid)
        return outer + (children(outer[0]) if self.level == "kernel" else [])

    def wait_until_all_are_gone(self) -> None:
        wait_for(lambda: not self.alive(), f"the end of {[_link(pid, 'exe') for pid in self.alive()]}")

    def assert_next_run_succeeds(self) -> None:
        """Assert that the next run does the work and leaves nothing."""
        (self.root / "go").touch()
        self.succeed("-j", "4")
        stages = {record["data"]["stage"] for record in self.records("stage.commit")}
        assert stages
        assert {self.read(f"out/{name}") for name in stages} == {b"done\n"}
        assert self.leftovers() == []
        assert not self.alive()


def namespaces(pid: int) -> set[str]:
    """The namespaces of a process that are not this one's."""
    kinds = ("user", "net", "pid", "mnt")
    return {_link(pid, f"ns/{kind}") for kind in kinds} - {_link(os.getpid(), f"ns/{kind}") for kind in kinds}


def holders(names: set[str]) -> list[int]:
    """The processes that are in one of these namespaces."""
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]
    return [pid for pid in pids if namespaces(pid) & names]


def _link(pid: int, name: str) -> str:
    try:
        return os.readlink(f"/proc/{pid}/{name}")
    except OSError:
        return ""


def at(levels):
    """Run a test at each of these (level, user) pairs."""
    return pytest.mark.parametrize(("level", "user"), levels)


@contextlib.contextmanager
def bench_as_user(level: str, who: str):
    """A bench at this level for this user; skips the test if the machine has none."""
    with open_place() as place:
        try:
            owner = user(who, place)
            if reason := lacking(level, owner.prefix, owner.interpreter):
                raise UnavailableError(reason)
        except UnavailableError as reason:
            pytest.skip(str(reason))
        root = place / "root"
        root.mkdir()
        with contextlib.closing(Lives(root, owner, level)) as bench:
            yield bench
