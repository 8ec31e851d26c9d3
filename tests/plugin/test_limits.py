"""Limits of time and memory, and what is reported of the undisturbed run."""

from __future__ import annotations

import re
import sys
import xml.etree.ElementTree as ET

import pytest
from spec_project import COPY, SpecProject

# Two processes that hold 60 MiB each at the same time.
TWO_LARGE = f"""
{sys.executable} - <<'END' || exit
import os, time
read, write = os.pipe()
children = []
for _ in range(2):
    child = os.fork()
    if not child:
        block = bytearray(os.urandom(1 << 20) * 60)
        os.write(write, b"x")
        time.sleep(0.5)
        os._exit(len(block) == 0)
    children.append(child)
for child in children:
    os.waitpid(child, 0)
END
cat "$i" > "$o"
"""


@pytest.fixture
def project(pytester):
    made = SpecProject(pytester)
    made.checks = "run"
    return made


def properties(project, *arguments):
    project.pytest("it.json", "--junitxml", "junit.xml", *arguments)
    return {each.get("name"): each.get("value") for each in ET.parse(project.path / "junit.xml").iter("property")}


def test_run_that_takes_too_long_fails_with_its_log(project):
    project.ini("offpipe_timeout = 0.5\n")
    project.spec(project.shell("echo began >&2; sleep 60"))
    result = project.pytest("it.json")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*time limit of 0.5 s*", "*hint: the ini offpipe_timeout*", "  log:      began"])


def test_disturbed_run_that_takes_too_long_fails_with_its_log(project):
    project.ini("offpipe_timeout = 2\n")
    slow = project.shell('cat "$i" > "$o"; case $PWD in */run/files*) ;; *) echo waits >&2; sleep 60;; esac')
    project.spec(slow)
    result = project.pytest("it.json", "--offpipe-checks", "repeat", checks=False)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*time limit of 2 s*", "  log:      waits"])


@pytest.mark.parametrize("value", ["0", "soon", "-1"])
def test_timeout_that_is_no_positive_number_is_a_usage_error(project, value):
    project.ini(f"offpipe_timeout = {value}\n")
    project.spec(COPY)
    result = project.pytest("it.json")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f'*offpipe_timeout: "{value}" is not a positive number*'])


def test_more_seconds_than_the_spec_allows_fail_the_run(project):
    project.spec(project.shell('sleep 0.3; cat "$i" > "$o"', **{"x-offpipe": {"maxSeconds": 0.2}}))
    result = project.pytest("it.json")
    result.assert_outcomes(failed=1)
    result.stdout.re_match_lines([r"maxSeconds is 0\.2, and it took 0\.[3-9]\d* s", ".*at most 0.2 s .maxSeconds."])


def test_memory_of_all_processes_together_is_judged(project):
    project.spec(project.shell(TWO_LARGE, **{"x-offpipe": {"maxMemoryMiB": 100}}))
    result = project.pytest("it.json")
    result.assert_outcomes(failed=1)
    (found,) = re.findall(r"\nmaxMemoryMiB is 100, and its processes had ([\d.]+) MiB together", result.stdout.str())
    assert 120 < float(found) < 270  # each has its block twice for a moment, as bytes and as a bytearray


def test_limits_that_are_kept_pass(project):
    project.spec(COPY, **{"x-offpipe": {"maxMemoryMiB": 100, "maxSeconds": 60}})
    project.pytest("it.json").assert_outcomes(passed=1)


def test_limits_judge_no_other_check(project):
    project.checks = "outputs,retry"
    project.spec({**COPY, "x-offpipe": {"maxSeconds": 0.0001}})
    project.pytest("it.json").assert_outcomes(passed=2)


def test_time_and_memory_are_in_junit_and_in_the_summary(project):
    project.spec(project.shell(f'{sys.executable} -c pass; cat "$i" > "$o"'))  # of less, the kernel may count no page
    found = properties(project)
    assert 0 < float(found["offpipe_seconds"]) < 60
    assert 0 < float(found["offpipe_peak_mib"]) < 100
    project.pytest("it.json", "-rP").stdout.re_match_lines([r"undisturbed: [\d.]+ s, peak memory [\d.]+ MiB"])


def test_short_peak_of_one_process_is_seen(project):
    block = f'{sys.executable} -c "bytearray(b\'x\' * (90 << 20))"\ncat "$i" > "$o"'
    project.spec(project.shell(block))
    assert float(properties(project)["offpipe_peak_mib"]) > 90
