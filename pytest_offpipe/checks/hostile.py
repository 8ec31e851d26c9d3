"""`hostile`: what a stage does with damaged text, in place of each of its inputs that no stage makes.

A stage may refuse such an input. It must not crash, hang, or end with 0 where rows have silently gone.
"""

from __future__ import annotations

import os
import random
import re
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from pytest_offpipe.checks.case import Bench, Case, ended
from pytest_offpipe.compare import LARGEST_TEXT, bytes_below, files_below, text_of
from pytest_offpipe.sandbox import Source
from pytest_offpipe.settings import HOSTILE, TABLES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_offpipe.checks.case import Trial
    from pytest_offpipe.compare import Sides
    from pytest_offpipe.reports import StageReport

_BOM = b"\xef\xbb\xbf"
_REPORTED = ("empty", "headerOnly")  # an output may well be empty then
_OF_TABLES = ("headerOnly", "oneRow", "shuffled")
_HEADER = re.compile(rb"((?:#[#\s][^\n]*\n)*[^\n]*\n?)(.*)", re.DOTALL)  # comments, names of columns; then the rows
_ONE_GONE = "one line is gone"
_LINE = re.compile(rb"[^\n]*\n|[^\n]+")
_CRASHES = {128 + number for number in (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL)}


def check_hostile(case: Case) -> None:
    """Run the stage with each kind of damage to each input."""
    hostile = _Hostile(case)
    texts = [*hostile.texts()]
    if not texts:
        case.clean()
        pytest.skip(f"it has no input that no stage makes and that is UTF-8 text of at most {LARGEST_TEXT >> 20} MiB")
    case.require_time(1, hostile.undisturbed.seconds)
    for text in texts:
        hostile.damage(text)


class _Text(NamedTuple):
    """An input: its path below root, its bytes, and these as a table; no rows if a quoted field may hold line ends."""

    path: str
    content: bytes
    header: bytes
    rows: list[bytes]

    @classmethod
    def of(cls, path: str, content: bytes) -> _Text:
        header, rest = _HEADER.findall(content)[0]
        rows = [line.removesuffix(b"\n") + b"\n" for line in _LINE.findall(rest)]
        return cls(path, content, header, [] if any(row.count(b'"') % 2 for row in rows) else rows)

    def damaged(self, chance: random.Random) -> dict[str, bytes]:
        """Return the bytes of each kind of damage, in the order of HOSTILE."""
        content, header, rows = self.content, self.header, self.rows
        return {
            "empty": b"",
            "noLastNewline": re.sub(rb"(?<![\r\n])\r?\n\Z", b"", content),  # a blank line would go with it
            "crlf": re.sub(rb"\r?\n", b"\r\n", content),
            "bom": _BOM + content.removeprefix(_BOM),
            "headerOnly": header if rows else content,
            "oneRow": header + rows[0] if len(rows) > 1 else content,
            "shuffled": header + b"".join(chance.sample(rows, len(rows))) if len(rows) > 1 else content,
        }


