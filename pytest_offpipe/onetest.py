"""What the fixtures of one test have in common: here they find each other, and learn how the test ended."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pytest

from pytest_offpipe.marked import watch
from pytest_offpipe.sandbox import discard

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path

    from pytest_offpipe.clock import OffpipeClock
    from pytest_offpipe.offline import OffpipeOffline
    from pytest_offpipe.reports import RunReport

_NAME_LENGTH = 30


@dataclass(eq=False)  # pytest 8 keeps plugins in sets
class OneTest:
    """The fixtures that one test uses, and what they wrote.

    `reports` are of the runs that were made in it. `complaints` are asked once the test has passed: what they answer
    fails it. `stories` are asked when it failed, for what is to be read beside its traceback.
    """

    item: pytest.Item
    factory: pytest.TempPathFactory
    clock: OffpipeClock | None = None
    offline: OffpipeOffline | None = None
    reports: list[RunReport] = field(default_factory=list)
    complaints: list[Callable[[], str]] = field(default_factory=list)
    stories: list[Callable[[], str]] = field(default_factory=list)
    passed: bool = False

    @cached_property
    def directory(self) -> Path:
        """A directory for this test alone, made when it is asked for: gone if the test passes, else it stays."""
        return self.factory.mktemp(re.sub(r"\W", "_", self.item.name)[:_NAME_LENGTH])

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Hear how the test ended; live only while its fixtures are."""
        report = yield
        if item is self.item and call.when == "call":
            self.passed = report.passed
            told = [] if report.passed or report.skipped else [story() for story in self.stories]
            report.sections.extend(("offpipe", text) for text in told if text)
        return report

    def finish(self) -> None:
        """Fail a test that passed, with every complaint there is; else leave nothing of it."""
        found = [text for complaint in self.complaints if self.passed and (text := complaint())]
        if found:
            pytest.fail("\n\n".join(found), pytrace=False)
        if self.passed and "directory" in self.__dict__:
            discard(self.directory)


@contextlib.contextmanager
def one_test(request: pytest.FixtureRequest, factory: pytest.TempPathFactory) -> Iterator[OneTest]:
    """Return what the fixtures of a test share, for as long as the test takes."""
    item: Any = request.node
    test = OneTest(item, factory)
    watch(request.config)
    plugins = request.config.pluginmanager
    plugins.register(test)
    try:
        yield test
        test.finish()
    finally:
        plugins.unregister(test)
