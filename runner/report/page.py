"""The page: what `verify` and the record say of one run, put into the templates."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from runner import __version__
from runner.display import text
from runner.engine.history import calls_of, open_archive
from runner.engine.session import refuse_other_pipeline
from runner.engine.verify import verify
from runner.errors import EXIT_DAMAGED, EXIT_OK, Fault, StateError, UsageError
from runner.paths import is_name
from runner.reading import open_regular
from runner.record import files
from runner.record.ledger import KILLED, RUNNING, last_run, past_invocations
from runner.record.locks import is_held
from runner.report import shapes, tables
from runner.report.run_record import UNENDED, RunRecord, find_graph
from runner.results import FAILED, INTERRUPTED, SKIPPED

if TYPE_CHECKING:
    from runner.engine import Options

_MARK = b"<!doctype html><!-- offpipe report -->"  # begins every report
_HISTORY, _LISTED = 50, 100  # invocations in the chart; most rows of what may be very many


class Page(NamedTuple):
    """The report of a run: its HTML, the name of its pipeline, and the exit code."""

    html: str
    pipeline: str
    exit_code: int

    def write(self, path: str) -> None:
        """Write the file at `path`, in one step. UsageError if something else than a report is there."""
        try:
            with open(open_regular(path), "rb") as file:
                is_ours = _MARK.startswith(file.read(len(_MARK)))
        except FileNotFoundError:
            is_ours = True
        except StateError:  # no regular file
            is_ours = False
        if not is_ours:
            raise UsageError(Fault(path, "is no report, so it is not replaced", "name another file with -o"))
        files.replace(path, self.html.encode(), temporary=f"{path}.{os.getpid()}.tmp")


def make_page(target: str, options: Options, run: str | None) -> Page:
    """Return the report of a run (default: the last that has a log) of a spec, or of a state directory.

    Raises UsageError for an unknown run, and if there is none yet, unless the record is damaged.
    """
    archive = open_archive(target, options)
    paths = archive.paths
    if not os.path.lexists(paths.state_dir):
        raise UsageError(Fault("", "no run yet"))
    verified = verify(os.path.relpath(paths.state_dir), options)  # not of the spec, which would be loaded twice
    if archive.spec and not verified.damage:
        refuse_other_pipeline(archive.spec, verified.pipeline)
    past, last = list(past_invocations(paths.ledger, is_running=is_held(paths))), last_run(paths.ledger)
    newest = last["run"] if last else past[0].run if past else ""
    mine = [each for each in past if each.run == (run or newest)]
    is_running = bool(mine) and mine[0].outcome == RUNNING
    record = RunRecord(archive, run or newest, time.time() if is_running else 0.0)
    if not (mine or record.parts or verified.damage):
        raise UsageError(Fault("--run" if run else "", f'no run "{run}"' if run else "no run yet"))
    graph = find_graph(archive, record.opening, (each.run for each in past[:_HISTORY]))
    outcome = mine[0].outcome if mine else str(record.ended.status) if record.ended else KILLED
    bad = (FAILED, INTERRUPTED) if is_running else (FAILED, INTERRUPTED, UNENDED)
    groups_of = partial(tables.group_stages, record, graph, SKIPPED if record.has_no_work else tables.NOT_STARTED)
    groups = groups_of()
    name = archive.spec.name if archive.spec else verified.pipeline
    work: dict[str, list[float]] = defaultdict(list)
    for attempt in record.attempts.values():
        work[attempt.stage.partition("@")[0]].append(attempt.took)
    html = _environment().get_template("page.html").render(
        pipeline=name or "offpipe", record=record, mine=mine, verified=verified, groups=groups, has_graph=bool(graph),
        outcome=outcome,
        files=[tables.files_of(record, group, paths, is_newest=record.run == newest) for group in groups],
        drawing=shapes.draw_graph(groups_of) if graph else None, history=past[:_HISTORY], words=tables.WORDS,
        timeline=shapes.Timeline(record.attempts.values(), record.parts), most=_LISTED, version=__version__,
        failed=[name for name, status in record.status.items() if status in bad],
        numbers=dict(record.attempts.keys()), work=work, made=datetime.now(UTC),
    )  # fmt: skip
    is_safe = is_name(name)  # in a path
    return Page(_MARK.decode() + html, name if is_safe else "offpipe", EXIT_DAMAGED if verified.damage else EXIT_OK)


def _environment() -> Environment:
    """Return the environment of the templates. Every value is made printable, so no name can change what is read."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        loader=FileSystemLoader(os.path.join(os.path.dirname(__file__), "templates")),
        finalize=lambda value: text.printable(value) if type(value) is str else value,
    )  # fmt: skip
    for function in (calls_of, text.counted, text.seconds, text.size, tables.reasons_of, shapes.short, _clock):
        environment.globals[function.__name__.lstrip("_")] = function
    environment.globals |= {"width": shapes.WIDTH, "box_height": shapes.HEIGHT}
    environment.filters["printable"] = text.printable
    return environment


def _clock(moment: float) -> str:
    """Return a time as `02:00:03`, in UTC."""
    return f"{datetime.fromtimestamp(moment, UTC):%H:%M:%S}"
