"""Which stages could not even be started, because their program is not there."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from runner.errors import Fault
from runner.sandbox.programs import find_program, interpreter_of, may_be_made, missing_program, stage_path
from runner.spec.placeholders import expand, references

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from runner.spec.model import Spec, Stage


def program_faults(spec: Spec, stages: Iterable[Stage], outer_path: str) -> list[Fault]:
    """Return a fault for each of `stages` whose program is not there; `outer_path` is the PATH of whoever asks.

    A program that a stage makes, or that is an input, is for its start to judge.
    """
    outputs = frozenset(spec.output_path(path) for stage in spec.stages for path in stage.outputs.values())
    found: dict[tuple[str, str], Fault | None] = {}
    faults = []
    for stage in stages:
        word, step = _program(spec, stage)
        if word is None:
            continue
        key = (word, stage_path(stage.env, sys.executable))
        if key not in found:  # many stages share a program
            found[key] = _fault(*key, spec.root, outputs, outer_path)
        if fault := found[key]:
            where = f"{spec.shown}#/stages/{stage.index}/{step}"
            faults.append(Fault(where, fault.what, fault.hint))
    return faults


def _program(spec: Spec, stage: Stage) -> tuple[str | None, str]:
    """Return the program's word, None where only its start will tell, and the field that says it."""
    processor = spec.processor_path(stage)
    if processor is not None:
        return (None if processor.endswith(".py") else processor), "processor"
    assert stage.command is not None
    first = stage.command[0]
    if any(form != "params" for form, _ in references(first)):
        return None, ""
    word = expand((first,), inputs={}, lists={}, outputs={}, params=stage.params, python=sys.executable)[0]
    return word, "command/0"


def _fault(word: str, path: str, root: str, outputs: Collection[str], outer_path: str) -> Fault | None:
    program = find_program(word, path, root)
    if program is None:
        return None if may_be_made(word, path, root, outputs) else missing_program(word, path, outer_path, root, "")
    interpreter = interpreter_of(program)
    if interpreter is None or os.path.exists(os.path.join(root, interpreter)):
        return None
    shown = os.path.relpath(program, root) if program.startswith(f"{root}/") else program
    return Fault("", f'"{shown}" is to be run by "{interpreter}", which is not there', "mend its first line (#!)")
