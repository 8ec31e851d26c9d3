"""Which file an import would find, by Python's own rules, without importing anything.

The order is that of the import system: built-in and frozen modules, the script's directory, PYTHONPATH, the standard
library, site directories and their .pth entries, finders of editable installs. In each directory, a package comes
before a module. A directory without `__init__` is a portion of a namespace package, and any file comes before that.
"""

from __future__ import annotations

import os
import re
import sys
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from runner.plan.code.sources import Sources

LOCAL = "local"  # in the key, with its content
INSTALLED = "installed"  # in the key, by name and version of its distribution
STANDARD = "standard"
OURS = "ours"
NAMESPACE = "namespace"  # has no file of its own

OUR_NAMES = ("runner", "pytest_offpipe")
_INSTALLED_IN = os.path.abspath(__file__).rsplit("/", 4)[0]
OUR_DIRECTORIES = tuple(os.path.join(_INSTALLED_IN, name) for name in OUR_NAMES)
_STDLIB = (os.path.dirname(os.__file__), os.path.join(os.path.dirname(os.__file__), "lib-dynload"))
_SITE_NAMES = frozenset({"site-packages", "dist-packages"})


class Interpreter(NamedTuple):
    """Everything that decides which file an import finds, except the script's directory and PYTHONPATH.

    `standard`: top-level names of the standard library, found before `site`. `fixed`: built-in, frozen or loaded before
    any path is searched, so that no file can shadow them. `suffixes`: of module files, in the order of the loaders.
    `editable`: paths of modules that the finders of editable installs map; these finders come last.
    """

    site: tuple[str, ...]
    stdlib: tuple[str, ...]
    standard: frozenset[str]
    fixed: frozenset[str]
    suffixes: tuple[str, ...]
    editable: Mapping[str, tuple[str, ...]]

    def elsewhere(self) -> Interpreter:
        """Return that of another environment: imports find only what lies below root or beside the program."""
        return self._replace(site=(), stdlib=(), standard=frozenset(), editable={})


def running_interpreter() -> Interpreter:
    """Return the interpreter that runs offpipe, as a Python stage sees it."""
    import _imp
    from importlib.machinery import BYTECODE_SUFFIXES, EXTENSION_SUFFIXES, SOURCE_SUFFIXES

    standard = frozenset(sys.stdlib_module_names)
    return Interpreter(
        site=interpreter_search_path(),
        stdlib=_STDLIB,
        standard=standard,
        fixed=frozenset((*sys.builtin_module_names, "encodings", *filter(_imp.is_frozen, standard))),
        suffixes=(*EXTENSION_SUFFIXES, *SOURCE_SUFFIXES, *BYTECODE_SUFFIXES),
        editable=_editable_installs(sys.meta_path),
    )


def interpreter_search_path() -> tuple[str, ...]:
    """Return the entries of `sys.path` after the standard library: site directories and those that .pth files add."""
    archive = f"python{sys.version_info.major}{sys.version_info.minor}.zip"
    names = [os.path.basename(entry) for entry in sys.path]
    start = names.index(archive) + 1 if archive in names else 0
    return tuple(dict.fromkeys(entry for entry in sys.path[start:] if os.path.isabs(entry) and entry not in _STDLIB))


def sdk_path() -> str | None:
    """Return the PYTHONPATH entry that stages need to import `runner.sdk`; None if their interpreter finds it."""
    return None if _INSTALLED_IN in interpreter_search_path() else _INSTALLED_IN


def _editable_installs(finders: Iterable[object]) -> dict[str, tuple[str, ...]]:
    """Read the tables of the finders that editable installs of setuptools and `editables` put on `sys.meta_path`.

    The finders are not called, since some then build their project.
    """
    paths_by_name: dict[str, tuple[str, ...]] = {}
    for finder in finders:
        module = sys.modules.get(getattr(finder, "__module__", ""))
        tables = [getattr(finder, "_redirections", None)]
        if module is not None and module.__name__.startswith("__editable__"):
            tables += [getattr(module, "NAMESPACES", None), getattr(module, "MAPPING", None)]
        for table in tables:
            for name, paths in table.items() if isinstance(table, dict) else ():
                paths_by_name[str(name)] = (paths,) if isinstance(paths, str) else tuple(map(str, paths))
    return paths_by_name


class Module(NamedTuple):
    """A module: its full name, its kind, its file ("" for none), and the directories of its submodules."""

    name: str
    kind: str
    path: str = ""
    package: tuple[str, ...] = ()


