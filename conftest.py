"""Settings for every test; what one directory needs is in the conftest.py there.

The checks of pipelines/*.json are tests of the project as well: `offpipe_specs` in pyproject.toml brings them in.
"""

from __future__ import annotations

import compileall
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

pytest_plugins = ["pytester"]


def pytest_sessionstart(session: pytest.Session) -> None:
    """Compile our own modules once, before xdist starts its workers.

    Thousands of processes will import them, and where PYTHONDONTWRITEBYTECODE is set each would compile all of them
    anew, which is a third of what a run costs. Where nothing can be written it only takes longer.
    """
    if not hasattr(session.config, "workerinput"):
        for package in ("runner", "pytest_offpipe", "stages"):
            compileall.compile_dir(Path(__file__).parent / package, quiet=2)
