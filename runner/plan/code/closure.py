"""The closure of a program: the files that it starts with, and every local module that they import, transitively."""

from __future__ import annotations

import os
from collections import deque
from functools import cache, partial
from typing import TYPE_CHECKING, NamedTuple

from runner.plan.code.cache import RUN_PATH, Request
from runner.plan.code.commands import SCRIPT, TEXT
from runner.plan.code.modules import INSTALLED, LOCAL, OURS, STANDARD, Lookup, Module, distribution
from runner.plan.code.sources import unreadable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from runner.errors import Fault
    from runner.plan.code.banned import BanList
    from runner.plan.code.commands import Start
    from runner.plan.code.modules import Interpreter
    from runner.plan.code.sources import Source, Sources
    from runner.plan.digests import Entry

TEXT_NAME = "-c"  # what stands for the path of the text of `python -c`
MODULE_NAME = "command"  # where a module is named after `-m`
_AT_STARTUP = ("sitecustomize", "usercustomize")  # imported by every interpreter that finds them


class Imported(NamedTuple):
    """What one import leads to: modules that are loaded, names that are found nowhere, and whether it is needed.

    standard: what is needed of the standard library and of ours. banned: names, with the statement that imports them.
    """

    line: int
    modules: tuple[Module, ...]
    absent: Sequence[str] = ()
    is_needed: bool = False
    standard: tuple[str, ...] = ()
    banned: tuple[str, ...] = ()
    statement: str = ""


class Closures:
    """The closures of all programs: each import is resolved once for programs with the same search path.

    Without `bans` nothing is banned.
    """

    def __init__(self, sources: Sources, interpreter: Interpreter, bans: BanList | None = None) -> None:
        self.sources = sources
        self.bans = bans
        self.of = cache(partial(Closure, self))
        self.lookup = cache(lambda entries: Lookup(entries, sources, interpreter))
        self._imports: dict[tuple[Lookup, Module], list[Imported]] = {}

    def imports(self, lookup: Lookup, module: Module, source: Source) -> list[Imported]:
        """Return what the imports of a module lead to."""
        if (lookup, module) not in self._imports:
            requests = source.parsed.requests
            if module.kind == STANDARD:  # most of the library's deferred imports never run
                requests = tuple(request for request in requests if not request.deferred)
            self._imports[lookup, module] = self.resolve(lookup, module, requests)
        return self._imports[lookup, module]

    def resolve(self, lookup: Lookup, importer: Module, requests: Sequence[Request]) -> list[Imported]:
        return [self._resolve(lookup, importer, request, requests) for request in requests]

    def _resolve(self, lookup: Lookup, importer: Module, request: Request, requests: Sequence[Request]) -> Imported:
        if request.level == RUN_PATH:  # relative to root, where stages work
            script = os.path.normpath(os.path.join(self.sources.root, request.module))
            is_there = self.sources.is_file(script)
            return Imported(request.line, (Module("__main__", LOCAL, script),) if is_there else ())
        base = _absolute(importer, request)
        modules, absent = lookup.imports(base, request.names)
        if importer.kind == STANDARD:
            return Imported(request.line, modules)
        names = tuple(base if name == "*" else f"{base}.{name}" for name in request.names) or (base,)
        is_needed = not request.optional
        standard = (base, *names) if is_needed and modules and _is_the_same_for_all(modules[0]) else ()
        banned = tuple(name for name in names if importer.kind == LOCAL and self.is_banned(lookup, name))
        statement = _statement(request, requests) if banned else ""
        return Imported(request.line, modules, absent, is_needed, standard, banned, statement)

    def is_banned(self, lookup: Lookup, name: str) -> bool:
        """Whether a name is banned for this program. The pipeline's own modules may have any name."""
        if self.bans is None or not self.bans.bans(name):
            return False
        kind = lookup.kind(name)
        return kind != OURS and (kind != LOCAL or self.bans.banned_by_spec(name) != "")