class Lookup:
    """Finds modules by name, for programs whose `sys.path` begins with `entries`.

    Modules below root or beside the program, that is in the first entry, are LOCAL.
    """

    def __init__(self, entries: tuple[str, ...], sources: Sources, interpreter: Interpreter) -> None:
        self._entries = entries
        self._sources = sources
        self._python = interpreter
        self.chain = cache(self._chain)
        self._is_local = cache(self._lies_in_program)
        bases = (sources.root, *entries[:1])
        self._bases = {*bases, *map(os.path.realpath, bases)}
        # Other standard modules load a file that shadows a standard module, so their imports are followed then.
        shadowing = {name.partition(".")[0] for entry in entries for name in sources.names(entry)}
        self._follows_standard = not shadowing.isdisjoint(interpreter.standard - interpreter.fixed)

    def imports(self, base: str, names: tuple[str, ...] = ()) -> tuple[tuple[Module, ...], list[str]]:
        """Return the modules that `from base import names` loads, which may be submodules, and the absent names."""
        modules, missing = self.chain(base)
        if missing or modules[-1].name != base or not modules[-1].package:
            return modules, [missing] if missing else []
        package, absent = modules[-1], []
        for name in self._submodules(names, package):
            submodules, missing = self.chain(f"{base}.{name}")
            if not missing:
                modules += submodules
            elif package.kind == NAMESPACE:  # which has no attributes
                absent.append(missing)
        return modules, absent

    def _submodules(self, names: tuple[str, ...], package: Module) -> Iterator[str]:
        for name in names:
            if name != "*":
                yield name
            elif package.path:
                with suppress(FileNotFoundError):
                    yield from self._sources.read(package.path).parsed.exports

    def kind(self, name: str) -> str:
        """Return the kind of the module of this name; LOCAL for a namespace package of local directories only."""
        modules, missing = self.chain(name)
        if not modules or (missing and modules[0].kind == NAMESPACE):
            return ""
        if modules[-1].kind != NAMESPACE:
            return modules[-1].kind
        return LOCAL if all(self._kind(f"{portion}/") == LOCAL for portion in modules[-1].package) else ""

    def _chain(self, name: str) -> tuple[tuple[Module, ...], str]:
        """Return the modules that `import name` loads, parents first, and the first of their names that is missing.

        The chain ends at a module whose imports are not followed: installed, or standard.
        """
        modules: list[Module] = []
        full = ""
        for part in name.split("."):
            full = f"{full}.{part}" if full else part
            module = self._below(modules[-1], full, part) if modules else self._top(part)
            if module is None:
                return tuple(modules), full or name  # `full` is "" if the name begins with a dot
            modules.append(module)
            if module.kind not in {LOCAL, NAMESPACE} and not (module.kind == STANDARD and module.path):
                break
        return tuple(modules), ""

    def _top(self, name: str) -> Module | None:
        python = self._python
        portions: list[str] = []
        if name in python.fixed:
            return Module(name, STANDARD)
        module = (
            self._first(name, name, self._entries, portions)
            or self._standard(name)
            or self._first(name, name, python.site, portions)
            or self._last_resort(name, portions)
        )
        return Module(name, OURS) if module is None and name in OUR_NAMES else module

    def _standard(self, name: str) -> Module | None:
        is_known = name in self._python.standard
        if is_known and not self._follows_standard:
            return Module(name, STANDARD)
        module = self._first(name, name, self._python.stdlib, [], is_standard=True)
        if module and self._follows_standard:
            return module
        return Module(name, STANDARD) if module or is_known else None

    def _below(self, parent: Module, full: str, tail: str) -> Module | None:
        portions: list[str] = []
        module = self._first(full, tail, parent.package, portions, is_standard=parent.kind == STANDARD)
        return module or self._last_resort(full, portions)

    def _last_resort(self, full: str, portions: list[str]) -> Module | None:
        """Return a namespace package of these portions, or else the module of an editable install."""
        if portions:
            return Module(full, NAMESPACE, "", tuple(portions))
        for path in self._python.editable.get(full, ()):
            directory, _, tail = path.rpartition("/")
            if tail.startswith("__init__."):  # `editables` names the file, setuptools the directory
                directory, _, tail = directory.rpartition("/")
            module = self._first(full, tail.removesuffix(".py"), (directory,), portions)
            if module is not None:
                return module
        return Module(full, NAMESPACE, "", tuple(portions)) if portions else None

    def _first(
        self, full: str, tail: str, directories: Iterable[str], portions: list[str], *, is_standard: bool = False
    ) -> Module | None:
        """Return the first module of this name in `directories`. Adds portions of a namespace to `portions`."""
        for directory in directories:
            path, package = self._file(directory, tail)
            if path:
                return Module(full, STANDARD if is_standard else self._kind(path), path, package)
            portions += package
        return None

    def _file(self, directory: str, tail: str) -> tuple[str, tuple[str, ...]]:
        """Return the file of the module `tail` in a directory ("" for a namespace), and its package."""
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

    def _kind(self, path: str) -> str:
        directory = os.path.dirname(path)
        if any(_lies_in(directory, ours) for ours in OUR_DIRECTORIES):
            return OURS
        return LOCAL if self._is_local(directory) else INSTALLED

    def _lies_in_program(self, directory: str) -> bool:
        """Whether a directory lies below root or beside the program, and in no virtual environment below these."""
        for base in self._bases:
            if _lies_in(directory, base) and _SITE_NAMES.isdisjoint(directory[len(base) :].split("/")):
                return True
        real = os.path.realpath(directory)
        return real != directory and self._is_local(real)


def _lies_in(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def distribution(sources: Sources, top: str, path: str) -> str:
    """Return "name version" of the distribution of the top-level module `top` at `path`; "" if unknown.

    A .dist-info of the same name beside the module decides. So most plans need not import importlib.metadata.
    """
    directory, _, name = path.rpartition("/")
    site = directory if name.startswith(f"{top}.") else os.path.dirname(directory)
    for name in sorted(sources.names(site)) if path else ():
        project, _, version = name.removesuffix(".dist-info").partition("-")
        if name.endswith(".dist-info") and version and _normalised(project) == _normalised(top):
            return f"{_normalised(top)} {version}"
    return ", ".join(sorted(_versions().get(top, ())))


@cache
def _versions() -> dict[str, set[str]]:
    """Return "name version" of all distributions that have a top-level module, by the module's name."""
    from importlib.metadata import packages_distributions, version

    installed = packages_distributions()
    return {top: {f"{_normalised(name)} {version(name)}" for name in names} for top, names in installed.items()}


def _normalised(name: str) -> str:
    """Return the normalized name of a distribution (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()
