"""The table of fields: what a spec may hold, in which range, and the defaults.

The walk, the defaults, the effective spec, the hints for unknown names and the JSON Schema all read it.
"""

from __future__ import annotations

import json

from runner.spec.kinds import Anything, Boolean, Choice, Field, ListOf, MapOf, Number, OneOf, Record, Text

SPEC_VERSION = 1
DAY = 86_400
YEAR = 366 * DAY
_OF_A_DAY = " seconds (a day)"
BILLION = 1_000_000_000

# By name, because the numbers differ between architectures; never one that the runner itself sends for its own ends.
SIGNALS = (
    "SIGABRT", "SIGALRM", "SIGBUS", "SIGFPE", "SIGHUP", "SIGILL", "SIGINT", "SIGKILL", "SIGPIPE", "SIGPROF", "SIGQUIT",
    "SIGSEGV", "SIGSYS", "SIGTERM", "SIGTRAP", "SIGUSR1", "SIGUSR2", "SIGVTALRM", "SIGXCPU", "SIGXFSZ",
)  # fmt: skip

_CONTROL = "[\\u0000-\\u001f\\u007f-\\u009f]"
NAME = Text(
    "[A-Za-z0-9][A-Za-z0-9._-]{0,99}", "a name is letters, digits, . _ - and begins with a letter or digit; 100 at most"
)
LABEL = Text("[A-Za-z][A-Za-z0-9_-]{0,99}", "such a name is letters, digits, _ - and begins with a letter; 100 at most")
PATH = Text(forbidden=_CONTROL, longest=4096)  # PATH_MAX
WORD = Text(forbidden="\\u0000", empty=True)
PROSE = Text(empty=True)
MODULE = Text("[A-Za-z_][A-Za-z0-9_]*(\\.[A-Za-z_][A-Za-z0-9_]*)*", "the name of a Python module: paramiko, a.b")
VARIABLE = Text(
    "(?!PIPELINE_)[A-Za-z_][A-Za-z0-9_]*", "letters, digits and _; PIPELINE_* is what offpipe itself tells a stage"
)
SECONDS = Number(0, YEAR, above=True, unit=" seconds (a year)")
ON_ATTEMPT = Field(Choice("fail", "record"), "What an attempt to reach the network does to a stage.", "fail")