class Closure:
    """The files of starts and their local imports. Shared between stages with the same starts, so do not change it.

    files: absolute path -> signature, taken before the file was read, and sha256.
    packages: third-party top-level import -> "name version" of its distribution, "" when unknown.
    absent: names imported that are found nowhere (`..name` for relative ones), and starts that are not there -> path
    (or `-c`, "") of what first needs it, and the line there; None where nothing does.
    standard: what this code needs of the standard library and of ours as soon as it is imported, with names in them.
    banned: file (or `-c`, `command`), line (0: none) and statement of what is banned -> the full names that are.
    faults: of files that cannot be parsed or read.
    """

    def __init__(self, closures: Closures, starts: tuple[Start, ...], pythonpath: str = "") -> None:
        """`pythonpath` is the variable as the stage gets it, relative to root."""
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
        self._pending: deque[tuple[Lookup, Module, Source]] = deque()
        entries = pythonpath.split(os.pathsep) if pythonpath else []
        extra = tuple(os.path.normpath(os.path.join(self._sources.root, entry)) for entry in entries)
        for start in starts:
            self._begin(start, closures.lookup((start.entry, *extra) if start.entry else extra))
        if extra:
            self._begin_interpreter(closures.lookup(extra), extra)
        while self._pending:
            lookup, module, source = self._pending.popleft()
            self._follow(lookup, module.path, closures.imports(lookup, module, source))

    def chain(self, path: str, line: int = 0) -> list[tuple[str, int]]:
        """Return files from a start to `path`, each with the line on which it imports the next; `line` is the last."""
        links = [(path, line)]
        while links[-1][0] in self._importers:
            links.append(self._importers[links[-1][0]])
        return links[::-1]

    def _begin(self, start: Start, lookup: Lookup) -> None:
        if start.kind == SCRIPT:
            self._add(lookup, Module("__main__", LOCAL, start.value), "", 0)
        elif start.kind == TEXT:
            source = self._sources.text(start.value, TEXT_NAME)
            if source.fault:
                self.faults[source.fault] = None
            imports = self._closures.resolve(lookup, Module("__main__", LOCAL), source.parsed.requests)
            self._follow(lookup, TEXT_NAME, imports)
        else:
            modules, missing = lookup.chain(start.value)
            runs_main = modules and not missing and modules[-1].package  # `-m package` runs its __main__
            names = (start.value, f"{start.value}.__main__") if runs_main else (start.value,)
            requests = [Request(0, 0, name) for name in names]
            self._follow(lookup, "", self._closures.resolve(lookup, Module("__main__", OURS), requests))
            if self._closures.is_banned(lookup, start.value):
                self.banned[MODULE_NAME, 0, f"-m {start.value}"] = (start.value,)

    def _begin_interpreter(self, lookup: Lookup, pythonpath: Sequence[str]) -> None:
        """Add what PYTHONPATH makes the interpreter itself load, and refuse what cannot be read."""
        for entry in pythonpath:
            if os.path.isfile(entry):
                self.faults[unreadable(self._sources.shown(entry), "a file on PYTHONPATH")] = None
        for name in _AT_STARTUP:
            modules, _ = lookup.chain(name)
            if modules and modules[0].kind == LOCAL:
                self._add(lookup, modules[0], "", 0)

    def _add(self, lookup: Lookup, module: Module, importer: str, line: int) -> None:
        """Add a module, to follow its imports later; `importer` is the path of the module that imports it."""
        if not module.path or module.kind not in {LOCAL, STANDARD} or (lookup, module) in self._met:
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
        self._pending.append((lookup, module, source))

    def _follow(self, lookup: Lookup, path: str, imports: Iterable[Imported]) -> None:
        """Add what a module imports; `path` is that of its file, or what stands for it in reports."""
        for imported in imports:
            for module in imported.modules:
                if module.kind != INSTALLED:
                    self._add(lookup, module, path, imported.line)
                elif (top := module.name.partition(".")[0]) not in self.packages:
                    self.packages[top] = distribution(top, module.path if top == module.name else "")
            place = (path, imported.line)
            for name in imported.absent:
                if self.absent.get(name) is None:
                    self.absent[name] = place if imported.is_needed else None
            self.standard.update(imported.standard)
            if imported.banned:
                at = (*place, imported.statement)
                self.banned[at] = (*self.banned.get(at, ()), *imported.banned)


def _absolute(importer: Module, request: Request) -> str:
    """Return the full name of what a request is relative to; it begins with a dot if there is no such package."""
    if request.level <= 0:
        return request.module
    package = importer.name if importer.package else importer.name.rpartition(".")[0]
    kept = package.rsplit(".", request.level - 1)
    if not package or len(kept) < request.level:
        return "." * request.level + request.module
    return f"{kept[0]}.{request.module}" if request.module else kept[0]


def _is_the_same_for_all(module: Module) -> bool:
    """Whether every stage gets the same module; one that is followed may import a file of the stage's."""
    return module.kind == OURS or (module.kind == STANDARD and not module.path)


def _statement(request: Request, requests: Sequence[Request]) -> str:
    """Return the statement of a request, with the other imports on its line."""
    if request.names:
        return f"from {'.' * request.level}{request.module} import {', '.join(request.names)}"
    beside = (other.module for other in requests if other.line == request.line and not other.names)
    return f"import {', '.join(dict.fromkeys(beside))}"
