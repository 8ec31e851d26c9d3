"""Unused, the plugin costs nothing: no time worth mentioning, no hook, no fixture, no output, no file."""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
from spec_project import LEFT_OUT
from suites import full_but

PACKAGE = Path(__file__).resolve().parents[2] / "pytest_offpipe"
MODULES = {"pytest_offpipe", "pytest_offpipe.plugin"}

WATCH = """
    import json, sys

    def note(event, arguments):
        if event == "sys.addaudithook":
            found["audit hooks"] += 1

    def pytest_collection_finish(session):
        manager = session.config.pluginmanager
        ours = [name for name, _ in manager.list_name_plugin() if "offpipe" in str(name)]
        found["plugins"] = ours
        found["hooks"] = sorted(one.name for name in ours for one in manager.get_hookcallers(manager.get_plugin(name)))

    def pytest_unconfigure():
        found["modules"] = [name for name in sys.modules if name.partition(".")[0] in ("pytest_offpipe", "runner")]
        with open("found.json", "w") as file:
            json.dump(found, file)

    found = {"audit hooks": 0}
    sys.addaudithook(note)
"""


@pytest.fixture
def plain(pytester):
    """Return a project without settings of offpipe."""
    pytester.makeini("[pytest]\n")
    pytester.makepyfile(test_a="def test_a(request):\n    assert request.fixturenames == ['request']\n")
    return pytester


def test_nothing_is_live_and_nothing_is_loaded(plain, monkeypatch):
    plain.makepyfile(watch=WATCH)
    monkeypatch.setenv("PYTHONPATH", str(plain.path))
    plain.runpytest_subprocess("-p", "watch", "-p", "no:hypothesispytest").assert_outcomes(passed=1)
    found = json.loads((plain.path / "found.json").read_text())
    assert found["plugins"] == ["offpipe"]
    assert found["hooks"] == ["pytest_addoption", "pytest_configure"]
    assert set(found["modules"]) == MODULES
    assert found["audit hooks"] == 0


@pytest.mark.parametrize("arguments", full_but(["", "-v -rA", "--collect-only", "--co -q"], ["-v -rA", "--co -q"]))
def test_output_and_disk_are_as_without_it(plain, arguments):
    def output(*more):
        result = plain.runpytest_inprocess(*arguments.split(), *LEFT_OUT, *more)
        lines = [line for line in result.outlines if not line.startswith("plugins: ")]
        text = re.sub(r"in \d+\.\d+s", "", "\n".join(lines)).replace("=", "")
        files = {path.relative_to(plain.path) for path in plain.path.rglob("*") if "runpytest" not in str(path)}
        return text, result.errlines, files

    without = output("-p", "no:offpipe")
    assert output() == without


IMPORT = """
import sys, time
import pytest
before = set(sys.modules)
began = time.process_time_ns()
import pytest_offpipe.plugin
took = time.process_time_ns() - began
print(took / 1e6, *sorted(set(sys.modules) - before))
"""


@pytest.mark.full
def test_import_takes_two_milliseconds_at_most():
    """Take the median of 5 processes, in CPU time: wall time would include other processes of a busy machine."""
    times = []
    for _ in range(5):
        words = subprocess.run(
            [sys.executable, "-c", IMPORT], capture_output=True, text=True, check=True
        ).stdout.split()
        assert set(words[1:]) == MODULES
        times.append(float(words[0]))
    assert statistics.median(times) <= 2, times


def test_no_private_module_of_pytest_is_imported():
    places = [
        f"{path.name}:{number}"
        for path in PACKAGE.rglob("*.py")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.search(r"\b_pytest\b", line)
    ]
    assert places == []


def test_options_are_explained(plain):
    output = str(plain.runpytest_inprocess("--help", "-p", "no:hypothesispytest").stdout)
    for option in ("spec=", "checks=", "inputs=", "seed=", "budget=", "strict "):
        assert f"--offpipe-{option}" in output
    for ini in ("specs", "checks", "inputs", "seed", "budget", "strict"):
        assert f"\n  offpipe_{ini} " in output
