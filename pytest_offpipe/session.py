"""Which specs are given and collected: arguments, the header, one line at the end, and cleaning up."""

from __future__ import annotations

import codecs
import fnmatch
import glob
import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_offpipe.settings import BORROWED, SETTINGS, SHARED, UNMADE, read_settings
from pytest_offpipe.usage import watch

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from pytest_offpipe.collect import SpecFile

SUFFIX = ".json"
_PYTHON = ".py"
_BEGINNING = 4096  # bytes of a file in which a spec says what it is


def is_spec(path: str) -> bool:
    """Whether a file that pytest was given is a spec: by its suffix or, whatever it is called, by its own words."""
    if path.endswith((SUFFIX, _PYTHON)) or not os.path.isfile(path):
        return path.endswith(SUFFIX) and os.path.isfile(path)
    try:
        with open(path, "rb") as file:
            beginning = file.read(_BEGINNING)
    except OSError:
        return False
    return beginning.removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"{") and b'"specVersion"' in beginning


def take_specs(config: pytest.Config) -> list[str]:
    """Return the absolute paths of all specs to collect, and make them what pytest collects, beside what it did.

    An option without any path means the specs alone; the ini counts where `testpaths` would, and beside these. Node ids
    of a spec narrow it down, also where an option names it. Raises UsageError for a spec that is no file.
    """
    specs = by_option(config)
    is_free = config.args_source is not config.ArgsSource.ARGS
    given = [] if specs and is_free else [str(one) for one in config.args]
    if not specs and is_free and config.invocation_params.dir == config.rootpath:
        specs = by_ini(config)
    config.args, found = _merged(given, specs, config.invocation_params.dir)
    return found


def by_option(config: pytest.Config) -> tuple[str, ...]:
    """Return the specs that options name. UsageError for one that is no file."""
    base = config.invocation_params.dir
    given: Sequence[str] = config.getoption("offpipe_spec") or ()
    for path in given:
        _require_file("--offpipe-spec", path, os.path.join(base, path))
    return tuple(os.path.normpath(os.path.join(base, path)) for path in given)


def by_ini(config: pytest.Config) -> tuple[str, ...]:
    """Return the specs that the ini's globs match, but for those that --ignore or --ignore-glob name."""
    found: dict[str, None] = {}
    for pattern in config.getini("offpipe_specs"):
        path = os.path.normpath(os.path.join(config.rootpath, pattern))
        matches = sorted(glob.glob(path, recursive=True)) or [path]
        for match in matches:
            _require_file("offpipe_specs", pattern, match)
        found.update(dict.fromkeys(matches))
    return tuple(path for path in found if not _is_ignored(path, config))


def _require_file(by: str, given: str, path: str) -> None:
    if not given:
        raise pytest.UsageError(f'{by}: "" names no spec')
    if os.path.isdir(path):
        hint = f"name the specs in it, {os.path.join(given, '*')}{SUFFIX}"
        raise pytest.UsageError(f"{by}: {given}: is a directory\nhint: {hint}")
    if not os.path.exists(path):
        hint = f"a node id is given by itself: pytest '{given}'" if "::" in given else ""
        raise pytest.UsageError(f"{by}: {given}: no such file" + (f"\nhint: {hint}" if hint else ""))
    if not os.path.isfile(path):  # to read it might take for ever
        raise pytest.UsageError(f"{by}: {given}: is no regular file")
    if path.endswith(_PYTHON):  # pytest would import it as well
        raise pytest.UsageError(f"{by}: {given}: is Python, and a spec is JSON\nhint: tests are given as paths")


def _is_ignored(path: str, config: pytest.Config) -> bool:
    base = config.invocation_params.dir
    globs = [os.path.join(base, one) for one in config.getoption("ignore_glob") or ()]
    tops = [os.path.normpath(os.path.join(base, one)) for one in config.getoption("ignore") or ()]
    return any(fnmatch.fnmatch(path, one) for one in globs) or any(_is_in(path, one) for one in tops)


def _is_in(path: str, top: str) -> bool:
    return f"{path}{os.sep}".startswith(f"{top.rstrip(os.sep)}{os.sep}")


def _merged(given: list[str], specs: Sequence[str], base: Path) -> tuple[list[str], list[str]]:
    """Return the arguments, and the specs among and beside them: each spec once, and none below a directory.

    pytest 9 leaves out an argument that lies below another, pytest 8 then loses the other one and takes a file twice
    that is named twice. So a spec below a directory is found on the way through it, see SpecSession.
    """
    places = {one: os.path.normpath(os.path.join(base, one.partition("[")[0].partition("::")[0])) for one in given}
    tops = [place for one, place in places.items() if "::" not in one and os.path.isdir(place)]
    named = {one for one, place in places.items() if is_spec(place)}
    whole = {place for one, place in places.items() if one in named and "::" not in one}
    parts = {place for one, place in places.items() if one in named} - whole
    specs = [one for one in specs if one not in parts]
    whole.update(specs)
    found: dict[str, None] = {}
    for one, place in places.items():
        if one not in named or ("::" in one and place not in whole and not _lies_in(place, tops)):
            found[one] = None
        elif not _lies_in(place, tops):
            found[_argument(place, base)] = None
    found.update((_argument(one, base), None) for one in specs if not _lies_in(one, tops))
    return list(found), list(dict.fromkeys([*(places[one] for one in given if one in named), *specs]))


def _argument(path: str, base: Path) -> str:
    """Return how a path is given to pytest: from where it was called, since a path holds no `[` and no `::` to it."""
    argument = os.path.relpath(path, base)
    if "[" in argument or "::" in argument:
        what = f'a path with "{"[" if "[" in argument else "::"}" cannot be given to pytest'
        raise pytest.UsageError(f"{argument}: {what}\nhint: call it in {os.path.dirname(path)}")
    return argument


def _lies_in(path: str, tops: Sequence[str]) -> bool:
    return any(_is_in(path, top) for top in tops)


class Passage:
    """Finds the way to specs that lie in directories which pytest would leave out, and nothing else in there."""

    def __init__(self, specs: Sequence[str]) -> None:
        self._wanted = {*specs, *(above for one in specs for above in _above(one))}
        self._opened: set[str] = set()

    def is_ignored(self, path: str, answer: bool | None) -> bool | None:
        """Return whether to leave `path` out, where pytest and conftest files have given this `answer`."""
        if path in self._wanted:
            if answer or os.path.dirname(path) in self._opened:
                self._opened.add(path)
            return None
        return True if os.path.dirname(path) in self._opened else answer


def _above(path: str) -> Iterator[str]:
    while (parent := os.path.dirname(path)) != path:
        yield parent
        path = parent


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
        from pytest_offpipe.inputs import is_taken_by_any

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
            report.duration = max(0.0, report.duration - item.stash.get(BORROWED, 0.0))
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
