"""The launch of an attempt: its stage file, environment, command line and program."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from runner.canonical import VERSION, canonical
from runner.errors import Fault, SpecError
from runner.executor.views import seen_inputs, seen_place, seen_progress, view_steps
from runner.plan.tools import SDK_NEEDS, python_of, sdk_path_for, too_old_version, variables
from runner.record import files
from runner.sandbox.contents import TEMPORARY
from runner.sandbox.environment import DEFAULT_PATH, contract_variables, stage_environment, stage_path
from runner.sandbox.launcher import Launch
from runner.sandbox.programs import find_program, missing_program
from runner.spec.placeholders import expand, list_inputs, references, relative_path

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runner.executor.job import Job, RunContext
    from runner.spec.model import Spec, Stage

    Inputs = dict[str, list[str]]  # absolute paths, by name

VERSION_LIMIT = 10.0  # seconds for a `programVersion`
VERSION_FILE_SIZE = 1 << 24  # bytes: one that prints without end must not fill the disk


def make_launch(run: RunContext, job: Job, number: int) -> Launch:
    """Write the stage file and the lists of the prepared attempt `job`, and return its launch, which has this `number`.

    Raises SpecError for a missing program.
    """
    stage, spec = job.stage, run.spec
    inputs = {name: [file.absolute for file in listed] for name, listed in job.fingerprint.inputs.items()}
    outputs = job.partials
    if job.view:  # its paths are those in the view
        inputs, outputs = seen_inputs(spec, job), {name: f"{spec.root}/{path}" for name, path in job.view.seen.items()}
    environment = _environment(run, job, inputs, outputs)
    argv = _command(spec, job, inputs, outputs)
    program = _program(spec, argv, environment, f"{spec.shown}#/stages/{stage.index}")
    _warn_of_old(run, stage, program)
    watched = dict(job.fingerprint.watched)
    keyed = watched.pop(program, None) if job.fingerprint.components.get("program") else None
    reads = (*watched, *job.fingerprint.trees, f"{job.scratch}.json", *lists_of(job))
    writes = (*job.written_to.values(), job.reports_to, job.log)
    own = (f"{job.scratch}.json", *lists_of(job))
    return Launch(
        number,
        argv,
        environment,
        spec.root,
        inputs[stage.stdin][0] if stage.stdin else None,
        job.written_to[stage.stdout] if stage.stdout else None,
        job.log,
        timeout=job.needs.timeout,
        program=program,
        affinity=job.limits.affinity,
        address_space=job.limits.address_space,
        script=spec.processor_path(stage) if stage.may_fork else None,
        preload=tuple(job.fingerprint.standard),
        cpus=job.needs.cpus,
        memory_mib=job.needs.memory_mib,
        ends_on_network=stage.on_attempt == "fail",
        reads=reads if run.is_remote else (),
        writes=writes if run.is_remote else (),
        program_sha256=keyed.sha256 if keyed else None,
        view=view_steps(spec, job, program, environment, own, run.shown),
    )


def version_launch(run: RunContext, stage: Stage, words: tuple[str, ...], number: int) -> Launch:
    """Return the launch that asks a program for its version, as the stage starts it. It prints to the log.

    Raises SpecError for a missing program.
    """
    python = _python(run.spec, stage)
    argv, scratch = expand(words, {}, python[0]), f"{run.spec.paths.run_temporary(run.log.run)}/version{number}"
    if words[0] == "{python}":
        argv[:1] = python
    environment = _environment_of(run.spec, stage, scratch)
    program = _program(run.spec, argv, environment, f"stage {stage.name}, programVersion")
    files.make_directories(scratch)
    files.create(log := f"{scratch}.log")
    return Launch(
        number,
        argv,
        environment,
        run.spec.root,
        stdin=None,
        stdout=None,
        log=log,
        timeout=VERSION_LIMIT,
        grace=0.0,
        file_size=VERSION_FILE_SIZE,
        program=program,
        writes=(log,) if run.is_remote else (),
    )


def lists_of(job: Job) -> list[str]:
    """Return the paths of the files of an attempt's `{list.NAME}`."""
    return [f"{job.scratch}.{name}.list" for name in list_inputs(job.stage.command or job.stage.args)]


