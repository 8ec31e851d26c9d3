"""Which specs are given, by option, by ini or as a path, and what pytest is to collect then."""

from __future__ import annotations

import codecs
import fnmatch
import glob
import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

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
