"""Which distributions installed a module, as importlib.metadata has it, which takes as long to load as the whole plan.

Read here from the same files of the same directories: `top_level.txt`, or else RECORD, and METADATA. Where something
may be installed in a way that only that library knows (`needs_library`), it is asked.
"""

from __future__ import annotations

import os
import re
import sys
from functools import cache
from importlib.machinery import all_suffixes
from typing import TYPE_CHECKING

from runner.errors import raise_refusal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

DESCRIBED = (".dist-info", ".egg-info")
SOURCES_ONLY = sys.version_info < (3, 12)  # what that release's importlib.metadata infers names from


@cache
def distributions() -> dict[str, str]:
    """Return "name version" by top-level name, of everything that is installed; slow, so only for odd names."""
    found = _asked() if needs_library(sys.path, sys.meta_path) else read_distributions(sys.path)
    return {top: ", ".join(sorted(f"{normalised(name)} {version}" for name, version in those)) for top, those in found}


def needs_library(path: Iterable[str], finders: Iterable[object]) -> bool:
    """Whether something may be installed in archives, eggs or other old ways, or by a finder of its own."""
    if any(hasattr(one, "find_distributions") and getattr(one, "__name__", "") != "PathFinder" for one in finders):
        return True
    for directory in path:
        if os.path.isfile(directory) or directory.lower().endswith(".egg"):
            return True
        for name in _described(directory):
            if name.lower().endswith(".egg-info") and not os.path.isfile(f"{directory}/{name}/top_level.txt"):
                return True
    return False


def _asked() -> Iterator[tuple[str, set[tuple[str, str]]]]:
    from importlib.metadata import packages_distributions, version

    for top, names in packages_distributions().items():
        yield top, {(name, version(name)) for name in names}


def read_distributions(path: Iterable[str]) -> Iterator[tuple[str, set[tuple[str, str]]]]:
    """Yield names and versions by top-level name; of several versions of one, that which comes first."""
    versions: dict[str, str] = {}
    names: dict[str, set[str]] = {}
    for directory in path:
        for entry in _described(directory):
            where = os.path.join(directory, entry)
            name, version = _named(_read(f"{where}/METADATA") or _read(f"{where}/PKG-INFO"))
            if name:
                versions.setdefault(normalised(name), version)
                declared = _read(f"{where}/top_level.txt").split()
                for top in declared or _recorded(directory or ".", _read(f"{where}/RECORD")):
                    names.setdefault(top, set()).add(name)
    for top, those in names.items():
        yield top, {(name, versions[normalised(name)]) for name in those}


def normalised(name: str) -> str:
    """Return a distribution's name as all its spellings have it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _described(directory: str) -> list[str]:
    try:
        return [name for name in os.listdir(directory or ".") if name.lower().endswith(DESCRIBED)]
    except OSError as error:
        raise_refusal(error, directory)
        return []


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError as error:
        raise_refusal(error, path)
        return ""


def _named(metadata: str) -> tuple[str, str]:
    """Return name and version from the head of METADATA."""
    fields: dict[str, str] = {}
    for line in metadata.splitlines():
        if not line:
            break
        key, colon, value = line.partition(":")
        if colon:
            fields.setdefault(key.lower(), value.strip())
    return fields.get("name", ""), fields.get("version", "")


def _recorded(directory: str, record: str) -> set[str]:
    """Return the top-level names of the files in RECORD, as this release of Python infers them."""
    found: set[str] = set()
    for line in record.splitlines():
        path = _first_field(line)
        top, slash, _ = path.partition("/")
        if SOURCES_ONLY:
            if path.endswith(".py"):
                found.add(top if slash else top.removesuffix(".py"))
            continue
        name = top if slash else _module_name(top)
        if name and "." not in name and name not in found and os.path.exists(os.path.join(directory, path)):
            found.add(name)
    return found


def _module_name(file: str) -> str:
    suffix = next((one for one in sorted(all_suffixes(), key=len, reverse=True) if file.endswith(one)), "")
    return file.removesuffix(suffix)


def _first_field(line: str) -> str:
    """Return what a line of CSV begins with; quoted where it holds a comma or, doubled, a quote."""
    if not line.startswith('"'):
        return line.partition(",")[0]
    return line[1:].replace('""', "\0").partition('"')[0].replace("\0", '"')
