"""The environment of a launcher that runs Python stages by forking: what interpreters heed of that of the stages.

Loaded before anything else of a run, and so imports nothing that it can do without.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

LOCALE = {"LANG": "C.UTF-8", "TZ": "UTC"}
HEEDED = (b"PYTHON", b"LC_", b"LANG", b"LD_", b"GLIBC_", b"MALLOC_", b"COVERAGE_")
"""How the names begin of what an interpreter, its libraries or its .pth files heed when it starts."""


def heeded_by_interpreters(outer_home: str | None, package_parent: str | None) -> dict[str, str]:
    """What of `stage_environment` a Python interpreter heeds when it starts, for stages that set nothing of it."""
    environment = dict(LOCALE)
    if outer_home:
        environment["HOME"] = outer_home
    if package_parent is not None:
        environment["PYTHONPATH"] = package_parent
    return environment


def heeded(env: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """Return what of a whole environment an interpreter like this one heeds that starts in it."""
    looks_home = getattr(sys.modules.get("site"), "ENABLE_USER_SITE", True)
    return {name: value for name, value in env.items() if name.startswith(HEEDED) or (name == b"HOME" and looks_home)}


def warm_here() -> dict[str, str]:
    """Return that environment, for stages that this process is to start."""
    return heeded_by_interpreters(os.environ.get("HOME"), sdk_path_here())


def sdk_path_here() -> str | None:
    """Return what stages of this process need on PYTHONPATH to import `runner.sdk`."""
    parent = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    library = os.path.dirname(os.__file__)
    archive = os.path.join(os.path.dirname(library), f"python{sys.version_info.major}{sys.version_info.minor}.zip")
    return sdk_path(
        parent, sys.path, standard_library=(library, archive, f"{library}/lib-dynload"),
        editable=editable_mappings(sys.modules),
    )  # fmt: skip


def sdk_path(
    package_parent: str,
    sys_path: Sequence[str],
    *,
    standard_library: Iterable[str],
    editable: Iterable[Mapping[str, str]] = (),
) -> str | None:
    """What a stage needs on PYTHONPATH to import `runner.sdk`: `package_parent`, or None when it finds it anyway.

    Anyway = by what `site` adds after the standard library (`standard_library`: the directory of `os`, its zip,
    lib-dynload). An entry before that is this process's own (its script, PYTHONPATH, pytest). `editable` are the
    mappings of editable installs, see `editable_mappings`.
    """
    if any(mapping.get("runner") == os.path.join(package_parent, "runner") for mapping in editable):
        return None
    last = max((index for index, entry in enumerate(sys_path) if entry in set(standard_library)), default=len(sys_path))
    return None if package_parent in sys_path[last + 1 :] else package_parent


def editable_mappings(modules: Mapping[str, object]) -> list[Mapping[str, str]]:
    """The package -> directory tables of the finders that setuptools' editable installs load (`sys.modules`)."""
    found = (getattr(module, "MAPPING", None) for name, module in modules.items() if name.startswith("__editable__"))
    return [mapping for mapping in found if isinstance(mapping, dict)]
