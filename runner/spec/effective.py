"""The spec as one JSON value with every default applied: what the audit log keeps and a digest is taken of."""

from __future__ import annotations

import os.path
from typing import TYPE_CHECKING

from runner.results import signal_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runner.spec.model import Resources, Retry, Spec, Stage


def effective_spec(spec: Spec) -> dict[str, object]:
    """Every field that has a value, camelCase as in the file; paths relative, so that machines can be compared."""
    return _without_none(
        {
            **spec.extensions,
            "specVersion": 1,
            "name": spec.name,
            "description": spec.description or None,
            "root": os.path.relpath(spec.root, os.path.dirname(spec.path)),
            "stateDir": os.path.relpath(spec.paths.state_dir, spec.workspace),
            "locksDir": os.path.relpath(spec.paths.locks_dir, spec.workspace),
            "processorIdentity": spec.processor_identity,
            "offline": {"bannedImports": list(spec.banned_imports), "allowImports": list(spec.allow_imports)},
            "stages": [_stage(stage) for stage in spec.stages],
        }
    )


def _stage(stage: Stage) -> dict[str, object]:
    checkpoint = {"everyLines": stage.checkpoint.every_lines, "everySeconds": stage.checkpoint.every_seconds}
    return _without_none(
        {
            **stage.extensions,
            "name": stage.name,
            "description": stage.description or None,
            "processor": stage.processor,
            "args": list(stage.args) if stage.command is None else None,
            "command": None if stage.command is None else list(stage.command),
            "inputs": stage.inputs,
            "outputs": stage.outputs,
            "needs": list(stage.needs),
            "params": stage.params,
            "env": stage.env,
            "stdin": stage.stdin,
            "stdout": stage.stdout,
            "checkpoint": _without_none(checkpoint),
            "retry": _retry(stage.retry),
            "resources": _resources(stage.resources),
            "timeoutSeconds": stage.timeout_seconds,
            "retryOnTimeout": stage.retry_on_timeout,
            "freshInterpreter": stage.fresh_interpreter,
            "offline": {"onAttempt": stage.on_attempt},
        }
    )


def _retry(retry: Retry) -> dict[str, object]:
    signals = [signal_name(number) for number in sorted(retry.retry_signals)]
    return _without_none(
        {
            "attempts": retry.attempts,
            "delaySeconds": list(retry.delays) if isinstance(retry.delays, tuple) else retry.delays,
            "multiplier": retry.multiplier,
            "maxDelaySeconds": retry.max_delay_seconds,
            "jitter": retry.jitter,
            "retryExitCodes": [*sorted(retry.retry_exit_codes), *signals],
            "maxTotalSeconds": retry.max_total_seconds,
        }
    )


def _resources(resources: Resources) -> dict[str, object]:
    return _without_none(
        {
            "cpus": resources.cpus,
            "memoryMiB": resources.memory_mib,
            "ioConcurrency": resources.io_concurrency,
            "enforce": resources.enforce,
        }
    )


def _without_none(fields: Mapping[str, object]) -> dict[str, object]:
    """Leave out what was neither given nor has a default."""
    return {name: value for name, value in fields.items() if value is not None}
