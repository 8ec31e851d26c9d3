"""Fourteen nights of one pipeline, as its operator finds them in the morning.

Each file of `nights/` is a shell session. `#` starts a comment, `$ ` a command. All that the command prints follows,
then `exit N` if N is not 0. Names stand for facts of the machine and of the hour: times, durations, run ids in their
order, the ledger's head, process, host, guard level and PATH.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from pipeline_bench import ROOT, PipelineBench, kill_and_await, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

NIGHTS = sorted((Path(__file__).parent / "nights").iterdir())
RUN = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{4}")
FACTS = {
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z": "TIME",
    r"(?<=^TIME  )[\d.]+ s +": "SECONDS  ",
    r"(?<=^TIME) {4,}": "           ",  # of an invocation without an end
    r"\b[\d.]+ s\b": "SECONDS",
    r"(?<=ledger head: )[0-9a-f]{64}": "HEAD",
    r"(?<=\bpid )\d+": "PID",
    rf"(?<= on ){re.escape(os.uname().nodename)}\b": "HOST",
    r"(?<=offline guard: )\w+": "LEVEL",
    r"(?<=PATH is )\S+": "PATH",
}

WRITE_SPEC = """\
import json
from pathlib import Path

shops = sorted(path.stem for path in Path("in").glob("*.csv"))
stages = [
    {"name": shop, "command": ["sort", "{inputs.sales}"], "stdout": "sales",
     "inputs": {"sales": f"in/{shop}.csv"}, "outputs": {"sales": f"out/{shop}.csv"}}
    for shop in shops
]
stages += [
    {"name": "total", "command": ["sort", "-m", "{inputs.shops}"], "stdout": "total",
     "inputs": {"shops": "out/*.csv"}, "outputs": {"total": "total.csv"}},
    {"name": "rates", "command": ["bin/rates", "{inputs.days}"], "stdout": "rates",
     "inputs": {"days": "rates/"}, "outputs": {"rates": "rates.txt"}},
    {"name": "report", "command": ["sh", "-c", 'wc -l <"$0"; tail -n 1 "$1"', "{inputs.total}", "{inputs.rates}"],
     "stdout": "report", "inputs": {"total": "total.csv", "rates": "rates.txt"}, "outputs": {"report": "report.txt"}},
]
lines = ",\\n  ".join(json.dumps(stage) for stage in stages)
print('{"specVersion": 1, "name": "nightly", "stages": [\\n  ' + lines + "]}")
"""
RATES = """\
#!/bin/sh
test -e licence || { echo "rates: no licence" >&2; exit 3; }
if test -e slow; then touch waiting; while test -e slow; do sleep 0.01; done; fi
cat "$1"/*
"""
ON_A_FULL_DISK = """\
#!/bin/sh
exec unshare -Urm sh -c 'mount -t tmpfs -o nr_inodes=1 none state/logs && exec "$@"' sh "$@"
"""


class Step(NamedTuple):
    """A line that is typed, and what it must print."""

    typed: str
    printed: str


def steps(session: str) -> Iterator[Step]:
    for block in re.split(r"^(?=\$ )", session, flags=re.MULTILINE)[1:]:
        typed, _, rest = block.removeprefix("$ ").partition("\n")
        printed = [line for line in rest.splitlines(keepends=True) if line.strip() and not line.startswith("#")]
        yield Step(typed, "".join(printed))


class Operator(PipelineBench):
    """Types lines at a shell. A line that ends with `&` runs in the background, as the job `%1`."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        path = f"{root}/bin:{os.path.dirname(sys.executable)}:/usr/bin:/bin"
        self._env = {"PATH": path, "PYTHONPATH": str(ROOT), "LC_ALL": "C"}
        self._names: dict[str, str] = {}  # of runs, by id
        self._job: subprocess.Popen[str] | None = None

    def lay_out(self) -> None:
        self.write("bin/offpipe", f'#!/bin/sh\nexec {sys.executable} -m runner "$@"\n', 0o755)
        self.write("bin/on-a-full-disk", ON_A_FULL_DISK, 0o755)
        self.write("bin/rates", RATES, 0o755)
        self.write("in/berlin.csv", "berlin 3\nberlin 1\n")
        self.write("in/paris.csv", "paris 4\n")
        self.write("rates/usd.txt", "usd 1.1\n")
        self.write("licence", "")
        self.write("write_spec.py", WRITE_SPEC)
        self.type("chmod -R u=rwX,go=rX . && python3 write_spec.py >nightly.json")

    def type(self, line: str) -> str:
        """Return what the line prints."""
        match line.split():
            case [*words, "&"]:
                self._job = self._begin(" ".join(["exec", *words]))
                wait_for(lambda: self.exists("waiting") and self._is_published())
                return ""
            case ["kill", "-9", "%1"]:
                kill_and_await(self._job)
                return self._end(self._job)
            case ["fg"]:
                return self._end(self._job)
        return self._end(self._begin(line))

    def _is_published(self) -> bool:
        """Whether only one stage is at work, and all before it are published. (A run publishes meanwhile.)"""
        part: dict[str, list[dict[str, object]]] = {}
        for record in self.records():
            if record["ev"] in ("run.start", "run.resumed"):
                part.clear()
            part.setdefault(record["ev"], []).append(record)
        started, finished, commits = (
            part.get(event, []) for event in ("attempt.started", "attempt.finished", "stage.commit")
        )
        if len(started) != len(finished) + 1 or len(commits) != len(finished):
            return False
        markers = (json.loads(self.read(f"state/stage_{commit['data']['stage']}.json")) for commit in commits)
        return [(marker["run"], marker["auditSeq"]) for marker in markers] == [
            (commit["run"], commit["seq"]) for commit in commits
        ]

    def _begin(self, line: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            ["sh", "-c", line], cwd=self.root, env=self._env, umask=0o022, text=True, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self._started.append(process)
        return process

    def _end(self, process: subprocess.Popen[str]) -> str:
        printed, _ = process.communicate(timeout=60)
        code = process.returncode if process.returncode >= 0 else 128 - process.returncode  # as in a shell
        return self._named(f"{printed}exit {code}\n" if code else printed)

    def _named(self, text: str) -> str:
        """Return the text with names for facts of the machine and the hour."""
        ledger = self.root / "state/audit_ledger.jsonl"
        for run in RUN.findall(ledger.read_text()) if ledger.exists() else ():
            self._names.setdefault(run, f"RUN-{len(self._names) + 1:02}")
        text = RUN.sub(lambda match: self._names[match[0]], text)
        for fact, name in FACTS.items():
            text = re.sub(fact, name, text, flags=re.MULTILINE)
        return text.replace(str(self.root), "/srv/nightly")


@pytest.fixture
def operator(tmp_path):
    made = Operator(tmp_path)
    yield made
    made.close()


@pytest.mark.full
def test_fourteen_nights_leave_what_each_morning_needs_to_know(operator) -> None:
    can_mount = subprocess.run(["unshare", "-Urm", "mount", "-t", "tmpfs", "none", "/tmp"], check=False)
    if can_mount.returncode:
        pytest.skip("cannot mount a full disk in a namespace of its own")
    operator.lay_out()
    assert len(NIGHTS) == 14
    for night in NIGHTS:
        for typed, printed in steps(night.read_text()):
            assert operator.type(typed) == printed, f"{night.name}: {typed}"
