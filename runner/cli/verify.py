"""What `verify` prints, for people and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.display.words import counted, printable
from runner.errors import EXIT_DAMAGED, EXIT_INVALID, EXIT_OK, EXIT_PENDING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runner.api.verifying import Verified

_WORDS = {EXIT_OK: "intact", EXIT_INVALID: "unchecked", EXIT_PENDING: "incomplete", EXIT_DAMAGED: "damaged"}


def verified_lines(found: Verified) -> Iterator[str]:
    """Yield a line for each damage, `FILE:LINE: FIELD: WHAT`, then what is incomplete, then a summary."""
    for damage in found.damage:
        yield f"{printable(damage.place)}: {printable(damage.what)}\n"
    if found.hidden:
        yield f"and {counted(found.hidden, 'more fault')} of files with very many\n"
    for words, remarks in (("incomplete", found.incomplete), ("note", found.notes)):
        for remark in remarks:
            yield f"{words}: {printable(remark.file)}: {printable(remark.what)}\n"
    yield f"{_summary(found)}\n"
    if found.head:
        yield f"ledger head: {found.head}\n"


def verified_json(found: Verified) -> dict[str, object]:
    """Return what was found as a JSON value."""
    return {
        "status": _WORDS[found.exit_code],
        "exitCode": found.exit_code,
        "directory": found.directory,
        "pipeline": found.pipeline,
        "ledgerHead": found.head,
        "expectedHeadLine": found.expected_line,
        "keyId": found.key_id,
        "keyedFrom": found.keyed_from,
        "runs": found.runs,
        "records": found.records,
        "outputs": found.outputs,
        "damage": [damage._asdict() for damage in found.damage],
        "moreDamage": found.hidden,
        "incomplete": [remark._asdict() for remark in found.incomplete],
        "notes": [remark._asdict() for remark in found.notes],
    }


def _summary(found: Verified) -> str:
    name = printable(found.pipeline or found.directory)
    if found.head is None and not found.damage:
        return f"{name}: no run yet"
    checked = f"{counted(found.runs, 'run')}, {counted(found.records, 'record')}"
    if found.outputs is not None:
        checked += f", {counted(found.outputs, 'output')}"
    if found.keyed_from is not None:
        since = "" if found.keyed_from == 1 else f" from line {found.keyed_from} of the ledger on"
        checked += f", keyed with {printable(found.key_id)}{since}" if found.key_id else ", its end not keyed"
    faults = len(found.damage) + found.hidden
    status = f"damaged, {counted(faults, 'fault')}" if faults else _WORDS[found.exit_code]
    return f"{name}: {status} ({checked})"
