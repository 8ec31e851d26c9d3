"""The closure of a program: the files that it starts with, and every local module that they import, transitively."""

from __future__ import annotations

import os
from collections import deque
from typing import TYPE_CHECKING

from runner.plan.code.cache import RUN_PATH
from runner.plan.code.commands import SCRIPT, TEXT
from runner.plan.code.modules import INSTALLED, LOCAL, NAMESPACE, OURS, STANDARD, Lookup, Module, distribution
from runner.plan.code.sources import unreadable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from runner.errors import Fault
    from runner.plan.code.banned import BanList
    from runner.plan.code.cache import Request
    from runner.plan.code.commands import Start
    from runner.plan.code.modules import Interpreter
    from runner.plan.code.sources import Sources
    from runner.plan.digests import Entry

TEXT_NAME = "-c"  # what stands for the path of the text of `python -c`
MODULE_NAME = "command"  # where a module is named after `-m`
_AT_STARTUP = ("sitecustomize", "usercustomize")  # imported by every interpreter that finds them


class Imports:
    """What the imports of one module lead to. Dicts stand for sets, because their order is that of the source.

    modules: those that are loaded, each with the line. absent: names that are found nowhere, each with the line where
    the module needs it, or None. standard: what it needs of the standard library and of ours as soon as it is imported,
    with names in them. banned: file (or `-c`, `command`), line (0: none) and statement of what is banned, with the full
    names that are.
    """

    def __init__(self, lookup: Lookup, bans: BanList | None) -> None:
        self.modules: dict[Module, int] = {}
        self.absent: dict[str, int | None] = {}
        self.standard: dict[str, None] = {}
        self.banned: dict[tuple[str, int, str], tuple[str, ...]] = {}
        self._lookup = lookup
        self._bans = bans

    def add_all(self, requests: Sequence[Request], module: Module, path: str) -> None:
        """Add the requests of a module; `path` names its file in the report of a banned one."""
        for request in requests:
            if request.level == RUN_PATH:
                self._run(request.module, request.line)
                continue
            base = _absolute(module, request)
            if base is None:
                self._miss("." * request.level + request.module, request.line, needed=not request.optional)
                continue
            self.add(base, request.names, request.line, needed=not request.optional)
            names = [base if name == "*" else f"{base}.{name}" for name in request.names] or [base]
            banned = [name for name in names if module.kind == LOCAL and self.is_banned(name)]
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
        if self.absent.get(name) is None:
            self.absent[name] = line if needed else None

    def _run(self, path: str, line: int) -> None:
        """Add a file that is run, by a path relative to root, where stages work."""
        sources = self._lookup.sources
        path = os.path.normpath(os.path.join(sources.root, path))
        if sources.is_file(path):
            self._take((Module("__main__", LOCAL, path),), line)

    def _expanded(self, names: tuple[str, ...], package: Module) -> Iterator[str]:
        for name in names:
            if name != "*":
                yield name
            elif package.path:
                try:
                    yield from self._lookup.sources.read(package.path).parsed.exports
                except FileNotFoundError:
                    continue

    def _take(self, modules: tuple[Module, ...], line: int) -> None:
        for module in modules:
            self.modules.setdefault(module, line)


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
    kept = package.rsplit(".", request.level - 1)
    if not package or len(kept) < request.level:
        return None
    return f"{kept[0]}.{request.module}" if request.module else kept[0]


def _is_the_same_for_all(module: Module) -> bool:
    """Whether every stage gets the same module; one that is followed may import a file of the stage's."""
    return module.kind == OURS or (module.kind == STANDARD and not module.path)


class Closures:
    """The closures of all programs: each import is resolved once for programs with the same search path.

    Without `bans` nothing is banned.
    """

    def __init__(self, sources: Sources, interpreter: Interpreter, bans: BanList | None = None) -> None:
        self.sources = sources
        self.bans = bans
        self._interpreter = interpreter
        self._lookups: dict[tuple[str, ...], Lookup] = {}
        self._imports: dict[tuple[Lookup, Module], Imports] = {}
        self._closures: dict[tuple[tuple[Start, ...], str], Closure] = {}

    def of(self, starts: Sequence[Start], pythonpath: str = "") -> Closure:
        """Return the closure of these starts; `pythonpath` is the variable as the stage gets it, relative to root."""
        key = (tuple(starts), pythonpath)
        if key not in self._closures:
            self._closures[key] = Closure(self, starts, pythonpath)
        return self._closures[key]

    def lookup(self, entries: tuple[str, ...]) -> Lookup:
        if entries not in self._lookups:
            self._lookups[entries] = Lookup(entries, self.sources, self._interpreter)
        return self._lookups[entries]

    def imports(self, lookup: Lookup, module: Module) -> Imports:
        """Return what a module imports."""
        imports = self._imports.get((lookup, module))
        if imports is None:
            requests = self.sources.read(module.path, is_script=module.name == "__main__").parsed.requests
            if module.kind == STANDARD:  # most of the library's deferred imports never run
                requests = tuple(request for request in requests if not request.deferred)
            imports = self._imports[lookup, module] = Imports(lookup, self.bans)
            imports.add_all(requests, module, module.path)
        return imports


