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
        assert tally.add(call(family=family)), "it fails the stage"
    assert tally.rest() == [(f"p{os.getpid()}", "AF_INET", 2, False), (f"p{os.getpid()}", "AF_INET6", 1, False)]
    assert tally.rest() == []


def test_the_only_call_of_a_process_is_a_probe_if_it_is_for_an_ipv6_stream_socket(names) -> None:
    tally = Tally()
    assert not tally.add(call(family=INET6))
    assert tally.new() == [], "another may follow"
    assert tally.rest() == [(f"p{os.getpid()}", "AF_INET6", 1, True)]


@pytest.mark.parametrize("second", [call(family=INET6), call(family=INET), call(family=INET6, kind=2)])
def test_a_second_call_of_a_process_makes_both_count(names, second) -> None:
    tally = Tally()
    tally.add(call(family=INET6))
    assert tally.add(second)
    assert {(calls, probe) for _, _, calls, probe in tally.rest()} <= {(1, False), (2, False)}


def test_a_process_with_the_number_of_one_that_is_gone_probes_on_its_own(names, monkeypatch) -> None:
    tally, starts = Tally(), iter([1, 2])
    monkeypatch.setattr(network_log, "_process_of", lambda pid: (pid, next(starts)))
    assert not any(tally.add(call(7, INET6)) for _ in range(2))
    assert tally.rest() == [("p7", "AF_INET6", 2, True)]


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
