"""What is live while specs are collected: which files they are, the header, and one line at the end."""

from __future__ import annotations

import glob
import os
from typing import TYPE_CHECKING, Any

import pytest

from pytest_offpipe.settings import SETTINGS, read_settings

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_offpipe.collect import SpecFile

UNMADE = "offpipe_unmade"  # a user property: why this machine, or chance, kept a check from being made


def begin(config: pytest.Config) -> None:
    """Bring the specs that were given among what is collected."""
    config.stash[SETTINGS] = read_settings(config)
    config.pluginmanager.register(SpecSession(config, given_specs(config)), "offpipe-session")


def given_specs(config: pytest.Config) -> list[str]:
    """Return the absolute paths of the specs given by option, or by ini when no path is. UsageError for a missing one.

    They become what is collected, beside the paths that were given; without any, instead of them.
    """
    base = config.invocation_params.dir
    specs = [os.path.join(base, path) for path in config.getoption("offpipe_spec") or ()]
    is_free = config.args_source is not config.ArgsSource.ARGS
    if not specs and is_free:
        specs = [found for pattern in config.getini("offpipe_specs") for found in _globbed(config.rootpath, pattern)]
        config.args = [*(() if config.args_source is config.ArgsSource.INVOCATION_DIR else config.args), *specs]
    elif specs:
        config.args = [*(() if is_free else config.args), *specs]
    for path in specs:
        if not os.path.exists(path):
            raise pytest.UsageError(f"--offpipe-spec: {os.path.relpath(path, base)}: no such file")
    return [os.path.normpath(path) for path in specs]


def _globbed(root: Path, pattern: str) -> list[str]:
    path = os.path.join(root, pattern)
    return sorted(glob.glob(path, recursive=True)) or [path]


class SpecSession:
    """The hooks that collect specs, and tell of them."""

    def __init__(self, config: pytest.Config, specs: list[str]) -> None:
        self._config = config
        self.specs = specs
        self._unmade: dict[str, str] = {}

    def pytest_collect_file(self, file_path: Path, parent: pytest.Collector) -> SpecFile | None:
        """Take the specs that were given, and JSON files that were named as paths."""
        if file_path.suffix != ".json" and str(file_path) not in self.specs:
            return None
        if str(file_path) not in self.specs and not parent.session.isinitpath(file_path):
            return None
        from pytest_offpipe.collect import SpecFile

        return SpecFile.from_parent(parent, path=file_path)

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Give a worker of xdist the seed."""
        node.workerinput["offpipe_seed"] = self._config.stash[SETTINGS].seed

    def pytest_report_header(self) -> str:
        """Say by what chance decides."""
        return f"offpipe: seed {self._config.stash[SETTINGS].seed}"

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
