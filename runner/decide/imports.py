"""The code a stage consists of: the files it starts with, and every local module they import, transitively."""

from __future__ import annotations

import codecs
import os
import sys
from collections import deque
from typing import TYPE_CHECKING, cast

from runner.decide.commands import MODULE, SCRIPT, TEXT
from runner.decide.modules import LOCAL, Module
from runner.decide.sources import NOTHING, parse, unreadable
from runner.decide.targets import Banned, Resolution, is_banned, resolve, targets_of
from runner.errors import OfflineError
from runner.hashing import sha256_of
from runner.values import Record, made

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runner.decide.commands import Start
    from runner.decide.digests import Signature
    from runner.decide.modules import Lookup, ModuleFinder
    from runner.decide.sources import Parsed
    from runner.decide.targets import Targets
    from runner.errors import Fault

__all__ = ["Banned", "CodeFiles", "walk_imports"]

TEXT_NAME = "-c"  # what importers call the text of `python -c`
MODULE_NAME = "command"  # where a module is named after `-m`
_AT_STARTUP = ("sitecustomize", "usercustomize")  # imported by every interpreter that finds them


class CodeFiles(Record):
    """What the starts and their local imports are; shared between the stages that start the same, so not to be changed.

    files: absolute path -> sha256. signatures: of the same files, taken before they were read.
    packages: third-party top-level import -> "name version" of its distribution, "" when unknown.
    absent: names imported that are found nowhere (`..name` for relative ones), and starts that are not there.
    unfound: those of them that the code needs -> path (or `-c`, "") of what imports it first, and the line there.
    standard: what this code asks of the standard library and of ours as soon as it is imported, names in them included.
    importers: path -> path (or `-c`) of what imports it first, for chains, and the line there; starts have none.
    banned: imports that are held against whoever runs this. faults: of files that cannot be parsed or read.
    """

    files: dict[str, str] = made(default_factory=dict)
    signatures: dict[str, Signature] = made(default_factory=dict)
    packages: dict[str, str] = made(default_factory=dict)
    absent: tuple[str, ...] = ()
    unfound: dict[str, tuple[str, int]] = made(default_factory=dict)
    standard: tuple[str, ...] = ()
    importers: dict[str, tuple[str, int]] = made(default_factory=dict)
    banned: tuple[Banned, ...] = ()
    faults: tuple[Fault, ...] = ()

    def chain(self, path: str, line: int = 0) -> list[tuple[str, int]]:
        """Return files from a start to `path`, each with the line on which it imports the next; `line` is the last."""
        found = [(path, line)]
        while found[-1][0] in self.importers:
            found.append(self.importers[found[-1][0]])
        return found[::-1]


def walk_imports(starts: Sequence[Start], *, finder: ModuleFinder, pythonpath: str = "") -> CodeFiles:
    """Return the code of these starts; `pythonpath` is the variable as the stage gets it, relative to root."""
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
        self._banned: dict[Banned, None] = {}
        self._absent: set[str] = set()
        self._standard: set[str] = set()
        self._seen: set[tuple[tuple[str, ...], Module]] = set()
        self._pending: deque[tuple[Lookup, Module]] = deque()

    def run(self, starts: Sequence[Start]) -> CodeFiles:
        for start in starts:
            lookup = self._finder.lookup((start.entry, *self._extra) if start.entry else self._extra)
            self._begin(start, lookup)
        if self._extra:
            self._begin_interpreter(self._finder.lookup(self._extra))
        while self._pending:
            lookup, module = self._pending.popleft()
            self._follow(lookup, module.path, targets_of(lookup, module))
        self._code.banned = tuple(self._banned)
        self._code.faults = tuple(self._faults)
        self._code.absent = tuple(sorted(self._absent))
        self._code.standard = tuple(sorted(self._standard))
        return self._code

    def _begin(self, start: Start, lookup: Lookup) -> None:
        if start.kind == SCRIPT:
            self._add(lookup, Module("__main__", LOCAL, start.value), "", 0)
        elif start.kind == TEXT:
            content = _bytes_of(start.value)
            parsed = self._parsed_text(content)
            module = Module("__main__", LOCAL)
            self._follow(lookup, TEXT_NAME, resolve(lookup, module, parsed, TEXT_NAME, lambda: content))
        elif start.kind == MODULE:
            requested = Resolution(lookup)
            requested.add(start.value)
            modules, missing = lookup.chain(start.value)
            if modules and not missing and modules[-1].package:  # `-m package` runs its __main__
                requested.add(f"{start.value}.__main__")
            if is_banned(lookup, start.value):
                requested.ban(MODULE_NAME, 0, f"-m {start.value}", (start.value,))
            self._follow(lookup, "", requested.targets())

    def _begin_interpreter(self, lookup: Lookup) -> None:
        """Take in what PYTHONPATH makes the interpreter itself load, and refuse what cannot be looked into."""
        for entry in self._extra:
            if os.path.isfile(entry):
                self._faults[unreadable(self._finder.shown(entry), "a file on PYTHONPATH")] = None
        for name in _AT_STARTUP:
            modules, _ = lookup.chain(name)
            if modules and modules[0].kind == LOCAL:
                self._add(lookup, modules[0], "", 0)

    def _parsed_text(self, content: bytes) -> Parsed:
        digest = sha256_of(content)
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
        for module, line in targets.walked:
            self._add(lookup, module, importer, line)
        for module in targets.installed:
            top = module.name.partition(".")[0]
            if top not in self._code.packages:
                path = module.path if top == module.name else ""
                self._code.packages[top] = self._finder.interpreter.distribution(top, path)
        if importer in self._code.files or importer in {"", TEXT_NAME}:  # not what standard modules ask for
            self._standard.update(targets.standard)
            self._absent.update(targets.absent)
            for name, line in targets.unfound:
                self._code.unfound.setdefault(name, (importer, line))
        if targets.banned:
            self._banned.update(dict.fromkeys(targets.banned))

    def _add(self, lookup: Lookup, module: Module, importer: str, line: int) -> None:
        if (lookup.entries, module) in self._seen:
            return
        self._seen.add((lookup.entries, module))
        try:
            source = self._finder.source(module.path, is_script=module.name == "__main__")
        except FileNotFoundError:
            self._absent.add(self._finder.shown(module.path))
            return
        if source.fault and module.kind == LOCAL:
            self._faults[source.fault] = None
            return
        if importer and module.path not in self._code.files and module.path != importer:
            self._code.importers.setdefault(module.path, (importer, line))
        if module.kind == LOCAL:
            self._code.files[module.path] = source.sha256
            self._code.signatures[module.path] = source.signature
        self._pending.append((lookup, module))


def _bytes_of(text: str) -> bytes:
    """Return the text after `-c` as source. An encoding cookie means nothing there, and the mark makes that so."""
    if sys.version_info >= (3, 14):
        from textwrap import dedent

        text = dedent(text)
    return codecs.BOM_UTF8 + text.encode("utf-8", "surrogateescape")
