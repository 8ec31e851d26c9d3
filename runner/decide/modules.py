"""Which file an import would find, by Python's own rules, without importing anything.

The order is that of the import system: what is built in or frozen, the script's directory, PYTHONPATH, the standard
library, site directories and their .pth entries, finders of editable installs. In each directory a package comes
before a module, and a directory without `__init__` is a portion of a namespace package, which any file beats.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from runner.decide.digests import signature
from runner.decide.sighted import Sighted
from runner.decide.sources import NOTHING, Parsed, parse, unreadable
from runner.errors import Fault, InputError, OfflineError, raise_refusal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from runner.decide.digests import DigestCache, Signature
    from runner.decide.interpreter import Interpreter
    from runner.decide.sources import ParseCache
    from runner.decide.targets import Bans

LOCAL = "local"  # in the key, with its content
INSTALLED = "installed"  # in the key, by name and version of its distribution
STANDARD = "standard"
OURS = "ours"
NAMESPACE = "namespace"  # has no file of its own

OUR_NAMES = ("runner", "pytest_offpipe")
_INSTALLED_IN = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
OUR_DIRECTORIES = tuple(os.path.join(_INSTALLED_IN, name) for name in OUR_NAMES)
_SITE_NAMES = frozenset({"site-packages", "dist-packages"})
_COMPILED = ".pyc"
_ARCHIVES = (".zip", ".pyz", ".pyzw")


class Module(NamedTuple):
    """A module by its full name: whose it is, its file ("" for none), and where its submodules are looked for."""

    name: str
    kind: str
    path: str = ""
    package: tuple[str, ...] = ()


class Source(NamedTuple):
    """A file of code as it was read: the fault tells why `parsed` knows nothing."""

    sha256: str
    signature: Signature
    parsed: Parsed
    fault: Fault | None = None


class ModuleFinder:
    """What one plan has seen of the disk while looking for modules; the next plan makes a new one.

    `bans`: what imports of local modules are held against, None for nothing.
    `listed`, `sources`: every directory that was looked for, and file that was read. `sighted`: as they were before.
    """

    def __init__(
        self,
        root: str,
        interpreter: Interpreter,
        cache: DigestCache,
        parsed: ParseCache,
        ours: tuple[str, ...] = OUR_DIRECTORIES,
        bans: Bans | None = None,
    ) -> None:
        self.root = root
        self.bans = bans
        self.interpreter = interpreter
        self.sighted = Sighted()
        self.listed: set[str] = set()
        self.walks: dict[object, object] = {}
        self._ours = ours
        self.cache = cache
        self.parsed = parsed
        self._names: dict[str, frozenset[str]] = {}
        self._probes: dict[tuple[str, str], tuple[str, str] | None] = {}
        self.sources: dict[str, Source] = {}
        self._lookups: dict[tuple[str, ...], Lookup] = {}

    def lookup(self, entries: tuple[str, ...]) -> Lookup:
        """Return the view of a program whose `sys.path` begins with `entries`, its own directory first."""
        found = self._lookups.get(entries)
        if found is None:
            found = self._lookups[entries] = Lookup(self, entries)
        return found

    def names(self, directory: str) -> frozenset[str]:
        """Return what is in a directory; nothing when it is none, or may not be read."""
        found = self._names.get(directory)
        if found is None:
            self.sighted.look(directory)
            self.listed.add(directory)
            try:
                found = frozenset(os.listdir(directory))
            except (OSError, ValueError) as error:
                raise_refusal(error, directory)
                found = frozenset()
            self._names[directory] = found
        return found

    def probe(self, directory: str, tail: str) -> tuple[str, str] | None:
        """Return (file, package directory), either may be "", of the module `tail` in a directory, or None."""
        key = (directory, tail)
        if key not in self._probes:
            self._probes[key] = self._probe(directory, tail)
        return self._probes[key]

    def _probe(self, directory: str, tail: str) -> tuple[str, str] | None:
        names = self.names(directory)
        inner = f"{directory}/{tail}"
        if tail in names:
            for suffix in self.interpreter.suffixes:
                if f"__init__{suffix}" in self.names(inner) and self.sighted.is_file(f"{inner}/__init__{suffix}"):
                    return f"{inner}/__init__{suffix}", inner
        for suffix in self.interpreter.suffixes:
            if tail + suffix in names and self.sighted.is_file(inner + suffix):
                return inner + suffix, ""
        return ("", inner) if tail in names and os.path.isdir(inner) else None

    def source(self, path: str, *, is_script: bool = False) -> Source:
        """Read a file of code once a plan; `is_script`: Python whatever its name says. FileNotFoundError passes."""
        source = self.sources.get(path)
        if source is None:
            self.sighted.look(path)
            try:
                source = self._read(path, is_script)
            except FileNotFoundError:
                raise
            except OSError as error:
                raise_refusal(error, path)
                source = Source("", (0, 0, 0, 0), NOTHING, Fault(self.shown(path), f"cannot read it: {error.strerror}"))
            except InputError as error:
                fault = Fault(self.shown(path), error.faults[0].what, error.faults[0].hint)
                source = Source("", (0, 0, 0, 0), NOTHING, fault)
            self.sources[path] = source
        return source

    def _read(self, path: str, is_script: bool) -> Source:
        status = os.stat(path)
        sha256 = self.cache.known(path, status)
        signed = signature(status)
        if path.endswith(_COMPILED) or (is_script and path.endswith(_ARCHIVES)):
            what = "compiled Python" if path.endswith(_COMPILED) else "a zip file"
            return Source(*self.cache.file(path, status), NOTHING, unreadable(self.shown(path), what))
        if not path.endswith(".py") and not is_script:
            return Source(*self.cache.file(path, status), NOTHING)
        parsed = self.parsed.get(sha256) if sha256 else None
        if sha256 is None or parsed is None:
            content, sha256, signed = self.cache.read(path, status)
            parsed = self.parsed.get(sha256)
            if parsed is None:
                try:
                    parsed = parse(content, self.shown(path))
                except OfflineError as error:
                    return Source(sha256, signed, NOTHING, error.faults[0])
                self.parsed.put(sha256, parsed)
        return Source(sha256, signed, parsed)

    def shown(self, path: str) -> str:
        """Return the path as errors spell it: relative to root where it lies there."""
        relative = path.removeprefix(self.root.rstrip("/") + "/")
        return relative.encode("utf-8", "backslashreplace").decode()

    def is_ours(self, path: str) -> bool:
        return any(_lies_in(path, directory) for directory in self._ours)


class Lookup:
    """Module names resolved as one program would; `local` is what lies under root or beside the program."""

    def __init__(self, finder: ModuleFinder, entries: tuple[str, ...]) -> None:
        self.finder = finder
        self.entries = entries
        self.targets: dict[Module, object] = {}
        self._python = finder.interpreter
        self._chains: dict[str, tuple[tuple[Module, ...], str]] = {}
        self._local: dict[str, bool] = {}
        bases = dict.fromkeys((finder.root, *entries[:1]))
        self._bases = tuple(dict.fromkeys((*bases, *(os.path.realpath(base) for base in bases))))
        # A file that shadows a standard module is loaded by other standard modules too, so these are walked then.
        shadowing = {name.partition(".")[0] for entry in entries for name in finder.names(entry)}
        self._follows_standard = not shadowing.isdisjoint(self._python.standard - self._python.fixed)

    def chain(self, name: str) -> tuple[tuple[Module, ...], str]:
        """Return the modules that `import name` loads, parents first, and the first name on the way that is missing.

        The chain ends at a module whose own imports are of no interest: installed, or standard.
        """
        found = self._chains.get(name)
        if found is None:
            found = self._chains[name] = self._resolve(name)
        return found

    def kind(self, name: str) -> str:
        """Return whose the module of this name is; LOCAL also for a namespace package of local directories only."""
        modules, missing = self.chain(name)
        if not modules:
            return ""
        if modules[0].kind != NAMESPACE:
            return modules[0].kind
        last = modules[-1]
        portions = last.package if last.kind == NAMESPACE else ()
        if missing or any(self._kind(f"{portion}/") != LOCAL for portion in portions):
            return ""
        return LOCAL if last.kind == NAMESPACE else last.kind

    def _resolve(self, name: str) -> tuple[tuple[Module, ...], str]:
        modules: list[Module] = []
        full = ""
        for part in name.split("."):
            full = f"{full}.{part}" if full else part
            module = self._below(modules[-1], full, part) if modules else self._top(part)
            if module is None:
                return tuple(modules), full
            modules.append(module)
            if module.kind not in {LOCAL, NAMESPACE} and not (module.kind == STANDARD and module.path):
                break
        return tuple(modules), ""

    def _top(self, name: str) -> Module | None:
        if name in self._python.fixed:
            return Module(name, STANDARD)
        portions: list[str] = []
        found = self._first(name, name, self.entries, portions)
        if found is None:
            found = self._standard(name) or self._first(name, name, self._python.site, portions)
        if found is None and portions:
            found = Module(name, NAMESPACE, "", tuple(portions))
        if found is None:
            found = self._redirected(name)
        return Module(name, OURS) if found is None and name in OUR_NAMES else found

    def _below(self, parent: Module, full: str, tail: str) -> Module | None:
        portions: list[str] = []
        found = self._first(full, tail, parent.package, portions, is_standard=parent.kind == STANDARD)
        if found is None and portions:
            return Module(full, NAMESPACE, "", tuple(portions))
        return found or self._redirected(full)

    def _first(
        self, full: str, tail: str, directories: Iterable[str], portions: list[str], *, is_standard: bool = False
    ) -> Module | None:
        for directory in directories:
            found = self.finder.probe(directory, tail)
            if found and found[0]:
                package = (found[1],) if found[1] else ()
                return Module(full, STANDARD if is_standard else self._kind(found[0]), found[0], package)
            if found:
                portions.append(found[1])
        return None

    def _standard(self, name: str) -> Module | None:
        if name in self._python.standard and not self._follows_standard:
            return Module(name, STANDARD)
        found = self._first(name, name, self._python.stdlib, [], is_standard=True)
        if found is not None and not self._follows_standard:
            return Module(name, STANDARD)
        return found or (Module(name, STANDARD) if name in self._python.standard else None)

    def _redirected(self, full: str) -> Module | None:
        path = self._python.redirected.get(full)
        if path:
            if os.path.basename(path).startswith("__init__."):  # `editables` names the file, setuptools the directory
                path = os.path.dirname(path)
            directory, _, tail = path.rpartition("/")
            found = self._first(full, tail.removesuffix(".py"), (directory,), [])
            if found is not None:
                return found
        portions = self._python.namespaces.get(full)
        return Module(full, NAMESPACE, "", portions) if portions else None

    def _kind(self, path: str) -> str:
        if self.finder.is_ours(path):
            return OURS
        directory = os.path.dirname(path)
        is_local = self._local.get(directory)
        if is_local is None:
            is_local = self._local[directory] = self._is_local(directory) or self._is_local(os.path.realpath(directory))
        return LOCAL if is_local else INSTALLED

    def _is_local(self, directory: str) -> bool:
        """Whether a directory lies under root or beside the program, and in no virtual environment on the way."""
        for base in self._bases:
            if _lies_in(directory, base) and _SITE_NAMES.isdisjoint(directory[len(base) :].split("/")):
                return True
        return False


def _lies_in(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")
