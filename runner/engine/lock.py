"""Taking the pipeline lock: say at once who holds it, then wait for what a dead holder may have left running."""

from __future__ import annotations

import os
import shlex
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from runner.errors import Fault, LockHeldError
from runner.processes import is_alive
from runner.record.locks import PipelineLock, read_holder
from runner.record.others import is_held

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from runner.paths import StatePaths
    from runner.sandbox.client import Launcher
    from runner.spec.model import Spec


@contextmanager
def held_lock(
    spec: Spec, wait: float, on_wait: Callable[[dict[str, object]], None], check: Callable[[], None]
) -> Iterator[PipelineLock]:
    """Hold the pipeline lock inside the block, by whose end all that it started has ended.

    Raises as `PipelineLock.take` and `await_launcher` do. Until the launcher of a dead holder is gone, it stays on
    record: were this process killed meanwhile, the next one would wait for it.
    """
    path = spec.paths.pipeline_lock
    lock = PipelineLock(path, spec.paths.state_dir)
    try:
        lock.take(wait, on_wait, check)
    except LockHeldError as error:
        fault = error.faults[0]
        if fault.where != path:  # another lock of this state directory: its holder is not on record here
            raise
        place = ["--workspace", spec.workspace] if spec.workspace != spec.root else []
        status = shlex.join(["offpipe", "status", *place, spec.shown])
        raise LockHeldError(Fault(path, fault.what, f"{fault.hint}, or see `{status}`")) from error
    try:
        lock.previous = read_holder(path)
        before = lock.previous if lock.is_of_here(lock.previous) else {}
        lock.write_holder(
            {**holder(), "launcher": before.get("launcher"), "launcherStarted": before.get("launcherStarted")}
        )
        lock.await_launcher(is_alive, check)
        check()
        try:
            yield lock
        finally:
            lock.forget_launcher()
    finally:
        lock.release()


def last_holder(paths: StatePaths) -> dict[str, object] | None:
    """Return who held the lock last, None while somebody holds it. Equal later on means that nobody held it between."""
    held = is_held(paths.pipeline_lock, paths.state_dir)
    return None if held else read_holder(paths.pipeline_lock)


def holder(run_id: str | None = None, launcher: Launcher | None = None) -> dict[str, object]:
    """Return what the pipeline lock says of its holder."""
    return {
        "pid": os.getpid(),
        "host": os.uname().nodename,
        "run": run_id,
        "since": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "launcher": launcher.pid if launcher else None,
        "launcherStarted": launcher.started_at if launcher else None,
    }
