"""The code a stage consists of: the files it starts with, and every local module they import, transitively."""

from __future__ import annotations

import os
from collections import deque
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple, cast

from runner.decide.commands import MODULE, SCRIPT, TEXT
from runner.decide.modules import INSTALLED, LOCAL, NAMESPACE, STANDARD, Module
from runner.decide.sources import NOTHING, parse
from runner.errors import OfflineError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from runner.decide.commands import Start
    from runner.decide.digests import Signature
    from runner.decide.modules import Lookup, ModuleFinder
    from runner.decide.sources import Parsed, Request
    from runner.errors import Fault

TEXT_NAME = "-c"  # what importers call the text of `python -c`


@dataclass(slots=True)
class CodeFiles:
    """What the starts and their local imports are; shared between the stages that start the same, so not to be changed.

    files: absolute path -> sha256. signatures: of the same files, taken before they were read.
    packages: third-party top-level import -> "name version" of its distribution, "" when unknown.
    absent: names imported that are found nowhere (`..name` for relative ones), and starts that are not there.
    standard: modules of the standard library that this code asks for.
    importers: path -> path (or `-c`) of what imports it first, for chains; starts have none.
    """

    files: dict[str, str] = field(default_factory=dict)
    signatures: dict[str, Signature] = field(default_factory=dict)
    packages: dict[str, str] = field(default_factory=dict)
    absent: tuple[str, ...] = ()
    standard: tuple[str, ...] = ()
    importers: dict[str, str] = field(default_factory=dict)

    def chain(self, path: str) -> list[str]:
        """Return the files from a start to `path`, each importing the next."""
        found = [path]
        while found[-1] in self.importers:
            found.append(self.importers[found[-1]])
        return found[::-1]


class Targets(NamedTuple):
    """What one module imports, resolved: modules to walk on with, installed ones, and names."""

    walked: tuple[Module, ...]
    installed: tuple[Module, ...]
    standard: tuple[str, ...]
    absent: tuple[str, ...]


def walk_imports(starts: Sequence[Start], *, finder: ModuleFinder, pythonpath: str = "") -> CodeFiles:
    """Return the code of these starts; `pythonpath` is the variable as the stage gets it, relative to root.

    Raises OfflineError with a fault for every file that cannot be parsed or read.
    """
    key = (tuple(starts), pythonpath)
    code = finder.walks.get(key)
    if code is None:
        code = finder.walks[key] = _Walk(finder, pythonpath).run(starts)
    return cast(CodeFiles, code)


