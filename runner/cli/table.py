"""The verbs, as the help lists them; their options, and what performs them, are loaded once it is known which."""

from __future__ import annotations

PROGRAM = "offpipe"


class Verb:
    """A verb: the function of `verbs` that performs it, what it does, and the words it takes."""

    __slots__ = ("function", "summary", "words")

    def __init__(self, function: str, summary: str, words: str) -> None:
        self.function = function
        self.summary = summary
        self.words = words


VERBS = {
    "run": Verb("run", "run what is out of date", "SPEC [STAGE ...]"),
    "clean": Verb("clean", "remove what the stages made, and their state", "SPEC"),
    "plan": Verb("plan", "say what a run would do, and why", "SPEC [STAGE ...]"),
    "status": Verb("status", "say what is pending, running, and left undone", "SPEC"),
    "explain": Verb("explain", "say why one stage runs or not, and what made it", "SPEC STAGE"),
    "log": Verb("log", "print a stage's newest log, or a run's events", "SPEC [STAGE]"),
    "verify": Verb("verify", "check the audit log, metrics, markers and outputs", "SPEC|DIRECTORY"),
    "validate": Verb("validate", "check a spec and its inputs, reporting every fault", "SPEC"),
    "graph": Verb("graph", "print the stages and what leads to what", "SPEC"),
    "doctor": Verb("doctor", "say how well this machine can keep stages offline", ""),
    "schema": Verb("schema", "print the JSON Schema of specs", ""),
}
