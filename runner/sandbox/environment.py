"""What a stage's program sees of the world around it, its environment, and the limits of that and of its arguments.

Nothing of the runner's own environment gets in but what is an argument here, and its HOME and `sys.path` (`..._here`).
"""

from __future__ import annotations

import json
import math
import os
import sys
from typing import TYPE_CHECKING

from runner.errors import Fault
from runner.paths import variable_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

LOCALE = {"LANG": "C.UTF-8", "TZ": "UTC"}
DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"
LARGEST_VALUE = 64 * 1024
LARGEST_TOGETHER = 512 * 1024
LARGEST_STRING = 128 * 1024  # MAX_ARG_STRLEN, linux/binfmts.h: 32 pages, the final NUL included
LARGEST_ARGUMENTS = 6 * 1024 * 1024  # fs/exec.c: three quarters of _STK_LIM, however large the stack may grow
SLACK = 4096  # room for the program's own name, a shebang line, and what POSIX asks to leave
WIDEST = 4  # bytes of a character in UTF-8, at most
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def stage_environment(
    *,
    interpreter: str,
    outer_home: str | None,
    scratch: str,
    package_parent: str | None,
    spec_env: Mapping[str, str],
    cpus: float | None,
    contract: Mapping[str, str],
) -> dict[str, str]:
    """The whole environment of one attempt; `contract` is what `contract_variables` gives.

    `package_parent` is what `sdk_path_here` answered. The spec's `env` wins over everything but the contract; a
    PYTHONPATH in it comes before ours.
    """
    environment = {
        "PATH": f"{os.path.dirname(interpreter)}:{DEFAULT_PATH}",
        **LOCALE,
        "HOME": outer_home or scratch,
    }
    if cpus is not None:
        environment |= dict.fromkeys(THREAD_VARIABLES, str(max(1, math.ceil(cpus))))
    environment.update(spec_env)
    environment["TMPDIR"] = spec_env.get("TMPDIR", scratch)
    if package_parent is not None:
        given = spec_env.get("PYTHONPATH")
        environment["PYTHONPATH"] = f"{given}:{package_parent}" if given else package_parent
    environment.update(contract)
    return environment


def contract_variables(
    *,
    stage_file: str,
    pipeline: str,
    run_id: str,
    stage: str,
    attempt: int,
    key: str,
    params: Mapping[str, object],
    inputs: Mapping[str, Sequence[str]],
    outputs: Mapping[str, str],
    progress: str,
    offline: str,
    cpus: float | None,
    memory_mib: int | None,
    io_concurrency: int | None,
) -> dict[str, str]:
    """The `PIPELINE_*` variables, less those that would be too large (the stage file holds everything at any size)."""
    found = {
        "PIPELINE_NAME": pipeline,
        "PIPELINE_RUN_ID": run_id,
        "PIPELINE_STAGE": stage,
        "PIPELINE_ATTEMPT": str(attempt),
        "PIPELINE_KEY": key,
        "PIPELINE_PARAMS": _json(params),
        "PIPELINE_INPUTS": _json({name: list(paths) for name, paths in inputs.items()}),
        "PIPELINE_OUTPUTS": _json(outputs),
        "PIPELINE_PROGRESS": progress,
        "PIPELINE_OFFLINE": offline,
    }
    found |= {f"PIPELINE_INPUT_{variable_name(name)}": "\n".join(paths) for name, paths in inputs.items()}
    found |= {f"PIPELINE_OUTPUT_{variable_name(name)}": path for name, path in outputs.items()}
    hints = {"PIPELINE_CPUS": cpus, "PIPELINE_MEMORY_MIB": memory_mib, "PIPELINE_IO_CONCURRENCY": io_concurrency}
    found |= {name: f"{value:.12g}" for name, value in hints.items() if value is not None}
    return {"PIPELINE_STAGE_FILE": stage_file} | _within_limits(found, LARGEST_TOGETHER - _size(stage_file) - 32)


def _within_limits(variables: dict[str, str], room: int) -> dict[str, str]:
    """Leave out each value over 64 KiB, then the largest until all fit into `room` bytes with their names."""
    if _most_bytes(variables) <= min(room, LARGEST_VALUE):
        return variables
    kept = {name: value for name, value in variables.items() if _size(value) <= LARGEST_VALUE}
    total = sum(_size(value) + len(name) + 2 for name, value in kept.items())
    for name in sorted(kept, key=lambda name: (-_size(kept[name]), name)):
        if total <= room:
            break
        total -= _size(kept.pop(name)) + len(name) + 2
    return kept


def _most_bytes(variables: Mapping[str, str]) -> int:
    """What these can take at most, without encoding any: nearly always so little that no limit is near."""
    return WIDEST * (sum(map(len, variables)) + sum(map(len, variables.values()))) + 10 * len(variables)


def _size(text: str) -> int:
    return len(os.fsencode(text))


_json = json.JSONEncoder(separators=(",", ":"), sort_keys=True).encode  # ASCII: a lone surrogate has no other form


def argument_bytes(argv: Sequence[str], env: Mapping[str, str]) -> int:
    """What the kernel counts against its limit: every string with its NUL, and a pointer for each (fs/exec.c)."""
    strings = sum(_size(word) + 9 for word in argv)
    return strings + sum(_size(name) + _size(value) + 10 for name, value in env.items())


def argument_fault(argv: Sequence[str], env: Mapping[str, str], *, arg_max: int, where: str) -> Fault | None:
    """Why this command line could not be started, before it is tried; `arg_max` is os.sysconf("SC_ARG_MAX")."""
    limit = min(arg_max, LARGEST_ARGUMENTS) - SLACK
    if WIDEST * sum(map(len, argv)) + 9 * len(argv) + _most_bytes(env) < min(limit, LARGEST_STRING):
        return None
    hint = "pass the names in a file: {list.NAME}"
    longest = max(argv, key=_size, default="")
    if _size(longest) + 1 > LARGEST_STRING:
        what = f"an argument of {_size(longest):,} bytes is over the system's {LARGEST_STRING - 1:,}"
        return Fault(where, f"{what}: {longest[:40]}...", hint)
    for name, value in env.items():
        size = _size(name) + _size(value) + 1
        if size + 1 > LARGEST_STRING:
            what = f"the variable {name} of {size:,} bytes is over the system's {LARGEST_STRING - 1:,}"
            return Fault(where, what, "put it into a file")
    size = argument_bytes(argv, env)
    if size <= limit:
        return None
    return Fault(where, f"a command line of {size:,} bytes is over the system's {limit:,}", hint)


def warm_here() -> dict[str, str]:
    """Return what interpreters heed of `stage_environment`, for stages that this process is to start.

    It is the environment of a launcher that runs Python stages by forking.
    """
    home, parent = os.environ.get("HOME"), sdk_path_here()
    return LOCALE | ({"HOME": home} if home else {}) | ({} if parent is None else {"PYTHONPATH": parent})


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
