"""The policy of retries, without a clock."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.executor.retry import delay_before, is_retryable, may_start
from runner.results import AttemptResult
from runner.spec.model import Retry, Stage

POLICY = Retry(retry_exit_codes=(75, "SIGKILL"))
ANY = Retry(retry_exit_codes="any")


def retryable(*, retry_on_timeout=False, policy=POLICY, **ending):
    stage = Stage(0, "s", {}, retry=policy, retry_on_timeout=retry_on_timeout)
    return is_retryable(stage, AttemptResult(1, **ending))


def test_listed_codes_and_signals_are_retried_and_no_others():
    assert retryable(code=75) and retryable(signal=9)
    assert not retryable(code=1) and not retryable(signal=11) and not retryable(code=9)


def test_any_stands_for_each_code_and_signal_and_for_nothing_else():
    assert retryable(code=1, policy=ANY) and retryable(code=255, policy=ANY) and retryable(signal=11, policy=ANY)
    assert not retryable(code=1, timed_out=True, policy=ANY) and not retryable(code=1, sent=True, policy=ANY)
    assert not retryable(failed_to_start="ENOENT", policy=ANY)


def test_failing_to_start_is_not_retried():
    assert not retryable()


def test_a_signal_that_the_runner_sent_is_never_retried():
    assert not retryable(signal=9, sent=True) and not retryable(code=75, sent=True)


def test_timeouts_are_retried_only_if_the_stage_says_so_whatever_the_exit():
    assert retryable(signal=9, timed_out=True, sent=True, retry_on_timeout=True)
    assert retryable(code=1, timed_out=True, sent=True, retry_on_timeout=True)
    assert not retryable(code=75, timed_out=True, sent=True)


def test_delays_grow_up_to_the_maximum():
    policy = Retry(delay_seconds=0.5, max_delay_seconds=3.0, jitter=0.0)
    assert [delay_before(policy, attempt, "s") for attempt in (2, 3, 4, 5, 1000)] == [0.5, 1.0, 2.0, 3.0, 3.0]


def test_the_last_of_a_list_repeats_and_is_capped_too():
    policy = Retry(delay_seconds=(1.0, 5.0, 100.0), jitter=0.0)
    assert [delay_before(policy, attempt, "s") for attempt in (2, 3, 4, 9)] == [1.0, 5.0, 60.0, 60.0]


def test_a_power_beyond_all_numbers_and_no_delay_still_give_one():
    assert delay_before(Retry(max_delay_seconds=90.0, multiplier=10.0, jitter=0.0), 1000, "s") == 90.0
    assert delay_before(Retry(delay_seconds=0.0, multiplier=10.0), 1000, "s") == 0.0


@settings(max_examples=40)
@given(
    delay=st.floats(0, 1e6),
    multiplier=st.floats(0, 100),
    cap=st.floats(0, 1e5),
    jitter=st.floats(0, 1),
    attempt=st.integers(2, 1000),
    seed=st.text(),
)
def test_delay_lies_between_its_bounds_and_depends_on_nothing_else(delay, multiplier, cap, jitter, attempt, seed):
    policy = Retry(delay_seconds=delay, multiplier=multiplier, max_delay_seconds=cap, jitter=jitter)
    longest = delay_before(
        Retry(delay_seconds=delay, multiplier=multiplier, max_delay_seconds=cap, jitter=0.0), attempt, ""
    )
    drawn = delay_before(policy, attempt, seed)
    assert (1 - jitter) * longest * (1 - 1e-12) <= drawn <= longest
    assert longest <= cap
    assert drawn == delay_before(policy, attempt, seed)


def test_draws_fill_the_whole_range_evenly():
    drawn = [delay_before(Retry(), 2, f"run/stage-{number}") for number in range(4000)]
    quarters = [sum(low <= value < low + 0.25 for value in drawn) for low in (0.0, 0.25, 0.5, 0.75)]
    assert all(850 < quarter < 1150 for quarter in quarters)


@pytest.mark.parametrize(("elapsed", "delay", "starts"), [(9.0, 1.0, True), (9.0, 1.001, False), (11.0, 0.0, False)])
def test_no_attempt_starts_after_the_total(elapsed, delay, starts):
    assert may_start(Retry(max_total_seconds=10.0), elapsed=elapsed, delay=delay) is starts


def test_without_a_total_any_attempt_may_start():
    assert may_start(Retry(), elapsed=1e9, delay=1e9)
