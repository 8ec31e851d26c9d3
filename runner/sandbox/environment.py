"""The environment of a stage's program.

Of the runner's own environment, a stage gets only the values that are arguments here.
"""

from __future__ import annotations

import json
import math
import os
from typing import TYPE_CHECKING, Any

from runner.paths import variable_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

LOCALE = {"LANG": "C.UTF-8", "TZ": "UTC"}
DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"
LARGEST_VALUE = 64 * 1024
LARGEST_TOGETHER = 512 * 1024
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def stage_path(env: Mapping[str, str], interpreter: str, tools: Iterable[str] = ()) -> str:
    """Return the PATH of a stage with this `env` and these environments; `interpreter` runs Python stages."""
    path = env.get("PATH", f"{os.path.dirname(interpreter)}:{DEFAULT_PATH}")
    return ":".join([*(f"{prefix}/bin" for prefix in tools), path])


def interpreter_environment(outer_home: str | None, sdk_path: str | None) -> dict[str, str]:
    """Return the variables of `stage_environment` that an interpreter reads at its start, if the spec sets none."""
    home, path = {"HOME": outer_home}, {"PYTHONPATH": sdk_path}
    return LOCALE | {name: value for name, value in (home | path).items() if value}


def stage_environment(
    *,
    interpreter: str,
    outer_home: str | None,
    scratch: str,
    sdk_path: str | None,
    spec_env: Mapping[str, str],
    cpus: float | None,
    contract: Mapping[str, str],
) -> dict[str, str]:
    """Return the whole environment of one attempt; `contract` comes from `contract_variables`.

    `sdk_path` on PYTHONPATH lets Python import `runner.sdk`. The spec's `env` overrides everything but the contract; a
    PYTHONPATH in it comes before ours.
    """
    environment = {"PATH": stage_path(spec_env, interpreter)} | interpreter_environment(outer_home or scratch, sdk_path)
    if cpus is not None:
        environment |= dict.fromkeys(THREAD_VARIABLES, str(max(1, math.ceil(cpus))))
    environment |= {"TMPDIR": scratch, **spec_env}
    if sdk_path is not None:
        given = spec_env.get("PYTHONPATH")
        environment["PYTHONPATH"] = f"{given}:{sdk_path}" if given else sdk_path
    return {**environment, **contract}


def contract_variables(stage_file: str, content: Mapping[str, Any], offline: str) -> dict[str, str]:
    """Return the `PIPELINE_*` variables of an attempt, from the content of its stage file.

    Leaves out variables that would be too large; the stage file holds everything.
    """
    inputs, outputs, resources = content["inputs"], content["outputs"], content["resources"]
    variables = {
        "NAME": content["pipeline"],
        "RUN_ID": content["runId"],
        "STAGE": content["name"],
        "ATTEMPT": str(content["attempt"]),
        "KEY": content["key"],
        "PARAMS": _json(content["params"]),
        "INPUTS": _json(inputs),
        "OUTPUTS": _json(outputs),
        "PROGRESS": content["progress"],
        "OFFLINE": offline,
    }
    variables |= {f"INPUT_{variable_name(name)}": "\n".join(paths) for name, paths in inputs.items()}
    variables |= {f"OUTPUT_{variable_name(name)}": path for name, path in outputs.items()}
    hints = {"CPUS": "cpus", "MEMORY_MIB": "memoryMiB", "IO_CONCURRENCY": "ioConcurrency"}
    variables |= {name: f"{hint:.12g}" for name, field in hints.items() if (hint := resources[field]) is not None}
    named = {f"PIPELINE_{name}": value for name, value in variables.items()}
    return {"PIPELINE_STAGE_FILE": stage_file} | _within_limits(named, LARGEST_TOGETHER - _size(stage_file) - 32)


def _within_limits(variables: dict[str, str], room: int) -> dict[str, str]:
    """Leave out each value over 64 KiB, then the largest ones until the rest fits into `room` bytes, names included."""
    kept = {name: value for name, value in variables.items() if _size(value) <= LARGEST_VALUE}
    total = sum(_size(value) + len(name) + 2 for name, value in kept.items())
    while total > room:
        largest = min(kept, key=lambda name: (-_size(kept[name]), name))
        total -= _size(kept.pop(largest)) + len(largest) + 2
    return kept


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(os.fsencode(text))


# In ASCII, because UTF-8 cannot encode a lone surrogate.
_json = json.JSONEncoder(separators=(",", ":"), sort_keys=True).encode