class _Walk:
    def __init__(self, finder: ModuleFinder, pythonpath: str) -> None:
        self._finder = finder
        entries = pythonpath.split(os.pathsep) if pythonpath else []
        self._extra = tuple(os.path.normpath(os.path.join(finder.root, entry)) for entry in entries)
        self._code = CodeFiles()
        self._faults: dict[Fault, None] = {}
        self._absent: set[str] = set()
        self._standard: set[str] = set()
        self._seen: set[tuple[tuple[str, ...], Module]] = set()
        self._pending: deque[tuple[Lookup, Module]] = deque()

    def run(self, starts: Sequence[Start]) -> CodeFiles:
        for start in starts:
            lookup = self._finder.lookup((start.entry, *self._extra) if start.entry else self._extra)
            self._begin(start, lookup)
        while self._pending:
            lookup, module = self._pending.popleft()
            self._follow(lookup, module.path, _targets_of(lookup, module))
        if self._faults:
            raise OfflineError(*self._faults)
        self._code.absent = tuple(sorted(self._absent))
        self._code.standard = tuple(sorted(self._standard))
        return self._code

    def _begin(self, start: Start, lookup: Lookup) -> None:
        if start.kind == SCRIPT:
            self._add(lookup, Module("__main__", LOCAL, start.value), "")
        elif start.kind == TEXT:
            parsed = self._parsed_text(start.value)
            self._follow(lookup, TEXT_NAME, _resolve(lookup, Module("__main__", LOCAL), parsed))
        elif start.kind == MODULE:
            requested = _Resolution(lookup)
            requested.add(start.value)
            modules, missing = lookup.chain(start.value)
            if modules and not missing and modules[-1].package:  # `-m package` runs its __main__
                requested.add(f"{start.value}.__main__")
            self._follow(lookup, "", requested.targets())

    def _parsed_text(self, text: str) -> Parsed:
        content = text.encode("utf-8", "surrogateescape")
        digest = sha256(content).hexdigest()
        parsed = self._finder.parsed.get(digest)
        if parsed is None:
            try:
                parsed = parse(content, TEXT_NAME)
            except OfflineError as error:
                self._faults.update(dict.fromkeys(error.faults))
                return NOTHING
            self._finder.parsed.put(digest, parsed)
        return parsed

    def _follow(self, lookup: Lookup, importer: str, targets: Targets) -> None:
        for module in targets.walked:
            self._add(lookup, module, importer)
        for module in targets.installed:
            top = module.name.partition(".")[0]
            if top not in self._code.packages:
                path = module.path if top == module.name else ""
                self._code.packages[top] = self._finder.interpreter.distribution(top, path)
        if importer in self._code.files or importer in {"", TEXT_NAME}:  # not what standard modules ask for
            self._standard.update(targets.standard)
            self._absent.update(targets.absent)

    def _add(self, lookup: Lookup, module: Module, importer: str) -> None:
        if (lookup.entries, module) in self._seen:
            return
        self._seen.add((lookup.entries, module))
        try:
            source = self._finder.source(module.path, is_script=module.name == "__main__")
        except FileNotFoundError:
            self._absent.add(self._finder.shown(module.path))
            return
        if source.fault:
            self._faults[source.fault] = None
            return
        if importer and module.path not in self._code.files and module.path != importer:
            self._code.importers.setdefault(module.path, importer)
        if module.kind == LOCAL:
            self._code.files[module.path] = source.sha256
            self._code.signatures[module.path] = source.signature
        self._pending.append((lookup, module))


def _targets_of(lookup: Lookup, module: Module) -> Targets:
    """Resolve what a module imports, once for all programs that look in the same places."""
    targets = lookup.targets.get(module)
    if targets is None:
        parsed = lookup.finder.source(module.path, is_script=module.name == "__main__").parsed
        if module.kind == STANDARD:  # too much of the library stands in functions that nobody calls
            parsed = parsed._replace(requests=tuple(request for request in parsed.requests if not request.deferred))
        targets = lookup.targets[module] = _resolve(lookup, module, parsed)
    return cast(Targets, targets)


def _resolve(lookup: Lookup, module: Module, parsed: Parsed) -> Targets:
    resolution = _Resolution(lookup)
    for request in parsed.requests:
        base = _absolute(module, request)
        if base is None:
            resolution.absent["." * request.level + request.module] = None
        else:
            resolution.add(base, request.names)
    return resolution.targets()


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


class _Resolution:
    """Gathers what requests lead to; dicts for sets, because their order is that of the source."""

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self._walked: dict[Module, None] = {}
        self._installed: dict[Module, None] = {}
        self._standard: dict[str, None] = {}
        self.absent: dict[str, None] = {}

    def add(self, base: str, names: tuple[str, ...] = ()) -> None:
        """Take in `import base`, or `from base import names`, of which some may be submodules."""
        modules, missing = self._lookup.chain(base)
        self._take(modules, base)
        if missing:
            self.absent[missing] = None
        elif modules[-1].package and modules[-1].name == base:
            for name in self._expanded(names, modules[-1]):
                found, absent = self._lookup.chain(f"{base}.{name}")
                if not absent:
                    self._take(found, f"{base}.{name}")
                elif modules[-1].kind == NAMESPACE:  # which has no attributes that it could be
                    self.absent[absent] = None

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

    def _take(self, modules: tuple[Module, ...], name: str) -> None:
        for module in modules:
            if module.kind == STANDARD and module is modules[0]:
                self._standard[name] = None
            if module.kind == INSTALLED:
                self._installed[module] = None
            elif module.path and module.kind in {LOCAL, STANDARD}:
                self._walked[module] = None

    def targets(self) -> Targets:
        return Targets(tuple(self._walked), tuple(self._installed), tuple(self._standard), tuple(self.absent))
