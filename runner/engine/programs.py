"""The programs of stages, as a plan sees them: where they are, and faults of those that are missing."""

from __future__ import annotations

import os
import sys
from functools import cache
from typing import TYPE_CHECKING

from runner.errors import Fault
from runner.plan.code.commands import shebang
from runner.plan.tools import python_of
from runner.sandbox.environment import stage_path
from runner.sandbox.programs import candidates, find_program, may_be_made, missing_program
from runner.spec.kinds import show
from runner.spec.placeholders import expand, references
from runner.spec.values import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Collection

    from runner.spec.model import Spec, Stage


def find_command(spec: Spec, stage: Stage) -> tuple[str | None, list[str]]:
    """Return the program that the command of a stage starts, and all places where it may be.

    None for a program that is missing, or that is known only when the stage starts.
    """
    word, _ = _program(spec, stage)
    if word is None:
        return None, []
    path = stage_path(stage.env, sys.executable, spec.tools_of(stage))
    return find_program(word, path, spec.root), [*candidates(word, path, spec.root)]


def program_faults(spec: Spec, stages: Collection[Stage]) -> list[Fault]:
    """Return a fault for each of `stages` whose program is missing.

    A program that a stage makes, or that is an input, is checked when its stage starts.
    """
    outputs = frozenset(spec.output_path(path) for stage in spec.stages for path in stage.outputs.values())
    fault_of = cache(lambda word, path: _program_fault(word, path, spec.root, outputs))  # many stages share a program
    faults = []
    for stage in stages:
        word, field = _program(spec, stage)
        path = stage_path(stage.env, sys.executable, spec.tools_of(stage))
        if word is not None and (fault := fault_of(word, path)):
            faults.append(Fault(f"{spec.shown}#/stages/{stage.index}/{field}", fault.what, fault.hint))
    return [*dict.fromkeys(faults)]  # each once: instances share a place


def _program(spec: Spec, stage: Stage) -> tuple[str | None, str]:
    """Return a stage's program and its field in the spec; None for a Python file, and if only the start shows it."""
    processor = spec.processor_path(stage)
    if processor is not None:
        is_open = stage.is_open and UNKNOWN in processor
        return None if is_open or processor.endswith(".py") else processor, "processor"
    assert stage.command is not None
    first = stage.command[0]
    is_open = stage.is_open and any(UNKNOWN in word for word in (first, *(stage.tools or ())))
    if is_open or any(form != "params" for form, _ in references(first)):
        return None, ""
    python = python_of(spec.tools_of(stage)) or sys.executable
    return expand((first,), {"params": stage.params}, python)[0], "command/0"


def _program_fault(word: str, path: str, root: str, outputs: Collection[str]) -> Fault | None:
    program = find_program(word, path, root)
    if program is None:
        is_made = may_be_made(word, path, root, outputs)
        return None if is_made else missing_program(word, path, os.environ.get("PATH", ""), root, "")
    words = shebang(program)
    if not words or os.path.exists(os.path.join(root, words[0])):
        return None
    shown = os.path.relpath(program, root) if program.startswith(f"{root}/") else program
    is_windows = words[0].endswith("\r")
    hint = "convert its Windows line ends, as dos2unix does" if is_windows else "correct its first line (#!)"
    return Fault("", f'"{shown}" needs the interpreter {show(words[0])}, which does not exist', hint)
