"""Harmless programs work under the guard as without it, and nothing that they do is taken for an attempt.

One run for each level and user holds all of them. Each one also runs without a runner as the same user, which shows
what it should print.
"""

from __future__ import annotations

import harmless_run
import pytest
from harmless_run import JOBS, LOCAL_SOCKETS
from offline_run import shared_result

COMBINATIONS = [("kernel", "unprivileged"), ("filter", "root")]  # test_attacks has the other two
pytestmark = [
    pytest.mark.parametrize(("level", "user"), COMBINATIONS),
    pytest.mark.full,
]


@pytest.fixture
def plain(user, shared):
    """What each job prints without a runner."""
    result = shared_result(shared, f"harmless-plain-{user}", lambda: harmless_run.without_guard(user))
    if reason := result.get("unavailable"):
        pytest.skip(reason)
    return result


@pytest.fixture
def story(level, user, shared):
    """The one run of all jobs at this level by this user."""
    result = shared_result(shared, f"harmless-{level}-{user}", lambda: harmless_run.guarded(level, user))
    if reason := result.get("unavailable"):
        pytest.skip(reason)
    return result


def test_the_run_reached_the_level(story, level):
    assert story["isolation"]["level"] == level
    assert story["isolation"]["attempts"] == "named"


def test_only_what_needs_local_sockets_failed(story):
    assert sorted(story["failed"]) == sorted(LOCAL_SOCKETS)
    assert story["exit"] == 1


def test_the_mounts_outside_are_what_they_were(story):
    assert story["mounts"]


@pytest.mark.parametrize("name", JOBS)
def test_a_harmless_program_does_what_it_does_without_the_guard(name, story, plain, user):
    if reason := harmless_run.reason_to_skip(JOBS[name], user):
        pytest.skip(reason)
    code, output, stderr = plain[name]
    assert code == 0, stderr
    assert name in story["succeeded"], story["logs"][name]
    assert story["output"][name] == output


@pytest.mark.parametrize("name", JOBS)
def test_a_harmless_program_is_not_taken_for_an_attempt(name, story, user):
    if reason := harmless_run.reason_to_skip(JOBS[name], user):
        pytest.skip(reason)
    attempts = [attempt for attempt in story["attempted"] if attempt["stage"] == name]
    # node tries io_uring
    calls = [(attempt["program"], attempt["family"]) for attempt in attempts if attempt["family"] != "io_uring"]
    assert {attempt["action"] for attempt in attempts} <= {"record"}
    innocent = JOBS[name].record
    assert calls == ([(innocent, "AF_INET"), (innocent, "AF_INET6")] if innocent else [])


@pytest.mark.parametrize("name", LOCAL_SOCKETS)
def test_what_needs_local_sockets_fails_once_with_the_hint(name, story):
    assert story["ended"][name]["attempt"] == 1
    assert "AF_UNIX" not in story["failed"][name]["why"]
    lines = story["stderr"].partition(f"error: stage {name}: failed with exit 1\n")[2].splitlines()
    assert lines[0].startswith("hint: local sockets (AF_UNIX) were refused")
    assert 'use "fork" or "spawn" instead of "forkserver"' in lines[0]
    assert [attempt for attempt in story["attempted"] if attempt["stage"] == name] == []


def test_a_tracer_is_refused_and_says_so(story):
    if "strace" not in story["output"]:
        pytest.skip("no strace here")
    assert "Operation not permitted" in story["output"]["strace"]
    assert story["output"]["strace"].endswith("ended 1\n")
    assert [attempt for attempt in story["attempted"] if attempt["stage"] == "strace"] == []
