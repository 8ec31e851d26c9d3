"""The table of fields: what a spec may hold, in which range, and the defaults.

The checks, the defaults, the effective spec, the hints for unknown names and the JSON Schema are made from it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from runner.spec.kinds import ANYTHING, BOOLEAN, SCALAR, Field, choice, list_of, map_of, number, one_of, record, text

if TYPE_CHECKING:
    from runner.spec.kinds import Kind

SPEC_VERSION = 1
ANY = "any"  # in place of exit codes
DAY = 86_400
BILLION = 1_000_000_000

# By name, because numbers differ between architectures. Signals that the runner uses internally are left out.
SIGNALS = tuple(
    (
        "SIGABRT SIGALRM SIGBUS SIGFPE SIGHUP SIGILL SIGINT SIGKILL SIGPIPE SIGPROF SIGQUIT SIGSEGV SIGSYS SIGTERM "
        "SIGTRAP SIGUSR1 SIGUSR2 SIGVTALRM SIGXCPU SIGXFSZ"
    ).split()
)

_CONTROL = "[\\u0000-\\u001f\\u007f-\\u009f]"
_NAMED = "a name is letters, digits, . _ - and begins with a letter or digit; 100 at most"
NAME = text("[A-Za-z0-9][A-Za-z0-9._-]{0,99}", _NAMED)
STAGE_NAME = text("(?=.{1,200}$)[A-Za-z0-9][A-Za-z0-9._-]{0,99}(@[A-Za-z0-9._,%-]+)?", _NAMED)  # or of an instance
SELECTOR = text("[A-Za-z0-9*?\\[][A-Za-z0-9._@,%*?!\\[\\]-]*", "the name of a stage or instance, or a pattern of names")
LABEL = text("[A-Za-z][A-Za-z0-9_-]{0,99}", "such a name is letters, digits, _ - and begins with a letter; 100 at most")
PATH = text(forbidden=_CONTROL, longest=4096)  # PATH_MAX
WORD = text(forbidden="\\u0000", empty=True)
PROSE = text(empty=True)
MODULE = text("[A-Za-z_][A-Za-z0-9_]*(\\.[A-Za-z_][A-Za-z0-9_]*)*", "the name of a Python module: paramiko, a.b")
VARIABLE = text("(?!PIPELINE_)[A-Za-z_][A-Za-z0-9_]*", "letters, digits and _; offpipe itself sets PIPELINE_*")
DELAY = number(0, DAY, unit=" seconds (a day)")
SECONDS = number(0, 366 * DAY, above=True, unit=" seconds (a year)")
ON_ATTEMPT = Field(choice("fail", "record"), "What an attempt to reach the network does to a stage.", "fail")


def _by_attempt(kind: Kind) -> Kind:
    """One value, or a list with a value for each attempt."""
    return one_of(kind, list_of(kind, least=1))._replace(hint=kind.hint)


PROGRAM_IDENTITY = Field(choice("name", "content"), "Whether a new version of a command's program re-runs a stage.")

RETRY = record(
    attempts=Field(number(1, 1000, whole=True), "How often a stage is started at most.", 1),
    delaySeconds=Field(
        one_of(DELAY, list_of(DELAY, least=1)),
        "The delay before the second attempt, or a list of delays whose last one repeats.",
        1.0,
    ),
    multiplier=Field(number(1, 1000), "The factor by which a single delay grows with each attempt.", 2.0),
    maxDelaySeconds=Field(DELAY, "The longest delay; by default 60, or the longest delaySeconds if that is more."),
    jitter=Field(number(0, 1), "The delay is drawn from [(1 - jitter) * delay, delay].", 1.0),
    retryExitCodes=Field(
        one_of(choice(ANY), list_of(one_of(number(1, 255, whole=True), choice(*SIGNALS)))),
        "Exit codes, and names of signals, after which a stage is tried again, or any of them.",
        [75],
    ),
    retryOnTimeout=Field(BOOLEAN, "Whether a stage that took too long is tried again.", default=False),
    maxTotalSeconds=Field(SECONDS, "No attempt starts later than this after the start of the first one."),
)
CHECKPOINT = record(
    everyLines=Field(number(1, BILLION, whole=True), "The SDK commits after so many lines."),
    everySeconds=Field(number(0, DAY, above=True, unit=" seconds (a day)"), "The SDK commits after so many seconds."),
)
RESOURCES = record(
    cpus=Field(
        _by_attempt(number(0, 65_536, above=True)),
        "Cores that the stage uses, or a list with a value for each attempt; without it, it counts as one.",
    ),
    memoryMiB=Field(
        _by_attempt(number(1, BILLION, whole=True)),
        "Memory that the stage needs, or a list with a value for each attempt.",
    ),
    ioConcurrency=Field(number(1, 65_536, whole=True), "A hint to the stage: parallel reads and writes."),
    enforce=Field(BOOLEAN, "Whether the kernel holds the stage to cpus and memoryMiB.", default=False),
)
_SHELL = 'write one word per entry, or name a shell: ["sh", "-c", '
_COMMAND = list_of(WORD, least=1)._replace(
    hint=lambda value: f"{_SHELL}{json.dumps(value)}]" if isinstance(value, str) else ""
)
_TOOLS = one_of(PATH, list_of(PATH))
# Fields of a stage that `defaults` may set for all stages.
_SHARED = {
    "retry": Field(RETRY, "When a failed stage is tried again."),
    "checkpoint": Field(CHECKPOINT, "How often the SDK makes progress durable."),
    "resources": Field(RESOURCES, "What the stage needs of the machine."),
    "timeoutSeconds": Field(
        _by_attempt(SECONDS), "How long an attempt may take, or a list with a value for each attempt."
    ),
    "retryOnTimeout": Field(BOOLEAN, "The same as in retry, which it overrides.", None),
    "freshInterpreter": Field(BOOLEAN, "Whether a .py processor gets an interpreter of its own.", default=False),
    "sealed": Field(BOOLEAN, "Whether the stage sees only what it declares.", default=False),
    "env": Field(map_of(VARIABLE, WORD), "Environment variables of the stage."),
    "tools": Field(
        _TOOLS, "An environment, or several, whose programs the stage uses: the directory of a venv or conda prefix."
    ),
    "toolsIdentity": Field(
        choice("content", "name"), "Whether another package in an environment of tools re-runs a stage.", "content"
    ),
    "mayBeEmpty": Field(BOOLEAN, "Whether a stage with each may have no instance.", default=False),
    "programVersion": Field(_COMMAND, "A program and its arguments that print a version, which goes on record."),
}
DEFAULTS = record(**_SHARED)
_ENTRIES = one_of(PATH, list_of(PATH))._replace(hint=PATH.hint)
VALUE = one_of(SCALAR, BOOLEAN)
ROWS = list_of(map_of(PROSE, VALUE, least=1))  # a column that no stage uses may have any name
_TABLE = record(
    rows=Field(
        one_of(PATH, ROWS), "A CSV file with a header, a JSON array of flat objects, or such an array.", required=True
    ),
    key=Field(one_of(LABEL, list_of(LABEL, least=1)), "The columns that name an instance; by default the first."),
    columns=Field(list_of(text(), least=1), "The names of the first columns of a table without a header."),
)
_NAME = LABEL._replace(schema={**LABEL.schema, "not": {"enum": ["rows", "key"]}})  # these are of the other form
_NAMES = map_of(_NAME, one_of(PATH, list_of(SCALAR, least=1)), least=1)
_FORMS = _NAMES._replace(faults=lambda value: (_TABLE if value.keys() & {"rows", "key"} else _NAMES).faults(value))
_FORM_SCHEMAS = [kind.schema for kind in (NAME, _TABLE, _NAMES)]
_LIST = list_of(one_of(NAME, _FORMS)._replace(schema={"anyOf": _FORM_SCHEMAS}), least=1)
EACH = one_of(NAME, _FORMS, _LIST)._replace(schema={"anyOf": [*_FORM_SCHEMAS, _LIST.schema]})
_ANY_OF = one_of(SCALAR, BOOLEAN, list_of(VALUE))
WHERE = map_of(
    PROSE, one_of(SCALAR, BOOLEAN, list_of(VALUE), record(**{"not": Field(_ANY_OF, "None of these.", required=True)}))
)
_VAR = text(r"\{vars\.[A-Za-z][A-Za-z0-9_-]*\}", 'a single var: "{vars.NAME}"')
IF = one_of(_VAR, record(**{"not": Field(_VAR, "The var.", required=True)}))
_RESULT = record(
    title=Field(PROSE, "The title; by default the path."),
    caption=Field(PROSE, "What the file shows."),
    group=Field(PROSE, "The heading that results share."),
    files=Field(text(), "Of a directory output: a glob of the files in it."),
)
STAGE = record(
    **{"$schema": Field(PROSE, "For editors.")},
    name=Field(STAGE_NAME, "Unique, also without case; not `pipeline`.", required=True),
    description=Field(PROSE, "For people.", ""),
    each=Field(
        EACH,
        "An instance for each value: of names with a pattern or list, of a table's rows, or of a stage; "
        "or a list of these, for all combinations.",
    ),
    where=Field(
        WHERE, "Name to value, to a list of which any will do, or to an object with `not`: which values count."
    ),
    **{"if": Field(IF, "A var, or an object with `not` and a var: without it, the stage has no instance.")},
    processor=Field(
        PATH, "The program: a .py file or an executable, relative to root, or offpipe:NAME. This or command."
    ),
    args=Field(list_of(WORD), "Arguments of the processor; placeholders are filled in.", []),
    command=Field(_COMMAND, "The program and its arguments, no shell. This or processor."),
    inputs=Field(
        one_of(map_of(LABEL, _ENTRIES), list_of(PATH)),
        "Name to path, glob or directory (ends in /), relative to root, or to a list of these; or a list of paths.",
        {},
    ),
    optional=Field(list_of(LABEL), "Names of inputs that may be empty.", []),
    outputs=Field(
        one_of(map_of(LABEL, PATH, least=1), list_of(PATH, least=1)),
        "Name to path or directory (ends in /), below the workspace; or a list.",
        required=True,
    ),
    needs=Field(
        list_of(SELECTOR), "Names or patterns of stages that must come first, although no file orders them.", []
    ),
    params=Field(map_of(PROSE, ANYTHING), "Any values for the stage.", {}),
    stdin=Field(LABEL, "Name of the input, one file, that is connected to standard input."),
    stdout=Field(LABEL, "Name of the output, no directory, that standard output goes to."),
    temporary=Field(
        list_of(LABEL), "Names of outputs that a run removes as soon as every stage that reads them is up to date.", []
    ),
    seenAs=Field(
        map_of(LABEL, PATH),
        "Names of inputs and outputs, each with the path, below root, at which a sealed stage has it.",
        {},
    ),
    results=Field(
        one_of(map_of(LABEL, _RESULT), list_of(LABEL)),
        "Names of outputs that a report shows, or name to title, caption, group and files.",
    ),
    offline=Field(record(onAttempt=ON_ATTEMPT), "The spec's onAttempt, for this stage."),
    programIdentity=PROGRAM_IDENTITY,
    **_SHARED,
)
STAGE = STAGE._replace(
    schema={**STAGE.schema, "oneOf": [{"required": ["processor"]}, {"required": ["command"]}]}
)  # `spec.checks` says it in words
OFFLINE = record(
    bannedImports=Field(list_of(MODULE), "Modules that stages may not import, besides the built-in list.", []),
    allowImports=Field(list_of(MODULE), "Modules of the built-in list that stages may import.", []),
    onAttempt=ON_ATTEMPT,
)
WORDS = list_of(SCALAR)
VARS = map_of(LABEL, one_of(SCALAR, BOOLEAN, WORDS))
SPEC = record(
    **{"$schema": Field(PROSE, "For editors.")},
    specVersion=Field(choice(SPEC_VERSION), "The version of this format.", required=True),
    name=Field(NAME, "The pipeline's name; a state directory belongs to one name.", required=True),
    description=Field(PROSE, "For people.", ""),
    root=Field(PATH, "The directory that paths are relative to, relative to the spec's own.", "."),
    stateDir=Field(PATH, "Where state is kept, below the workspace.", "state"),
    locksDir=Field(PATH, "Where locks are; `<stateDir>/locks` if stateDir is given, else `locks`."),
    processorIdentity=Field(choice("mtime", "content"), "Whether touching a processor re-runs its stage.", "mtime"),
    programIdentity=PROGRAM_IDENTITY._replace(default="name"),
    offline=Field(OFFLINE, "What the offline guard refuses.", {}),
    vars=Field(VARS, "Name to value, for {vars.NAME}; --var and --vars override them."),
    defaults=Field(DEFAULTS, "Values of fields that a stage does not set, merged field by field.", {}),
    stages=Field(list_of(STAGE, least=1), "The stages, in any order.", required=True),
)


def schema_text() -> str:
    """Return the JSON Schema of a spec, draft 2020-12, as `schema` prints it and docs/spec-v1.schema.json holds it.

    The schema checks single values. Only loading checks what names refer to and where paths lead. JSON Schema takes 3.0
    as an integer; a spec must have 3.
    """
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:offpipe:spec:v1",
        "title": "offpipe pipeline, version 1",
        **SPEC.schema,
    }
    return json.dumps(schema, indent=2) + "\n"
