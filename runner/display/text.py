"""Text for people: times, sizes, counts, faults; without characters that change how a terminal works."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runner.errors import Fault
    from runner.spec.model import Stage

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_MOST_FAULTS = 100  # shown for one command


def printable(text: str) -> str:
    """Return `text` with control characters, bidi marks and the like escaped. A tab stays."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\t" else c.encode("unicode_escape").decode() for c in text)


def printable_lines(text: str) -> str:
    """Return `text` with every line made printable."""
    return "\n".join(printable(line) for line in text.split("\n"))


def stamped(text: str) -> str:
    """Return a message with the time in UTC before it, for logs and mail."""
    return f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {text}"


def fault_text(fault: Fault, kind: str = "error") -> str:
    """Return an error or a warning as text, like `str(fault)`, but printable, and with its place on one line."""
    where = f"{printable(fault.where)}: " if fault.where else ""
    hint = f"\nhint: {printable_lines(fault.hint)}" if fault.hint else ""
    return f"{kind}: {where}{printable_lines(fault.what)}{hint}"


def faults_text(faults: Sequence[Fault]) -> str:
    """Return the first errors as text, and the number of the others."""
    shown = "".join(f"{fault_text(fault)}\n" for fault in faults[:_MOST_FAULTS])
    return shown + (f"and {len(faults) - _MOST_FAULTS:,} more\n" if len(faults) > _MOST_FAULTS else "")


def ending_text(subject: str, exit_code: int) -> str:
    """Return the line on the end of a run that failed: the time, the subject, the exit code and the host."""
    return stamped(f"{printable(subject)}: exit {exit_code} on {os.uname().nodename}\n")


def next_text(words: Sequence[str]) -> str:
    """Return the line with the command to run once the cause is fixed; `words` is the present command line."""
    import shlex  # here, because most verbs quote nothing

    try:
        place = f"cd {shlex.quote(os.getcwd())} && "
    except OSError:  # the directory was removed
        place = ""
    return f"next: {printable(place + shlex.join([program_name(), *words]))}\n"


def program_name() -> str:
    """Return `offpipe`; if that is not on PATH, as under cron, return the path as it was typed."""
    from shutil import which

    typed = sys.argv[0]
    return typed if os.path.basename(typed) == "offpipe" and not which("offpipe") else "offpipe"


def seconds(value: float) -> str:
    """Return `0.12 s`, `1.2 s`, `48 s`, `3 min 05 s`, `2 h 10 min`."""
    if value < 9.95:
        return f"{value:.2g} s" if value >= 0.001 else "0 s"
    whole = round(value)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE:02} s"
    return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE:02} min"


def age(value: float) -> str:
    """Return seconds like `seconds`, without fractions, and from two days on as days: `9 h 10 min`, `12 days`."""
    days = int(value) // _DAY
    return counted(days, "day") if days > 1 else seconds(max(0, int(value)))


def size(count: float) -> str:
    """Return `345 bytes`, `1.2 kB`, `34 MB`."""
    if count < 1000:
        return counted(int(count), "byte")
    for unit in ("kB", "MB", "GB"):
        count /= 1000
        if count < 999.5:
            return f"{count:.1f} {unit}" if count < 9.95 else f"{count:.0f} {unit}"
    return f"{count / 1000:,.1f} TB"


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return `1 line`, `1,200,000 lines`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {plural or f'{noun}s'}"


def stages_text(stages: Sequence[Stage]) -> str:
    """Return the number of stages; at least so many if templates are open."""
    known = [stage for stage in stages if not stage.is_open]
    return counted(len(known), "stage") if len(known) == len(stages) else f"at least {counted(len(known), 'stage')}"


def attempt_text(tries: int, most: int | None) -> str:
    """Return `attempt 2 of 3`, counted in one invocation; `most` is None if the spec is not known."""
    return f"attempt {tries} of {most}" if most else f"attempt {tries}"


def near_path(path: str) -> str:
    """Return a path, absolute or relative to the current directory, whichever is shorter, made printable."""
    try:
        relative = os.path.relpath(path)
    except OSError:  # the current directory was removed
        return printable(path)
    return printable(relative if len(relative) < len(path) else path)
