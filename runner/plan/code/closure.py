"""The import closure of a program: the files that it starts with, and all local modules that they import."""

from __future__ import annotations

import os
from collections import deque
from functools import cache, partial
from typing import TYPE_CHECKING, NamedTuple

from runner.plan.code.cache import RUN_PATH, Request
from runner.plan.code.commands import SCRIPT, TEXT, Start
from runner.plan.code.modules import INSTALLED, LOCAL, OURS, STANDARD, Interpreter, Lookup, Module, distribution
from runner.plan.code.sources import Sources, unreadable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from runner.errors import Fault
    from runner.plan.code.banned import BanList
    from runner.plan.digests import FileDigest

TEXT_NAME = "-c"  # in place of a path: the text of `python -c`
MODULE_NAME = "command"  # in place of a path: the command that names a module after `-m`
_AT_STARTUP = ("sitecustomize", "usercustomize")  # every interpreter imports them if it finds them


class Imported(NamedTuple):
    """A resolved request: the modules that it loads, names that no file has, and whether the program needs it.

    standard: needed modules of the standard library and of offpipe. banned: names, imported by `statement`.
    """

    line: int
    modules: tuple[Module, ...]
    absent: Sequence[str] = ()
    is_needed: bool = False
    standard: tuple[str, ...] = ()
    banned: tuple[str, ...] = ()
    statement: str = ""


class Closures:
    """The closures of all programs. Programs with the same search path share resolved imports.

    Without `bans`, nothing is banned.
    """

    def __init__(self, sources: Sources, interpreter: Interpreter, bans: BanList | None = None) -> None:
        self.sources = sources
        self.bans = bans
        self.of = cache(partial(Closure, self))
        self.lookup = cache(lambda entries: Lookup(entries, sources, interpreter))
        self.imports = cache(self._imports)
        self.distribution = cache(partial(distribution, sources))

    def _imports(self, lookup: Lookup, importer: Module, requests: tuple[Request, ...]) -> list[Imported]:
        """Resolve the requests of a module. Deferred ones of the standard library are left out: most never run."""
        if importer.kind == STANDARD:
            requests = tuple(request for request in requests if not request.deferred)
        return [self._resolve(lookup, importer, request, requests) for request in requests]

    def _resolve(self, lookup: Lookup, importer: Module, request: Request, requests: Sequence[Request]) -> Imported:
        if request.level == RUN_PATH:  # relative to root, the working directory of stages
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
        """Whether a name is banned for this program. The built-in list does not ban the pipeline's own modules."""
        if self.bans is None or not self.bans.bans(name):
            return False
        kind = lookup.kind(name)
        return kind != OURS and (kind != LOCAL or self.bans.banned_by_spec(name) != "")


