"""Checks of a pipeline as a whole: `offline`, `skip`, `audit`."""

from __future__ import annotations

import os
import random
import shutil
from typing import TYPE_CHECKING

from pytest_offpipe.difference import Sides, difference
from pytest_offpipe.sandbox import copy
from runner import results
from runner.api import Options
from runner.api.session import Session
from runner.api.verifying import verify
from runner.errors import EXIT_DAMAGED, EXIT_OK, OffpipeError

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_offpipe.checks.case import Case

_IN_A_COPY = "run every stage in a copy that holds only what the spec declares"


def check_offline(case: Case) -> None:
    """Scan the code of all stages, then look for attempts in the run of each."""
    try:
        Session(case.spec.shown, Options()).plan()
    except OffpipeError as error:
        case.fail("scanned the Python code of all stages", "nothing that is there to reach a network", str(error))
    asked, levels = [], set()
    for name, found in case.shared.all().items():
        if found.report is None:
            continue
        levels.add(found.isolation)
        network = [calls for attempt in found.report.attempts for calls in attempt.network if not calls.is_probe]
        if network:
            asked.append(f"{name}: {results.network_text(network)}")
    if asked:
        case.fail(_IN_A_COPY, "no stage asks for a network", "\n".join(asked))
    _require_all_ran(case)
    if not levels <= {"kernel", "filter"}:
        case.unmade(
            f"the offline guard reaches only level {', '.join(sorted(levels))} here, where nobody is seen asking"
        )


def check_skip(case: Case) -> None:
    """Run the whole pipeline once more: nothing runs, and no byte changes."""
    _require_all_ran(case)
    spec, outputs = case.shared.laid(), case.directory / "before"
    declared = {path.rstrip("/") for stage in spec.stages for path in stage.outputs.values()}
    for path in declared:
        copy(spec.output_path(path), str(outputs / path))
    report = case.shared.again()
    ran = [name for name, stage in report.stages.items() if stage.status != results.SKIPPED]
    if ran or report.exit_code != EXIT_OK:
        what = f"ran again: {', '.join(ran)}" if ran else report.error
        case.fail("ran it once more", "every stage is up to date", what)
    for path in sorted(declared):
        found = difference(path, str(outputs / path), spec.output_path(path), Sides("before", "after"))
        if found:
            case.fail("ran it once more", "no byte changes", found)


def check_audit(case: Case) -> None:
    """Verify the chain of records, and see that one flipped byte of it is noticed."""
    _require_all_ran(case)
    spec = case.shared.laid()
    verified = verify(spec.shown, Options(), outputs=True)
    if verified.exit_code != EXIT_OK:
        damage = "\n".join(f"{one.file}:{one.line}: {one.field}: {one.what}" for one in verified.damage)
        case.fail("verified the record of its runs", "an intact chain", damage or f"exit {verified.exit_code}")
    copied = case.directory / "state"
    copied.parent.mkdir(exist_ok=True)
    shutil.copytree(spec.paths.state_dir, copied, ignore=shutil.ignore_patterns("tmp", "logs"))
    flipped = _flip(sorted(copied.glob("audit_*.jsonl")), random.Random(case.settings.seed))
    if verify(str(copied), Options()).exit_code != EXIT_DAMAGED:
        case.fail(f"flipped one bit: {flipped}", "verify finds it", "nothing was found")


def _flip(logs: list[Path], chance: random.Random) -> str:
    log = chance.choice(logs)
    with open(log, "r+b") as file:
        content = file.read()
        at = chance.randrange(len(content))
        file.seek(at)
        file.write(bytes([content[at] ^ 1 << chance.randrange(8)]))
    return f"byte {at:,} of {os.path.basename(log)}"


def _require_all_ran(case: Case) -> None:
    """Skip what is about a run of the whole pipeline, or fail, when a stage failed."""
    import pytest

    for name, found in case.shared.all().items():
        if found.succeeded:
            continue
        culprit = f"{found.blocked or name}[run]"
        if any(one.name == culprit and one.path == case.item.path for one in case.item.session.items):
            pytest.skip(f"{culprit} fails")
        case.fail(_IN_A_COPY, "every stage succeeds", found.error or f"{found.blocked or name} failed")
