"""`learn` runs a command once, and makes a sealed stage from what it did."""

from __future__ import annotations

import json
import os
import stat
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from runner.engine import Options
from runner.errors import Fault, OffpipeError, OutputError, UsageError
from runner.paths import OWN_DIRECTORY, is_name, upward
from runner.plan.code.component import CodeReader, declared_paths
from runner.plan.digests import DigestCache
from runner.plan.tools import is_environment, python_of, variables
from runner.record import files
from runner.results import signal_name
from runner.sandbox.environment import stage_environment, stage_path
from runner.sandbox.programs import find_program, missing_program
from runner.sandbox.trace import trace
from runner.spec.globs import stem
from runner.spec.source import read_source
from runner.verbs.draft import Command, script_of, text_of, with_stage
from runner.verbs.learned import Evidence, list_entries
from runner.verbs.query import validate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from runner.spec.model import Spec, Stage
    from runner.verbs.draft import Draft

    Relay = Callable[[bytes], object]

_NOTHING_MADE = (
    "remove its outputs if they were up to date, or let a shell write what it prints: "
    "offpipe learn -- sh -c 'sort words.txt > sorted.txt'"
)


class Target(NamedTuple):
    """The spec that gets the stage. Unless it `is_kept`, it is in no file, and serves to check the stage."""

    path: str
    content: bytes
    is_kept: bool

    @classmethod
    def at(cls, path: str) -> Target:
        """Return the spec in a file. If there is none, it has no stages and the name of the file."""
        return cls(path, read_source(path) if os.path.lexists(path) else _no_stages(name=stem(path)), is_kept=True)

    def load(self, stage: Draft) -> Spec:
        """Return the spec with one more stage. Raises SpecError."""
        content = with_stage(self.content, stage)
        return Options().load(self.path, content=content)._replace(content=content)


class Learned(NamedTuple):
    """A stage, and what it cannot say."""

    target: Target
    stage: Draft
    notes: list[Fault]

    @property
    def text(self) -> str:
        """The stage as text."""
        return text_of(self.stage)

    def keep(self) -> None:
        """Check the stage in its spec as `validate` does, and add it to the file. Raises what `validate` raises."""
        path = self.target.path
        target = Target.at(path) if self.target.is_kept else self.target
        validate(path, Options(), spec=target.load(self.stage))
        if target.is_kept:
            real = os.path.realpath(path)
            mode = stat.S_IMODE(os.stat(real).st_mode) if os.path.exists(real) else None
            content = with_stage(target.content, self.stage)
            files.replace(real, content, temporary=f"{real}.{os.getpid()}.tmp", mode=mode)


def learn(
    words: Sequence[str], name: str | None, into: str | None, starting: Callable[[], object], relay: Relay
) -> Learned:
    """Run a command in the working directory, which is root, and return the stage that it makes.

    `starting` is called before it runs, and `relay` gets what it prints. Raises UsageError, SpecError or InputError
    before it runs anything, OutputError if the command fails or makes no file, OfflineError below level `kernel`.
    """
    root = os.getcwd()
    checked = Target(f"{root}/learn.json", _no_stages(name="learn", stateDir=f"learn-{os.getpid()}"), is_kept=False)
    target = Target.at(into) if into else checked
    name = name or stem(script_of(words, root) or words[0])
    spec = _spec_before(target, root, name, words)
    prior = next(stage for stage in spec.stages if stage.name == name)
    tools = spec.tools_of(prior)
    program = _program(words[0], _variables(prior, tools)["PATH"], root)
    own = os.path.dirname(os.path.dirname(program))
    needs_more = is_environment(own) and own not in {*tools, sys.prefix}
    tools = (own, *tools) if needs_more else tools
    env = _variables(prior, tools)
    apart = {spec.paths.state_dir, spec.paths.locks_dir, f"{root}/{OWN_DIRECTORY}", os.path.realpath("/proc/self/fd/2")}
    apart |= _prefixes(program, root) | {*tools}
    before = list_entries(root, apart)
    starting()
    traced = trace(program, words, _environment(env), relay)
    if traced.code:
        ending = f"failed with exit {traced.code}" if traced.code > 0 else f"was ended by {signal_name(-traced.code)}"
        raise OutputError(Fault(words[0], ending, "learn needs a run that succeeds; what the command wrote is there"))
    evidence = Evidence(root, traced.uses, before, list_entries(root, apart), apart)
    stage = _stage(target, name, Command(root, words, program, python_of(tools)), evidence)
    if needs_more:
        paths = [os.path.relpath(tool, root) if f"{tool}/".startswith(f"{root}/") else tool for tool in tools]
        stage["tools"] = paths if len(paths) > 1 else paths[0]
    notes = [
        Fault(program_name, f"tried to reach a network ({family}), which fails a stage", "give it its data as a file")
        for program_name, family, _, is_probe in traced.network
        if not is_probe
    ]
    return Learned(target, stage, [*notes, *evidence.notes([*stage["outputs"].values()])])


