"""Environments of tools: directories made elsewhere that a stage uses where they are. A venv, or a conda prefix.

What is installed in one is in the key by names and digests, so a copy of it, at any place, is the same environment.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from runner.errors import Fault, InputError, raise_if_system_error
from runner.hashing import sha256_of
from runner.plan.code.modules import sdk_path
from runner.plan.digests import Signature

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from runner.plan.digests import DigestCache

SDK_NEEDS = (3, 11)  # the oldest Python that can import it
_SDK = os.path.abspath(f"{__file__}/../../sdk/alone")  # for a Python of an environment: it has only the SDK
_VERSION = re.compile(r"^version(?:_info)?\s*=\s*((\d+)\.(\d+)\S*)", re.MULTILINE)  # the latter is virtualenv's
_CONDA_PYTHON = re.compile(r"python-(\d+)\.(\d+)[^-]*-[^-]*\.json")
_MAKE = "name one that you made, as with: python3 -m venv DIR, or conda create -p DIR"
_EDITABLE = re.compile(rb'"editable"\s*:\s*true')
_OWNED = b'.dist-info/RECORD"'  # after the name of a distribution, in the list of a conda package's files
_DIGITS = 16  # of a digest: each marker and commit of a stage has all of them
_IN_BIN = b"../../../bin/"  # such a file begins with the absolute path of the environment's Python


# ---- how a stage uses environments -----------------------------------------------------------------------------------


def python_of(prefixes: Iterable[str]) -> str | None:
    """Return the path of the first Python in these environments, None if there is none."""
    paths = (f"{prefix}/bin/python" for prefix in prefixes)
    return next((path for path in paths if os.path.isfile(path) and os.access(path, os.X_OK)), None)


def python_version(prefix: str) -> tuple[int, int] | None:
    """Return the version of an environment's Python, as its venv or conda says; None if that is not known."""
    with suppress(OSError), open(f"{prefix}/pyvenv.cfg", encoding="utf-8", errors="replace") as file:
        if match := _VERSION.search(file.read()):
            return int(match[2]), int(match[3])
    for name in _names(f"{prefix}/conda-meta"):
        if match := _CONDA_PYTHON.fullmatch(name):
            return int(match[1]), int(match[2])
    return None


def sdk_path_for(prefixes: Sequence[str]) -> str | None:
    """Return the PYTHONPATH entry from which the Python of a stage imports `runner.sdk`.

    None if its Python finds that without one, or is too old to use it.
    """
    python = python_of(prefixes)
    return sdk_path() if python is None else None if too_old_version(python) else _SDK


def too_old_version(python: str) -> str | None:
    """Return the version of the Python at this path in an environment, if `runner.sdk` needs a newer one."""
    version = python_version(os.path.dirname(os.path.dirname(python)))
    return "{}.{}".format(*version) if version and version < SDK_NEEDS else None


def variables(prefixes: Iterable[str]) -> dict[str, str]:
    """Return the variables that name environments: of each kind, the first."""
    named: dict[str, str] = {}
    for prefix in prefixes:
        named.setdefault("VIRTUAL_ENV" if os.path.isfile(f"{prefix}/pyvenv.cfg") else "CONDA_PREFIX", prefix)
    return named


def _names(directory: str) -> list[str]:
    """Return the names in a directory in order; none if it is not there or cannot be listed."""
    try:
        return sorted(os.listdir(directory))
    except OSError as error:
        raise_if_system_error(error, directory)
        return []


# ---- what is installed in them ---------------------------------------------------------------------------------------


def is_environment(prefix: str) -> bool:
    """Return whether a directory is a venv or a conda prefix."""
    return os.path.isfile(f"{prefix}/pyvenv.cfg") or os.path.isdir(f"{prefix}/conda-meta")


class Environment(NamedTuple):
    """What is installed in an environment: name and version -> digest; and the places that show an installation.

    These places have another signature when something was installed or removed since.
    """

    packages: dict[str, str]
    places: dict[str, Signature | None]


