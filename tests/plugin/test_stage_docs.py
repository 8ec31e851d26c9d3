"""docs/testing-your-stages.md works from first line to last: files are saved, commands print what it says."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from spec_project import LEFT_OUT

pytestmark = pytest.mark.full

PAGE = Path(__file__).resolve().parents[2] / "docs/testing-your-stages.md"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
NAMED = re.compile(r"`([\w./-]+\.\w+)`[^`]*:\Z")
# What differs between runs or machines, or only fills a line.
VARIES = (
    (r"/\S*?/pytest-of-[^/]+/pytest-\d+/offpipe/visits-[0-9a-f]+/", "/KEPT/"),
    (r"--offpipe-seed \d+", "--offpipe-seed N"),
    (r"\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d UTC \d{4}", "DATE"),
    (r"= \d+ passed(, \d+ skipped)? in", "= PASSED in"),  # TERM may come too late for a stage that is done in a moment
    (r"in \d+\.\d+s( \(\d+:\d\d:\d\d\))?", "in SECONDS"),
    (r"([=_-])\1* (.*?) \1\1*", r"\1 \2 \1"),
    (r" +\[100%\]", " [100%]"),
)


def blocks(page: str) -> list[tuple[str, str, str]]:
    """Return, of each block of the page, its language, the file named before it, and its content."""
    found = []
    for block in BLOCK.finditer(page):
        named = NAMED.search(page[: block.start()].rstrip())
        found.append((block[1], named[1] if named else "", block[2]))
    return found


def commands(console: str) -> list[tuple[str, list[str]]]:
    """Return each command of a block, with the lines that it must print."""
    expected: list[tuple[str, list[str]]] = []
    for line in console.splitlines():
        if line.startswith("$ "):
            expected.append((line[2:], []))
        else:
            expected[-1][1].append(line)
    return expected


def plain(line: str) -> str:
    for pattern, text in VARIES:
        line = re.sub(pattern, text, line)
    return line.rstrip()


def require_lines(expected: list[str], output: str) -> None:
    """Find the expected lines in the output: each right after the last one, or anywhere after it behind `...`."""
    lines = [plain(line) for line in output.splitlines() if line.strip()]
    at, is_anywhere = 0, False
    for line in expected:
        if line == "...":
            is_anywhere = True
            continue
        ahead = lines[at:] if is_anywhere else lines[at : at + 1]
        assert plain(line) in ahead, f"{line!r} is not where the page has it; behind {lines[:at][-1:]} is:\n{output}"
        at, is_anywhere = at + ahead.index(plain(line)) + 1, False
    assert is_anywhere or at == len(lines), f"there is more than the page has:\n{output}"


@pytest.mark.skipif(importlib.util.find_spec("xdist") is None, reason="pytest-xdist is not installed")
def test_the_page_does_what_it_says(tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("CI", raising=False)  # in CI, pytest does not shorten its summary
    monkeypatch.setenv("COLUMNS", "100")
    unused = ("hypothesispytest", "randomly", "cov")
    monkeypatch.setenv("PYTEST_ADDOPTS", " ".join(f"-p no:{name}" for name in unused))
    (tmp_path / "pytest.ini").touch()
    ran = 0
    for language, name, content in blocks(PAGE.read_text(encoding="utf-8")):
        if language == "console":
            for command, expected in commands(content):
                require_lines(expected, output_of(command, tmp_path))
                ran += 1
        else:
            assert name, f"nothing says which file this is:\n{content}"
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(content, encoding="utf-8")
    assert (tmp_path / "golden/work/names.csv").read_text() == "2026-03-01,ada\n2026-03-01,grace\n2026-03-02,ada\n"
    assert ran == 8


def output_of(command: str, directory: Path) -> str:
    program, *arguments = shlex.split(command)
    assert program == "pytest"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *LEFT_OUT, *arguments],
        cwd=directory, env=dict(os.environ), capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert not done.stderr, done.stderr
    return done.stdout
