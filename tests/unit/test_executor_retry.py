"""The fault of a stage that asked for a network, or failed after one was refused to it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from runner.errors import EXIT_OFFLINE, EXIT_STAGE_FAILED
from runner.executor import retry
from runner.executor.job import Job
from runner.results import AttemptResult, NetworkCalls
from runner.spec.model import Stage


def failure(
    *programs: str, code: int | None, on_attempt: str, probe: bool = False, sent: bool = False
) -> tuple[str, str, int]:
    network = tuple(NetworkCalls(program, "AF_INET", 1, probe) for program in programs)
    attempt = AttemptResult(1, code, None, False, 1.0, 1.0, 1, 0.0, None, sent=sent, network=network)
    spec = SimpleNamespace(output_path=str, paths=SimpleNamespace(progress=str))
    job = Job(spec, Stage(0, "s", {"o": "out"}, on_attempt=on_attempt))  # type: ignore[arg-type]
    job.attempts.append(attempt)
    fault, exit_code = retry.failure(job)
    return fault.what, fault.hint, exit_code


@pytest.mark.parametrize("programs", [("java",), ("python3.11", "python3")])
def test_java_and_python_get_the_hint_to_record_attempts(programs) -> None:
    _, hint, code = failure(*programs, code=1, on_attempt="fail")
    assert '"onAttempt": "record"' in hint and code == EXIT_OFFLINE


@pytest.mark.parametrize("programs", [("curl",), ("java", "curl")])
def test_other_programs_get_the_hint_to_declare_an_input(programs) -> None:
    what, hint, _ = failure(*programs, code=6, on_attempt="fail")
    assert "onAttempt" not in hint and "declare it as an input" in hint and "thrown away" not in what


def test_the_fault_of_a_stage_that_exited_0_says_that_its_outputs_are_gone() -> None:
    what, _, _ = failure("curl", code=0, on_attempt="fail")
    assert what.endswith("curl (AF_INET); it exited 0, but its outputs were thrown away")


def test_the_fault_of_a_stage_that_was_ended_says_so() -> None:
    what, _, _ = failure("curl", code=None, on_attempt="fail", sent=True)
    assert what.endswith("curl (AF_INET); it was ended")


def test_a_failure_with_recorded_attempts_names_them() -> None:
    what, _, code = failure("curl", code=6, on_attempt="record")
    assert (what, code) == ("failed with exit 6; a network was refused to curl (AF_INET)", EXIT_STAGE_FAILED)
    assert failure("java", code=6, on_attempt="record", probe=True)[0] == "failed with exit 6"


def test_a_failure_names_the_probe_of_a_program_that_may_have_needed_the_network() -> None:
    what, _, code = failure("curl", "python3", code=7, on_attempt="fail", probe=True)
    assert (what, code) == ("failed with exit 7; a network was refused to curl (AF_INET)", EXIT_STAGE_FAILED)
