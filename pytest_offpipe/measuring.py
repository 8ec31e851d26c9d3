"""Coverage of stages: what coverage.py measures of the code in a copy is told of the files that were copied.

With `patch = subprocess` it hands its configuration, absolute paths in it, to every process by one variable. Stages get
it with the copy's paths, and write their data into the sandbox; after a run that becomes data of the user's own files.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pytest_offpipe.sandbox import Sandbox

CONFIG = "COVERAGE_PROCESS_CONFIG"
START = "COVERAGE_PROCESS_START"  # names a file; its user says there, in [paths], what lies where
DATA = "coverage"  # directory of a sandbox


@contextlib.contextmanager
def measured(sandbox: Sandbox) -> Iterator[dict[str, str]]:
    """Give the variables that stages run with inside the block; at its end their data is the user's."""
    given = {name: os.environ[name] for name in (CONFIG, START) if name in os.environ}
    config = _read(given.get(CONFIG))
    if config is None:
        yield given
        return
    directory = sandbox.directory / DATA
    directory.mkdir(parents=True, exist_ok=True)
    source = [*config["source"], *(_moved(path, sandbox.origin, sandbox.root) for path in config["source"])]
    ours = {**config, "source": source, "data_file": str(directory / "data"), "relative_files": False, "parallel": True}
    try:
        yield {**given, CONFIG: base64.b64encode(json.dumps(ours).encode()).decode()}
    finally:
        _hand_over(sandbox, config)


def _read(text: str | None) -> dict[str, Any] | None:
    """Return the configuration, if it is one of those that can be changed here; it is coverage.py's own business."""
    try:
        config = json.loads(base64.b64decode(text or ""))
    except ValueError:
        return None
    is_known = isinstance(config, dict) and isinstance(config.get("data_file"), str)
    if not is_known or not isinstance(config.setdefault("source", []), list | None):
        return None
    return {**config, "source": config["source"] or []}


def _moved(path: str, old: str, new: str) -> str:
    """Return where what lies at `path` lies in the copy, or the other way round; a package is called the same."""
    return os.path.normpath(os.path.join(new, os.path.relpath(path, old))) if os.path.isabs(path) else path


def _hand_over(sandbox: Sandbox, config: Mapping[str, Any]) -> None:
    from coverage import CoverageData
    from coverage.exceptions import CoverageException

    def map_path(path: str) -> str:
        origin = _moved(path, sandbox.root, sandbox.origin) if path.startswith(f"{sandbox.tree}/") else path
        return os.path.relpath(origin) if config.get("relative_files") else origin

    found = sorted((sandbox.directory / DATA).glob("data.*"))
    if not found:
        return
    total = CoverageData(basename=config["data_file"], suffix=True)
    for path in found:
        data = CoverageData(basename=str(path))
        with contextlib.suppress(CoverageException):  # of a stage that was killed while it wrote its data
            data.read()
            total.update(data, map_path=map_path)
        path.unlink()
    total.write()
