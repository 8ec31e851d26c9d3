"""Runs all harmless programs as one user: as stages of one run at a level, and without the runner."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING

import harmless_python
import harmless_workers
from harmless_shell import HARMLESS, JAVA_PROGRAM, TRACED, Job
from offline_run import open_place
from offline_users import UnavailableError, User, lacking, user
from pipeline_bench import PipelineBench

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAMS = (Path(harmless_python.__file__), Path(harmless_workers.__file__))
PYTHON = (*harmless_python.HARMLESS, *harmless_workers.HARMLESS)


def _python(way) -> Job:
    return Job(f"python-{way.__name__}", f"exec @python@ -B ../../{way.__module__}.py {way.__name__}")


JOBS = {job.name: job for job in (*map(_python, PYTHON), *HARMLESS)}
LOCAL_SOCKETS = {job.name: job for job in map(_python, harmless_workers.LOCAL_SOCKETS)}
STRACE = Job("strace", TRACED)
IN_ITS_PLACE = 'mkdir -p "work/$0" && cd "work/$0" && exec sh -euc "$1"'


def reason_to_skip(job: Job, who: str) -> str:
    """Return why this user cannot run a job here, or an empty string."""
    if job.root and who != "root":
        return "makes files of other users"
    return next((f"no {program} here" for program in job.needs if which(program) is None), "")


@contextlib.contextmanager
def _place(who: str) -> Iterator[tuple[Path, User]]:
    """A directory that belongs to this user, with the Python programs in it. Raises UnavailableError."""
    with open_place() as place:
        owner = user(who, place)
        root = place / "root"
        for path in (root, root / "work", root / "tmp"):
            path.mkdir()
        for program in PROGRAMS:
            shutil.copy(program, root)
        (root / "Job.java").write_text(JAVA_PROGRAM)
        if which("javac"):
            subprocess.run(["javac", root / "Job.java"], check=True)
        owner.owns(root, root / "work", root / "tmp", *(root / program.name for program in PROGRAMS))
        yield root, owner


def without_guard(who: str) -> dict[str, object]:
    """Return the exit code and the output of each job as a plain program of this user."""
    try:
        with _place(who) as (root, owner), ThreadPoolExecutor(2) as pool:
            jobs = [job for job in JOBS.values() if not reason_to_skip(job, who)]
            results = pool.map(lambda job: _plain(root, owner, job), jobs)
            return dict(zip([job.name for job in jobs], results, strict=True))
    except UnavailableError as reason:
        return {"unavailable": str(reason)}


def _plain(root: Path, owner: User, job: Job) -> list[object]:
    scratch = root / "tmp" / job.name
    scratch.mkdir()
    owner.owns(scratch)
    done = subprocess.run(
        [*owner.prefix, "sh", "-c", IN_ITS_PLACE, job.name, _script(job, owner)],
        cwd=root, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False, start_new_session=True,
        env={"PATH": f"{Path(owner.interpreter).parent}:/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "TZ": "UTC",
             "TMPDIR": str(scratch), "HOME": {**os.environ, **owner.env}["HOME"]},
    )  # fmt: skip
    return [done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")]


def guarded(level: str, who: str) -> dict[str, object]:
    """Run every job as a stage of one run, together with the jobs that the guard refuses."""
    try:
        with _place(who) as (root, owner), contextlib.closing(PipelineBench(root)) as bench:
            if reason := lacking(level, owner.prefix, owner.interpreter):
                raise UnavailableError(reason)
            bench.define(*_stages(who, owner))
            before = mounts()
            done = bench.run("-k", "-j", "3", command=owner.below(level), cwd=owner.cwd, env=owner.env)
            return {"exit": done.returncode, "stderr": done.stderr, "mounts": mounts() == before, **_story(bench)}
    except UnavailableError as reason:
        return {"unavailable": str(reason)}


def _stages(who: str, owner: User) -> list[dict[str, object]]:
    jobs = [job for job in JOBS.values() if not reason_to_skip(job, who)]
    # Java first: it takes longest, so the others run meanwhile.
    jobs.sort(key=lambda job: not job.name.startswith("java"))
    return [_stage(job, owner) for job in (*jobs, *LOCAL_SOCKETS.values(), *([STRACE] if which("strace") else []))]


def _stage(job: Job, owner: User) -> dict[str, object]:
    stage = {
        "name": job.name, "outputs": {"said": f"out/{job.name}"}, "stdout": "said", "timeoutSeconds": 60,
        "command": ["sh", "-c", IN_ITS_PLACE, job.name, _script(job, owner)],
    }  # fmt: skip
    return {**stage, "offline": {"onAttempt": "record"}} if job.record else stage


def _script(job: Job, owner: User) -> str:
    return job.script.replace("@python@", owner.interpreter)


def _story(bench: PipelineBench) -> dict[str, object]:
    records = bench.records()
    return {
        "isolation": next(record["data"]["isolation"] for record in records if record["ev"] == "run.start"),
        "succeeded": [record["data"]["stage"] for record in records if record["ev"] == "stage.commit"],
        "failed": {r["data"]["stage"]: r["data"] for r in records if r["ev"] == "stage.finished"},
        "attempted": [record["data"] for record in records if record["ev"] == "offline.attempt"],
        "ended": {r["data"]["stage"]: r["data"] for r in records if r["ev"] == "attempt.finished"},
        "output": {path.name: path.read_text("utf-8", "replace") for path in (bench.root / "out").glob("*")},
        "logs": {path.name.rsplit(".", 2)[0]: path.read_text("utf-8", "replace")
                 for path in bench.root.glob("state/logs/*/*.log")},
    }  # fmt: skip


def mounts() -> str:
    return Path("/proc/self/mounts").read_text()


if __name__ == "__main__":
    import sys

    print(json.dumps(guarded(*sys.argv[1:]), indent=1))
