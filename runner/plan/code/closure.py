"""The closure of a program: the files that it starts with, and every local module that they import, transitively."""

from __future__ import annotations

import os
from collections import deque
from typing import TYPE_CHECKING

from runner.plan.code.commands import SCRIPT, TEXT
from runner.plan.code.imports import Imports
from runner.plan.code.interpreter import distribution
from runner.plan.code.modules import LOCAL, STANDARD, Lookup, Module
from runner.plan.code.sources import unreadable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runner.errors import Fault
    from runner.plan.code.banned import BanList
    from runner.plan.code.commands import Start
    from runner.plan.code.interpreter import Interpreter
    from runner.plan.code.sources import Sources
    from runner.plan.digests import Entry

TEXT_NAME = "-c"  # what stands for the path of the text of `python -c`
MODULE_NAME = "command"  # where a module is named after `-m`
_AT_STARTUP = ("sitecustomize", "usercustomize")  # imported by every interpreter that finds them


class Closures:
    """The closures of all programs: each import is resolved once for programs with the same search path.

    Without `bans` nothing is banned.
    """

    def __init__(self, sources: Sources, interpreter: Interpreter, bans: BanList | None = None) -> None:
        self.sources = sources
        self.bans = bans
        self._interpreter = interpreter
        self._lookups: dict[tuple[str, ...], Lookup] = {}
        self._imports: dict[tuple[tuple[str, ...], Module], Imports] = {}
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
        key = (lookup.entries, module)
        if key not in self._imports:
            requests = self.sources.read(module.path, is_script=module.name == "__main__").parsed.requests
            if module.kind == STANDARD:  # most of the library's deferred imports never run
                requests = tuple(request for request in requests if not request.deferred)
            self._imports[key] = Imports(lookup, self.sources, self.bans)
            self._imports[key].add_all(requests, module, module.path)
        return self._imports[key]


class Closure:
    """The files of starts and their local imports. Shared between stages with the same starts, so do not change it.

    files: absolute path -> signature, taken before the file was read, and sha256.
    packages: third-party top-level import -> "name version" of its distribution, "" when unknown.
    absent: names imported that are found nowhere (`..name` for relative ones), and starts that are not there.
    unfound: those of them that the code needs -> path (or `-c`, "") of what imports it first, and the line there.
    standard: what this code needs of the standard library and of ours as soon as it is imported, with names in them.
    banned: as `Imports` has it. faults: of files that cannot be parsed or read.
    """

    def __init__(self, closures: Closures, starts: Sequence[Start], pythonpath: str) -> None:
        self.files: dict[str, Entry] = {}
        self.packages: dict[str, str] = {}
        self.absent: set[str] = set()
        self.unfound: dict[str, tuple[str, int]] = {}
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
        imports = Imports(lookup, self._sources, self._closures.bans)
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
        for module, line in imports.walked.items():
            self._add(lookup, module, importer, line)
        for top, path in imports.installed.items():
            if top not in self.packages:
                self.packages[top] = distribution(top, path)
        if importer in self.files or importer in {"", TEXT_NAME}:  # not what standard modules import
            self.standard.update(imports.standard)
            self.absent.update(imports.absent)
            for name, line in imports.unfound.items():
                self.unfound.setdefault(name, (importer, line))
        self.banned.update(imports.banned)

    def _add(self, lookup: Lookup, module: Module, importer: str, line: int) -> None:
        if (lookup, module) in self._met:
            return
        self._met.add((lookup, module))
        try:
            source = self._sources.read(module.path, is_script=module.name == "__main__")
        except FileNotFoundError:
            self.absent.add(self._sources.shown(module.path))
            return
        if source.fault and module.kind == LOCAL:
            self.faults[source.fault] = None
            return
        if importer and module.path not in self.files and module.path != importer:
            self._importers.setdefault(module.path, (importer, line))
        if module.kind == LOCAL:
            self.files[module.path] = (source.signature, source.sha256)
        self._pending.append((lookup, module))