RETRY = Record(
    {
        "attempts": Field(Number(1, 1000, whole=True), "How often a stage is started at most.", 1),
        "delaySeconds": Field(
            OneOf(Number(0, DAY, unit=_OF_A_DAY), ListOf(Number(0, DAY, unit=_OF_A_DAY), least=1)),
            "The delay before the second attempt, or a list of delays whose last one repeats.",
            1.0,
        ),
        "multiplier": Field(Number(1, 1000), "By what a single delay grows from attempt to attempt.", 2.0),
        "maxDelaySeconds": Field(
            Number(0, DAY, unit=_OF_A_DAY),
            "No delay is longer. Without it 60, or the longest delaySeconds if that is more.",
        ),
        "jitter": Field(Number(0, 1), "The delay is drawn from [(1 - jitter) * delay, delay].", 1.0),
        "retryExitCodes": Field(
            ListOf(OneOf(Number(1, 255, whole=True), Choice(*SIGNALS))),
            "Exit codes, and names of signals, after which a stage is tried again.",
            [75],
        ),
        "retryOnTimeout": Field(Boolean(), "Whether a stage that took too long is tried again.", default=False),
        "maxTotalSeconds": Field(SECONDS, "No attempt starts when this would have passed since the first one began."),
    }
)
CHECKPOINT = Record(
    {
        "everyLines": Field(Number(1, BILLION, whole=True), "The SDK commits after so many lines."),
        "everySeconds": Field(Number(0, DAY, above=True, unit=_OF_A_DAY), "The SDK commits after so many seconds."),
    }
)
RESOURCES = Record(
    {
        "cpus": Field(Number(0, 65_536, above=True), "Cores that the stage uses; without it, it counts as one."),
        "memoryMiB": Field(Number(1, BILLION, whole=True), "Memory that the stage needs."),
        "ioConcurrency": Field(Number(1, 65_536, whole=True), "A hint to the stage: parallel reads and writes."),
        "enforce": Field(Boolean(), "Whether the kernel holds the stage to cpus and memoryMiB.", default=False),
    }
)
# What a stage may say, and `defaults` for all stages.
_SHARED = {
    "retry": Field(RETRY, "When a failed stage is tried again."),
    "checkpoint": Field(CHECKPOINT, "How often the SDK makes progress durable."),
    "resources": Field(RESOURCES, "What the stage needs of the machine."),
    "timeoutSeconds": Field(SECONDS, "How long an attempt may take."),
    "retryOnTimeout": Field(Boolean(), "The same as in retry, and stronger.", None),
    "freshInterpreter": Field(Boolean(), "Whether a .py processor gets an interpreter of its own.", default=False),
    "env": Field(MapOf(VARIABLE, WORD), "Environment variables of the stage."),
}
DEFAULTS = Record(_SHARED)
_PATHS = OneOf(MapOf(LABEL, PATH), ListOf(PATH))
STAGE = Record(
    {
        "$schema": Field(PROSE, "For editors."),
        "name": Field(NAME, "Unique, also without case; not `pipeline`.", required=True),
        "description": Field(PROSE, "For people.", ""),
        "processor": Field(
            PATH, "The program: a .py file or an executable, relative to root, or offpipe:NAME. This or command."
        ),
        "args": Field(ListOf(WORD), "Arguments of the processor; placeholders are filled in.", []),
        "command": Field(ListOf(WORD, least=1), "The program and its arguments, no shell. This or processor."),
        "inputs": Field(_PATHS, "Name to path, glob or directory (ends in /), relative to root; or a list.", {}),
        "outputs": Field(
            OneOf(MapOf(LABEL, PATH, least=1), ListOf(PATH, least=1)),
            "Name to path or directory (ends in /), below the workspace; or a list.",
            required=True,
        ),
        "needs": Field(ListOf(NAME), "Names of stages that come first although no file says so.", []),
        "params": Field(MapOf(PROSE, Anything()), "Whatever the stage wants to know.", {}),
        "stdin": Field(LABEL, "Name of the input, one file, that is connected to standard input."),
        "stdout": Field(LABEL, "Name of the output, no directory, that standard output goes to."),
        "offline": Field(Record({"onAttempt": ON_ATTEMPT}), "The spec's onAttempt, for this stage."),
        **_SHARED,
    }
)
OFFLINE = Record(
    {
        "bannedImports": Field(ListOf(MODULE), "Modules that stages may not import, besides the built-in list.", []),
        "allowImports": Field(ListOf(MODULE), "Modules of the built-in list that stages may import.", []),
        "onAttempt": ON_ATTEMPT,
    }
)
SPEC = Record(
    {
        "$schema": Field(PROSE, "For editors."),
        "specVersion": Field(Choice(SPEC_VERSION), "The version of this format.", required=True),
        "name": Field(NAME, "The pipeline's name; a state directory belongs to one name.", required=True),
        "description": Field(PROSE, "For people.", ""),
        "root": Field(PATH, "The directory that paths are relative to, relative to the spec's own.", "."),
        "stateDir": Field(PATH, "Where state is kept, below the workspace.", "state"),
        "locksDir": Field(PATH, "Where locks are; `<stateDir>/locks` if stateDir is given, else `locks`."),
        "processorIdentity": Field(
            Choice("mtime", "content"), "Whether touching a processor re-runs its stage.", "mtime"
        ),
        "offline": Field(OFFLINE, "What the offline guard refuses.", {}),
        "defaults": Field(DEFAULTS, "What stages say unless they say otherwise, merged field by field.", {}),
        "stages": Field(ListOf(STAGE, least=1), "The stages, in any order.", required=True),
    }
)


def schema_text() -> str:
    """Return the JSON Schema of a spec, draft 2020-12, as `schema` prints it and docs/spec-v1.schema.json holds it.

    It checks each value by itself. Only loading checks what names refer to and where paths lead. To JSON Schema 3.0 is
    an integer; a spec has to write 3.
    """
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "offpipe pipeline, version 1",
        **SPEC.schema,
    }
    return json.dumps(schema, indent=2) + "\n"
