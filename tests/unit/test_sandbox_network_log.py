from __future__ import annotations

import os
import sys

import pytest

from runner.sandbox import network_log
from runner.sandbox.network_log import MOST, OTHERS, Tally, _program
from runner.sandbox.seccomp import Call

INET, INET6, STREAM, CLOEXEC = 2, 10, 1, 0o2000000


def call(pid: int = 0, family: int = INET, kind: int = STREAM | CLOEXEC) -> Call:
    return Call(1, pid or os.getpid(), family, kind)


@pytest.fixture
def names(monkeypatch):
    """Give each process number a program of its own."""
    monkeypatch.setattr(network_log, "_program", lambda pid: f"p{pid}")


@pytest.fixture
def jvm(monkeypatch):
    monkeypatch.setattr(network_log, "_is_jvm", lambda _process: True)


def test_calls_are_counted_by_program_and_family(names) -> None:
    tally = Tally()
    for family in (INET, INET, INET6):
        tally.add(call(7, family))
    assert tally.rest() == [("p7", "AF_INET", 2, False), ("p7", "AF_INET6", 1, False)]
    assert tally.rest() == []


def test_new_calls_are_reported_once_and_repeats_at_the_end(names) -> None:
    tally = Tally()
    tally.add(call(7))
    assert tally.due is not None
    assert tally.new() == [("p7", "AF_INET", 1, False)] and tally.due is None
    tally.add(call(7))
    assert tally.due is None, "more of the same is not news"
    tally.add(call(8))
    assert tally.due is not None
    assert tally.new() == [("p8", "AF_INET", 1, False)]
    assert tally.rest() == [("p7", "AF_INET", 1, False)]


@pytest.mark.parametrize("early", [0, 1, 60, 99, 100, 150])
def test_no_launch_is_reported_more_than_a_hundred_times(names, early) -> None:
    tally, reports = Tally(), []
    for number in range(150):
        tally.add(call(1000 + number))
        if number < early:
            reports += tally.new()
    for number in range(150):
        tally.add(call(1000 + number))
    reports += tally.rest()
    assert len(reports) <= MOST
    assert sum(calls for _, _, calls, _ in reports) == 300, "no call is lost"
    assert OTHERS[0] in {program for program, *_ in reports}


@pytest.mark.parametrize("kind", [STREAM, STREAM | CLOEXEC, 2, 3])
@pytest.mark.parametrize(("family", "is_let_pass"), [(INET, True), (INET6, True), (17, False)])
def test_a_jvm_may_ask_for_the_internet_and_for_nothing_else(jvm, family, kind, is_let_pass) -> None:
    tally = Tally()
    for _ in range(5):
        tally.add(call(family=family, kind=kind))
    assert [(calls, jvms) for _, _, calls, jvms in tally.rest()] == [(5, is_let_pass)]


def test_a_program_that_is_no_jvm_may_not_ask_for_the_internet() -> None:
    tally = Tally()
    tally.add(call(kind=STREAM))
    assert [jvms for _, _, _, jvms in tally.rest()] == [False]


def test_a_caller_is_named_by_the_file_that_it_executes() -> None:
    assert _program(os.getpid()) == os.path.basename(os.path.realpath(sys.executable))
    assert _program(0x7FFFFFF0) == "?"
