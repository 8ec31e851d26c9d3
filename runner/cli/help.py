"""The help texts of the program and of each verb."""

from __future__ import annotations

from runner import __version__
from runner.cli.parser import OPTIONS, VERBS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_WIDTH, _COLUMN = 79, 31  # characters: of help, and where its second column begins
_HELP = """\
usage: offpipe SPEC [STAGE ...] [options]
       offpipe VERB SPEC [options]

Run a pipeline: a JSON file of stages. Each stage is a program that turns
declared inputs into declared outputs. Only what is out of date runs. After an
interruption, the same command continues where the run stopped.

verbs:
{verbs}
`offpipe VERB --help` shows a verb's options, `offpipe --version` the version.

examples:
  offpipe demo.json                  run what is out of date
  offpipe demo.json sort -j 4        only the stage sort and what it needs
  offpipe plan demo.json             what would run, and why
  offpipe explain demo.json upper    everything about one stage

exit codes: 0 done, 1 stage failed, 2 usage or spec, 3 work pending, 4 offline
guard, 5 input missing, 6 damaged, 9 locked, 70 internal error, 74 state not
readable or writable, 75 failed but may be retried, 129, 130, 143 interrupted
"""
_MORE = {  # verb -> what its help says besides the summary
    "run": """
Without STAGE, all stages run. `offpipe SPEC` is short for `offpipe run SPEC`.
In --param, text needs quotes: --param 'upper.mode="fast"'
""",
    "clean": """
Inputs are never removed.
""",
    "prune": """
Give one of --keep and --before. Open runs stay, and logs that other records
refer to. `verify` still finds the record intact, and `runs` lists what was.

example:
  offpipe prune demo.json --keep 30
""",
    "plan": """
Each line is a stage: its name, the decision, and why. The decision is run,
skip, adopt, blocked, or depends (on what an earlier stage will make).
""",
    "runs": """
DIRECTORY is a state directory, or a copy of one, as for status, explain, log,
verify and export. Each line has the begin (UTC), duration, run, outcome, exit
code, stages by how they ended, and the first fault.

examples:
  offpipe runs demo.json --since 7d --failed
  offpipe runs state/ --since 2026-11-24 --limit 5 --json
""",
    "verify": """
DIRECTORY is a state directory, or a copy of one. If a whole log was rewritten,
only --expect-head, --public-key or the key in OFFPIPE_AUDIT_KEY_FILE shows it:
see docs/audit.md.

exit codes: 0 intact, 2 no key to check with, 3 a run did not end, 6 damaged
""",
    "graph": """
example:
  offpipe graph demo.json --format dot | dot -Tsvg > demo.svg
""",
    "export": """
Each line is an in-toto Statement with SLSA Provenance, in a signed envelope if
OFFPIPE_SIGNING_KEY_FILE names a key. Without --run, there is one for each run
that made an output that stands. A damaged record is refused. See
docs/export.md.

exit codes: 0 done, 2 nothing to attest, or no key to check with, 6 damaged
""",
    "completion": """
For bash, load what it prints in ~/.bashrc; docs/editors.md says where zsh and
fish want it. Needs the extra `completion`.
""",
}


def help_text(of: str) -> str:
    """Return the help of a verb, of the program for "", or the version for `--version`."""
    if of == "--version":
        return f"offpipe {__version__}\n"
    if not of:
        return _HELP.format(verbs=_columns((verb, summary) for verb, (_, summary) in VERBS.items()))
    words, summary = VERBS[of]
    rows = ((f"{names.replace(' ', ', ')} {kind}", text) for names, kind, verbs, text in OPTIONS if of in verbs.split())
    usage = f"usage: offpipe {of} {words} [options]".replace("  ", " ")
    return f"{usage}\n\n{summary[0].upper()}{summary[1:]}.\n{_MORE.get(of, '')}\noptions:\n{_columns(rows)}"


def _columns(rows: Iterable[tuple[str, str]]) -> str:
    """Return the rows as two columns, wrapped to `_WIDTH`."""
    from textwrap import TextWrapper

    wrapper = TextWrapper(_WIDTH, subsequent_indent=" " * _COLUMN, break_on_hyphens=False)
    return "".join(wrapper.fill(f"  {name:<{_COLUMN - 3}} {text}") + "\n" for name, text in rows)
