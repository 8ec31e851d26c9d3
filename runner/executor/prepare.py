"""Prepares an attempt: its number, log, scratch directory, stage file, environment and command line."""

from __future__ import annotations

import os
import stat
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from runner.canonical import VERSION, canonical
from runner.errors import InputError, SpecError
from runner.executor.schedule import enforced
from runner.paths import partial_path, partial_tag, stdout_path
from runner.plan.code.modules import sdk_path
from runner.record import files
from runner.sandbox.environment import DEFAULT_PATH, contract_variables, stage_environment
from runner.sandbox.launcher import Launch
from runner.sandbox.programs import find_program, missing_program
from runner.spec.placeholders import expand, list_inputs, references, relative_path

if TYPE_CHECKING:
    from runner.executor.job import Job, RunContext

    Inputs = dict[str, list[str]]  # absolute paths, by name

# Python stages leave no bytecode. Python checks a .pyc by its source's size and mtime in whole seconds, so one beside
# the user's modules could hold older code than the key says.
PYTHON = (sys.executable, "-B")


class Preparer:
    """Prepares the attempts of one run. Their numbers go on from those before the run was resumed."""

    def __init__(self, run: RunContext) -> None:
        self._spec = run.spec
        self._run = run
        self._scratch = ScratchPool(run.spec.paths.run_temporary(run.log.run))
        self._numbers = dict(run.earlier)
        self._launched = 0

    def prepare(self, job: Job) -> Launch:
        """Lay out the next attempt. Raises SpecError for a missing program."""
        stage, run, before = job.stage, self._run.log.run, self._numbers.get(job.stage.name, 0)
        job.network.clear()
        job.shortage = None
        job.number = self._numbers[stage.name] = before + 1
        job.tag = partial_tag(run, job.fingerprint.key, job.number)
        job.reports_to = self._spec.paths.progress(stage.name, job.tag if self._run.is_remote else "")
        job.log = self._spec.paths.log(run, stage.name, job.number)
        job.before = job.signatures()
        for path in (*job.real.values(), job.log):
            files.make_directories(os.path.dirname(path))
        if before:
            files.discard(stdout_path(self._spec.paths.log(run, stage.name, before)))
        job.scratch = self._scratch.take()
        files.create(job.log)
        job.partials = {name: partial_path(path, job.tag) for name, path in job.real.items()}
        inputs = {name: [file.absolute for file in listed] for name, listed in job.fingerprint.inputs.items()}
        environment = self._environment(job, inputs)
        argv = self._command(job, inputs)
        job.program = self._program(job, argv, environment)
        with suppress(OSError, InputError):  # a program may be executable and not readable
            job.program_sha256 = self._run.cache.file(job.program).sha256
        self._launched += 1
        job.limits = enforced(stage.resources, self._launched)
        processor = self._spec.processor_path(stage)
        forks = processor is not None and processor.endswith(".py") and not stage.fresh_interpreter
        watched = dict(job.fingerprint.watched)
        keyed = watched.pop(job.program, None) if job.fingerprint.components.get("program") else None
        reads = (*watched, *job.fingerprint.trees, f"{job.scratch}.json", *_lists(job))
        writes = (*job.partials.values(), job.reports_to, job.log)
        return Launch(
            self._launched, argv, environment, self._spec.root,
            inputs[stage.stdin][0] if stage.stdin else None, job.partials[stage.stdout] if stage.stdout else None,
            job.log, timeout=stage.timeout_seconds, program=job.program, affinity=job.limits.affinity,
            address_space=job.limits.address_space, script=processor if forks else None,
            preload=tuple(job.fingerprint.standard), cpus=stage.resources.cpus, memory_mib=stage.resources.memory_mib,
            ends_on_network=stage.on_attempt == "fail",
            reads=reads if self._run.is_remote else (), writes=writes if self._run.is_remote else (),
            program_sha256=keyed.sha256 if keyed else None,
        )  # fmt: skip

    def give_back_scratch(self, job: Job) -> None:
        """Give back the scratch directory of an attempt that has ended, or will not start."""
        self._scratch.give_back(job.scratch, lists=_lists(job))

    def _environment(self, job: Job, inputs: Inputs) -> dict[str, str]:
        """Write the stage file, and return the whole environment of the attempt."""
        stage, resources, checkpoint = job.stage, job.stage.resources, job.stage.checkpoint
        stage_file = f"{job.scratch}.json"
        content = {
            "name": stage.name, "pipeline": self._spec.name, "runId": self._run.log.run, "attempt": job.number,
            "key": job.fingerprint.key, "params": stage.params,
            "checkpoint": {"everyLines": checkpoint.every_lines, "everySeconds": checkpoint.every_seconds},
            "durability": "full" if self._run.durable else "process",
            "inputs": inputs, "outputs": job.partials, "realOutputs": job.real,
            "progress": job.reports_to, "scratch": job.scratch,
            "resources": {
                "cpus": resources.cpus, "memoryMiB": resources.memory_mib, "ioConcurrency": resources.io_concurrency,
            },
        }  # fmt: skip
        files.create(stage_file, canonical({"v": VERSION, **content}))
        return stage_environment(
            interpreter=sys.executable, outer_home=os.environ.get("HOME"), scratch=job.scratch,
            sdk_path=sdk_path(), spec_env=stage.env, cpus=resources.cpus,
            contract=contract_variables(stage_file, content, self._run.level),
        )  # fmt: skip

    def _command(self, job: Job, inputs: Inputs) -> list[str]:
        """Return the command line, after writing the files of its `{list.NAME}`. Paths in both are relative to root."""
        stage, root, lists = job.stage, self._spec.root, {}
        words = list(stage.command or stage.args)
        relative = {name: [relative_path(path, root) for path in paths] for name, paths in inputs.items()}
        for name in list_inputs(words):
            path = f"{job.scratch}.{name}.list"
            files.create(path, "".join(f"{file}\n" for file in relative[name]).encode())
            lists[name] = relative_path(path, root)
        outputs = {name: relative_path(path, root) for name, path in job.partials.items()}
        argv = expand(words, {"inputs": relative, "list": lists, "outputs": outputs, "params": stage.params})
        processor = self._spec.processor_path(stage)
        if processor is not None:
            return [*PYTHON, processor, *argv] if processor.endswith(".py") else [processor, *argv]
        if words[0] == "{python}":
            return [*PYTHON, *argv[1:]]
        if "/" not in argv[0] and any(form == "inputs" for form, _ in references(words[0])):
            argv[0] = f"./{argv[0]}"  # else it would be looked for on the PATH
        return argv

    def _program(self, job: Job, argv: list[str], environment: dict[str, str]) -> str:
        """Return the absolute path of the program. Raises SpecError for a missing one."""
        path, where = environment.get("PATH", DEFAULT_PATH), f"{self._spec.shown}#/stages/{job.stage.index}"
        program = find_program(argv[0], path, self._spec.root)
        if program is None:
            raise SpecError(missing_program(argv[0], path, os.environ.get("PATH", ""), self._spec.root, where))
        return program