class ToolsReader:
    """Reads environments, each once, and again if something was installed since. One serves all stages of a planning.

    `paths` are all that it tried or listed, present or absent.
    """

    def __init__(self, where: str, root: str, digests: DigestCache) -> None:
        """`where`: the spec, for errors. Paths in them are relative to `root`, if they are below it."""
        self.paths: set[str] = set()
        self._where = where
        self._root = root
        self._digests = digests
        self._known: dict[str, Environment] = {}

    def require(self, prefix: str) -> None:
        """Raise InputError if there is no environment."""
        config, meta = f"{prefix}/pyvenv.cfg", f"{prefix}/conda-meta"
        self.paths.update((config, meta))
        if not os.path.isdir(prefix):
            raise self._refusal(prefix, "no such directory", _MAKE)
        if not is_environment(prefix):
            what = 'is neither a venv (it lacks "pyvenv.cfg") nor a conda prefix (it lacks "conda-meta/")'
            raise self._refusal(prefix, what, _MAKE)

    def read(self, prefix: str) -> Environment:
        """Return what is installed. Raises InputError for what is no environment, and for an editable install."""
        self.require(prefix)
        known = self._known.get(prefix)
        if known is None or any(Signature.at(path) != signature for path, signature in known.places.items()):
            known = self._known[prefix] = self._read(prefix)
        return known

    def _read(self, prefix: str) -> Environment:
        config = f"{prefix}/pyvenv.cfg"
        made = Environment({}, {config: Signature.at(config)})
        if content := self._content(config)[0]:
            version = _VERSION.search(content.decode("utf-8", "replace"))
            if not version:
                raise self._refusal(prefix, 'is no venv: its "pyvenv.cfg" lacks the version of its Python', _MAKE)
            made.packages["python"] = version[1]
        owned: set[bytes] = set()
        for name in self._listed(f"{prefix}/conda-meta", made):
            if name.endswith(".json"):
                content, sha256 = self._content(f"{prefix}/conda-meta/{name}")
                made.packages[name.removesuffix(".json")] = sha256[:_DIGITS]
                owned.update(part.rpartition(b"/")[2] for part in content.split(_OWNED)[:-1])
        for directory in self._listed(f"{prefix}/lib", made):
            if directory.startswith(("python", "pypy")) and not os.path.islink(f"{prefix}/lib/{directory}"):
                self._read_site(prefix, f"{prefix}/lib/{directory}/site-packages", owned, made)
        return made

    def _read_site(self, prefix: str, site: str, owned: set[bytes], made: Environment) -> None:
        """Add the distributions in a directory that no conda package has."""
        for entry in self._listed(site, made):
            name, ending = os.path.splitext(entry)
            if ending == ".egg-link":
                raise self._editable(prefix, name)
            if ending not in (".dist-info", ".egg-info") or os.fsencode(name) in owned:
                continue
            record, _ = self._content(f"{site}/{entry}/RECORD")
            has_url = b"/direct_url.json," in record  # most have none
            if has_url and _EDITABLE.search(self._content(f"{site}/{entry}/direct_url.json")[0]):
                raise self._editable(prefix, name)
            lines = (line for line in record.splitlines() if not line.lstrip(b'"').startswith(_IN_BIN))
            made.packages[name] = sha256_of(b"\n".join((made.packages.get(name, "").encode(), *lines)))[:_DIGITS]

    def _listed(self, directory: str, made: Environment) -> list[str]:
        self.paths.add(directory)
        made.places[directory] = Signature.at(directory)
        return _names(directory)

    def _content(self, path: str) -> tuple[bytes, str]:
        """Return the content of a file and its SHA-256, b"" if it is not there. Raises InputError for any other."""
        self.paths.add(path)
        try:
            content, digest = self._digests.read(path)
        except (FileNotFoundError, NotADirectoryError):
            return b"", ""
        except OSError as error:
            raise_if_system_error(error, path)
            raise InputError(Fault(path, f"cannot read it: {error.strerror}")) from error
        return content, digest.sha256

    def _editable(self, prefix: str, name: str) -> InputError:
        what = f'has an editable install, whose files are not known: "{name}"'
        return self._refusal(prefix, what, 'install it without -e, or say "toolsIdentity": "name"')

    def _refusal(self, prefix: str, what: str, hint: str) -> InputError:
        shown = os.path.relpath(prefix, self._root) if f"{prefix}/".startswith(f"{self._root}/") else prefix
        return InputError(Fault(self._where, f'tools "{shown}": {what}', hint))
