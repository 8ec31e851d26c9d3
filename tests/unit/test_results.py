"""The ends of attempts, stages and runs, for people and in records."""

import json

import pytest

from runner.results import (
    FAILED,
    SKIPPED,
    SUCCEEDED,
    AttemptResult,
    NetworkCalls,
    RunResult,
    StageResult,
    listed,
    network_text,
    signal_name,
)

ATTEMPT = AttemptResult(2, 0, None, False, 1.2345678, 0.1, 4096, 0.25, 10)
ENDS = {
    "exit 0": {}, "exit 75": {"code": 75}, "SIGKILL": {"code": None, "signal": 9},
    "SIG40": {"code": None, "signal": 40}, "time limit": {"code": None, "signal": 15, "timed_out": True},
    "could not start: EACCES": {"code": None, "failed_to_start": "EACCES"},
}  # fmt: skip


@pytest.mark.parametrize("end", ENDS)
def test_an_end_is_described_in_a_few_words(end):
    assert ATTEMPT._replace(**ENDS[end]).describe() == end


def test_metrics_have_seconds_and_records_have_no_floats():
    metrics, record = ATTEMPT.as_metrics(), ATTEMPT.as_record()
    assert (metrics["seconds"], metrics["delaySeconds"], metrics["cpuSeconds"]) == (1.234568, 0.25, 0.1)
    assert (record["micros"], record["delayMicros"], record["cpuMicros"]) == (1234568, 250000, 100000)
    assert not any(isinstance(value, float) for value in record.values())
    assert set(metrics) - {"seconds", "delaySeconds", "cpuSeconds"} == set(record) - {
        "micros", "delayMicros", "cpuMicros",
    }  # fmt: skip
    assert json.loads(json.dumps(record)) == record


def test_a_record_has_the_failed_start_only_if_there_was_one():
    assert "failedToStart" not in ATTEMPT.as_record()
    assert ATTEMPT._replace(failed_to_start="ENOEXEC").as_record()["failedToStart"] == "ENOEXEC"


def test_stages_are_counted_by_how_they_ended():
    stages = {
        name: StageResult(name, status) for name, status in zip("abc", [SUCCEEDED, SKIPPED, SKIPPED], strict=True)
    }
    result = RunResult("p", "r", SUCCEEDED, 0, stages, "", 0.0, "none")
    assert [result.count(status) for status in (SUCCEEDED, SKIPPED, FAILED)] == [1, 2, 0]


def test_signals_have_names_and_real_time_ones_numbers():
    assert (signal_name(15), signal_name(63)) == ("SIGTERM", "SIG63")


def test_of_many_networks_the_first_are_named():
    calls = [NetworkCalls("scan", f"AF_{number}", number, False) for number in range(1, 82)]
    assert network_text(calls[:2]) == "scan (AF_1), scan (AF_2, 2 times)"
    assert network_text(calls[:6]).endswith("scan (AF_6, 6 times)")
    assert network_text(calls).endswith("scan (AF_6, 6 times) and 75 more") and len(network_text(calls)) < 200


def test_a_long_list_ends_with_how_many_more_there_are() -> None:
    assert listed(["a", "b"], 2) == "a, b"
    assert listed([str(number) for number in range(2_000)], 2, "; ") == "0; 1 and 1,998 more"
