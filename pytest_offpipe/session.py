"""Which specs are given and collected: arguments, the header, one line at the end, and cleaning up."""

from __future__ import annotations

import fnmatch
import glob
import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_offpipe.fixtures.state import watch_markers
from pytest_offpipe.settings import SETTINGS, SHARED, UNMADE, UPDATE_GOLDEN, given, read_settings
from pytest_offpipe.usage import SPEC_FIXTURE

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from pytest_offpipe.collect import SpecFile

SUFFIX = ".json"
VERSION = b'"specVersion"'
_OUTPUT = "offpipe_shared"  # SHARED, on its way from a worker of xdist to the process that controls it


def begin(config: pytest.Config) -> None:
    """Collect the specs that were given."""
    if config.getoption(UPDATE_GOLDEN) and (config.getoption("numprocesses", None) or config.getoption("tx", None)):
        what = "--offpipe-update-golden: golden files are written by one process"
        raise pytest.UsageError(f"{what}\nhint: leave out -n of pytest-xdist, or give -n 0")
    config.stash[SETTINGS] = read_settings(config)
    config.pluginmanager.register(SpecSession(config, take_specs(config)), "offpipe-session")
    watch_markers(config)


class SpecSession:
    """The hooks that collect specs, and report on them.

    A spec may lie in a directory that pytest ignores. Everything else in that directory is still ignored.
    """

    def __init__(self, config: pytest.Config, specs: list[str]) -> None:
        self._config = config
        self._settings = config.stash[SETTINGS]
        self.specs = specs
        self._wanted = {path for spec in map(Path, specs) for path in (spec, *spec.parents)}
        self._opened: set[Path] = set()  # directories on the way to a spec that pytest would leave out
        self._unmade: set[str] = set()  # node ids of checks

    @cached_property
    def unused_inputs(self) -> str:
        """The name of the option or ini with the tree of smaller inputs, if no spec uses the tree; else "".

        A tree of the ini may be for other specs than those that are collected now.
        """
        tree, (_, by) = self._settings.inputs, given(self._config, "offpipe_inputs")
        if tree is None or (by == "offpipe_inputs" and set(by_ini(self._config)) != set(self.specs)):
            return ""
        from pytest_offpipe.inputs import is_taken_by_any

        return "" if is_taken_by_any(tree, self.specs) else by

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run a test that takes `offpipe_spec` once for each spec collected, else of the ini, or for its marker's."""
        is_named = metafunc.definition.get_closest_marker(SPEC_FIXTURE) is not None
        if SPEC_FIXTURE not in metafunc.fixturenames or is_named:
            return
        if specs := self.specs or by_ini(self._config):
            root = f"{self._config.rootpath}{os.sep}"
            metafunc.parametrize(SPEC_FIXTURE, specs, indirect=True, ids=[spec.removeprefix(root) for spec in specs])

    @pytest.hookimpl(wrapper=True)
    def pytest_ignore_collect(self, collection_path: Path) -> Generator[None, bool | None, bool | None]:
        """Do not ignore the specs that were given, even in a directory that pytest ignores."""
        answer = yield
        is_below = collection_path.parent in self._opened
        if collection_path not in self._wanted:
            return True if is_below else answer
        if answer or is_below:
            self._opened.add(collection_path)
        return None

    def pytest_collect_file(self, file_path: Path, parent: pytest.Collector) -> SpecFile | None:
        """Take the specs that were given, and JSON files whose node ids were named."""
        is_named = parent.session.isinitpath(file_path) and _may_be_spec(str(file_path))
        if str(file_path) not in self.specs and not is_named:
            return None
        from pytest_offpipe.collect import SpecFile

        return SpecFile.from_parent(parent, path=file_path)

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Give a worker of xdist the seed."""
        node.workerinput["offpipe_seed"] = self._settings.seed

    def pytest_report_header(self) -> list[str]:
        """Show the seed and, if checks will run, the offline level that stages get. Collecting starts no process."""
        runs = self.specs and not self._config.option.collectonly
        return [f"offpipe: seed {self._settings.seed}", *([_offline_level()] if runs else [])]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Report a skipped check at the line of its stage."""
        report = yield
        if item.get_closest_marker("offpipe") and report.skipped and isinstance(report.longrepr, tuple):
            path, line, _ = item.reportinfo()
            report.longrepr = (str(path), (line or 0) + 1, report.longrepr[2])
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note the checks that were not made."""
        if report.skipped and UNMADE in dict(report.user_properties):
            self._unmade.add(report.nodeid)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Count these checks in one line: a green suite without them proves less than it seems to."""
        if self._unmade:
            from runner.display.text import counted

            checks = counted(len(self._unmade), "check")
            terminalreporter.write_line(f"offpipe: {checks} could not be made: -rs says why, --offpipe-strict fails")

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Take the shared directory from a worker. A worker that died reports none."""
        if shared := (getattr(node, "workeroutput", None) or {}).get(_OUTPUT):
            self._config.stash[SHARED] = shared

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """Remove the shared directory, unless a test failed: then its files help to find out why."""
        shared = self._config.stash.get(SHARED, None)
        if shared is not None and hasattr(self._config, "workeroutput"):  # other workers may use it
            self._config.workeroutput[_OUTPUT] = shared
        elif shared is not None and exitstatus == pytest.ExitCode.OK:
            from pytest_offpipe.sandbox import discard

            discard(shared)


def _offline_level() -> str:
    from runner.display.offline import doctor_json
    from runner.errors import OffpipeError
    from runner.sandbox.guard import survey

    try:
        return f"offpipe: offline level {doctor_json(survey())['level']}"
    except OffpipeError as error:  # the checks will fail with it
        return f"offpipe: offline level unknown: {error}"


def take_specs(config: pytest.Config) -> list[str]:
    """Return the absolute paths of all specs to collect, and add them to the arguments of pytest.

    If options but no paths are given, pytest collects the specs alone. Without options, the specs of the ini are
    collected where pytest would use `testpaths`, and those below a directory that is given. Node ids select checks of a
    spec, even if an option names that spec. Raises UsageError for a spec that is not a file.
    """
    base = config.invocation_params.dir
    specs = [_spec("--offpipe-spec", path, os.path.join(base, path)) for path in config.getoption("offpipe_spec") or ()]
    is_free = config.args_source is not config.ArgsSource.ARGS
    given = [] if specs and is_free else [str(argument) for argument in config.args]
    whole = is_free and base == config.rootpath
    tops = [path for path in (os.path.normpath(os.path.join(base, top)) for top in config.args) if os.path.isdir(path)]
    if not specs and (whole or tops):
        specs = [spec for spec in by_ini(config) if whole or _lies_in(spec, tops)]
    config.args, specs = _merged(given, specs, base)
    return specs


def by_ini(config: pytest.Config) -> list[str]:
    """Return the specs that the globs of the ini match, without those of --ignore and --ignore-glob."""
    matches: dict[str, None] = {}
    for pattern in config.getini("offpipe_specs"):
        path = os.path.join(config.rootpath, pattern)
        for match in sorted(glob.glob(path, recursive=True)) or [path]:
            matches[_spec("offpipe_specs", pattern, match)] = None
    base = config.invocation_params.dir
    globs = [os.path.join(base, ignored) for ignored in config.getoption("ignore_glob") or ()]
    tops = [os.path.normpath(os.path.join(base, ignored)) for ignored in config.getoption("ignore") or ()]
    return [
        path for path in matches if not (_lies_in(path, tops) or any(fnmatch.fnmatch(path, name) for name in globs))
    ]


def _spec(by: str, given: str, path: str) -> str:
    """Return the absolute path of a spec that was `given`. Raises UsageError if it is not a regular file."""
    what = hint = ""
    if not given:
        raise pytest.UsageError(f'{by}: "" names no spec')
    if os.path.isdir(path):
        what, hint = "is a directory", f"name the specs in it, {os.path.join(given, '*')}{SUFFIX}"
    elif not os.path.exists(path):
        what, hint = "no such file", f"a node id is an argument of its own: pytest '{given}'" if "::" in given else ""
    elif not os.path.isfile(path):  # reading it might never end
        what = "is not a regular file"
    elif path.endswith(".py"):  # pytest would import it as well
        what, hint = "is Python, and a spec is JSON", "tests are given as paths"
    if what:
        raise pytest.UsageError(f"{by}: {given}: {what}" + (f"\nhint: {hint}" if hint else ""))
    return os.path.normpath(path)


def _merged(given: list[str], specs: list[str], base: Path) -> tuple[list[str], list[str]]:
    """Return the arguments, and the specs among and beside them: each spec once, and none below a directory.

    pytest 9 leaves out an argument that lies below another, pytest 8 then loses the other one and takes a file twice
    that is named twice. So a spec below a directory is found on the way through it, see SpecSession.
    """
    places = {
        argument: os.path.normpath(os.path.join(base, argument.partition("[")[0].partition("::")[0]))
        for argument in given
    }
    named = {argument: place for argument, place in places.items() if _may_be_spec(place)}
    whole = {place for argument, place in named.items() if "::" not in argument}
    specs = [spec for spec in specs if spec in whole or spec not in named.values()]
    whole.update(specs)
    tops = [place for argument, place in places.items() if "::" not in argument and os.path.isdir(place)]
    wanted = {place: _argument(place, base) for place in (*named.values(), *specs) if not _lies_in(place, tops)}
    arguments = [
        argument if argument not in named or ("::" in argument and place not in whole) else wanted[place]
        for argument, place in places.items()
        if argument not in named or place in wanted
    ]
    arguments += (wanted[spec] for spec in specs if spec in wanted)
    return list(dict.fromkeys(arguments)), list(dict.fromkeys([*named.values(), *specs]))


def _may_be_spec(path: str) -> bool:
    """Whether a JSON file that is named as a path has a version of specs. Another one may be for another plugin."""
    if not (path.endswith(SUFFIX) and os.path.isfile(path)):
        return False
    try:
        return VERSION in Path(path).read_bytes()
    except OSError:
        return True  # the error says why


def _argument(path: str, base: Path) -> str:
    """Return a path as an argument of pytest: relative to the call, because pytest takes no `[` or `::` in a path."""
    argument = os.path.relpath(path, base)
    if part := next((part for part in ("[", "::") if part in argument), ""):
        what = f'a path with "{part}" cannot be given to pytest'
        raise pytest.UsageError(f"{argument}: {what}\nhint: call it in {os.path.dirname(path)}")
    return argument


def _lies_in(path: str, tops: Iterable[str]) -> bool:
    return any(f"{path}{os.sep}".startswith(f"{top.rstrip(os.sep)}{os.sep}") for top in tops)
