"""Why a stage runs, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.decide.plan import AGAIN, MODIFIED
from runner.display.words import as_json, is_digest, printable, time_text, value_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    Reason = Sequence[object]  # component, what, old, new: of a plan, or as a marker keeps it

_SHOWN = 3
_FIXED = {"marker", "forced", AGAIN}
_FILES = {"inputs": "input ", "code": "code "}


def reason_text(reason: Reason, *, full: bool) -> str:
    """Return one difference: `params.mode: fast -> slow`, `code stages/helper.py: 3f2a91bc.. -> 88bc01d2..`."""
    component, what, old, new = (*reason, None, None)[:4]
    where = printable(str(what))
    if component in _FIXED:
        return where
    if component == "outputs" and is_digest(old):
        if new is None:
            return f"output {where}: missing, or of another kind"
        if not is_digest(new):
            return f"output {where}: {printable(str(new))}"
        return f"output {where}: changed on disk, {change(old, new, full=full)}"
    if component in _FILES:
        path = where.partition(": ")[2] if component == "inputs" else where
        if old is None or new is None:
            return f"{_FILES[str(component)]}{path}: {'new' if old is None else 'gone'}"
        if path == MODIFIED and component == "code":
            old, new = time_text(old), time_text(new)
        return f"{_FILES[str(component)]}{path}: {change(old, new, full=full)}"
    if component == "key":
        return f"key {where}: {change(old, new, full=full)}"
    return (
        f"{component}.{where}: {change(old, new, full=full)}" if what else f"{component}: {change(old, new, full=full)}"
    )


def change(old: object, new: object, *, full: bool) -> str:
    """Return `old -> new`, spelled so that the two differ."""
    before, after = value_text(old, full=full), value_text(new, full=full)
    if before == after:
        before, after = value_text(old, full=True), value_text(new, full=True)
    if before == after:  # 1 and "1"
        before, after = as_json(old), as_json(new)
    return f"{before} -> {after}"


def reasons_line(reasons: Sequence[Reason], *, full: bool) -> str:
    """Return several reasons on one line; not `full`: the first three, and how many more."""
    shown = reasons if full else reasons[:_SHOWN]
    texts = [reason_text(reason, full=False) for reason in shown]
    if len(reasons) > len(shown):
        texts.append(f"and {len(reasons) - len(shown)} more")
    return "; ".join(texts)
