"""Checks of what a test passes to fixtures and markers, before anything is done."""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import reprlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, TypeVar

import pytest

from runner.errors import Fault, OffpipeError, UsageError
from runner.spec.kinds import did_you_mean

if TYPE_CHECKING:
    from types import UnionType

    P = ParamSpec("P")
    T = TypeVar("T")

AnyPath = str | os.PathLike  # type: ignore[type-arg] # without it, isinstance takes it too
Fields = Mapping[str, Any]

SPEC_FIXTURE = "offpipe_spec"  # and the marker of that name
HEEDED = pytest.StashKey[set[str]]()  # the markers of a test that had an effect


class NoSuchNameError(KeyError):
    """A report does not have this name; the text suggests one that it has."""

    def __str__(self) -> str:
        return str(self.args[0])  # a KeyError would show it as a literal


def untraced(method: Callable[P, T]) -> Callable[P, T]:
    """Make errors for the user end at the line of the test, without our own frames."""

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
    shown = reprlib.repr(value)
    raise UsageError(Fault(where, f"is {shown}, of type {type(value).__name__}", f"expected: {expected}"))


def require(where: str, value: object, kinds: type | UnionType | tuple[type, ...], expected: str) -> None:
    """Raise UsageError for a value of another type."""
    if not isinstance(value, kinds):
        refuse(where, value, expected)


def require_params(params: Mapping[str, Fields]) -> None:
    """Raise UsageError unless these are params of stages: stage -> key -> value."""
    expected = '{"stage": {"key": value}}'
    require("params", params, Mapping, expected)
    for name, values in params.items():
        require(f"params of {name}", values, Mapping, expected)


def require_known(names: Iterable[Any], known: Collection[str], where: str, what: str = "no stage named") -> None:
    """Raise UsageError for every name that is not known; `what` comes before the name in its text."""
    if unknown := [name for name in names if name not in known]:
        raise UsageError(*(Fault(where, f'{what} "{name}"', did_you_mean(str(name), known)) for name in unknown))


def stage_named(known: Mapping[str, T], name: str, where: str) -> T:
    """Return the stage of this name. Raises UsageError if there is none."""
    require("name", name, str, "the name of a stage")
    require_known([name], known, where)
    return known[name]


def apply(where: str, function: Callable[..., T], given: Sequence[object], named: Mapping[str, object]) -> T:
    """Call a function. Raises UsageError for arguments that it does not take."""
    parameters = inspect.signature(function).parameters
    require_known(named, parameters, where, "takes no")
    bare = (parameter.replace(annotation=inspect.Parameter.empty) for parameter in parameters.values())
    signature = inspect.Signature([*bare])
    try:
        signature.bind(*given, **named)
    except TypeError as error:
        raise UsageError(Fault(where, str(error), f"it takes {signature}")) from None
    return function(*given, **named)


@contextlib.contextmanager
def heeding(item: pytest.Item, marker: str) -> Iterator[None]:
    """Use the markers of that name in the block. An OffpipeError fails the test without a traceback."""
    item.stash.setdefault(HEEDED, set()).add(marker)
    try:
        yield
    except OffpipeError as error:
        raise pytest.fail.Exception(str(error), pytrace=False) from None


def shown_path(path: AnyPath) -> str:
    """Return a path for messages: relative to the current directory if it lies below."""
    relative = os.path.relpath(path)
    return os.fspath(path) if relative.startswith("..") else relative
