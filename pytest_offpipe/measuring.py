"""Coverage of stages: coverage.py measures the code in a copy, and its data then name the files that were copied.

With `patch = subprocess` it passes its configuration, which has absolute paths, to every process by one variable.
Stages get it with the copy's paths, and write their data into the sandbox. After a run the data get the user's paths.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
from glob import escape, glob
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pytest_offpipe.sandbox import Sandbox

CONFIG = "COVERAGE_PROCESS_CONFIG"
DATA = "coverage"  # directory of a sandbox


@contextlib.contextmanager
def measured(sandbox: Sandbox) -> Iterator[dict[str, str]]:
    """Yield the variables for stages that run inside the block. At its end, hand their data over to the user's."""
    if CONFIG not in os.environ:
        yield {}
        return
    config = json.loads(base64.b64decode(os.environ[CONFIG]))
    directory = f"{sandbox.directory}/{DATA}"
    os.makedirs(directory, exist_ok=True)
    own = config["source"] or []
    source = [*own, *(_moved(path, sandbox.origin, sandbox.root) for path in own)]
    ours = {**config, "source": source, "data_file": f"{directory}/data", "relative_files": False, "parallel": True}
    try:
        yield {CONFIG: base64.b64encode(json.dumps(ours).encode()).decode()}
    finally:
        _hand_over(sandbox, config)


def _moved(path: str, old: str, new: str) -> str:
    """Return a path below `old` as the same path below `new`. The name of a package stays as it is."""
    return os.path.normpath(f"{new}/{os.path.relpath(path, old)}") if os.path.isabs(path) else path


def _hand_over(sandbox: Sandbox, config: Mapping[str, Any]) -> None:
    from coverage import CoverageData
    from coverage.exceptions import CoverageException

    def map_path(path: str) -> str:
        origin = _moved(path, sandbox.root, sandbox.origin) if path.startswith(f"{sandbox.directory}/files/") else path
        return os.path.relpath(origin) if config.get("relative_files") else origin

    if not (found := sorted(glob(f"{escape(sandbox.directory)}/{DATA}/data.*"))):
        return
    total = CoverageData(basename=config["data_file"], suffix=True)
    for path in found:
        data = CoverageData(basename=path)
        with contextlib.suppress(CoverageException):  # of a stage that was killed while it wrote its data
            data.read()
            total.update(data, map_path=map_path)
        os.unlink(path)
    total.write()
