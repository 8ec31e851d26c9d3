"""What is live while specs are collected: which files they are, the header, one line at the end, and cleaning up."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_offpipe.arguments import SUFFIX, Passage, by_ini, take_specs
from pytest_offpipe.marked import watch
from pytest_offpipe.settings import SETTINGS, read_settings

if TYPE_CHECKING:
    from collections.abc import Generator

    from pytest_offpipe.collect import SpecFile

UNMADE = "offpipe_unmade"  # a user property: why this machine, or chance, kept a check from being made
SHARED = pytest.StashKey[Path]()  # what all workers of the session share, once something is there
_OUTPUT = "offpipe_shared"  # the same, on its way from a worker of xdist to the process that controls it
_RUNS_NOTHING = ("collectonly", "showfixtures", "show_fixtures_per_test", "setuponly", "setupplan")


def begin(config: pytest.Config) -> None:
    """Bring the specs that were given among what is collected."""
    config.stash[SETTINGS] = read_settings(config)
    config.pluginmanager.register(SpecSession(config, take_specs(config)), "offpipe-session")
    watch(config)


class SpecSession:
    """The hooks that collect specs, and tell of them."""

    def __init__(self, config: pytest.Config, specs: list[str]) -> None:
        self._config = config
        self.specs = specs
        self._passage = Passage(specs)
        self._unmade: dict[str, str] = {}

    @cached_property
    def unused_inputs(self) -> str:
        """The tree of smaller inputs, as what gave it says, if no spec takes anything of it; else "".

        A tree of the ini may be for other specs than those which are collected now.
        """
        tree, is_option = self._config.stash[SETTINGS].inputs, self._config.getoption("offpipe_inputs") is not None
        if tree is None or not (is_option or set(by_ini(self._config)) == set(self.specs)):
            return ""
        from pytest_offpipe.trees import is_taken_by_any

        return "" if is_taken_by_any(tree, self.specs) else "--offpipe-inputs" if is_option else "offpipe_inputs"

    @pytest.hookimpl(wrapper=True)
    def pytest_ignore_collect(self, collection_path: Path) -> Generator[None, bool | None, bool | None]:
        """Let through what was given: a spec in a build directory is one to collect."""
        answer = yield
        return self._passage.is_ignored(str(collection_path), answer)

    def pytest_collect_file(self, file_path: Path, parent: pytest.Collector) -> SpecFile | None:
        """Take the specs that were given, and JSON files whose node ids were named."""
        is_named = file_path.suffix == SUFFIX and parent.session.isinitpath(file_path)
        if str(file_path) not in self.specs and not is_named:
            return None
        from pytest_offpipe.collect import SpecFile

        return SpecFile.from_parent(parent, path=file_path)

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Give a worker of xdist the seed."""
        node.workerinput["offpipe_seed"] = self._config.stash[SETTINGS].seed

    def pytest_report_header(self) -> str:
        """Say by what chance decides, and how stages will be kept offline, if any will be started."""
        seed = f"seed {self._config.stash[SETTINGS].seed}"
        if any(self._config.getoption(name, False) for name in _RUNS_NOTHING):
            return f"offpipe: {seed}"
        return f"offpipe: {_isolation()}, {seed}"

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Let a check be skipped at its stage's line, not at one of ours, and take the time that is its own."""
        report = yield
        if report.when == "call":
            report.duration = max(0.0, report.duration - getattr(item, "told_elsewhere", 0.0))
        if item.get_closest_marker("offpipe") and report.skipped and isinstance(report.longrepr, tuple):
            path, line, _ = item.reportinfo()
            report.longrepr = (str(path), (line or 0) + 1, report.longrepr[2])
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note the checks that were not made."""
        if report.when == "call" and report.skipped:
            self._unmade.update((report.nodeid, str(why)) for name, why in report.user_properties if name == UNMADE)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Count them in one line: a suite that is green without them proves less than it seems to."""
        if self._unmade:
            one = len(self._unmade) == 1
            terminalreporter.write_line(
                f"offpipe: {len(self._unmade)} check{'' if one else 's'} could not be made, because of this machine or "
                f"since the fault never landed; --offpipe-strict makes {'it a failure' if one else 'them failures'}"
            )

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Hear from a worker what it shared with the others; one that died tells nothing."""
        shared = (getattr(node, "workeroutput", None) or {}).get(_OUTPUT)
        if shared:
            self._config.stash[SHARED] = Path(shared)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """Remove what the workers shared, unless something failed that one may want to look into."""
        shared = self._config.stash.get(SHARED, None)
        if shared is None:
            return
        if hasattr(self._config, "workeroutput"):  # others may be at work there
            self._config.workeroutput[_OUTPUT] = str(shared)
        elif exitstatus == pytest.ExitCode.OK:
            from pytest_offpipe.sandbox import discard

            discard(shared)


def _isolation() -> str:
    from runner.errors import OffpipeError
    from runner.sandbox.client import Launcher
    from runner.sandbox.guard import settle, start_guarded

    try:
        with settle(start_guarded(Launcher), strict=False) as launcher:
            return f"offline level {launcher.layers['level']}"
    except OffpipeError as error:
        return f"no stage can be started ({error.faults[0].what})"
