"""`offpipe_faults`, also with `offpipe_clock` and `offpipe_offline`: a planned fault happens, or the test fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixture_project import make_project
from spec_project import LEFT_OUT

if TYPE_CHECKING:
    import pytest

FAULTS = r"""
    import json
    from pathlib import Path
    import pytest
    from runner.errors import UsageError
    from runner.hookspecs import hookimpl

    SPEC = "specs/small.json"
    marked = pytest.mark.offpipe_spec(SPEC)

    def one(stage):
        return {"specVersion": 1, "name": "one", "stages": [{"name": "it", **stage}]}

    LINGERS = one({"command": ["sh", "-c", "echo done > $PIPELINE_OUTPUT_TEXT; exec sleep 60"],
                   "outputs": {"text": "o.txt"}})
    CALLS = one({"command": ["bash", "-c", "exec 3<>/dev/tcp/192.0.2.1/9; echo > $PIPELINE_OUTPUT_TEXT"],
                 "outputs": {"text": "o.txt"}})

    @marked
    def test_exit_code_before_and_retries_without_sleeping(offpipe, offpipe_spec, offpipe_faults, offpipe_clock):
        offpipe_spec.stage("clean")["retry"] = {"attempts": 4, "delaySeconds": 600, "multiplier": 3, "jitter": 0,
                                                "maxDelaySeconds": 7200}
        offpipe_faults.exit_code("clean", 75, times=3)
        report = offpipe.run(offpipe_spec)
        assert [attempt.code for attempt in report.stages["clean"].attempts] == [75, 75, 75, 0]
        assert offpipe_clock.slept == [600, 1800, 5400]
        assert offpipe_faults.unfired == [] and report.exit_code == 0

    @marked
    def test_exit_code_after_the_work(offpipe, offpipe_spec, offpipe_faults, offpipe_clock):
        offpipe_spec.stage("clean")["retry"] = {"attempts": 2}
        offpipe_faults.exit_code("clean", 75, when="after")
        report = offpipe.stage(offpipe_spec, "clean", inputs={"text": b"A\n"})
        assert [attempt.code for attempt in report.attempts] == [75, 0] and report.outputs["text"] == b"a\n"

    @marked
    def test_no_attempt_starts_beyond_max_total_seconds(offpipe, offpipe_spec, offpipe_faults, offpipe_clock):
        class Takes5Minutes:
            @hookimpl
            def offpipe_attempt_started(self):
                offpipe_clock.advance(300)
        offpipe_spec.stage("clean")["retry"] = {"attempts": 9, "delaySeconds": 60, "multiplier": 1, "jitter": 0,
                                                "maxTotalSeconds": 1000}
        offpipe_faults.exit_code("clean", 75, times=3)
        report = offpipe.stage(offpipe_spec, "clean", plugins=[Takes5Minutes()])
        assert (report.exit_code, len(report.attempts), offpipe_clock.slept) == (75, 3, [60, 60])

    @pytest.mark.parametrize("when, kept", [("before", 20), ("after", 30)])
    def test_killed_at_a_checkpoint_the_next_run_goes_on(offpipe, offpipe_faults, when, kept):
        offpipe_faults.kill("clean", at_checkpoint=3, when=when)
        killed = offpipe.run(SPEC)
        assert (killed.exit_code, killed.stages["clean"].exit_code) == (1, 128 + 9)
        assert json.loads(Path(killed.state_dir, "progress_clean.json").read_bytes())["lineOffset"] == kept
        report = offpipe.run(SPEC)
        assert report.exit_code == 0 and len(report.stages["clean"].outputs["text"].lines) == 100

    def test_a_stage_alone_goes_on_after_a_kill(offpipe, offpipe_faults):
        offpipe_faults.kill("clean", at_checkpoint=2)
        killed = offpipe.stage(SPEC, "clean")
        report = offpipe.stage(SPEC, "clean", after=killed)
        assert (killed.status, report.status, len(report.outputs["text"].lines)) == ("failed", "succeeded", 100)

    def test_killed_once_there_are_bytes(offpipe, offpipe_faults):
        offpipe_faults.kill("it", after_bytes=5)
        report = offpipe.stage(LINGERS, "it")
        assert report.exit_code == 128 + 9 and "text" not in report.outputs

    @marked
    def test_slow_enough_for_its_time_limit(offpipe, offpipe_spec, offpipe_faults, offpipe_clock):
        offpipe_spec.stage("clean").update(timeoutSeconds=2, retry={"attempts": 2, "retryOnTimeout": True})
        offpipe_faults.slow("clean", 60)
        report = offpipe.stage(offpipe_spec, "clean")
        assert [one.timed_out for one in report.attempts] == [True, False] and report.status == "succeeded"

    def test_faults_follow_each_other(offpipe, offpipe_faults):
        offpipe_faults.exit_code("clean", 7)
        offpipe_faults.kill("clean", at_checkpoint=1)
        first = offpipe.stage(SPEC, "clean")
        second = offpipe.stage(SPEC, "clean", after=first)
        third = offpipe.stage(SPEC, "clean", after=second)
        assert [one.exit_code for one in (first, second, third)] == [7, 137, 0]

    def test_a_byte_that_is_flipped_is_noticed(offpipe, offpipe_faults):
        first = offpipe.run(SPEC)
        offpipe_faults.corrupt(first.stages["gather"].outputs.paths["all"], -1)
        assert first.stages["gather"].outputs["all"] == b"A\nB\xf5"
        assert offpipe.run(SPEC).stages["gather"].status == "succeeded"
        with pytest.raises(UsageError, match="has no byte 9: it holds 4"):
            offpipe_faults.corrupt(first.stages["gather"].outputs.paths["all"], 9)

    @marked
    @pytest.mark.offpipe_fault("exit_code", "clean", code=3)
    @pytest.mark.offpipe_fault("exit_code", "clean", 4, when="after")
    def test_marked_faults_come_in_their_order(offpipe, offpipe_spec):
        assert [offpipe.stage(offpipe_spec, "clean").exit_code for _ in range(3)] == [3, 4, 0]

    def test_attempts_in_stages_are_told(offpipe, offpipe_offline):
        report = offpipe.stage(CALLS, "it")
        assert (report.status, report.exit_code) == ("failed", 4)
        assert [str(one) for one in offpipe_offline.attempts] == ["stage it (bash): socket AF_INET"]

    def test_attempts_in_stages_can_be_expected(offpipe, offpipe_offline):
        with offpipe_offline.expect() as found:
            offpipe.run({**CALLS, "offline": {"onAttempt": "record"}})
        assert found[0].where == "stage it (bash)"

    @pytest.mark.parametrize("ask, message", [
        (lambda faults: faults.exit_code("clean", 256), "code is 256"),
        (lambda faults: faults.exit_code("clean", 1, times=0), "times is 0"),
        (lambda faults: faults.exit_code("clean", 1, when="during"), 'when is "during"'),
        (lambda faults: faults.kill("clean"), "takes one of at_checkpoint and after_bytes"),
        (lambda faults: faults.kill("clean", at_checkpoint=0), "at_checkpoint is 0"),
        (lambda faults: faults.slow("clean", -1), "seconds is -1"),
    ])
    def test_what_cannot_be_planned_is_refused_at_once(offpipe_faults, ask, message):
        with pytest.raises(UsageError) as refused:
            ask(offpipe_faults)
        assert message in str(refused.value)
