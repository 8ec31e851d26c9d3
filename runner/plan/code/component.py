"""The `code` component of a stage: its processor, the files that its command names below root, and their imports."""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from runner.errors import Fault, OfflineError
from runner.plan.code.banned import BanList, BannedImport
from runner.plan.code.closure import MODULE_NAME, Closure, Closures
from runner.plan.code.commands import Start, python_files_among, python_files_of_command
from runner.plan.code.modules import running_interpreter
from runner.plan.code.sources import Sources
from runner.plan.tools import python_of
from runner.spec.model import READY_MADE, Spec, Stage
from runner.spec.placeholders import references

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from runner.plan.digests import DigestCache, FileDigest

_UNRESOLVED = (
    "install it for the interpreter that runs offpipe, or put it beside the processor, or name its directory, "
    'relative to root: "env": {"PYTHONPATH": "lib"}'
)


class StageCode(NamedTuple):
    """The code of a stage: the key's component, the digests of its files by path, and the closure of its Python."""

    component: dict[str, object]
    watched: dict[str, FileDigest]
    closure: Closure | None


def declared_paths(spec: Spec) -> frozenset[str]:
    """Return the paths of all inputs and outputs, which are not code, even if a command names them."""
    inputs = (path for stage in spec.stages for _, _, path in stage.entries())
    return frozenset((*inputs, *(path for stage in spec.stages for path in stage.outputs.values())))


class CodeReader:
    """Reads the code of stages. It reads each file once, so a later state of the disk needs a new reader."""

    def __init__(
        self,
        spec: Spec,
        digests: DigestCache,
        declared: frozenset[str],
        bans: BanList | None = None,
        warn: Callable[[Fault], None] | None = None,
    ) -> None:
        """Without `bans`, nothing is banned. `warn` gets a fault for each unresolved import of each stage."""
        self._spec = spec
        self._digests = digests
        self._declared = declared
        self._warn = warn
        self._sources = Sources(spec.root, digests)
        self.paths = self._sources.paths  # all that decided which code the stages have, present or absent
        self._bans = bans
        interpreter = running_interpreter()
        self._closures = Closures(self._sources, interpreter, bans)
        self._elsewhere = Closures(self._sources, interpreter.elsewhere(), bans)  # for a Python of `tools`
        self._read: dict[tuple[object, ...], StageCode] = {}
        self._named_file = cache(self._file_under_root)

    def read(self, stage: Stage) -> StageCode:
        """Return the code of a stage. Stages with the same command share it, so do not change it.

        Raises OfflineError for all code that is banned or cannot be parsed, InputError for a file that cannot be read.
        """
        pythonpath = stage.env.get("PYTHONPATH", "")
        prefixes = self._spec.tools_of(stage)
        self.paths.update(f"{prefix}/bin/python" for prefix in prefixes)
        is_elsewhere = python_of(prefixes) or (prefixes and stage.is_open)  # then its path may have unknown values
        closures = self._elsewhere if is_elsewhere else self._closures
        same = (stage.processor, stage.command, stage.args, pythonpath, closures)
        if same not in self._read:
            starts = self._starts(stage)
            closure = closures.of(starts, pythonpath) if starts else None
            if closure and (closure.faults or closure.banned):
                self._refuse(stage, closure)
            self._read[same] = self._stage_code(stage, closure, is_known=closures is self._closures)
        code = self._read[same]
        if "absent" in code.component and code.closure and self._warn:
            for name, place in code.closure.absent.items():
                if place:
                    self._warn(self._unresolved(stage, name, *place))
        return code

    def _starts(self, stage: Stage) -> tuple[Start, ...]:
        processor, root = self._spec.processor_path(stage), self._spec.root
        if processor is None:
            return python_files_of_command(stage.command or (), root)
        self.paths.add(processor)
        return tuple(dict.fromkeys(python_files_among((processor, *stage.args), root)))

    def _stage_code(self, stage: Stage, closure: Closure | None, *, is_known: bool) -> StageCode:
        """Return the code of a stage. If the interpreter `is_known`, so is what its imports find outside root."""
        watched = dict(closure.files) if closure else {}
        processor = self._spec.processor_path(stage)
        named = map(self._named_file, _names_in(stage.command or stage.args))
        for path in filter(None, (processor, *named)):
            if path not in watched:
                watched[path] = self._digests.program(path, self._shown(path))
        files = {self._key_name(path, stage): digest.sha256 for path, digest in watched.items()}
        component: dict[str, object] = {"files": files}
        if closure and is_known:
            component.update(packages=closure.packages, absent=sorted(closure.absent))
        if processor and self._spec.processor_identity == "mtime" and not _is_ready_made(stage):
            # A text, since nanoseconds exceed the integers that all JSON readers keep exactly.
            component["mtimeNs"] = str(watched[processor].signature.mtime)
        return StageCode(component, watched, closure)

    def _refuse(self, stage: Stage, closure: Closure) -> None:
        """Raise OfflineError, unless only a ready-made processor itself has the banned imports."""
        ours = self._spec.processor_path(stage) if _is_ready_made(stage) else None
        faults = list(closure.faults)
        for (path, line, statement), names in closure.banned.items():
            if path != ours and self._bans:
                chain = [_place(self._sources.shown(file), at) for file, at in closure.chain(path, line)]
                faults.append(BannedImport(stage.name, statement, chain, self._bans.hint(names)))
        if faults:
            raise OfflineError(*faults)

    def _unresolved(self, stage: Stage, name: str, path: str, line: int) -> Fault:
        where = _place(self._shown(path) if os.path.isabs(path) else path or MODULE_NAME, line)
        what = f'stage {stage.name}: the module "{name}" was not found, so changes to it are not noticed'
        return Fault(where, what, _UNRESOLVED)

    def _file_under_root(self, name: str) -> str:
        """Return the path of the file below root that a word names; "" for none, and for inputs and outputs."""
        root = self._spec.root.rstrip("/")
        path = os.path.normpath(os.path.join(root, name))
        self.paths.add(path)
        is_code = path.startswith(f"{root}/") and os.path.isfile(path)
        return path if is_code and os.path.relpath(path, root) not in self._declared else ""

    def _key_name(self, path: str, stage: Stage) -> str:
        """Return the name of a file in the key. It stays the same if you move the pipeline or offpipe."""
        is_ready_made = _is_ready_made(stage) and path == self._spec.processor_path(stage)
        return str(stage.processor) if is_ready_made else self._shown(path)

    def _shown(self, path: str) -> str:
        """Return the name of a file: relative to root, or `offpipe:NAME` for one of offpipe's own outside root."""
        shown = os.path.relpath(path, self._spec.root)
        if shown.startswith("../") and path.startswith(f"{self._spec.ready_made}/"):
            return READY_MADE + path.removeprefix(f"{self._spec.ready_made}/")
        return shown


def _is_ready_made(stage: Stage) -> bool:
    return str(stage.processor).startswith(READY_MADE)


def _place(shown: str, line: int) -> str:
    return f"{shown}:{line}" if line else shown


def _names_in(words: Sequence[str]) -> Iterator[str]:
    """Yield the possible file names in the words of a command, also after `=` as in `--rules=stages/rules.txt`."""
    for word in words:
        if "\0" not in word and not references(word):
            yield from (name for name in (word, word.partition("=")[2]) if name)