def _lists(job: Job) -> list[str]:
    """Return the paths of the files of an attempt's `{list.NAME}`."""
    return [f"{job.scratch}.{name}.list" for name in list_inputs(job.stage.command or job.stage.args)]


class ScratchPool:
    """Hands out empty directories. A directory that an attempt left empty serves another attempt.

    On ext4, recent deletions slow down every creation. Thousands of short stages would each delete a directory and a
    file: that took half of the runner's time.
    """

    def __init__(self, directory: str) -> None:
        """`directory` is where they are made, numbered from 1."""
        self._directory = directory
        self._made = 0
        self._empty: list[str] = []

    def take(self) -> str:
        """Return the path of an empty directory for one attempt; the stage file goes to `<path>.json`."""
        while self._empty:
            if _is_empty(path := self._empty.pop()):
                return path
            files.discard(path)
        self._made += 1
        path = f"{self._directory}/{self._made}"
        files.make_directories(path)
        return path

    def give_back(self, path: str, *, lists: list[str]) -> None:
        """Take back the directory of an attempt that ended; `lists` are the files of `{list.NAME}` beside it."""
        for name in (f"{path}.progress", *lists):
            files.discard(name)
        if _is_empty(path):
            self._empty.append(path)
        else:
            files.discard(path)


def _is_empty(path: str) -> bool:
    """Whether this is an empty directory that a stage can use."""
    try:
        mode = os.lstat(path).st_mode
        return stat.S_ISDIR(mode) and mode & 0o700 == 0o700 and not os.listdir(path)
    except OSError:
        return False
