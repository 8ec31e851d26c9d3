"""Makes a stage for a command, and puts it into a spec without a change to any other byte."""

from __future__ import annotations

import json
import os
import re
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from runner.paths import variable_name
from runner.spec.globs import bare, stem

if TYPE_CHECKING:
    from collections.abc import Sequence

    Draft = dict[str, Any]  # a stage as JSON

_RUNS_SCRIPTS = re.compile(r"(?:ba|da|z|k)?sh|(?:perl|ruby|node|lua|php|julia|Rscript|python)[0-9.]*")
_NOT_OF_LABELS = re.compile("[^A-Za-z0-9_-]")


def script_of(words: Sequence[str], root: str) -> str | None:
    """Return the file below root that a command's program runs as a script, as the command names it."""
    runs_scripts = _RUNS_SCRIPTS.fullmatch(os.path.basename(words[0]))
    script = words[1] if runs_scripts and len(words) > 1 else "/"
    return script if script[:1] != "/" and os.path.isfile(os.path.join(root, script)) else None


class Command(NamedTuple):
    """A command that runs in `root`: its words, the absolute path of its program, and the Python of its tools."""

    root: str
    words: Sequence[str]
    program: str
    python: str | None

    @property
    def processor(self) -> str | None:
        """Its processor: a script for the Python of the stage, or a program below root that is no link out of it."""
        script = script_of(self.words, self.root) or ""
        python = os.path.dirname(self.python or sys.executable)
        if script.endswith(".py") and os.path.dirname(self.program) == python:
            return os.path.normpath(script)
        is_below = os.path.realpath(self.program).startswith(f"{self.root}/") and "/" in self.words[0]
        return os.path.relpath(self.program, self.root) if is_below else None

    def stage(self, name: str, inputs: Sequence[str], outputs: Sequence[str]) -> Draft:
        """Return the stage. Words that name an input or output become placeholders, if these stand for the same text.

        An absolute path becomes a relative one.
        """
        script, processor = script_of(self.words, self.root), self.processor
        code = {os.path.normpath(path) for path in (script, processor) if path}
        reads, writes = _labels([path for path in inputs if path not in code]), _labels(outputs)
        forms = {bare(path): f"{{inputs.{label}}}" for label, path in reads.items()}
        forms |= {bare(path): f"{{outputs.{label}}}" for label, path in writes.items()}

        def filled(word: str) -> str:
            option, equals, value = word.rpartition("=")
            path = os.path.relpath(value, self.root) if value.startswith("/") else value
            return f"{option}{equals}{forms[path]}" if path in forms else word

        known = 2 if script else 1
        args = [filled(word) for word in self.words[known:]]
        start = {"processor": processor, "args": args} if processor else {"command": [*self.words[:known], *args]}
        fields = {"name": name, "sealed": True, **start, "inputs": reads, "outputs": writes}
        return {field: value for field, value in fields.items() if value}


def _labels(paths: Sequence[str]) -> dict[str, str]:
    """Return paths by label: the stem, with a number if another path has it."""
    labels: dict[str, str] = {}
    for path in paths:
        base = _NOT_OF_LABELS.sub("_", stem(path))[:90]
        base = base if base[:1].isalpha() else f"file_{base}"
        names = (base, *(f"{base}_{number}" for number in range(2, len(paths) + 1)))
        taken = {*map(variable_name, labels)}
        labels[next(name for name in names if variable_name(name) not in taken)] = path
    return labels


def text_of(stage: Draft) -> str:
    """Return a stage as text, with a line for each field but the first two."""
    fields = [f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in stage.items()]
    return "{" + ",\n ".join([", ".join(fields[:2]), *fields[2:]]) + "}"


def with_stage(content: bytes, stage: Draft) -> bytes:
    """Return a valid spec with one more stage, behind the others. All bytes of `content` are kept."""
    text, at, key = content.decode("utf-8-sig"), 0, ""
    mark = content[: len(content) - len(text.encode())]  # of byte order
    decoder, end = json.JSONDecoder(), text.index("{") + 1
    while key != "stages":
        key, at = decoder.raw_decode(text, _after_space(text, end))
        at = _after_space(text, at)
        _, end = decoder.raw_decode(text, at)
    head = text[: end - 1].rstrip()  # up to the last stage
    _, newline, indent = text[at + 1 : _after_space(text, at + 1)].rpartition("\n")
    comma = "" if len(head) == at + 1 else ","
    added = f"{comma}\n{text_of(stage)}".replace("\n", f"\n{indent if newline else '  '}")
    return mark + f"{head}{added}{text[len(head) :]}".encode("utf-8", "surrogatepass")  # loading it refuses these


def _after_space(text: str, at: int) -> int:
    """Return the position behind what stands between the strings and values of JSON."""
    while text[at] in " \t\r\n:,":
        at += 1
    return at