"""


def test_faults_happen_as_planned(pytester: pytest.Pytester) -> None:
    make_project(pytester.path)
    pytester.makepyfile(test_faults=FAULTS)
    result = pytester.runpytest_inprocess("-W", "error", *LEFT_OUT)
    result.assert_outcomes(passed=19)


UNFIRED = r"""
    import pytest

    SPEC = "specs/small.json"
    CALLS = {"specVersion": 1, "name": "one", "stages": [{"name": "it", "outputs": {"text": "o.txt"},
             "command": ["bash", "-c", "exec 3<>/dev/tcp/192.0.2.1/9; echo > $PIPELINE_OUTPUT_TEXT"]}]}

    def test_too_few_checkpoints(offpipe, offpipe_faults):
        offpipe_faults.kill("clean", at_checkpoint=50)
        offpipe_faults.exit_code("sort", 75, times=2)
        offpipe.stage(SPEC, "clean")

    def test_fails_by_itself(offpipe, offpipe_faults):
        offpipe_faults.slow("clean", 1)
        offpipe.stage(SPEC, "clean", inputs={"text": {"no": b""}})

    def test_is_skipped(offpipe, offpipe_faults):
        offpipe_faults.slow("clean", 1)
        pytest.skip("after all")

    def test_looked_at(offpipe, offpipe_faults):
        offpipe_faults.slow("clean", 1)
        assert len(offpipe_faults.unfired) == 1

    def test_relies_on_it(offpipe, offpipe_faults):
        offpipe_faults.kill("clean", at_checkpoint=60)
        assert offpipe.run(SPEC).exit_code == 1

    @pytest.mark.offpipe_fault("explode", "clean")
    def test_unknown_kind(offpipe): ...

    @pytest.mark.offpipe_fault("slow", "clean", hours=1)
    def test_unknown_argument(offpipe): ...

    @pytest.mark.offpipe_fault("slow", "claen", seconds=1)
    def test_unknown_stage_at_the_run(offpipe):
        offpipe.run(SPEC)

    def test_nobody_looked(offpipe, offpipe_offline):
        assert offpipe.stage(CALLS, "it").exit_code == 4
"""


def test_a_fault_that_does_not_happen_fails_its_test_and_says_why(pytester: pytest.Pytester, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    make_project(pytester.path)
    pytester.makepyfile(test_unfired=UNFIRED)
    result = pytester.runpytest_inprocess("-W", "error", *LEFT_OUT)
    result.assert_outcomes(passed=3, failed=3, skipped=1, errors=5)
    result.stdout.fnmatch_lines_random(
        [
            "  kill('clean', at_checkpoint=60, when='after'): its stage did not run, has fewer checkpoints, *",
            "ERROR test_unfired.py::test_too_few_checkpoints - Failed: planned, and did not happen:*",
            "  kill('clean', at_checkpoint=50, when='after'): its stage did not run, has fewer checkpoints, *",
            "  exit_code('sort', code=75, when='before'), 0 of 2 times: its stage did not run, or failed without it",
            "ERROR test_unfired.py::test_looked_at - Failed: planned, and did not happen:*",
            'error: offpipe_fault: no kind "explode"',
            'error: offpipe_fault slow: takes no "hours"',
            'E*UsageError: error: offpipe_faults: no stage named "claen"',
            "  stage it (bash): socket AF_INET",
        ]
    )
