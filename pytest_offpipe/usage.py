"""What a test passes to fixtures and markers, checked before anything is done."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, TypeVar

import pytest

from runner.errors import Fault, OffpipeError, UsageError
from runner.paths import is_name
from runner.spec.words import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

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


# the fixture that does what a marker says, or one of a conftest in its place; and those that bring it along
HEEDED_BY = {"offpipe_fault": ("offpipe_faults", "offpipe"), "offpipe_spec": ("offpipe_spec", "offpipe_run")}
_NAME = "offpipe-markers"
_heeded = pytest.StashKey[set[str]]()


def note_heeded(item: pytest.Item, marker: str) -> None:
    """Note that a fixture of this test has done what markers of that name say."""
    item.stash.setdefault(_heeded, set()).add(marker)


def watch(config: pytest.Config) -> None:
    """From here on, let no marker of a test pass unheeded."""
    if not config.pluginmanager.has_plugin(_NAME):
        config.pluginmanager.register(Markers(), _NAME)


class Markers:
    """Fails a test that has passed though a marker of its own had no effect; those of its module are for others too."""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Ask once the test is over, since it may ask for its fixtures itself."""
        result = yield
        heeded, fixtures = item.stash.get(_heeded, set()), getattr(item, "fixturenames", ())
        for name in dict.fromkeys(one.name for one in item.own_markers):
            if name in HEEDED_BY and name not in heeded and HEEDED_BY[name][0] not in fixtures:
                hint = f"ask for the fixture {' or '.join(HEEDED_BY[name])}, or leave the marker out"
                pytest.fail(str(Fault(name, "nothing in this test heeds the marker", hint)), pytrace=False)
        return result


def require_arguments(
    where: str, function: Callable[..., Any], given: Sequence[object], named: Mapping[str, object]
) -> None:
    """Raise UsageError for arguments that `function` does not take, in words of those who give them.

    `function` is a method, or the like: its first parameter is left out.
    """
    plain = inspect.Parameter.empty
    parameters = [one.replace(annotation=plain) for one in inspect.signature(function).parameters.values()][1:]
    signature = inspect.Signature(parameters)
    known = [one.name for one in parameters]
    unknown = [name for name in named if name not in known]
    if unknown:
        raise UsageError(*(Fault(where, f'takes no "{name}"', did_you_mean(name, known)) for name in unknown))
    try:
        signature.bind(*given, **named)
    except TypeError as error:
        raise UsageError(Fault(where, str(error), f"it takes {signature}")) from None