def _no_stages(**fields: str) -> bytes:
    given = json.dumps({"specVersion": 1, **fields})
    return f'{given[:-1]}, "stages": [\n]}}\n'.encode()


def _variables(stage: Stage, tools: Sequence[str]) -> dict[str, str]:
    """Return the variables that a stage with these environments of tools sets."""
    return {**variables(tools), **stage.env, "PATH": stage_path(stage.env, sys.executable, tools)}


def _program(word: str, path: str, root: str) -> str:
    """Return the absolute path of a program. Raises UsageError if there is none."""
    if program := find_program(word, path, root):
        return os.path.normpath(program)
    raise UsageError(missing_program(word, path, os.environ.get("PATH", ""), root, word))


def _spec_before(target: Target, root: str, name: str, words: Sequence[str]) -> Spec:
    """Return the spec with a stage of this name. Raises UsageError or SpecError if it cannot get what is learned."""
    if not is_name(name):
        raise UsageError(
            Fault("--name", f'"{name}" is not a name', "use letters, digits and ._-, a letter or digit first")
        )
    if target.is_kept and os.path.lexists(target.path):
        known = Options().load(target.path, content=target.content).names
        if name.lower() in map(str.lower, known):
            raise UsageError(Fault(target.path, f'has a stage "{name}"', "--name gives the new one another name"))
    spec = target.load({"name": name, "command": [*words], "outputs": [f"learn-{os.getpid()}.tmp"]})
    if os.path.realpath(spec.root) != root:
        raise UsageError(Fault(target.path, f"its stages start in {spec.root}", f"cd {spec.root}"))
    return spec


def _environment(env: dict[str, str]) -> dict[str, str]:
    """Return the environment of a stage with this `env`; only TMPDIR is that of other programs, mostly /tmp."""
    return stage_environment(
        interpreter=sys.executable,
        outer_home=os.environ.get("HOME"),
        scratch=os.path.realpath(os.environ.get("TMPDIR") or "/tmp"),
        sdk_path=None,
        spec_env=env,
        cpus=None,
        contract={},
    )


def _stage(target: Target, name: str, command: Command, evidence: Evidence) -> Draft:
    """Return the stage, without inputs that are its code. Raises OutputError without outputs."""
    root, words = command.root, command.words
    outputs = evidence.outputs({os.path.relpath(os.path.join(root, word.rpartition("=")[2]), root) for word in words})
    if not outputs:
        raise OutputError(Fault(words[0], "made no file below root, and a stage needs an output", _NOTHING_MADE))
    inputs = evidence.inputs(outputs)
    with suppress(OffpipeError):  # which `keep` reports
        spec = target.load(command.stage(name, inputs, outputs))
        stage = next(each for each in spec.stages if each.name == name)
        code = CodeReader(spec, DigestCache(), declared_paths(spec)).read(stage).watched
        inputs = [path for path in inputs if os.path.join(root, path) not in code]
    return command.stage(name, inputs, outputs)


def _prefixes(program: str, root: str) -> set[str]:
    """Return where interpreter and program are installed, which a sealed stage sees: see sandbox/contents.py.

    Of a directory that holds root, or HOME, that is only `bin`.
    """
    directories = {os.path.dirname(place) for place in (program, os.path.realpath(program))}
    prefixes = {os.path.dirname(directory) for directory in directories if os.path.basename(directory) == "bin"}
    wide = {*upward(root, "/"), os.path.realpath(os.environ.get("HOME") or "/")}
    return {f"{prefix}/bin" if prefix in wide else prefix for prefix in prefixes | {sys.prefix, sys.base_prefix}}
