"""A warm launcher, which runs Python stages by forks of itself, and what to ask it for."""

import os
import select
import sys
import textwrap
from contextlib import contextmanager
from pathlib import Path

import pytest
from pipeline_bench import ROOT, children, wait_for

from runner.contain.client import Launcher
from runner.contain.launch import Launch
from runner.levels import FILTER, KERNEL, SCAN

LEVELS = ("plain", SCAN, FILTER, KERNEL)  # "plain": as on a system without subreapers
WARM = {"LANG": "C.UTF-8", "TZ": "UTC", "PYTHONPATH": str(ROOT)}
WAITS = """
import os, time
open(os.environ["READY"], "w").close()
while not os.path.exists(os.environ["GO"]):
    time.sleep(0.001)
"""


class Bench:
    """A warm launcher, and a directory of scripts and logs."""

    def __init__(self, launcher, directory):
        self.launcher = launcher
        self.directory = directory
        self._count = 0
        self.script("pid.py", "import os\nprint(os.getpid())\n")

    def script(self, name, source):
        (self.directory / name).write_text(textwrap.dedent(source))

    def launch(self, name="pid.py", *words, env=None, **fields):
        self._count += 1
        log, script = self.directory / f"{self._count}.log", str(self.directory / name)
        log.touch()
        argv = [sys.executable, "-B", script, *words]
        values = {"stdin": None, "stdout": None, "log": str(log), "script": script}
        return Launch(
            id=self._count, argv=argv, env={**WARM, **(env or {})}, cwd=str(self.directory), **values | fields
        )

    def prepared(self, *given, **fields):
        """Prepare a launch; it, and the process that waits."""
        launch, before = self.launch(*given, **fields), self.processes()
        self.launcher.prepare(launch)
        return launch, wait_for(lambda: [pid for pid in self.processes() if pid not in before])[0]

    def processes(self):
        """The launcher's children, as numbered here."""
        return children(self.launcher.pid)

    def descriptors(self):
        try:
            return os.listdir(f"/proc/{self.launcher.pid}/fd")
        except PermissionError:
            pytest.skip("only root may look at the descriptors of an isolated launcher")

    def started(self, *given, env=None, **fields):
        """Start a stage that works until `finish` is called; its launch."""
        self.script("waits.py", WAITS)
        ready, go = self.directory / "ready", self.directory / "go"
        launch = self.launch("waits.py", *given, env={"READY": str(ready), "GO": str(go), **(env or {})}, **fields)
        self.launcher.submit(launch)
        wait_for(ready.exists)
        return launch

    def finish(self):
        (self.directory / "go").touch()
        return self.ended()

    def run(self, launch):
        """Submit; how it ended, and what it printed."""
        self.launcher.submit(launch)
        return self.ended(), Path(launch.log).read_text()

    def ended(self):
        found = []
        while not found:
            assert select.select([self.launcher], [], [], 60)[0], "no end was reported"
            found = self.launcher.receive()
        assert len(found) == 1
        return found[0]


@contextmanager
def warm_bench(level, directory, launchers=Launcher):
    plain = level == "plain"
    with launchers.start(SCAN if plain else level, plain=plain, warm=WARM) as launcher:
        launcher.await_ready()
        if launcher.refusal:
            pytest.skip(f"this level cannot be had here: {launcher.refusal}")
        yield Bench(launcher, directory)
