"""How a check tells a stage's author what it found: what was done, what was expected, what came, and how to see it."""

from __future__ import annotations

from typing import NamedTuple

from runner.display.words import printable

LOG_LINES = 15


class Finding(NamedTuple):
    """What a check has against a stage; `where` is the place in the spec, `kept` the workspace to look into.

    Its text is one that terminals, JUnit's XML and the channels of xdist take: names and logs may be of any bytes.
    """

    where: str
    subject: str
    done: str
    expected: str
    found: str
    log: str = ""
    kept: str = ""
    reproduce: str = ""

    def __str__(self) -> str:
        rows = [
            ("done", self.done), ("expected", self.expected), ("found", self.found),
            ("log", _tail(self.log)), ("kept", self.kept), ("by hand", self.reproduce),
        ]  # fmt: skip
        lines = [f"{self.subject}: {(self.found or self.expected).splitlines()[0]}"]
        for name, text in rows:
            if text:
                first, *others = text.splitlines()
                lines.append(f"  {name + ':':<10}{first}")
                lines.extend(f"            {other}" for other in others)
        return "\n".join(map(printable, [*lines, f"{self.where}: {CheckFailedError.__name__}"]))


class CheckFailedError(AssertionError):
    """A check of a spec failed. Survives pickling, as reports of xdist workers must."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding)
        self.finding = finding

    def __str__(self) -> str:
        return str(self.finding)


def _tail(log: str) -> str:
    lines = log.rstrip().splitlines()
    cut = [f"... {len(lines) - LOG_LINES:,} lines before"] if len(lines) > LOG_LINES else []
    return "\n".join([*cut, *lines[-LOG_LINES:]])