class Closure:
    """The code of a program. Stages with the same starts share it, so do not change it.

    files: by absolute path.
    packages: third-party top-level import -> "name version" of its distribution, "" if unknown.
    absent: imported names without a file (`..name` for relative ones) and missing starts -> path (or `-c`, "") and line
    of the first import that needs it; None if no import does.
    standard: modules of the standard library and of offpipe, and names in them, that the code needs when imported.
    banned: file (or `-c`, `command`), line (0: none) and statement of a banned import -> the banned full names.
    faults: of files that cannot be parsed or read.
    """

    def __init__(self, closures: Closures, starts: tuple[Start, ...], pythonpath: str = "") -> None:
        """`pythonpath` is the variable in the stage's environment; its entries are relative to root."""
        self.files: dict[str, FileDigest] = {}
        self.packages: dict[str, str] = {}
        self.absent: dict[str, tuple[str, int] | None] = {}
        self.standard: set[str] = set()
        self.banned: dict[tuple[str, int, str], tuple[str, ...]] = {}
        self.faults: dict[Fault, None] = {}
        self._importers: dict[str, tuple[str, int]] = {}
        self._closures = closures
        self._sources = closures.sources
        self._met: set[tuple[Lookup, Module]] = set()
        self._pending: deque[tuple[Lookup, Module, tuple[Request, ...]]] = deque()
        entries = pythonpath.split(os.pathsep) if pythonpath else []
        extra = tuple(os.path.normpath(os.path.join(self._sources.root, entry)) for entry in entries)
        for start in starts:
            self._begin(start, closures.lookup((start.entry, *extra) if start.entry else extra))
        if extra:
            self._begin_interpreter(closures.lookup(extra), extra)
        while self._pending:
            lookup, module, requests = self._pending.popleft()
            self._follow(lookup, module.path, closures.imports(lookup, module, requests))

    def chain(self, path: str, line: int = 0) -> list[tuple[str, int]]:
        """Return the files from a start to `path`, each with the line that imports the next; `line` ends the chain."""
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
            imports = self._closures.imports(lookup, Module("__main__", LOCAL), source.parsed.requests)
            self._follow(lookup, TEXT_NAME, imports)
        else:
            modules, missing = lookup.chain(start.value)
            runs_main = modules and not missing and modules[-1].package  # `-m package` runs its __main__
            names = (start.value, f"{start.value}.__main__") if runs_main else (start.value,)
            requests = tuple(Request(0, 0, name) for name in names)
            self._follow(lookup, "", self._closures.imports(lookup, Module("__main__", OURS), requests))
            if self._closures.is_banned(lookup, start.value):
                self.banned[MODULE_NAME, 0, f"-m {start.value}"] = (start.value,)

    def _begin_interpreter(self, lookup: Lookup, pythonpath: Sequence[str]) -> None:
        """Add the modules that the interpreter itself imports from PYTHONPATH, and refuse archives there."""
        for entry in pythonpath:
            if os.path.isfile(entry):
                self.faults[unreadable(self._sources.shown(entry), "a file on PYTHONPATH")] = None
        for name in _AT_STARTUP:
            modules, _ = lookup.chain(name)
            if modules and modules[0].kind == LOCAL:
                self._add(lookup, modules[0], "", 0)

    def _add(self, lookup: Lookup, module: Module, importer: str, line: int) -> None:
        """Add a module, whose imports are followed later. `importer` is the path of the file that imports it."""
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
            self.files[module.path] = source.digest
        self._pending.append((lookup, module, source.parsed.requests))

    def _follow(self, lookup: Lookup, path: str, imports: Iterable[Imported]) -> None:
        """Add the imports of the file at `path`, or of what `path` stands for."""
        for imported in imports:
            for module in imported.modules:
                if module.kind != INSTALLED:
                    self._add(lookup, module, path, imported.line)
                elif (top := module.name.partition(".")[0]) not in self.packages:
                    self.packages[top] = self._closures.distribution(top, module.path if top == module.name else "")
            place = (path, imported.line)
            for name in imported.absent:
                if self.absent.get(name) is None:
                    self.absent[name] = place if imported.is_needed else None
            self.standard.update(imported.standard)
            if imported.banned:
                at = (*place, imported.statement)
                self.banned[at] = (*self.banned.get(at, ()), *imported.banned)


def _absolute(importer: Module, request: Request) -> str:
    """Return the full name of a request's module; it begins with a dot if there is no such package."""
    if request.level <= 0:
        return request.module
    package = importer.name if importer.package else importer.name.rpartition(".")[0]
    kept = package.rsplit(".", request.level - 1)
    if not package or len(kept) < request.level:
        return "." * request.level + request.module
    return f"{kept[0]}.{request.module}" if request.module else kept[0]


def _is_the_same_for_all(module: Module) -> bool:
    """Whether every stage gets the same module. One that is followed may import a file of the stage."""
    return module.kind == OURS or (module.kind == STANDARD and not module.path)


def _statement(request: Request, requests: Sequence[Request]) -> str:
    """Return the statement of a request, with the other plain imports on its line."""
    if request.names:
        return f"from {'.' * request.level}{request.module} import {', '.join(request.names)}"
    beside = (other.module for other in requests if other.line == request.line and not other.names)
    return f"import {', '.join(dict.fromkeys(beside))}"
