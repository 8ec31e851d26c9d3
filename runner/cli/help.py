"""The text of `offpipe --help`, and what the verbs' own help ends with. Lines have at most 79 columns."""

from __future__ import annotations

from runner.cli.table import VERBS

_HEAD = """\
usage: offpipe SPEC [STAGE ...] [options]
       offpipe VERB SPEC [options]

Runs a pipeline: a JSON file of stages, each a program that turns declared
inputs into declared outputs. Only what is out of date runs, and after any
interruption the same command goes on where it stopped.
"""
_GROUPS = (
    ("act", ("run", "clean")),
    ("look, and change nothing", ("plan", "status", "explain", "log", "verify")),
    ("check and draw a spec", ("validate", "graph", "schema", "doctor")),
)
_TAIL = """
options:
  -h, --help              this help; `offpipe VERB --help` for a verb's own
  --version               the version

examples:
  offpipe demo.json                  run what is out of date
  offpipe demo.json sort -j 4        only the stage sort and what it needs
  offpipe plan demo.json             what would run, and why
  offpipe explain demo.json upper    everything about one stage
  offpipe log demo.json upper        what it printed

exit codes:
  0   done, or nothing to do         9   another run holds the lock
  1   a stage failed                 70  internal error
  2   usage, or an invalid spec      74  state could not be read or written
  3   work pending (status),         75  failed, but retrying may help
      incomplete (verify)            130 interrupted (HUP 129, TERM 143)
  4   the offline guard refused
  5   an input is missing
  6   damaged (verify)
"""
EPILOGUES = {
    "run": """\
`offpipe SPEC` is the same as `offpipe run SPEC`. A key of --param may hold
dots: the longest name of a stage that fits counts. Its value is JSON, so text
needs quotes of its own: --param 'upper.mode="fast"'

examples:
  offpipe demo.json
  offpipe run demo.json sort -j 4 --keep-going
  offpipe run demo.json --param upper.simulateTransient=true
  offpipe run demo.json --workspace /tmp/try --json
""",
    "plan": """\
Nothing is written. A line a stage: its name, then run, skip, blocked or
depends (on what an earlier stage will make), then why. The exit code is 5 when
an input is missing.
""",
    "explain": """\
Each change is named by component, file, module or parameter, old and new.
""",
    "log": """\
Without STAGE: the events of the run, as its audit log has them.
""",
    "verify": """\
Writes nothing. A copy of the state directory, on read-only media too, will do.
Damage is named by file, line and field, all of it. A log that was rewritten
as a whole shows only against the head that an earlier run printed, or with the
key in the file that OFFPIPE_AUDIT_KEY_FILE names; see docs/audit.md.

exit codes: 0 as it was written, 2 not checked since it is keyed and no key was
given, 3 incomplete (a run did not end), 6 damaged, 74 not to be read

examples:
  offpipe verify demo.json --outputs --expect-head 0736372e...
  offpipe verify /mnt/copy/state
""",
    "graph": """\
example:
  offpipe graph demo.json --format dot | dot -Tsvg > demo.svg
""",
    "clean": """\
Inputs are never touched. With --state nothing is left to show what was run.
""",
}


def top_help() -> str:
    """Return the help over all verbs."""
    parts = [_HEAD]
    for title, names in _GROUPS:
        lines = [f"  {f'{name} {VERBS[name].words}':<24}{VERBS[name].summary}" for name in names]
        parts.append("\n".join([f"\n{title}:", *lines, ""]))
    return "".join([*parts, _TAIL])
