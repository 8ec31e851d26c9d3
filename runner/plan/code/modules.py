"""Which file an import would find, by Python's own rules, without importing anything.

The order is that of the import system: what is built in or frozen, the script's directory, PYTHONPATH, the standard
library, site directories and their .pth entries, finders of editable installs. In each directory a package comes
before a module, and a directory without `__init__` is a portion of a namespace package, which any file beats.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from runner.plan.code.interpreter import Interpreter
    from runner.plan.code.sources import Sources

LOCAL = "local"  # in the key, with its content
INSTALLED = "installed"  # in the key, by name and version of its distribution
STANDARD = "standard"
OURS = "ours"
NAMESPACE = "namespace"  # has no file of its own

OUR_NAMES = ("runner", "pytest_offpipe")
_INSTALLED_IN = os.path.abspath(__file__).rsplit("/", 4)[0]
OUR_DIRECTORIES = tuple(os.path.join(_INSTALLED_IN, name) for name in OUR_NAMES)
_SITE_NAMES = frozenset({"site-packages", "dist-packages"})


class Module(NamedTuple):
    """A module by its full name: whose it is, its file ("" for none), and where its submodules are looked for."""

    name: str
    kind: str
    path: str = ""
    package: tuple[str, ...] = ()


class Lookup:
    """Modules by name, as a program finds them whose `sys.path` begins with `entries`.

    LOCAL is what lies under root or beside the program, that is in the first entry.
    """

    def __init__(
        self,
        entries: tuple[str, ...],
        sources: Sources,
        interpreter: Interpreter,
        ours: tuple[str, ...] = OUR_DIRECTORIES,
    ) -> None:
        self.entries = entries
        self._sources = sources
        self._python = interpreter
        self._ours = ours
        self._chains: dict[str, tuple[tuple[Module, ...], str]] = {}
        self._local: dict[str, bool] = {}
        bases = dict.fromkeys((sources.root, *entries[:1]))
        self._bases = tuple(dict.fromkeys((*bases, *(os.path.realpath(base) for base in bases))))
        # A file that shadows a standard module is loaded by other standard modules too, so these are walked then.
        shadowing = {name.partition(".")[0] for entry in entries for name in sources.names(entry)}
        self._follows_standard = not shadowing.isdisjoint(interpreter.standard - interpreter.fixed)

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
        if not modules or modules[0].kind != NAMESPACE:
            return modules[0].kind if modules else ""
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
        found = (
            self._first(name, name, self.entries, portions)
            or self._standard(name)
            or self._first(name, name, self._python.site, portions)
        )
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
        """Return the first module of this name in `directories`; what a namespace consists of goes to `portions`."""
        for directory in directories:
            path, package = self._file(directory, tail)
            if path:
                return Module(full, STANDARD if is_standard else self._kind(path), path, package)
            portions += package
        return None

    def _file(self, directory: str, tail: str) -> tuple[str, tuple[str, ...]]:
        """Return the file of the module `tail` in a directory, and its package; of a namespace there is no file."""
        names, inner = self._sources.names(directory), f"{directory}/{tail}"
        if tail in names:
            for suffix in self._python.suffixes:
                path = f"{inner}/__init__{suffix}"
                if f"__init__{suffix}" in self._sources.names(inner) and self._sources.is_file(path):
                    return path, (inner,)
        for suffix in self._python.suffixes:
            if tail + suffix in names and self._sources.is_file(inner + suffix):
                return inner + suffix, ()
        return "", (inner,) if tail in names and os.path.isdir(inner) else ()

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
        directory = os.path.dirname(path)
        if any(_lies_in(directory, ours) for ours in self._ours):
            return OURS
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
