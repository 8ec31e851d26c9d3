"""Says what to install if a package of an extra is missing."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from runner.errors import Fault, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def packages_of(extra: str, where: str = "") -> Iterator[None]:
    """Raise UsageError, with what to install, if an import finds a package of this extra missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("runner"):
            raise
        what = f"needs {error.name}, which is not installed"
        hint = f"pip install 'DIR[{extra}]', where DIR is your clone of offpipe"
        raise UsageError(Fault(where, what if where else f"{extra} {what}", hint)) from error
