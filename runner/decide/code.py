"""The `code` component of a stage: its processor, what its command names under root, and all that these import."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

from runner.decide.commands import processor_start, python_files_among, python_files_of_command
from runner.decide.imports import MODULE_NAME, walk_imports
from runner.decide.interpreter import running_interpreter
from runner.decide.modules import ModuleFinder
from runner.decide.sources import ParseCache
from runner.decide.unfound import how_to_find
from runner.errors import Fault, InputError, OfflineError, raise_refusal
from runner.spec.model import READY_MADE
from runner.spec.placeholders import references
from runner.values import Value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from runner.decide.commands import Start
    from runner.decide.digests import DigestCache, Signature
    from runner.decide.imports import CodeFiles
    from runner.decide.interpreter import Interpreter
    from runner.decide.targets import Banned, Bans
    from runner.plan.dependencies import Dependencies
    from runner.spec.model import Spec, Stage

SECTION = "imports"  # of the cache file


class Scan(Protocol):
    """What code is held against before it may run: which names are banned, and how that is said."""

    @property
    def rules(self) -> Bans:
        """The names that are banned."""

    def fault(self, stage: str, banned: Banned, code: CodeFiles) -> Fault:
        """Word what a stage imports that it may not."""


class StageCode(Value):
    """What a stage consists of: the key's component, the files with signature and digest, and whether it is Python.

    `standard`: modules that its Python imports as soon as it starts, the same for everybody.
    """

    component: dict[str, object]
    watched: dict[str, tuple[Signature, str]]
    is_python: bool
    standard: tuple[str, ...] = ()


class CodeReader:
    """Reads the code of stages, each time anew where a reader that `renewed` returned sees that something changed."""

    def __init__(
        self,
        spec: Spec,
        cache: DigestCache,
        declared: frozenset[str],
        parsed: ParseCache | None = None,
        interpreter: Interpreter | None = None,
        scan: Scan | None = None,
        warn: Callable[[Fault], None] | None = None,
    ) -> None:
        """`declared` are the paths of all inputs and outputs, which are no code even where a command names them.

        Without a `scan` nothing is banned. `warn` hears of each import that leads nowhere, whenever a stage is read.
        """
        self._spec = spec
        self._cache = cache
        self._declared = declared
        self._parsed = parsed or ParseCache(cache.sections.get(SECTION))
        self._interpreter = interpreter or running_interpreter()
        self._scan = scan
        self._warn = warn
        rules = scan.rules if scan else None
        self._finder = ModuleFinder(spec.root, self._interpreter, cache, self._parsed, bans=rules)
        self._sighted = self._finder.sighted
        self._read: dict[tuple[object, ...], StageCode] = {}
        self._named: dict[str, bool] = {}
        self._commands: dict[tuple[str, ...], tuple[Start, ...]] = {}
        self._arguments: dict[tuple[str, ...], tuple[Start, ...]] = {}

    def renewed(self) -> CodeReader:
        """Return a reader for another look at the disk: this one while all that it saw is as it was.

        Else one that has seen nothing yet, with what was parsed so far.
        """
        if self._cache.trust and self._sighted.stands():
            return self
        return CodeReader(
            self._spec, self._cache, self._declared, self._parsed, self._interpreter, self._scan, self._warn
        )

    def look_back(self, dependencies: Dependencies) -> None:
        """Tell every file and directory that decided what code the stages consist of."""
        for directory in self._finder.listed:
            dependencies.listed(directory)
        for path in self._sighted.paths():
            dependencies.add(path)

    @property
    def dirty(self) -> bool:
        """Whether something was parsed that the cache file does not hold."""
        return self._parsed.dirty

    def sections(self) -> dict[str, object]:
        """Return what to keep in the cache file beside the digests."""
        return {SECTION: self._parsed.dump()}

    def read(self, stage: Stage) -> StageCode:
        """Return the code of a stage, which is shared with those that start the same: not to be changed.

        Raises OfflineError for all that is banned or cannot be parsed, InputError for what cannot be read.
        """
        same = (stage.processor, stage.command, stage.args, stage.env.get("PYTHONPATH", ""))
        code = self._read.get(same)
        if code is None:
            walked = self._walked(stage)
            code = self._with_other_files(stage, walked)
            if walked is None or not walked.unfound:  # those who are told of what is not found are told for each stage
                self._read[same] = code
        return code

    def _walked(self, stage: Stage) -> CodeFiles | None:
        """Return the Python that a stage starts, None for none."""
        starts = self._starts(stage)
        if not starts:
            return None
        code = walk_imports(starts, finder=self._finder, pythonpath=stage.env.get("PYTHONPATH", ""))
        if code.faults or code.banned:
            self._refuse(stage, code)
        if code.unfound and self._warn:
            self._warn_of_unfound(stage, code, self._warn)
        return code

    def _with_other_files(self, stage: Stage, code: CodeFiles | None) -> StageCode:
        files: dict[str, str] = {}
        watched: dict[str, tuple[Signature, str]] = {}
        component: dict[str, object] = {"files": files}
        if code is not None:
            for path, sha256 in code.files.items():
                files[self._spelled(path, stage)] = sha256
                watched[path] = (code.signatures[path], sha256)
            component["packages"] = code.packages
            component["absent"] = list(code.absent)
        for path in self._other_files(stage):
            if path not in watched:
                files[self._spelled(path, stage)], watched[path] = self._digest(path)
        processor = self._spec.processor_path(stage)
        if processor and self._spec.processor_identity == "mtime" and not str(stage.processor).startswith(READY_MADE):
            # As text: nanoseconds do not fit into the integers that JSON readers agree on.
            try:
                component["mtimeNs"] = str(os.stat(processor).st_mtime_ns)
            except OSError as error:
                raise_refusal(error, processor)
                raise InputError(Fault(self._shown(processor), f"cannot read it: {error.strerror}")) from error
        return StageCode(component, watched, code is not None, code.standard if code else ())

    def _refuse(self, stage: Stage, code: CodeFiles) -> None:
        """Raise OfflineError; but what stages that come with offpipe import themselves is not held against anyone."""
        ours = self._spec.processor_path(stage) if str(stage.processor).startswith(READY_MADE) else None
        banned = [one for one in code.banned if one.path != ours]
        faults = [*code.faults, *(self._scan.fault(stage.name, one, code) for one in banned if self._scan)]
        if faults:
            raise OfflineError(*faults)

    def _warn_of_unfound(self, stage: Stage, code: CodeFiles, warn: Callable[[Fault], None]) -> None:
        for name, (path, line) in code.unfound.items():
            shown = f"{self._shown(path) if os.path.isabs(path) else path or MODULE_NAME}{f':{line}' if line else ''}"
            what = f'stage {stage.name}: the module "{name}" is found nowhere, so changes of it are not noticed'
            warn(Fault(shown, what, how_to_find(name, self._spec.root, stage.env.get("PYTHONPATH", ""))))

    def _starts(self, stage: Stage) -> tuple[Start, ...]:
        processor = self._spec.processor_path(stage)
        if processor is None:
            command = stage.command or ()
            if command not in self._commands:  # many stages often share one, with other files for its placeholders
                self._sight(command)
                self._commands[command] = python_files_of_command(command, self._spec.root)
            return self._commands[command]
        self._sighted.look(processor)
        start = processor_start(processor)
        if stage.args not in self._arguments:
            self._sight(stage.args)
            self._arguments[stage.args] = tuple(python_files_among(stage.args, self._spec.root))
        return tuple(dict.fromkeys((*((start,) if start else ()), *self._arguments[stage.args])))

    def _sight(self, words: Sequence[str]) -> None:
        for name in _names_in(words):
            self._sighted.look(os.path.normpath(os.path.join(self._spec.root, name)))

    def _other_files(self, stage: Stage) -> Iterator[str]:
        """Yield the files under root that the processor or the words of a command are, whatever they hold."""
        processor = self._spec.processor_path(stage)
        if processor:
            yield processor
        for name in _names_in(stage.command or stage.args):
            if self._is_named_file(name):
                yield os.path.normpath(os.path.join(self._spec.root, name))

    def _is_named_file(self, name: str) -> bool:
        known = self._named.get(name)
        if known is None:
            root = self._spec.root.rstrip("/")
            path = os.path.normpath(os.path.join(root, name))
            known = path.startswith(f"{root}/") and "\0" not in name and os.path.isfile(path)
            known = self._named[name] = known and os.path.relpath(path, root) not in self._declared
        return known

    def _digest(self, path: str) -> tuple[str, tuple[Signature, str]]:
        try:
            sha256, seen = self._cache.file(path)
        except OSError as error:
            raise_refusal(error, path)
            raise InputError(Fault(self._shown(path), f"cannot read it: {error.strerror}")) from error
        return sha256, (seen, sha256)

    def _spelled(self, path: str, stage: Stage) -> str:
        """Return how the key spells a file: so that a pipeline may be moved as a whole, or have another offpipe."""
        ready_made = str(stage.processor).startswith(READY_MADE)
        return str(stage.processor) if ready_made and path == self._spec.processor_path(stage) else self._shown(path)

    def _shown(self, path: str) -> str:
        """Return how a file is named: relative to root; by its name alone if it came with offpipe, elsewhere."""
        shown = os.path.relpath(path, self._spec.root)
        if shown.startswith("../") and path.startswith(f"{self._spec.ready_made}/"):
            return READY_MADE + path.removeprefix(f"{self._spec.ready_made}/")
        return shown


def _names_in(words: Sequence[str]) -> Iterator[str]:
    """Yield what may be names of files in the words of a command: `--rules=stages/rules.txt` holds one as well."""
    for word in words:
        if not references(word):
            yield from (name for name in (word, word.partition("=")[2]) if name)
