"""What a test asks the fixtures for, looked at before anything is done: kinds of values, and names that are there."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, TypeVar

from runner.errors import Fault, OffpipeError, UsageError
from runner.paths import is_name
from runner.spec.words import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    P = ParamSpec("P")
    T = TypeVar("T")

_SHOWN = 60  # characters of a value


class NoSuchNameError(KeyError):
    """A report has nothing of that name; says what there is."""

    def __str__(self) -> str:
        return str(self.args[0])  # a KeyError would show it as a literal


def told_plainly(method: Callable[P, T]) -> Callable[P, T]:
    """Let errors that are meant for the user end at the line of the test: the way from there is of no interest."""

    @functools.wraps(method)
    def call(*arguments: P.args, **named: P.kwargs) -> T:
        __tracebackhide__ = True
        try:
            return method(*arguments, **named)
        except OffpipeError as error:
            raise error.with_traceback(None) from None

    return call


def refuse(where: str, value: object, expected: str) -> NoReturn:
    """Raise UsageError: `value`, which is given as `where`, is not `expected`."""
    shown = repr(value)
    shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
    raise UsageError(Fault(where, f"is {shown}, of type {type(value).__name__}", f"expected: {expected}"))


def require_text(where: str, value: object, expected: str) -> None:
    """Raise UsageError for what is no text."""
    if not isinstance(value, str):
        refuse(where, value, expected)


def require_mapping(where: str, value: object, expected: str) -> None:
    """Raise UsageError for what has no names with values."""
    if not isinstance(value, Mapping):
        refuse(where, value, expected)


def require_params(where: str, value: object) -> None:
    """Raise UsageError for what are no params of stages: stage -> key -> value."""
    expected = '{"stage": {"key": value}}'
    require_mapping(where, value, expected)
    assert isinstance(value, Mapping)
    for name, params in value.items():
        require_mapping(f"{where} of {name}", params, expected)


def require_path(where: str, value: object, expected: str) -> None:
    """Raise UsageError for what is no path."""
    if not isinstance(value, str | os.PathLike):
        refuse(where, value, expected)


def require_list(where: str, value: object, expected: str) -> None:
    """Raise UsageError for what is no list, or the like."""
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        refuse(where, value, expected)


def require_jobs(value: object) -> None:
    """Raise UsageError for what is no number of stages that run at once."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        refuse("jobs", value, "a whole number from 1 on")


def require_run_id(value: object) -> None:
    """Raise UsageError for what no run can be called."""
    if value is not None and not is_name(value):
        refuse("run_id", value, "letters, digits, . _ - and a letter or digit first; 100 at most")


def require_names(names: Iterable[Any], known: Sequence[str], where: str) -> None:
    """Raise UsageError with every name that no stage has."""
    unknown = [name for name in names if name not in known]
    if unknown:
        faults = [(f'no stage named "{name}"', did_you_mean(str(name), known)) for name in unknown]
        raise UsageError(*(Fault(where, what, hint) for what, hint in faults))
