"""The markers of tests: what they may say, and that there is something in the test which heeds them."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import pytest

from runner.errors import Fault, UsageError
from runner.spec.words import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

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
