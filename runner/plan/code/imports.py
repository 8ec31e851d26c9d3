"""What the imports of one module lead to: modules to follow, to name in the key, or to refuse."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from runner.plan.code.cache import RUN_PATH
from runner.plan.code.modules import INSTALLED, LOCAL, NAMESPACE, OURS, STANDARD, Module

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from runner.plan.code.banned import BanList
    from runner.plan.code.cache import Request
    from runner.plan.code.modules import Lookup
    from runner.plan.code.sources import Sources


class Imports:
    """What the requests of one module lead to. Dicts stand for sets, because their order is that of the source.

    walked: modules to follow, each with the line. installed: top-level names with their file, "" when unknown.
    absent: names that are found nowhere. unfound: those of them that the module needs, each with the line.
    standard: what it needs of the standard library and of ours as soon as it is imported, with names in them.
    banned: file (or `-c`, `command`), line (0: none) and statement of what is banned, with the full names that are.
    """

    def __init__(self, lookup: Lookup, sources: Sources, bans: BanList | None = None) -> None:
        self.walked: dict[Module, int] = {}
        self.installed: dict[str, str] = {}
        self.standard: dict[str, None] = {}
        self.absent: dict[str, None] = {}
        self.unfound: dict[str, int] = {}
        self.banned: dict[tuple[str, int, str], tuple[str, ...]] = {}
        self._lookup = lookup
        self._sources = sources
        self._bans = bans

    def add_all(self, requests: Sequence[Request], module: Module, path: str) -> None:
        """Add the requests of a module; `path` names its file in the report of a banned one."""
        for request in requests:
            base = _absolute(module, request)
            if request.level == RUN_PATH:
                self._run(request.module, request.line)
            elif base is None:
                self._miss("." * request.level + request.module, request.line, needed=not request.optional)
            else:
                self.add(base, request.names, request.line, needed=not request.optional)
                names = _full_names(base, request.names) if module.kind == LOCAL else ()
                banned = [name for name in names if self.is_banned(name)]
                if banned:
                    place = (path, request.line, _statement(request, requests))
                    self.banned[place] = (*self.banned.get(place, ()), *banned)

    def add(self, base: str, names: tuple[str, ...] = (), line: int = 0, *, needed: bool = True) -> None:
        """Add `import base`, or `from base import names`, where names may be submodules.

        `needed`: the program imports it at its start, and fails without it.
        """
        modules, missing = self._lookup.chain(base)
        self._take(modules, line)
        if needed and modules and _is_the_same_for_all(modules[0]):
            self.standard.update(dict.fromkeys((base, *(f"{base}.{name}" for name in names if name != "*"))))
        if missing or not modules:  # a name may begin with a dot, so that its first part is none
            self._miss(missing or base, line, needed=needed)
        elif modules[-1].package and modules[-1].name == base:
            for name in self._expanded(names, modules[-1]):
                submodules, absent = self._lookup.chain(f"{base}.{name}")
                if not absent:
                    self._take(submodules, line)
                elif modules[-1].kind == NAMESPACE:  # which has no attributes that it could be
                    self._miss(absent, line, needed=needed)

    def is_banned(self, name: str) -> bool:
        """Whether a name is banned for this program. The pipeline's own modules may have any name."""
        if self._bans is None or not self._bans.bans(name):
            return False
        kind = self._lookup.kind(name)
        return kind != OURS and (kind != LOCAL or self._bans.banned_by_spec(name) != "")

    def _miss(self, name: str, line: int, *, needed: bool) -> None:
        self.absent[name] = None
        if needed:
            self.unfound.setdefault(name, line)

    def _run(self, path: str, line: int) -> None:
        """Add a file that is run, by a path relative to root, where stages work."""
        path = os.path.normpath(os.path.join(self._sources.root, path))
        if self._sources.is_file(path):
            self.walked.setdefault(Module("__main__", LOCAL, path), line)

    def _expanded(self, names: tuple[str, ...], package: Module) -> Iterator[str]:
        for name in names:
            if name != "*":
                yield name
            elif package.path:
                try:
                    yield from self._sources.read(package.path).parsed.exports
                except FileNotFoundError:
                    continue

    def _take(self, modules: tuple[Module, ...], line: int) -> None:
        for module in modules:
            if module.kind == INSTALLED:
                top = module.name.partition(".")[0]
                self.installed.setdefault(top, module.path if top == module.name else "")
            elif module.path and module.kind in {LOCAL, STANDARD}:
                self.walked.setdefault(module, line)


def _full_names(base: str, names: tuple[str, ...]) -> list[str]:
    """Return the full names that an import makes available, whether they are modules or not."""
    return [base if name == "*" else f"{base}.{name}" for name in names] or [base]


def _statement(request: Request, requests: Sequence[Request]) -> str:
    """Return the statement of a request, with the other imports on its line."""
    if request.names:
        return f"from {'.' * request.level}{request.module} import {', '.join(request.names)}"
    beside = (other.module for other in requests if other.line == request.line and not other.names)
    return f"import {', '.join(dict.fromkeys(beside))}"


def _absolute(module: Module, request: Request) -> str | None:
    """Return the full name of what a request is relative to, None when there is no such parent package."""
    if request.level <= 0:
        return request.module
    package = module.name if module.package else module.name.rpartition(".")[0]
    parts = package.split(".") if package else []
    if len(parts) < request.level:
        return None
    kept = parts[: len(parts) - request.level + 1]
    return ".".join([*kept, request.module] if request.module else kept)


def _is_the_same_for_all(module: Module) -> bool:
    """Whether every stage gets the same module; one that is followed may import a file of the stage's."""
    return module.kind == OURS or (module.kind == STANDARD and not module.path)
