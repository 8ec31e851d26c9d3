"""The page: what `verify` and the record say of one run, put into the templates."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from functools import cache, partial
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from runner import __version__
from runner.audit.archive import KILLED, RUNNING, Archive, Past, last_run, open_archive, past_invocations
from runner.audit.verify import verify_archive
from runner.display import text
from runner.display.summary import signature_text
from runner.errors import EXIT_DAMAGED, EXIT_OK, DamagedRecordError, Fault, SpecError, UsageError
from runner.extras.packages import packages_of
from runner.extras.report import shapes, tables
from runner.extras.report.changes import Changes, success_before
from runner.extras.report.cost import Costs, longest_chain
from runner.extras.report.logs import LINES, tails_of
from runner.extras.report.methods import methods_of
from runner.extras.report.results import MOST, Results
from runner.extras.report.run_record import DONE, UNENDED, RunRecord, find_spec, graph_of
from runner.paths import is_name
from runner.record.locks import is_held
from runner.results import FAILED, INTERRUPTED, SKIPPED
from runner.verbs.history import calls_of

with packages_of("report"):
    from jinja2 import Environment, PackageLoader, StrictUndefined

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runner.audit.verification import Verification
    from runner.engine import Options
    from runner.spec.graph import Graph

_MALFORMED = (SpecError, KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError)
_HISTORY, _LISTED = 50, 100  # invocations in the chart; most rows of what may be very many


class Page(NamedTuple):
    """A report: its HTML, its pipeline by a name that fits into a path, its state, and the exit code."""

    html: str
    pipeline: str
    archive: Archive
    exit_code: int


def make_page(
    target: str, options: Options, run: str | None, public_keys: Sequence[str] = (), *, logs: bool = False
) -> Page:
    """Return the report of a run (default: the last that has a log) of a spec, or of a state directory.

    With `logs`, it has the ends of the logs of failed attempts. With `public_keys`, which are files, signatures are
    checked, as by `verify`. Raises UsageError for an unknown run, and if there is none yet, unless the record is
    damaged; DamagedRecordError if no run can have written the log.
    """
    archive = open_archive(target, options, needs_key=True)
    if not os.path.lexists(archive.paths.state_dir):
        raise UsageError(Fault("", "no run yet"))
    return page_of(archive, verify_archive(archive, public_keys=public_keys), run, logs=logs)


def page_of(archive: Archive, verified: Verification, run: str | None = None, *, logs: bool = False) -> Page:
    """Return the report of a run of a pipeline whose record was checked. Raises what `make_page` raises."""
    paths = archive.paths
    name = archive.spec.name if archive.spec else verified.pipeline if is_name(verified.pipeline) else "offpipe"
    past, last = list(past_invocations(paths.ledger, is_running=is_held(paths))), last_run(paths.ledger)
    newest = last["run"] if last else past[0].run if past else ""
    try:
        html = _html(archive, verified, past, name, newest, run or newest, logs=logs)
    except _MALFORMED as error:  # `verify` checks no field that no other reader needs
        what = f"has a record that cannot be understood ({error!r})"
        raise DamagedRecordError(Fault(paths.audit(run or newest), what)) from error
    return Page(html, name, archive, EXIT_DAMAGED if verified.damage else EXIT_OK)


def _html(
    archive: Archive, verified: Verification, past: Sequence[Past], name: str, newest: str, run: str, *, logs: bool
) -> str:
    invocations = [each for each in past if each.run == run]
    is_running = bool(invocations) and invocations[0].outcome == RUNNING
    record = RunRecord(archive, run, time.time() if is_running else 0.0)
    if not (invocations or record.parts or verified.damage):
        raise UsageError(Fault("--run" if run else "", f'no run "{run}"' if run else "no run yet"))
    given = find_spec(archive, record.opening, (each.run for each in past[:_HISTORY]))
    graph = graph_of(archive, given) if given else None
    bad = (FAILED, INTERRUPTED) if is_running else (FAILED, INTERRUPTED, UNENDED)
    failed = [stage for stage, status in record.status.items() if status in bad]
    default = SKIPPED if record.has_no_work else tables.NOT_STARTED
    groups_of = partial(tables.group_stages, record, graph, default)
    results = Results(graph.spec, record, verified.markers, default, is_newest=run == newest) if graph else None
    groups, removed = groups_of(), verified.markers.removed
    return (
        environment()
        .get_template("page.html")
        .render(
            pipeline=name,
            record=record,
            invocations=invocations,
            verified=verified,
            results=results,
            groups=groups,
            outcome=invocations[0].outcome if invocations else record.ended.status if record.ended else KILLED,
            files=[tables.files_of(record, group, archive.paths, removed, is_newest=run == newest) for group in groups],
            **_parts(archive, record, graph, given, groups, success_before(past, run), is_newest=run == newest),
            graph=graph,
            drawing=shapes.draw_graph(groups_of) if graph else None,
            timeline=shapes.Timeline(record),
            failed=failed,
            logs=list(islice(tails_of(record, failed, archive.paths), _LISTED + 1)) if logs else [],
            history=past[:_HISTORY],
            took=sum(map(record.took, invocations)),
        )
    )


def _parts(
    archive: Archive,
    record: RunRecord,
    graph: Graph | None,
    given: Mapping[str, Any] | None,
    groups: Sequence[tables.Group],
    before: Past | None,
    *,
    is_newest: bool,
) -> dict[str, object]:
    """Return what the page says of cost, changes and methods. `given` is the effective spec, `before` a success."""
    return {
        "given": given,
        "chain": longest_chain(record, graph) if graph else [],
        "costs": Costs(archive, record, given, is_newest=is_newest),
        "changes": Changes(archive, record, before, is_newest=is_newest) if before else None,
        "methods": [*methods_of(record, given, groups, archive.paths, is_newest=is_newest)] if given else [],
    }


@cache
def environment() -> Environment:
    """Return the environment of the templates, made once.

    Every value is made printable, so no name can change what is read.
    """
    made = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=PackageLoader(__package__),  # from its directory `templates`
        finalize=lambda value: text.printable(value) if type(value) is str else value,
    )
    made.globals |= {
        "text": text,
        "tables": tables,
        "shapes": shapes,
        "calls_of": calls_of,
        "signature_text": signature_text,
        "clock": _clock,
        "done": DONE,
        "unended": UNENDED,
        "most": _LISTED,
        "most_results": MOST,
        "last_lines": LINES,
        "version": __version__,
        "made": datetime.now(UTC),
    }
    return made


def _clock(moment: float) -> str:
    """Return a time as `02:00:03`, in UTC."""
    return f"{datetime.fromtimestamp(moment, UTC):%H:%M:%S}"