def _environment(run: RunContext, job: Job, inputs: Inputs, outputs: Mapping[str, str]) -> dict[str, str]:
    """Write the stage file, and return the whole environment of the attempt."""
    stage, needs, checkpoint = job.stage, job.needs, job.stage.checkpoint
    stage_file = f"{job.scratch}.json"
    content = {
        "name": stage.name,
        "pipeline": run.spec.name,
        "runId": run.log.run,
        "attempt": job.number,
        "key": job.fingerprint.key,
        "params": stage.params,
        "checkpoint": {"everyLines": checkpoint.every_lines, "everySeconds": checkpoint.every_seconds},
        "durability": "full" if run.durable else "process",
        "inputs": inputs,
        "outputs": outputs,
        "realOutputs": outputs if job.view else job.real,
        "progress": seen_progress(run.spec, job),
        "scratch": seen_place(run.spec, job, job.scratch),
        "resources": {
            "cpus": needs.cpus,
            "memoryMiB": needs.memory_mib,
            "ioConcurrency": stage.resources.io_concurrency,
        },
    }
    files.create(stage_file, canonical({"v": VERSION, **content}))
    contract = contract_variables(seen_place(run.spec, job, stage_file), content, run.level)
    return _environment_of(run.spec, stage, TEMPORARY if job.view else job.scratch, needs.cpus, contract)


def _environment_of(
    spec: Spec, stage: Stage, scratch: str, cpus: float | None = None, contract: Mapping[str, str] = {}
) -> dict[str, str]:
    """Return the environment of a program that is started for a stage, see `stage_environment`."""
    tools = spec.tools_of(stage)
    path = {"PATH": stage_path(stage.env, sys.executable, tools)} if tools else {}
    return stage_environment(
        interpreter=sys.executable,
        outer_home=os.environ.get("HOME"),
        scratch=scratch,
        sdk_path=sdk_path_for(tools),
        spec_env={**variables(tools), **stage.env, **path},
        cpus=cpus,
        contract=contract,
    )


def _command(spec: Spec, job: Job, inputs: Inputs, outputs: Mapping[str, str]) -> list[str]:
    """Return the command line, after writing the files of its `{list.NAME}`. Paths in both are relative to root."""
    stage, root, lists = job.stage, spec.root, {}
    words = list(stage.command or stage.args)
    relative = {name: [relative_path(path, root) for path in paths] for name, paths in inputs.items()}
    for name in list_inputs(words):
        path = f"{job.scratch}.{name}.list"
        files.create(path, "".join(f"{file}\n" for file in relative[name]).encode())
        lists[name] = relative_path(seen_place(spec, job, path), root)
    written = {name: relative_path(path, root) for name, path in outputs.items()}
    values: dict[str, Mapping[str, Any]] = {
        "inputs": relative,
        "list": lists,
        "outputs": written,
        "params": stage.params,
    }
    python = _python(spec, stage)
    argv = expand(words, values, python[0])
    processor = spec.processor_path(stage)
    if processor is not None:
        return [*python, processor, *argv] if processor.endswith(".py") else [processor, *argv]
    if words[0] == "{python}":
        argv[:1] = python
    elif "/" not in argv[0] and any(form == "inputs" for form, _ in references(words[0])):
        argv[0] = f"./{argv[0]}"  # else it would be looked for on the PATH
    return argv


def _python(spec: Spec, stage: Stage) -> tuple[str, str]:
    """Return the words that start Python for a stage: that of its tools if they have one.

    Python stages leave no bytecode. Python checks a .pyc by its source's size and mtime in whole seconds, so one beside
    the user's modules could hold older code than the key says.
    """
    return python_of(spec.tools_of(stage)) or sys.executable, "-B"


def _warn_of_old(run: RunContext, stage: Stage, program: str) -> None:
    """Warn if the program is a Python of the stage's tools that cannot import the SDK."""
    if program == python_of(run.spec.tools_of(stage)) and (version := too_old_version(program)):
        newer = "{}.{}".format(*SDK_NEEDS)
        what = f"Python {version} of {program} runs without runner.sdk, which needs {newer}"
        run.warn(Fault(f"stage {stage.name}", what))


def _program(spec: Spec, argv: list[str], environment: dict[str, str], where: str) -> str:
    """Return the absolute path of the program. Raises SpecError, with a fault that begins with `where`, without one."""
    path = environment.get("PATH", DEFAULT_PATH)
    program = find_program(argv[0], path, spec.root)
    if program is None:
        raise SpecError(missing_program(argv[0], path, os.environ.get("PATH", ""), spec.root, where))
    return program
