"""A process of ours in user, mount and host name namespaces, asked to call functions there."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from typing import TYPE_CHECKING, Any, TypeVar, cast

import pytest_offpipe

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

T = TypeVar("T")

_PROGRAM = """\
import sys
sys.path.insert(0, sys.argv[1])
from pytest_offpipe.driver import main
main(sys.argv[2])
"""


class Confined:
    """Use as a context manager; RefusedError when the system has no such namespaces for this user."""

    def __init__(self, host_name: str = "") -> None:
        """`host_name` is what it is called in there; "" leaves that as it is."""
        package = os.path.dirname(os.path.dirname(os.path.abspath(pytest_offpipe.__file__)))
        command = [sys.executable, "-P", "-B", "-c", _PROGRAM, package, host_name]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            self._result()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Return what `function` returns in there, or raise what it raises; all of it has to survive pickling.

        What it changes of its arguments stays in there. Paths mean what is mounted there.
        """
        requests = self._process.stdin
        assert requests is not None
        requests.write(pickle.dumps((function, arguments)))
        requests.flush()
        return cast(T, self._result())

    def close(self) -> None:
        """End it, with all that it mounted."""
        for end in (self._process.stdin, self._process.stdout):
            assert end is not None
            end.close()
        self._process.wait()

    def _result(self) -> Any:
        answers = self._process.stdout
        assert answers is not None
        try:
            has_returned, result = pickle.load(answers)  # noqa: S301 - written by our own process
        except EOFError:
            raise RuntimeError(f"process {self._process.pid}, which was to confine a run, ended") from None
        if not has_returned:
            raise result
        return result
