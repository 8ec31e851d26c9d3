"""Checks of a pipeline as a whole: `offline`, `skip`, `audit`."""

from __future__ import annotations

import os
import random
import shutil
from typing import TYPE_CHECKING

from pytest_offpipe.compare import Sides, difference
from pytest_offpipe.runs import unkeyed
from pytest_offpipe.sandbox import code_reader, copy
from runner import results
from runner.api import Options, plan
from runner.api.verifying import verify
from runner.contain.scan import Scan, merged
from runner.decide.plan import Run
from runner.display.reasons import reasons_line
from runner.errors import EXIT_DAMAGED, EXIT_OK, InputError, OfflineError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytest_offpipe.checks.case import Case
    from pytest_offpipe.reports import RunReport
    from runner.errors import Fault
    from runner.spec.model import Spec

_IN_A_COPY = "run every stage in a copy that holds only what the spec declares"


def check_offline(case: Case) -> None:
    """Scan the code of all stages, then look for attempts in the run of each."""
    held = "\n".join(str(fault) for fault in _scanned(case.spec))
    if held:
        case.fail("scanned the Python code of all stages", "nothing that is there to reach a network", held)
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


def _scanned(spec: Spec) -> Iterator[Fault]:
    """Yield what is held against the code of stages, and what cannot be parsed. What is missing is `run`'s to tell."""
    reader = code_reader(spec, Scan(spec.root, spec.banned_imports, spec.allow_imports))
    faults: list[Fault] = []
    for stage in spec.stages:
        try:
            reader.read(stage)
        except OfflineError as error:
            faults += error.faults
        except InputError:
            continue
    yield from merged(faults)


def check_skip(case: Case) -> None:
    """Run the whole pipeline once more: nothing runs, and no byte changes."""
    _require_all_ran(case)
    spec, outputs = case.shared.laid(), case.directory / "before"
    declared = sorted({path.rstrip("/") for stage in spec.stages for path in stage.outputs.values()})
    with unkeyed(), case.shared.held():
        for path in declared:
            copy(spec.output_path(path), str(outputs / path))
        planned = plan(spec.path, Options()).plan.decisions
        report = case.shared.again()
    why = {name: reasons_line(one.reasons, full=False) for name, one in planned.items() if isinstance(one, Run)}
    ran = [f"{name} ran again: {why.get(name, 'what it needs did')}" for name in _ran(report)]
    if ran or report.exit_code != EXIT_OK:
        case.fail("ran it once more", "every stage is up to date", "\n".join(ran) or report.error)
    for path in declared:
        found = difference(path, str(outputs / path), spec.output_path(path), Sides("before", "after"))
        if found:
            case.fail("ran it once more", "no byte changes", found)


def _ran(report: RunReport) -> list[str]:
    return [name for name, stage in report.stages.items() if stage.status != results.SKIPPED]


def check_audit(case: Case) -> None:
    """Verify the chain of records, and see that one flipped bit of it is noticed."""
    _require_all_ran(case)
    spec = case.shared.laid()
    copied = case.directory / "state"
    with unkeyed(), case.shared.held():
        verified = verify(spec.path, Options(), outputs=True)
        if verified.exit_code != EXIT_OK:
            faults = [f"{one.place}: {one.what}" for one in verified.damage]
            faults += [f"{one.file}: {one.what}" for one in verified.incomplete]
            said = "\n".join(faults) or str(verified.fault())
            case.fail("verified the record of its runs", "an intact chain", said)
        case.clean()
        case.directory.mkdir(parents=True)
        shutil.copytree(spec.paths.state_dir, copied, ignore=shutil.ignore_patterns("tmp", "logs"))
    flipped = _flip(sorted(copied.glob("audit_*.jsonl")), random.Random(case.settings.seed))
    with unkeyed():
        found = verify(str(copied), Options())
    if found.exit_code != EXIT_DAMAGED:
        case.fail(f"flipped one bit: {flipped}", "verify finds it", f"exit {found.exit_code}")


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
    for name, found in case.shared.all().items():
        if found.succeeded:
            continue
        case.skip_if_told(found.blocked or name)
        said = case.in_users_words(found.error) or f"{found.blocked or name} failed"
        case.fail(_IN_A_COPY, "every stage succeeds", said)
