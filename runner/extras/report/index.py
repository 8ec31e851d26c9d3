"""The index: a page for each of several pipelines, and one that sums all of them up."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, NamedTuple

from runner.audit.archive import KILLED, RUNNING
from runner.errors import OffpipeError
from runner.extras.report.page import environment, page_of
from runner.hashing import sha256_of
from runner.record import files
from runner.results import SUCCEEDED
from runner.spec.graph import build_graph
from runner.verbs.pipelines import DAMAGED, NO_RECORD, UNREADABLE, Summary, summarize
from runner.verbs.roles import refuse_own_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from runner.audit.archive import Archive
    from runner.engine import Options

    Save = Callable[[str, str, Iterable[Archive]], object]  # gets a path, its content, and pipelines: see `write_index`

_RANKS = (DAMAGED, UNREADABLE, NO_RECORD)  # of rows, these first


class Row(NamedTuple):
    """A row of the index. `page` is the name of the file with the report, "" without one."""

    summary: Summary
    page: str = ""

    @property
    def outcome(self) -> str:
        """The state of the pipeline in words."""
        summary = self.summary
        if summary.record in (UNREADABLE, NO_RECORD):
            return summary.record
        return RUNNING if summary.is_running else summary.newest.outcome if summary.newest else "no run"

    @property
    def kind(self) -> str:
        """The class of its colour."""
        kinds = {SUCCEEDED: "good", RUNNING: "open", KILLED: "open", NO_RECORD: "idle", "no run": "idle"}
        return kinds.get(self.outcome, "bad")

    @property
    def rank(self) -> tuple[int, int]:
        """What needs a person comes first."""
        record = self.summary.record
        place = _RANKS.index(record) if record in _RANKS else len(_RANKS)
        return place, ("bad", "open", "idle", "good").index(self.kind)


def write_index(
    directory: str,
    targets: Sequence[str],
    options: Options,
    public_keys: Sequence[str],
    save: Save,
    *,
    logs: bool = False,
) -> list[Summary]:
    """Write the page of each pipeline, and last `index.html`, with `save`; return the summaries, the worst first.

    `public_keys` and `logs` as for `make_page`. `save` gets a path, the content, and the pipelines that the file must
    not belong to. Nothing is written if the directory belongs to one of the pipelines (UsageError).
    """
    summaries = [summarize(target, options, public_keys) for target in dict.fromkeys(targets)]
    archives = [summary.archive for summary in summaries if summary.archive]
    index = os.path.join(directory, "index.html")
    for archive in archives:
        graph = build_graph(archive.spec) if archive.spec else None
        refuse_own_file("-o", index, archive.paths.state_dir, graph)
    files.make_directories(directory)
    rows = [_write_page(directory, summary, save, logs=logs) for summary in summaries]
    rows.sort(key=lambda row: row.rank)
    html = environment().get_template("index.html").render(rows=rows, now=time.time())
    save(index, html, archives)
    return [row.summary for row in rows]


def _write_page(directory: str, summary: Summary, save: Save, *, logs: bool) -> Row:
    """Write the report of the newest run of a pipeline; without one, the row says why."""
    if summary.archive is None or summary.verified is None:
        return Row(summary)
    try:
        page = page_of(summary.archive, summary.verified, logs=logs)
    except OffpipeError as error:
        return Row(summary.refused(error))
    name = f"{page.pipeline}-{sha256_of(summary.directory.encode('utf-8', 'surrogateescape'))[:8]}.html"
    save(os.path.join(directory, name), page.html, [summary.archive])
    return Row(summary, name)