class Closure:
    """The files of starts and their local imports. Shared between stages with the same starts, so do not change it.

    files: absolute path -> signature, taken before the file was read, and sha256.
    packages: third-party top-level import -> "name version" of its distribution, "" when unknown.
    absent: names imported that are found nowhere (`..name` for relative ones), and starts that are not there -> path
    (or `-c`, "") of what first needs it, and the line there; None where nothing does.
    standard: what this code needs of the standard library and of ours as soon as it is imported, with names in them.
    banned: as `Imports` has it. faults: of files that cannot be parsed or read.
    """

    def __init__(self, closures: Closures, starts: Sequence[Start], pythonpath: str) -> None:
        self.files: dict[str, Entry] = {}
        self.packages: dict[str, str] = {}
        self.absent: dict[str, tuple[str, int] | None] = {}
        self.standard: set[str] = set()
        self.banned: dict[tuple[str, int, str], tuple[str, ...]] = {}
        self.faults: dict[Fault, None] = {}
        self._importers: dict[str, tuple[str, int]] = {}
        self._closures = closures
        self._sources = closures.sources
        self._met: set[tuple[Lookup, Module]] = set()
        self._pending: deque[tuple[Lookup, Module]] = deque()
        entries = pythonpath.split(os.pathsep) if pythonpath else []
        extra = tuple(os.path.normpath(os.path.join(self._sources.root, entry)) for entry in entries)
        for start in starts:
            self._begin(start, closures.lookup((start.entry, *extra) if start.entry else extra))
        if extra:
            self._begin_interpreter(closures.lookup(extra), extra)
        while self._pending:
            lookup, module = self._pending.popleft()
            self._follow(lookup, module.path, closures.imports(lookup, module))

    def chain(self, path: str, line: int = 0) -> list[tuple[str, int]]:
        """Return files from a start to `path`, each with the line on which it imports the next; `line` is the last."""
        links = [(path, line)]
        while links[-1][0] in self._importers:
            links.append(self._importers[links[-1][0]])
        return links[::-1]

    def _begin(self, start: Start, lookup: Lookup) -> None:
        if start.kind == SCRIPT:
            self._add(lookup, Module("__main__", LOCAL, start.value), "", 0)
            return
        imports = Imports(lookup, self._closures.bans)
        if start.kind == TEXT:
            source = self._sources.text(start.value, TEXT_NAME)
            if source.fault:
                self.faults[source.fault] = None
            imports.add_all(source.parsed.requests, Module("__main__", LOCAL), TEXT_NAME)
        else:
            imports.add(start.value)
            modules, missing = lookup.chain(start.value)
            if modules and not missing and modules[-1].package:  # `-m package` runs its __main__
                imports.add(f"{start.value}.__main__")
            if imports.is_banned(start.value):
                imports.banned[MODULE_NAME, 0, f"-m {start.value}"] = (start.value,)
        self._follow(lookup, TEXT_NAME if start.kind == TEXT else "", imports)

    def _begin_interpreter(self, lookup: Lookup, pythonpath: Sequence[str]) -> None:
        """Add what PYTHONPATH makes the interpreter itself load, and refuse what cannot be read."""
        for entry in pythonpath:
            if os.path.isfile(entry):
                self.faults[unreadable(self._sources.shown(entry), "a file on PYTHONPATH")] = None
        for name in _AT_STARTUP:
            modules, _ = lookup.chain(name)
            if modules and modules[0].kind == LOCAL:
                self._add(lookup, modules[0], "", 0)

    def _follow(self, lookup: Lookup, importer: str, imports: Imports) -> None:
        for module, line in imports.modules.items():
            top = module.name.partition(".")[0]
            if module.kind != INSTALLED:
                self._add(lookup, module, importer, line)
            elif top not in self.packages:
                self.packages[top] = distribution(top, module.path if top == module.name else "")
        if importer in self.files or importer in {"", TEXT_NAME}:  # not what standard modules import
            self.standard.update(imports.standard)
            for name, needed_at in imports.absent.items():
                if self.absent.get(name) is None:
                    self.absent[name] = None if needed_at is None else (importer, needed_at)
        self.banned.update(imports.banned)

    def _add(self, lookup: Lookup, module: Module, importer: str, line: int) -> None:
        if (lookup, module) in self._met or module.kind not in {LOCAL, STANDARD} or not module.path:
            return
        self._met.add((lookup, module))
        try:
            source = self._sources.read(module.path, is_script=module.name == "__main__")
        except FileNotFoundError:
            self.absent.setdefault(self._sources.shown(module.path))
            return
        if source.fault and module.kind == LOCAL:
            self.faults[source.fault] = None
            return
        if importer and module.path not in self.files and module.path != importer:
            self._importers.setdefault(module.path, (importer, line))
        if module.kind == LOCAL:
            self.files[module.path] = (source.signature, source.sha256)
        self._pending.append((lookup, module))
