"""The conditions of a template: `where`, which of its values count, and `if`, whether it has instances at all."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from runner.spec.kinds import Finding, Place, did_you_mean, show
from runner.spec.values import spelled

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from runner.spec.values import Inserter, Json, Values

MOST_COMPARED = 10_000  # pairs of a text and a value: a hint takes microseconds for each, at every load


class Where:
    """The conditions of a `where`, all of which must hold. Notes the values that it was given."""

    def __init__(self, inserter: Inserter, at: Place, given: Json) -> None:
        """`at`: the place of the `where` in the spec."""
        self._at = at
        filled = inserter.insert(at, given, {}, "params")
        self._conditions = {name: _condition(value) for name, value in filled.items()}  # texts, and whether they count
        self._met: dict[str, set[str]] = defaultdict(set)

    def keeps(self, values: Values) -> bool:
        """Whether values by name count. A name that has no value here has no condition here."""
        kept = True
        for name, (texts, counts) in self._conditions.items():
            if name in values:
                text = spelled(values[name])
                self._met[name].add(text)
                kept = kept and (text in texts) == counts
        return kept

    def emptied(self) -> Finding:
        """Return the finding that it leaves nothing."""
        return Finding(self._at, '"where" leaves no values', '"mayBeEmpty": true allows that')

    def unknown(self, names: Collection[str] | None) -> Iterator[Finding]:
        """Yield a finding for each condition of a name that is not among `names` (None: they are not known)."""
        for name in self._conditions if names is not None else ():
            if name not in (names or ()):
                hint = did_you_mean(name, names or ()) or 'name a value of "each"'
                yield Finding((*self._at, name), f"no value named {show(name)}", hint)

    def unmet(self) -> Iterator[Finding]:
        """Yield a warning for each text that no value has; not for the empty one, since cells may all be filled."""
        for name, (texts, _) in self._conditions.items():
            met = self._met[name]
            known = sorted(met) if len(texts) * len(met) <= MOST_COMPARED else ()
            for text in texts if met else ():
                if text and text not in met:
                    yield Finding((*self._at, name), f"no {name} is {show(text)}", did_you_mean(text, known))


def _condition(given: Any) -> tuple[dict[str, None], bool]:  # noqa: ANN401 - JSON
    counts = not isinstance(given, dict)
    texts = given if counts else given["not"]
    return dict.fromkeys(map(spelled, texts if isinstance(texts, list) else [texts])), counts


def is_off(inserter: Inserter, at: Place, stage: Json) -> bool:
    """Whether the `if` of a stage leaves it without instances: the var is false, 0 or empty."""
    given = stage.get("if")
    if given is None:
        return False
    is_negated = isinstance(given, dict)
    place, text = ((*at, "if", "not"), given["not"]) if is_negated else ((*at, "if"), given)
    return bool(inserter.insert(place, text, {}, "params")) == is_negated
