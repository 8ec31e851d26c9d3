"""Carries out the verbs: calls the engine, and prints the result.

Modules that only one verb needs are imported in its method.
"""

from __future__ import annotations

import os
import shlex
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from runner.canonical import KEY_VARIABLE
from runner.cli.parser import VERBS, Arguments
from runner.cli.settings import read_params, read_vars
from runner.display import text
from runner.display.plan_text import empty_lines, explain_lines, marker_lines, plan_json, plan_lines
from runner.display.summary import fault_json, json_text, outcome_text, run_json, summary_lines
from runner.engine import Options
from runner.errors import EXIT_INPUT, EXIT_OFFLINE, EXIT_OK, EXIT_PENDING, Fault, UsageError
from runner.levels import SCAN, STRICT
from runner.paths import stdout_path
from runner.reading import open_regular
from runner.record.seal import SIGNING_VARIABLE, warning_about
from runner.spec.fields import schema_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from runner.audit.archive import Archive
    from runner.display.streams import Stream

_CHUNK = 1 << 16
_SAME_KIND = 40  # bytes: all reports begin with the same ones, as do all Statements and all envelopes


class Commands:
    """The verbs: each is the method of the same name, which returns the exit code."""

    def __init__(self, arguments: Arguments, stdout: Stream, stderr: Stream) -> None:
        self._arguments = arguments
        self._given = arguments.given
        self._spec = arguments.spec
        self._stdout = stdout
        self._stderr = stderr
        self.subject = arguments.spec  # what messages are about: the run, once it has begun
        self.summary: Callable[[], str] = str  # the result as `--json` prints it
        self._warnings: list[Fault] = []

    def run(self) -> int:
        """Run the pipeline: report progress on stderr, and print the summary on stdout."""
        from runner.display.reporter import Reporter
        from runner.engine.run import run

        given, stderr = self._given, self._stderr
        place = ["--workspace", given["workspace"]] if given.get("workspace") else []
        log_command = text.printable(shlex.join([text.program_name(), "log", *place, self._spec]))
        can_move = stderr.isatty() and os.environ.get("TERM", "") not in {"", "dumb", "unknown"}  # the cursor
        live = can_move and not given.keys() & {"quiet", "json"}
        reporter = Reporter(stderr, log_command, quiet="quiet" in given, verbose="verbose" in given, live=live)
        try:
            self._warn_of_key(reporter.warn)
            options, spec = self._options(), None
            if options.events:
                from runner.verbs.roles import refuse_own_events

                keys = os.environ.get(KEY_VARIABLE), os.environ.get(SIGNING_VARIABLE)
                read = filter(None, (*keys, given.get("vars"), self._arguments.failure_program))
                refuse_own_events(options.events, spec := options.load(self._spec), read)
            result = run(self._spec, options, reporter, self._plugins(), spec=spec)
        finally:
            reporter.close()
            self.subject, self._warnings = reporter.subject or self._spec, reporter.warnings
        stderr.settle()  # so that the summary comes last if both streams are one pipe
        self._print(result, run_json, summary_lines)
        if result.exit_code and "quiet" in given:
            stderr.write(text.ending_text(outcome_text(result), result.exit_code))
            stderr.write(text.next_text(self._arguments.words))
        return result.exit_code

    def plan(self) -> int:
        """Print the plan, and on stderr what is wrong with inputs."""
        from runner.verbs import query

        planned = query.plan(self._spec, self._options(), self._warn)
        self._print(planned, plan_json, partial(plan_lines, full="verbose" in self._given))
        return self._print_faults(planned.planning.plan.faults)

    def status(self) -> int:
        """Print what is pending, what runs now, and what earlier runs left undone."""
        from runner.cli.render import status_json, status_lines
        from runner.verbs import query

        status = query.status(self._spec, self._options(), self._warn)
        self._print(status, status_json, partial(status_lines, full="verbose" in self._given))
        if "json" not in self._given and status.planned:
            self._print_faults(status.planned.planning.plan.faults)
        return EXIT_PENDING if "exit_code" in self._given and status.is_pending else EXIT_OK

    def runs(self) -> int:
        """Print a line for each invocation on record."""
        from runner.cli.render import runs_json, runs_lines
        from runner.verbs.history import runs

        if "summary" in self._given or "prometheus" in self._given:
            return self._sum_up()
        since, limit = self._given.get("since"), self._given.get("limit")
        past = runs(self._spec, self._options(), since=since, failed="failed" in self._given, limit=limit)
        self._print(past, runs_json, runs_lines)
        return EXIT_OK

    def _sum_up(self) -> int:
        """Print a line for each pipeline, and write the file for Prometheus."""
        from runner.cli.pipelines import pipelines_json, pipelines_lines, prometheus_text
        from runner.verbs.pipelines import exit_code_of, summarize

        path = self._given.get("prometheus")
        if "summary" not in self._given:
            raise UsageError(Fault("", "--prometheus: needs --summary", "offpipe runs --summary DIRECTORY ..."))
        if others := [name for name in ("since", "failed", "limit") if name in self._given]:
            raise UsageError(Fault(f"--{others[0]}", "cannot be combined with --summary", "leave one of the two out"))
        options = self._options()
        summaries = [summarize(target, options) for target in (self._spec, *self._arguments.stages)]
        if path:
            archives = [summary.archive for summary in summaries if summary.archive]
            self._save(path, prometheus_text(summaries), archives, option="--prometheus", mode=0o644)
        self._print(summaries, pipelines_json, pipelines_lines)
        return exit_code_of(summaries)

    def explain(self) -> int:
        """Print everything about a stage, or about each selected instance."""
        from runner.verbs import history, query

        selector = self._arguments.stages[0]
        if os.path.isdir(self._spec):
            markers = history.markers_of(self._spec, self._options(), selector)
            return self._write(f"{text.printable(marker.stage)}: {''.join(marker_lines(marker))}" for marker in markers)
        planned, stages = query.explain(self._spec, self._options(), selector, self._warn)
        self._write(line for stage in stages for line in explain_lines(planned, stage.name))
        self._write(empty_lines(planned))
        return self._print_faults(planned.planning.plan.faults)

    def who(self) -> int:
        """Print what a path is to the pipeline."""
        from runner.cli.render import who_json, who_lines
        from runner.verbs import query

        (path,) = self._arguments.stages
        roles = query.who(self._spec, self._options(), path, self._warn)
        self._print(roles, partial(who_json, path), partial(who_lines, path))
        return EXIT_OK if roles else EXIT_INPUT

    def validate(self) -> int:
        """Print that the spec is valid; the engine raises if it is not."""
        from runner.verbs import query

        planning = query.validate(self._spec, self._options(), self._warn)
        return self._write([f"{text.printable(self._spec)}: valid, {text.stages_text(planning.stages)}\n"])

    def learn(self) -> int:
        """Run a command; print its stage, with --into on stderr, and add it to the spec."""
        from runner.verbs.learn import learn

        words, into, stderr = self._arguments.stages, self._given.get("into"), self._stderr

        def relay(printed: bytes) -> None:
            if stderr.isatty():
                stderr.write(text.printable_lines(printed.decode("utf-8", "backslashreplace")))
            else:
                stderr.pass_through(printed)

        shown = text.printable(shlex.join(words))
        notice = f"runs here, once, kept off the network as a stage is: {shown}\n"
        learned = learn(words, self._given.get("name"), into, lambda: stderr.write(notice), relay)
        for note in learned.notes:
            self._warn(note)
        (stderr if into else self._stdout).write(f"{learned.text}\n")
        learned.keep()
        if into:
            stderr.write(f"added to {text.printable(into)}\n")
        return EXIT_OK

    def graph(self) -> int:
        """Print the graph."""
        from runner.cli.render import graph_lines
        from runner.spec.graph import build_graph

        graph = build_graph(self._options().load(self._spec))
        return self._write(graph_lines(graph, self._given.get("format", "text"), expand="expand" in self._given))

    def log(self) -> int:
        """Print a stage's log and its kept stdout, escaped on a terminal. Without a stage, print the run's events.

        With `--json`, each line is the record of an event.
        """
        from runner.verbs import history

        stages, stdout = self._arguments.stages, self._stdout
        run, attempt = self._given.get("run"), self._given.get("attempt")
        if not stages:
            if attempt is not None:
                raise UsageError(Fault("", "--attempt: no stage given", "attempts belong to a stage: name it"))
            events = history.read_events(self._spec, self._options(), run, as_json="json" in self._given)
            return self._write(f"{text.printable(event)}\n" for event in events)
        for stage, log in history.find_logs(self._spec, self._options(), stages[0], run, attempt).items():
            if stage != stages[0]:  # one of several
                stdout.write(f"==> {stage}\n")
            paths = [log, *filter(os.path.exists, [stdout_path(log)])]
            if paths == [log] and os.path.getsize(log) == 0:
                self._stderr.write(f"note: {text.near_path(log)} is empty\n")
            for path in paths:
                self._print_file(path)
        return EXIT_OK

    def _print_file(self, path: str) -> None:
        stdout, escape = self._stdout, self._stdout.isatty()
        with open(open_regular(path), "rb") as file:
            read = file.readline if escape else partial(file.read, _CHUNK)
            while stdout.failure is None and (chunk := read()):
                if escape:
                    stdout.write(text.printable_lines(chunk.decode("utf-8", "backslashreplace")))
                else:
                    stdout.pass_through(chunk)

    def verify(self) -> int:
        """Print what is damaged or incomplete, then the verdict and the ledger's head."""
        from runner.audit.verify import verify
        from runner.cli.render import verified_json, verified_lines

        self._warn_of_key(self._warn)
        run, head = self._given.get("run"), self._given.get("expect_head")
        keys, outputs = self._given.get("public_key", ()), "outputs" in self._given
        verified = verify(self._spec, self._options(), run, outputs=outputs, expect_head=head, public_keys=keys)
        self._print(verified, verified_json, verified_lines)
        self._print_faults([fault] if (fault := verified.fault()) else [])
        return verified.exit_code

    def export(self) -> int:
        """Print a Statement for each run that made an output that stands, or write them to a file."""
        from runner.audit.archive import open_archive
        from runner.audit.statements import BUILDER, export

        run, builder = self._given.get("run"), self._given.get("builder_id", BUILDER)
        archive = open_archive(self._spec, self._options(), needs_key=True, signs=True)
        lines = export(archive, run, builder=builder, public_keys=self._given.get("public_key", ()))
        content = "".join(f"{line.decode()}\n" for line in lines)
        return self._save(self._given.get("output", "-"), content, [archive])

    def report(self) -> int:
        """Write the report of a run, and print its path."""
        from runner.extras.report.page import make_page

        self._warn_of_key(self._warn)
        if self._arguments.stages or self._given.get("output", "").endswith("/"):
            return self._report_many()
        run, keys, logs = self._given.get("run"), self._given.get("public_key", ()), "logs" in self._given
        page = make_page(self._spec, self._options(), run, keys, logs=logs)
        path = self._given.get("output", f"{page.pipeline}-report.html")
        self._save(path, page.html, [page.archive])
        self._write([] if path == "-" else [f"{text.printable(path)}\n"])
        return page.exit_code

    def _report_many(self) -> int:
        """Write a page for each pipeline, and the index of them, and print the path of that."""
        from runner.extras.report.index import write_index
        from runner.verbs.pipelines import exit_code_of

        directory = self._given.get("output", "-")
        if "run" in self._given:
            raise UsageError(Fault("--run", "is for the report of one pipeline", "leave it out"))
        if directory == "-":
            raise UsageError(Fault("-o", "the pages of several pipelines need a directory", "for example: -o pages/"))
        targets, keys = (self._spec, *self._arguments.stages), self._given.get("public_key", ())
        logs = "logs" in self._given
        summaries = write_index(directory, targets, self._options(), keys, self._save, logs=logs)
        self._write([f"{text.printable(os.path.join(directory, 'index.html'))}\n"])
        return exit_code_of(summaries)

    def clean(self) -> int:
        """Remove the outputs and the state, and list what was removed."""
        from runner.verbs.clean import clean

        dry_run, state, orphans = (name in self._given for name in ("dry_run", "state", "orphans"))
        if state and orphans:
            raise UsageError(Fault("--orphans", "cannot be combined with --state", "leave one of the two out"))
        removed = clean(self._spec, self._options(), self._warn, dry_run=dry_run, state=state, orphans=orphans)
        verb = "would remove" if dry_run else "removed"
        return self._write([f"{verb} {text.printable(path)}\n" for path in removed] or ["nothing to remove\n"])

    def prune(self) -> int:
        """Remove the records of old runs, and list them."""
        from runner.verbs.prune import prune

        keep, before, dry_run = self._given.get("keep"), self._given.get("before"), "dry_run" in self._given
        if (keep is None) == (before is None):
            hint = f"offpipe prune {self._spec} --keep 30"
            raise UsageError(Fault("", "prune takes either --keep or --before", hint))
        runs, head = prune(self._spec, self._options(), self._warn, keep=keep, before=before or "", dry_run=dry_run)
        verb = "would remove" if dry_run else "removed"
        lines = [f"{verb} the records of run {text.printable(run)}\n" for run in runs] or ["nothing to remove\n"]
        return self._write([] if "quiet" in self._given else [*lines, f"ledger head: {head}\n"])

    def doctor(self) -> int:
        """Print which levels of the offline guard this machine reaches, and what the others lack."""
        from runner.display.offline import doctor_json, doctor_lines
        from runner.sandbox.guard import survey

        levels = survey()
        self._print(levels, doctor_json, doctor_lines)
        return EXIT_OFFLINE if doctor_json(levels)["level"] == SCAN else EXIT_OK

    def schema(self) -> int:
        """Print the JSON Schema."""
        return self._write([schema_text()])

    def completion(self) -> int:
        """Print the completion script of a shell."""
        from runner.extras.completion import completion_text

        return self._write([completion_text(self._arguments.stages[0])])

    def _plugins(self) -> tuple[object, ...]:
        if "cluster" not in self._given:
            return ()
        from runner.extras.cluster import Cluster

        wait, latency = self._given.get("cluster_wait", 60.0), self._given.get("cluster_latency", 60.0)
        return (Cluster(self._given["cluster"], wait, latency, strict=self._given.get("offline", STRICT) == STRICT),)

    # ---- shared by verbs ---------------------------------------------------------------------------------------------

    def _options(self) -> Options:
        """Return the arguments as options of the engine."""
        arguments, given = self._arguments, self._given
        words = [word.encode("utf-8", "surrogateescape") for word in ("offpipe", *arguments.words)]
        variables, var_sources = read_vars(given.get("var", ()), given.get("vars"))
        options = Options(
            stages=arguments.stages if "[STAGE ...]" in VERBS[arguments.verb][0] else (),
            variables=variables,
            var_sources=var_sources,
            final=arguments.verb == "run",
            argv=tuple(word.decode("utf-8", "backslashreplace") for word in words),
            **{name: given[name] for name in Options._fields if name in given},
        )
        return options._replace(params=read_params(given.get("param", ()), self._spec, options))

    def _print(
        self, result: object, as_json: Callable[[Any], dict[str, object]], as_lines: Callable[[Any], Iterable[str]]
    ) -> None:
        self.summary = lambda: json_text({**as_json(result), "warnings": list(map(fault_json, self._warnings))})
        if "json" in self._given:
            self._write([self.summary()])
        elif "quiet" not in self._given:
            self._write(as_lines(result))

    def _write(self, lines: Iterable[str]) -> int:
        self._stdout.write("".join(lines))
        return EXIT_OK

    def _save(
        self, path: str, content: str, archives: Iterable[Archive], *, option: str = "-o", mode: int | None = None
    ) -> int:
        """Write a file in one step; if `path` is `-`, write to standard output.

        `mode` is that of the new file; by default it stays as it was. Raises UsageError, which names the `option`, if
        the file belongs to the pipeline of one of `archives`. Raises UsageError if its first bytes differ from those of
        `content`, so that a report replaces only reports. Raises StateError if it is not a regular file.
        """
        from runner.record import files
        from runner.spec.graph import build_graph
        from runner.verbs.roles import refuse_own_file

        if path == "-":
            return self._write([content])
        for archive in archives:
            refuse_own_file(option, path, archive.paths.state_dir, build_graph(archive.spec) if archive.spec else None)
        real, written = os.path.realpath(path), content.encode()
        with suppress(FileNotFoundError), open(open_regular(real), "rb") as file:
            mode = os.fstat(file.fileno()).st_mode & 0o7777 if mode is None else mode
            if file.read(_SAME_KIND) != written[:_SAME_KIND]:
                what = "holds something else, so it is not replaced"
                raise UsageError(Fault(path, what, f"name another file with {option}"))
        files.replace(real, written, temporary=f"{real}.{os.getpid()}.tmp", mode=mode)
        return EXIT_OK

    def _print_faults(self, faults: Sequence[Fault]) -> int:
        self._stderr.write(text.faults_text(faults))
        return EXIT_INPUT if faults else EXIT_OK

    def _warn(self, fault: Fault) -> None:
        self._warnings.append(fault)
        if "quiet" not in self._given:
            self._stderr.write(f"{text.fault_text(fault, 'warning')}\n")

    def _warn_of_key(self, warn: Callable[[Fault], None]) -> None:
        path = os.environ.get(KEY_VARIABLE)
        if path and (fault := warning_about(path)):
            warn(fault)
