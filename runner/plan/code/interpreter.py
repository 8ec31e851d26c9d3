"""The running interpreter as a value: where it finds modules, so that the search for imports does not read `sys`."""

from __future__ import annotations

import os
import re
import sys
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from runner.errors import raise_refusal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Interpreter(NamedTuple):
    """Everything that decides which file an import finds, except the script's directory and PYTHONPATH.

    `standard`: top-level names of the standard library, found before `site`. `fixed`: those loaded, built in or frozen
    before any path is searched, which no file can shadow. `suffixes`: of module files, in the order of the loaders.
    `redirected`, `namespaces`: what editable installs map to paths by finders of their own, which come last.
    """

    site: tuple[str, ...]
    stdlib: tuple[str, ...]
    standard: frozenset[str]
    fixed: frozenset[str]
    suffixes: tuple[str, ...]
    redirected: Mapping[str, str]
    namespaces: Mapping[str, tuple[str, ...]]


def running_interpreter() -> Interpreter:
    """Return the interpreter that runs this, as a stage started by it would see it."""
    import _imp
    from importlib.machinery import BYTECODE_SUFFIXES, EXTENSION_SUFFIXES, SOURCE_SUFFIXES

    standard = frozenset(sys.stdlib_module_names)
    fixed = {*sys.builtin_module_names, "encodings", *(name for name in standard if _imp.is_frozen(name))}
    redirected, namespaces = _editable_installs(sys.meta_path)
    return Interpreter(
        site=interpreter_search_path(),
        stdlib=_stdlib_directories(),
        standard=standard,
        fixed=frozenset(fixed),
        suffixes=(*EXTENSION_SUFFIXES, *SOURCE_SUFFIXES, *BYTECODE_SUFFIXES),
        redirected=redirected,
        namespaces=namespaces,
    )


def interpreter_search_path() -> tuple[str, ...]:
    """Return the entries of `sys.path` behind the standard library: site directories and what their .pth files add."""
    stdlib = _stdlib_directories()
    archive = f"python{sys.version_info.major}{sys.version_info.minor}.zip"
    names = [os.path.basename(entry) for entry in sys.path]
    start = names.index(archive) + 1 if archive in names else 0
    return tuple(dict.fromkeys(entry for entry in sys.path[start:] if os.path.isabs(entry) and entry not in stdlib))


def sdk_path() -> str | None:
    """Return what stages need on PYTHONPATH to import `runner.sdk`; None if their interpreter finds it anyway."""
    checkout = os.path.abspath(__file__).rpartition("/runner/")[0]
    return None if checkout in interpreter_search_path() else checkout


def _stdlib_directories() -> tuple[str, ...]:
    directory = os.path.dirname(os.__file__)
    return (directory, os.path.join(directory, "lib-dynload"))


def _editable_installs(finders: Iterable[object]) -> tuple[dict[str, str], dict[str, tuple[str, ...]]]:
    """Read the tables of the finders that editable installs of setuptools and `editables` put on `sys.meta_path`.

    They are not called: a finder may build its project when it is.
    """
    redirected: dict[str, str] = {}
    namespaces: dict[str, tuple[str, ...]] = {}
    for finder in finders:
        module = sys.modules.get(getattr(finder, "__module__", ""))
        tables = [getattr(finder, "_redirections", None)]
        if module is not None and module.__name__.startswith("__editable__"):
            tables.append(getattr(module, "MAPPING", None))
            spaces = getattr(module, "NAMESPACES", None)
            if isinstance(spaces, dict):
                namespaces.update({str(name): tuple(map(str, paths)) for name, paths in spaces.items()})
        for table in tables:
            if isinstance(table, dict):
                redirected.update({str(name): str(path) for name, path in table.items()})
    return redirected, namespaces


@cache
def distribution(top: str, path: str) -> str:
    """Return "name version" of what installed the top-level module `top`, found at `path`; "" when unknown.

    A .dist-info of the same name beside the module settles it. That saves most plans the import of importlib.metadata.
    """
    directory, _, name = path.rpartition("/")
    site = directory if name.startswith(f"{top}.") else os.path.dirname(directory) if path else ""
    try:
        names = os.listdir(site) if site else []
    except OSError as error:
        raise_refusal(error, site)
        names = []
    for name in names:
        project, _, version = name.removesuffix(".dist-info").partition("-")
        if name.endswith(".dist-info") and version and _normalised(project) == _normalised(top):
            return f"{_normalised(top)} {version}"
    return ", ".join(sorted(_versions().get(top, ())))


@cache
def _versions() -> dict[str, set[str]]:
    """Return "name version" of all distributions that hold a top-level module, by its name."""
    from importlib.metadata import packages_distributions, version

    installed = packages_distributions()
    return {top: {f"{_normalised(name)} {version(name)}" for name in names} for top, names in installed.items()}


def _normalised(name: str) -> str:
    """Return a distribution's name as all its spellings have it."""
    return re.sub(r"[-_.]+", "-", name).lower()