class _Hostile(Bench):
    """Runs of one stage with damaged inputs."""

    def __init__(self, case: Case) -> None:
        super().__init__(case, {"retry": {"attempts": 1}})
        self._declared: dict[str, str] = self.extension["hostile"] or {}
        self._deadline = time.monotonic() + case.settings.budget

    def texts(self) -> Iterator[_Text]:
        """Yield the first file of each input that is text, and that neither a stage makes nor the runner reads."""
        tops = filter(None, (self.case.spec.root, self.case.settings.inputs))
        taken = {os.path.relpath(path, top) for top in tops for path in self.case.spec.expanded_from}
        for name in self.stage.inputs:
            for file, _ in Source(self.spec).input_files(self.stage, name):
                path = os.path.relpath(file, self.spec.root)
                if path not in taken and self._is_wanted(file):
                    taken.add(path)
                    yield _Text.of(path, Path(file).read_bytes())
                    break

    def _is_wanted(self, file: str) -> bool:
        is_file = os.path.isfile(file) and (self.extension["hostile"] is not None or file.endswith(tuple(TABLES)))
        return is_file and bool((text_of(file) or "").strip())

    def damage(self, text: _Text) -> None:
        """Run the stage with each kind of damage to one input. Fails the check at the first finding."""
        for kind, content in text.damaged(random.Random(self.case.settings.seed)).items():
            is_one = kind in self._declared or kind not in _OF_TABLES or text.path.endswith(tuple(TABLES))
            if not is_one or content == text.content:
                continue
            if time.monotonic() > self._deadline:
                self.case.note(f"{text.path}, {kind}: left out, for --offpipe-budget")
                continue
            trial, report, flaws = self._run(text, kind, content)
            how = ", ".join(["exit 0", *flaws]) if report.succeeded else ended(report).removeprefix("error: ")
            if expected := self._expected(text, kind, report, flaws):
                found = f"{text.path}, {kind}: {how}"
                trial.fail(f"ran it with {text.path} replaced by {HOSTILE[kind]}", expected, found, report)
            if kind in _REPORTED:
                self.case.note(f"{text.path}, {kind}: {how}")
            trial.close()

    def _run(self, text: _Text, kind: str, content: bytes) -> tuple[Trial, StageReport, list[str]]:
        """Run the stage alone with this content of an input. Return also the flaws of its outputs."""
        trial = self.trial(kind)
        file = Path(trial.sandbox.root, text.path)
        file.unlink()  # it may be read-only
        file.write_bytes(content)
        report = trial.run()
        return trial, report, [*self._flaws(kind, report)]

    def _expected(self, text: _Text, kind: str, report: StageReport, flaws: list[str]) -> str:
        """Return what should have happened instead; "" if the run is sound."""
        if _is_crash(report):
            return "that it ends before its time limit, and by no signal"
        if declared := self._declared.get(kind):
            is_right = report.succeeded == (declared == "succeeds")
            return "" if is_right else f'that it {declared}: "hostile" in the spec says so'
        if not flaws or kind in _REPORTED or (kind == "oneRow" and not self._needs_two(text)):
            return ""
        return "an exit code other than 0, or outputs with all that the input has"

    def _needs_two(self, text: _Text) -> bool:
        """Whether two rows fill the outputs and neither does alone, as if one was lost. Halves the rows to find them.

        So a filter that drops most rows is sound, and a stage that reads the hundredth row is, too.
        """
        rows = text.rows
        while len(rows) > 2 and time.monotonic() < self._deadline:
            middle = len(rows) // 2
            rows = next((half for half in (rows[:middle], rows[middle:]) if self._fills(text, half)), [])
        return len(rows) == 2 and not any(self._fills(text, [row]) for row in rows)

    def _fills(self, text: _Text, rows: list[bytes]) -> bool:
        trial, _, flaws = self._run(text, "rows", text.header + b"".join(rows))
        trial.close()
        return not flaws

    def _flaws(self, kind: str, report: StageReport) -> Iterator[str]:
        """Yield what the outputs of a successful run lack that the undisturbed ones have."""
        for name, path in report.outputs.paths.items() if report.succeeded else ():
            whole = self.undisturbed.outputs.paths[name]
            if bytes_below(whole) and not bytes_below(path):
                yield f"output {name} is empty"
            elif kind == "noLastNewline" and not self.volatile and self._lacks_a_line(path, whole):
                self.changed(report, "without the last newline")  # skips or fails if the bytes differ anyway
                yield f"output {name} lacks one line, and only the last newline of the input is gone"

    def _lacks_a_line(self, output: str, whole: str) -> bool:
        """Whether a file of an output has, after filters, all lines that it has in the `whole` output but one."""
        for file in files_below(whole):
            path = os.path.normpath(f"{output}/{os.path.relpath(file, whole)}")
            is_compared = os.path.isfile(path) and os.path.getsize(file) <= LARGEST_TEXT
            if is_compared and self.normaliser.of_files("", [file, path], ("", ""), _in_lines) == _ONE_GONE:
                return True
        return False


def _is_crash(report: StageReport) -> bool:
    """Whether a run was ended by a signal or its time limit; a shell reports the crash of its program as a code."""
    ends = (each.timed_out or each.signal is not None for each in report.attempts)
    return report.exit_code in _CRASHES or any(ends)


def _in_lines(_: str, paths: list[str], __: Sides) -> str | None:
    """Return _ONE_GONE if the second file lacks one line of the first; something else if they differ otherwise."""
    lines, left = (Path(path).read_bytes().splitlines() for path in paths)
    if lines == left:
        return None
    at = next((at for at, (one, other) in enumerate(zip(left, lines, strict=False)) if one != other), len(left))
    return _ONE_GONE if left[at:] == lines[at + 1 :] else "other lines"
