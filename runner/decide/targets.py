"""What one module asks for, resolved to modules: to walk on with, to name in the key, to hold against a stage."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol, cast

from runner.decide.modules import INSTALLED, LOCAL, NAMESPACE, OURS, STANDARD, Module
from runner.decide.sources import RUN_PATH, statement
from runner.errors import InputError, raise_refusal
from runner.values import Value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from runner.decide.modules import Lookup, ModuleFinder
    from runner.decide.sources import Parsed, Request


class Bans(Protocol):
    """What the offline scan holds against names; asked for each import of a local module."""

    def bans(self, name: str) -> bool:
        """Whether no stage may import a module of this name that comes from elsewhere."""

    def bans_local(self, name: str) -> bool:
        """Whether none may even where a module of the pipeline's own has this name."""


class Banned(Value):
    """An import that is held against a stage: its file (or `-c`, `command`) and line (0: none), as it is written.

    names: the full names that are banned of those it asks for.
    """

    path: str
    line: int
    statement: str
    names: tuple[str, ...]


class Targets(Value):
    """What one module imports, resolved: modules to walk on with and on which line, installed ones, and names.

    `unfound` are those of `absent` that the module needs, each with the line.
    """

    walked: tuple[tuple[Module, int], ...]
    installed: tuple[Module, ...]
    standard: tuple[str, ...]
    absent: tuple[str, ...]
    banned: tuple[Banned, ...]
    unfound: tuple[tuple[str, int], ...]


def targets_of(lookup: Lookup, module: Module) -> Targets:
    """Resolve what a module imports, once for all programs that look in the same places."""
    targets = lookup.targets.get(module)
    if targets is None:
        parsed = lookup.finder.source(module.path, is_script=module.name == "__main__").parsed
        if module.kind == STANDARD:  # too much of the library stands in functions that nobody calls
            parsed = parsed._replace(requests=tuple(request for request in parsed.requests if not request.deferred))
        targets = resolve(lookup, module, parsed, module.path, lambda: _content(lookup.finder, module.path))
        lookup.targets[module] = targets
    return cast(Targets, targets)


def resolve(lookup: Lookup, module: Module, parsed: Parsed, path: str, content: Callable[[], bytes]) -> Targets:
    """`content` is asked for only to show an import that is banned."""
    resolution = Resolution(lookup)
    for request in parsed.requests:
        if request.level == RUN_PATH:
            resolution.run(request.module, request.line)
            continue
        base = _absolute(module, request)
        if base is None:
            resolution.miss("." * request.level + request.module, request.line, needed=not request.optional)
            continue
        resolution.add(base, request.names, request.line, needed=not request.optional)
        if module.kind == LOCAL and lookup.finder.bans:
            banned = tuple(name for name in _asked(base, request.names) if is_banned(lookup, name))
            if banned:
                resolution.ban(path, request.line, statement(content(), request), banned)
    return resolution.targets()


def _content(finder: ModuleFinder, path: str) -> bytes:
    """Read a file once more; nothing when it is gone."""
    try:
        return finder.cache.read(path)[0]
    except (OSError, InputError) as error:
        raise_refusal(error, path)
        return b""


def _asked(base: str, names: tuple[str, ...]) -> Iterator[str]:
    """Yield the full names that an import makes available; which of them are modules is of no interest."""
    if not names or "*" in names:
        yield base
    yield from (f"{base}.{name}" for name in names if name != "*")


def is_banned(lookup: Lookup, name: str) -> bool:
    bans = lookup.finder.bans
    if bans is None or not bans.bans(name):
        return False
    kind = lookup.kind(name)
    return kind != OURS and (kind != LOCAL or bans.bans_local(name))


def _absolute(module: Module, request: Request) -> str | None:
    """Return the full name of what a request is relative to, None when there is no such parent package."""
    if not request.level:
        return request.module
    package = module.name if module.package else module.name.rpartition(".")[0]
    parts = package.split(".") if package else []
    if len(parts) < request.level:
        return None
    kept = parts[: len(parts) - request.level + 1]
    return ".".join([*kept, request.module] if request.module else kept)


def _is_the_same_for_all(module: Module) -> bool:
    """Whether a stage gets it as everybody does; one that is walked may meet a file of the stage's on its own way."""
    return module.kind == OURS or (module.kind == STANDARD and not module.path)


class Resolution:
    """Gathers what requests lead to; dicts for sets, because their order is that of the source."""

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self._walked: dict[Module, int] = {}
        self._installed: dict[Module, None] = {}
        self._standard: dict[str, None] = {}
        self._absent: dict[str, None] = {}
        self._unfound: dict[str, int] = {}
        self._banned: dict[tuple[str, int, str], tuple[str, ...]] = {}

    def add(self, base: str, names: tuple[str, ...] = (), line: int = 0, *, needed: bool = True) -> None:
        """Take in `import base`, or `from base import names`, of which some may be submodules.

        `needed`: the program does it as soon as it starts, and cannot go on without.
        """
        modules, missing = self._lookup.chain(base)
        self._take(modules, line)
        if needed and modules and _is_the_same_for_all(modules[0]):
            self._standard.update(dict.fromkeys((base, *(f"{base}.{name}" for name in names if name != "*"))))
        if missing or not modules:  # a name may begin with a dot, so that its first part is none
            self.miss(missing or base, line, needed=needed)
        elif modules[-1].package and modules[-1].name == base:
            for name in self._expanded(names, modules[-1]):
                found, absent = self._lookup.chain(f"{base}.{name}")
                if not absent:
                    self._take(found, line)
                elif modules[-1].kind == NAMESPACE:  # which has no attributes that it could be
                    self.miss(absent, line, needed=needed)

    def miss(self, name: str, line: int, *, needed: bool) -> None:
        """Take in that a module was found nowhere; `needed`: the program cannot go on without it."""
        self._absent[name] = None
        if needed:
            self._unfound.setdefault(name, line)

    def run(self, path: str, line: int) -> None:
        """Take in a file that is run, by a path relative to root, where stages work."""
        path = os.path.normpath(os.path.join(self._lookup.finder.root, path))
        if "\0" not in path and os.path.isfile(path):
            self._walked.setdefault(Module("__main__", LOCAL, path), line)

    def _expanded(self, names: tuple[str, ...], package: Module) -> Iterator[str]:
        for name in names:
            if name != "*":
                yield name
            elif package.path:
                yield from self._exports(package)

    def _exports(self, package: Module) -> tuple[str, ...]:
        try:
            source = self._lookup.finder.source(package.path)
        except FileNotFoundError:
            return ()
        return source.parsed.exports

    def _take(self, modules: tuple[Module, ...], line: int) -> None:
        for module in modules:
            if module.kind == INSTALLED:
                self._installed[module] = None
            elif module.path and module.kind in {LOCAL, STANDARD}:
                self._walked.setdefault(module, line)

    def ban(self, path: str, line: int, statement: str, names: tuple[str, ...]) -> None:
        """Hold an import against whoever runs this; what one statement asks for is told at once."""
        key = (path, line, statement)
        self._banned[key] = tuple(dict.fromkeys((*self._banned.get(key, ()), *names)))

    def targets(self) -> Targets:
        banned = tuple(Banned(*key, names) for key, names in self._banned.items())
        walked, installed = tuple(self._walked.items()), tuple(self._installed)
        unfound = tuple(self._unfound.items())
        return Targets(walked, installed, tuple(self._standard), tuple(self._absent), banned, unfound)
