"""What an attempt starts with: its stage file, its environment, its command line."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from runner.errors import Fault, InputError, SpecError
from runner.record import files
from runner.record.state import write_stage_file
from runner.sandbox.environment import DEFAULT_PATH, argument_fault, contract_variables, stage_environment
from runner.sandbox.programs import find_program, missing_program
from runner.spec.placeholders import expand, list_inputs

if TYPE_CHECKING:
    from runner.executor.job import Job, Surroundings
    from runner.spec.model import Spec, Stage

PYTHON = (sys.executable, "-B")
"""How Python stages are started: without leaving bytecode. A .pyc is told from its source by whole seconds and size,
so that one beside the user's modules could hold older code than the key says."""


class Setting:
    """Lays out what the attempts of one run start with; `inputs` are the absolute paths of a job's, by name."""

    def __init__(self, spec: Spec, run_id: str, around: Surroundings) -> None:
        self._spec = spec
        self._paths = spec.paths
        self.run_id = run_id
        self._around = around

    def environment(self, job: Job, inputs: dict[str, list[str]]) -> dict[str, str]:
        """Write the stage file, and return the whole environment of one attempt."""
        stage = job.stage
        resources = stage.resources
        stage_file = f"{job.scratch}.json"
        content = {
            "name": stage.name, "pipeline": self._spec.name, "runId": self.run_id, "attempt": job.number,
            "key": job.fingerprint.key, "params": stage.params,
            "checkpoint": {
                "everyLines": stage.checkpoint.every_lines, "everySeconds": stage.checkpoint.every_seconds,
            },
            "durability": "full" if self._around.durable else "process",
            "inputs": inputs, "outputs": job.partials,
            "realOutputs": {name: self._spec.output_path(path) for name, path in stage.outputs.items()},
            "progress": self._paths.progress(stage.name), "scratch": job.scratch,
            "resources": {
                "cpus": resources.cpus, "memoryMiB": resources.memory_mib, "ioConcurrency": resources.io_concurrency,
            },
        }  # fmt: skip
        write_stage_file(stage_file, content)
        return stage_environment(
            interpreter=sys.executable, outer_home=self._around.outer_home, scratch=job.scratch,
            sdk_path=self._around.sdk_path, spec_env=stage.env, cpus=resources.cpus,
            contract=contract_variables(stage_file, content, self._around.isolation),
        )  # fmt: skip

    def command(self, job: Job, inputs: dict[str, list[str]], environment: dict[str, str]) -> tuple[list[str], str]:
        """Return the words of the command line and the absolute path of its program; SpecError when there is none."""
        where = f"{self._spec.shown}#/stages/{job.stage.index}"
        argv = self._words(job, inputs, where)
        processor = self._spec.processor_path(job.stage)
        if processor is not None:
            argv = [*PYTHON, processor, *argv] if processor.endswith(".py") else [processor, *argv]
        elif job.stage.command and job.stage.command[0] == "{python}":
            argv[:1] = PYTHON
        path = environment.get("PATH", DEFAULT_PATH)
        program = find_program(argv[0], path, self._spec.root)
        if program is None:
            raise SpecError(missing_program(argv[0], path, self._around.outer_path, self._spec.root, where))
        fault = argument_fault(argv, environment, arg_max=os.sysconf("SC_ARG_MAX"), where=where)
        if fault is not None:
            raise SpecError(fault)
        return argv, program

    def script(self, stage: Stage) -> str | None:
        """Return the Python file that an interpreter warmed up beforehand may run for a stage, or None."""
        processor = self._spec.processor_path(stage)
        return processor if processor and processor.endswith(".py") and not stage.fresh_interpreter else None

    def _words(self, job: Job, inputs: dict[str, list[str]], where: str) -> list[str]:
        stage = job.stage
        words = list(stage.command or stage.args)
        lists = {}
        for name in list_inputs(words):
            lists[name] = f"{job.scratch}.{name}.list"
            files.create(lists[name], "".join(f"{path}\n" for path in inputs[name]).encode())
        try:
            return expand(
                words, inputs=inputs, lists=lists, outputs=job.partials, params=stage.params, python=sys.executable
            )
        except InputError as error:
            raise InputError(*(Fault(where, fault.what, fault.hint) for fault in error.faults)) from error
