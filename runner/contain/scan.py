"""The scan: which imports are held against a stage before anything is started, and how that is said.

decide finds the imports and asks the rules here for each name; the api brings the two together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.contain.banned import ALLOWED, BANNED
from runner.errors import Fault

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from runner.decide.imports import Banned, CodeFiles

_SHOWN_LINKS = 12  # of a chain of imports
_SHOWN_STAGES = 8
# Of these packages it is a module that does harm, so that is what the hint would allow, and not all of them.
_OF_MODULES = frozenset({"urllib", "http", "xmlrpc", "wsgiref", "google"})


class Rules:
    """Which names are banned. The spec is asked before the built-in list, and of each the most specific name counts."""

    def __init__(self, banned: Iterable[str] = (), allowed: Iterable[str] = ()) -> None:
        """`banned` and `allowed` are the spec's; a name that is both is banned."""
        built_in = {name: True for names in BANNED.values() for name in names}
        built_in.update(dict.fromkeys(ALLOWED, False))
        self._built_in = built_in
        self._spec = {**dict.fromkeys(allowed, False), **dict.fromkeys(banned, True)}
        self._tops = {name.partition(".")[0] for name in (*self._built_in, *self._spec)}

    def bans(self, name: str) -> bool:
        """Whether no stage may import a module of this name that comes from elsewhere."""
        if name.partition(".")[0] not in self._tops:
            return False
        by_spec = _most_specific(name, self._spec)
        return self._spec[by_spec] if by_spec else self._built_in.get(_most_specific(name, self._built_in), False)

    def is_of_use(self, allowed: str) -> bool:
        """Whether anything is banned that a name in the spec's list of allowed ones is, is above, or is below."""
        return any(f"{one}.".startswith(f"{allowed}.") or f"{allowed}.".startswith(f"{one}.") for one in self.names)

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that is banned, in the order of the lists."""
        return tuple(name for name, is_banned in (*self._built_in.items(), *self._spec.items()) if is_banned)

    def bans_local(self, name: str) -> bool:
        """Whether the spec itself bans the name; the built-in list means no module of the pipeline's own."""
        return bool(self.banned_by_spec(name))

    def banned_by_spec(self, name: str) -> str:
        """Return the name in the spec's list that bans `name`, or ""."""
        by_spec = _most_specific(name, self._spec)
        return by_spec if by_spec and self._spec[by_spec] else ""


class BannedImport(Fault):
    """What one stage imports that it may not; `place` and `statement` are the same for all stages that share a file."""

    __slots__ = ("chain", "place", "stage", "statement")

    def __init__(self, stage: str, place: str, statement: str, chain: Sequence[str], hint: str) -> None:
        self.stage = stage
        self.place = place
        self.statement = statement
        self.chain = tuple(chain)
        super().__init__(f"stage {stage} imports a banned module", _text(place, statement, self.chain), hint)

    def __reduce__(self) -> tuple[object, ...]:
        return (BannedImport, (self.stage, self.place, self.statement, self.chain, self.hint))


class Scan:
    """The rules of one spec, and the words for what breaks them."""

    def __init__(self, root: str, banned: Iterable[str] = (), allowed: Iterable[str] = ()) -> None:
        self.rules = Rules(banned, allowed)
        self._root = root.rstrip("/") + "/"

    def fault(self, stage: str, banned: Banned, code: CodeFiles) -> Fault:
        """Word what a stage imports that it may not, with the way from its start to there."""
        chain = [self._place(*link) for link in code.chain(banned.path, banned.line)]
        return BannedImport(stage, chain[-1], banned.statement, chain, self._hint(banned.names))

    def _place(self, path: str, line: int) -> str:
        shown = path.removeprefix(self._root).encode("utf-8", "backslashreplace").decode()
        return f"{shown}:{line}" if line else shown

    def _hint(self, names: Sequence[str]) -> str:
        by_spec = dict.fromkeys(filter(None, map(self.rules.banned_by_spec, names)))
        if by_spec:
            listed = ", ".join(f'"{name}"' for name in by_spec)
            return f'drop the import, or take {listed} out of "offline": {{"bannedImports": [...]}}'
        listed = ", ".join(f'"{name}"' for name in dict.fromkeys(map(_to_allow, names)))
        return f'drop the import, or allow it (and still have no network): "offline": {{"allowImports": [{listed}]}}'


def merged(faults: Iterable[Fault]) -> tuple[Fault, ...]:
    """Return the faults with one block for each banned import: of the first stage, naming others that share it."""
    stages: dict[object, list[str]] = {}
    first: dict[object, Fault] = {}
    for fault in faults:
        key: object = (fault.place, fault.statement) if isinstance(fault, BannedImport) else fault
        first.setdefault(key, fault)
        if isinstance(fault, BannedImport):
            stages.setdefault(key, []).append(fault.stage)
    return tuple(_with_others(fault, list(dict.fromkeys(stages.get(key, ())))[1:]) for key, fault in first.items())


def _with_others(fault: Fault, others: Sequence[str]) -> Fault:
    if not others:
        return fault
    listed = ", ".join(others[:_SHOWN_STAGES]) + (", ..." if len(others) > _SHOWN_STAGES else "")
    more = "does 1 more stage" if len(others) == 1 else f"do {len(others):,} more stages"
    return Fault(fault.where, f"{fault.what}\n  and so {more}: {listed}", fault.hint)


def _text(place: str, statement: str, chain: Sequence[str]) -> str:
    lines = [f"{place}: {statement}"]
    if len(chain) > 1:
        half = _SHOWN_LINKS // 2
        shown = chain if len(chain) <= _SHOWN_LINKS else (*chain[:half], "...", *chain[-half:])
        lines.append(f"  imported by {' -> '.join(shown)}")
    return "\n".join(lines)


def _to_allow(name: str) -> str:
    """Return what to allow so that `name` passes: a module where that is known, of `socket.socket` the first part."""
    top, _, rest = name.partition(".")
    return ".".join([top, *rest.split(".")[:1]]) if rest and top in _OF_MODULES else top


def _most_specific(name: str, rules: dict[str, bool]) -> str:
    """Return the longest of `rules` that is `name` or above it, or ""."""
    while name and name not in rules:
        name = name.rpartition(".")[0]
    return name
