"""What a test passes to fixtures and markers, checked before anything is done; and markers that nothing heeds."""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import reprlib
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
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

# The fixture that does what a marker says, or one of a conftest in its place; and a fixture that brings it along.
HEEDED_BY = {"offpipe_fault": ("offpipe_faults", "offpipe"), "offpipe_spec": ("offpipe_spec", "offpipe_run")}
_PLUGIN = "offpipe-markers"
_heeded = pytest.StashKey[set[str]]()


class NoSuchNameError(KeyError):
    """A report has nothing of that name; says what there is."""

    def __str__(self) -> str:
        return str(self.args[0])  # a KeyError would show it as a literal


def ends_at_caller(method: Callable[P, T]) -> Callable[P, T]:
    """Let errors that are meant for the user end at the line of the test, without the frames from there."""

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
    """Raise UsageError for a value that is of none of these types."""
    if not isinstance(value, kinds):
        refuse(where, value, expected)


def require_params(where: str, value: Mapping[str, Fields]) -> None:
    """Raise UsageError for what are no params of stages: stage -> key -> value."""
    expected = '{"stage": {"key": value}}'
    require(where, value, Mapping, expected)
    for name, params in value.items():
        require(f"{where} of {name}", params, Mapping, expected)


def require_names(names: Iterable[object], known: Collection[str], where: str) -> None:
    """Raise UsageError with every name that no stage has."""
    require_known(names, known, where, 'no stage named "{}"')


def require_known(
    names: Iterable[object], known: Collection[str], where: str, what: str, kind: type[OffpipeError] = UsageError
) -> None:
    """Raise an error with every name that is not known; `what` says so of a name, in the place of its braces."""
    unknown = [name for name in names if name not in known]
    if unknown:
        raise kind(*(Fault(where, what.format(name), did_you_mean(str(name), known)) for name in unknown))


def apply(where: str, function: Callable[..., T], given: Sequence[object], named: Mapping[str, object]) -> T:
    """Call a function. Raises UsageError for arguments that it does not take."""
    parameters = inspect.signature(function).parameters
    require_known(named, parameters, where, 'takes no "{}"')
    bare = (parameter.replace(annotation=inspect.Parameter.empty) for parameter in parameters.values())
    signature = inspect.Signature([*bare])
    try:
        signature.bind(*given, **named)
    except TypeError as error:
        raise UsageError(Fault(where, str(error), f"it takes {signature}")) from None
    return function(*given, **named)


@contextlib.contextmanager
def heeding(item: pytest.Item, marker: str) -> Iterator[None]:
    """Do inside what markers of that name say. An error for the user fails the test, without the way to there."""
    item.stash.setdefault(_heeded, set()).add(marker)
    try:
        yield
    except OffpipeError as error:
        raise pytest.fail.Exception(str(error), pytrace=False) from None


def watch_markers(config: pytest.Config) -> None:
    """From here on, fail each test that has a marker which nothing heeds."""
    if not config.pluginmanager.has_plugin(_PLUGIN):
        config.pluginmanager.register(Markers(), _PLUGIN)


class Markers:
    """Fails a test that passed though a marker of its own had no effect; those of its module are for others too."""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Look once the test is over, since it may request its fixtures itself."""
        result = yield
        heeded, fixtures = item.stash.get(_heeded, set()), getattr(item, "fixturenames", ())
        for name in dict.fromkeys(marker.name for marker in item.own_markers):
            if name in HEEDED_BY and name not in heeded and HEEDED_BY[name][0] not in fixtures:
                hint = f"ask for the fixture {' or '.join(HEEDED_BY[name])}, or leave the marker out"
                pytest.fail(str(Fault(name, "nothing in this test heeds the marker", hint)), pytrace=False)
        return result


def shown_path(path: AnyPath) -> str:
    """Return a path as messages have it: from the current directory, if it lies below."""
    relative = os.path.relpath(path)
    return os.fspath(path) if relative.startswith("..") else relative
