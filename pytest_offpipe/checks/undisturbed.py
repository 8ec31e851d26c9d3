"""Checks of the undisturbed run: `run`, `outputs` of each stage; `offline`, `skip`, `audit` of the whole pipeline."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import stat
from typing import TYPE_CHECKING

from pytest_offpipe.compare import changes, entries_of
from pytest_offpipe.runs import unkeyed
from pytest_offpipe.sandbox import code_reader
from pytest_offpipe.settings import extension_of
from runner.audit.verify import verify
from runner.cli.render import verified_lines
from runner.display.plan_text import reasons_line
from runner.display.text import printable
from runner.engine import Options
from runner.errors import EXIT_DAMAGED, EXIT_OK, Fault, InputError, OfflineError
from runner.plan.code.banned import BanList, merged
from runner.results import network_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_offpipe.checks.case import Case
    from pytest_offpipe.reports import StageReport
    from runner.spec.model import Spec

_SHOWN = 10
SECONDS, MEMORY = "offpipe_seconds", "offpipe_peak_mib"  # user properties
RUN_ALL = "run every stage in a copy that holds only what the spec declares"


def check_run(case: Case) -> None:
    """Run the stage undisturbed; the runner itself requires every output. Then judge its time and memory."""
    _judge(case, case.undisturbed())


def _judge(case: Case, report: StageReport) -> None:
    """Report time and memory of the undisturbed run. Fails the check if they are over the limits of the spec."""
    figures = {SECONDS: round(report.seconds, 3), MEMORY: round(case.shared.stage(report.name).memory / (1 << 20), 1)}
    seconds, memory = figures.values()
    case.item.user_properties += figures.items()
    case.item.add_report_section("call", "offpipe", f"undisturbed: {seconds:g} s, peak memory {memory:g} MiB")
    extension = extension_of(case.spec, case.stage)
    most_seconds, most_memory = extension["max_seconds"], extension["max_memory_mib"]
    expected, found = [], []
    if most_seconds is not None and seconds > most_seconds:
        expected.append(f"at most {most_seconds:g} s (maxSeconds)")
        found.append(f"maxSeconds is {most_seconds:g}, and it took {seconds:g} s")
    if most_memory is not None and memory > most_memory:
        expected.append(f"at most {most_memory:g} MiB (maxMemoryMiB)")
        found.append(f"maxMemoryMiB is {most_memory:g}, and its processes had {memory:g} MiB together")
    if found:
        case.fail("ran it undisturbed", " and ".join(expected), "\n".join(found), log=report.log)


def check_outputs(case: Case) -> None:
    """Look for anything but outputs that the undisturbed run of the stage left behind."""
    report = case.undisturbed()
    found = case.described(case.shared.stage(case.stage.name).changes)
    if left := sum(attempt.left_behind for attempt in report.attempts):
        found.append(f"{left} process{'es' if left > 1 else ''} left running, and killed")
    for name, path in report.outputs.paths.items():
        found.extend(f"output {name}: {fault}" for fault in _faults(path))
    if len(found) > _SHOWN:
        found[_SHOWN:] = [f"and {len(found) - _SHOWN:,} more"]
    if found:
        done, kept = "looked at its files, HOME and TMPDIR before and after it ran", case.shared.place
        case.fail(
            done, "its declared outputs are new, and nothing else is left", "\n".join(found), log=report.log, kept=kept
        )


def _faults(path: str) -> Iterator[str]:
    """Yield the files of an output that its owner cannot read, and the links that lead out of it."""
    for entry in entries_of(path):
        mode = os.lstat(entry).st_mode
        shown = printable(os.path.relpath(entry, os.path.dirname(path)))
        if stat.S_ISLNK(mode):
            if not f"{os.path.realpath(entry)}/".startswith(f"{os.path.realpath(path)}/"):
                yield f"{shown} is a link that leads out of it, to {printable(os.readlink(entry))}"
        elif not mode & stat.S_IRUSR:
            yield f"{shown} cannot be read (mode {stat.S_IMODE(mode):04o})"


def check_offline(case: Case) -> None:
    """Scan the code of all stages, then look for attempts in the run of each."""
    runs = case.shared.all().values()  # the code of instances may be known only then
    if faults := "\n".join(map(str, _scanned(case.shared.spec))):
        case.fail("scanned the Python code of all stages", "no code for reaching a network", faults)
    reports = [run.report for run in runs if run.report]
    if calls := [f"{report.name}: {network_text(report.network)}" for report in reports if report.network]:
        case.fail(RUN_ALL, "no stage asks for a network", "\n".join(calls))
    _require_all_ran(case)


def _scanned(spec: Spec) -> list[Fault]:
    """Return the faults that the scan finds, and code that cannot be parsed. `run` reports missing files."""
    reader = code_reader(spec, BanList(spec.banned_imports, spec.allow_imports))
    faults: list[Fault] = []
    for stage in spec.stages:
        try:
            with contextlib.suppress(InputError):
                reader.read(stage)
        except OfflineError as error:
            faults += error.faults
    return list(merged(faults))


def check_skip(case: Case) -> None:
    """Run the whole pipeline once more: nothing runs, and no byte changes."""
    _require_all_ran(case)
    with unkeyed(), case.shared.held():
        before = case.shared.snapshot()
        report = case.shared.execute()
        changed = changes(before, case.shared.snapshot())
    ran = []
    for record in report.audit:
        if record["ev"] == "attempt.started":
            started = record["data"]
            ran.append(f"{started['stage']} ran again: {reasons_line(started['reasons'], full=False)}")
    if ran or report.exit_code != EXIT_OK:
        case.fail("ran it once more", "every stage is up to date", "\n".join(ran) or report.error)
    if changed:
        case.fail("ran it once more", "no byte changes", "\n".join(case.described(changed)))


def check_audit(case: Case) -> None:
    """Verify the chain of records, then flip one bit of a copy, and require that `verify` finds it."""
    _require_all_ran(case)
    spec, copied = case.shared.laid, case.directory / "state"
    with unkeyed(), case.shared.held():
        verified = verify(spec.path, Options(), outputs=True)
        if verified.exit_code != EXIT_OK:
            case.fail("verified the record of its runs", "an intact chain", "".join(verified_lines(verified)))
        case.clean()
        shutil.copytree(spec.paths.state_dir, copied, ignore=shutil.ignore_patterns("tmp", "logs"))
    chance = random.Random(case.settings.seed)
    log = chance.choice(sorted(copied.glob("audit_*.jsonl")))
    content = bytearray(log.read_bytes())
    at = chance.randrange(len(content))
    content[at] ^= 1 << chance.randrange(8)
    log.write_bytes(content)
    with unkeyed():
        verified = verify(str(copied), Options())
    if verified.exit_code != EXIT_DAMAGED:
        done = f"flipped one bit: byte {at:,} of {log.name}"
        case.fail(done, "verify finds it", f"exit {verified.exit_code}")


def _require_all_ran(case: Case) -> None:
    """Skip or fail a check of the whole pipeline if a stage failed."""
    for name, undisturbed in case.shared.all().items():
        if not undisturbed.succeeded:
            cause = undisturbed.blocked or name
            case.skip_if_reported(cause)
            text = case.in_users_words(undisturbed.error) or f"{cause} failed"
            case.fail(RUN_ALL, "every stage succeeds", text)
