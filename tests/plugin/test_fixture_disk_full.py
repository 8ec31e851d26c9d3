"""`offpipe_faults.disk_full`: writes of one stage really fail, and what comes after has room again."""

from __future__ import annotations

import sys

import offline_deny
import pytest
from fixture_project import make_project
from spec_project import LEFT_OUT

pytestmark = pytest.mark.full


DISK_FULL = r"""
    import json, os
    from pathlib import Path
    import pytest
    from runner.errors import UsageError

    SPEC = "specs/small.json"
    PAGE = os.sysconf("SC_PAGE_SIZE")
    LINES = b"Line\n" * 20_000
    SWALLOWS = {"specVersion": 1, "name": "one", "stages": [{"name": "it", "outputs": {"text": "o.txt"},
                "command": ["sh", "-c", "head -c 100000 /dev/zero > $PIPELINE_OUTPUT_TEXT; true"]}]}

    def test_a_stage_alone_fails_and_goes_on_with_room(offpipe, offpipe_faults):
        offpipe_faults.disk_full("clean", after_bytes=5 * PAGE)
        full = offpipe.stage(SPEC, "clean", inputs={"text": LINES})
        assert (full.status, "No space left" in full.log, list(full.outputs)) == ("failed", True, [])
        report = offpipe.stage(SPEC, "clean", after=full)
        assert report.outputs["text"] == LINES.lower()

    def test_only_the_stage_of_a_pipeline_fails(offpipe, offpipe_faults, offpipe_audit):
        inputs = {"data/in.txt": LINES}
        first = offpipe.run(SPEC, stages="gather", inputs=inputs)
        offpipe_faults.disk_full("sort", after_bytes=PAGE)
        full = offpipe.run(SPEC, keep_going=True)
        assert [one.status for one in full.stages.values()] == ["succeeded", "failed", "skipped"]
        assert full.stages["clean"].outputs["text"] == LINES.lower() and full.workspace == first.workspace
        offpipe_audit.verify(full)
        report = offpipe.run(SPEC)
        assert report.exit_code == 0 and report.stages["sort"].outputs["text"] == LINES.lower()
        offpipe_audit.verify(report)

    def test_the_retry_has_room_and_the_clock_knows(offpipe, offpipe_faults, offpipe_clock):
        spec = json.loads(Path(SPEC).read_text()) | {"root": "."}
        spec["stages"][0]["retry"] = {"attempts": 2, "delaySeconds": 60, "jitter": 0, "retryExitCodes": [1, 74, 75]}
        offpipe_faults.disk_full("clean", after_bytes=0)
        report = offpipe.stage(spec, "clean", inputs={"text": LINES})
        assert [one.code == 0 for one in report.attempts] == [False, True] and offpipe_clock.slept == [60]

    def test_who_swallows_it_is_seen(offpipe, offpipe_faults):
        offpipe_faults.disk_full("it", after_bytes=3 * PAGE)
        report = offpipe.stage(SWALLOWS, "it")
        assert report.status == "succeeded" and len(report.outputs["text"]) == 3 * PAGE

    def test_other_faults_come_about_beside_it(offpipe, offpipe_faults):
        offpipe_faults.exit_code("clean", 3)
        offpipe_faults.disk_full("gather", after_bytes=0)
        report = offpipe.run(SPEC, keep_going=True)
        assert report.stages["clean"].exit_code == 3 and report.stages["gather"].status == "failed"

    def test_hooks_are_refused(offpipe, offpipe_faults):
        offpipe_faults.disk_full("clean", after_bytes=0)
        with pytest.raises(UsageError, match="do not reach a run on a full disk"):
            offpipe.stage(SPEC, "clean", plugins=[object()])
        assert offpipe.stage(SPEC, "clean").status == "failed"

    def test_tmpdir_is_on_that_disk_too(offpipe, offpipe_faults):
        moves = "head -c 100000 /dev/zero > $TMPDIR/made && ln $TMPDIR/made $PIPELINE_OUTPUT_TEXT"
        spec = {**SWALLOWS, "stages": [{**SWALLOWS["stages"][0], "command": ["sh", "-c", moves]}]}
        offpipe_faults.disk_full("it", after_bytes=3 * PAGE)
        full = offpipe.stage(spec, "it")
        assert full.status == "failed" and "No space left" in full.log
        report = offpipe.stage(spec, "it", after=full)
        assert report.status == "succeeded" and not list(Path(report.workspace).glob(".tmpdir*"))

    def test_who_removes_what_did_not_fit_was_on_a_full_disk(offpipe, offpipe_faults):
        removes = "o=$PIPELINE_OUTPUT_TEXT; head -c 100000 /dev/zero 2> /dev/null > $o || { sleep 0.1; rm $o; exit 3; }"
        spec = {**SWALLOWS, "stages": [{**SWALLOWS["stages"][0], "command": ["sh", "-c", removes]}]}
        offpipe_faults.disk_full("it", after_bytes=3 * PAGE)
        assert offpipe.stage(spec, "it").exit_code == 3

    def test_a_database_that_rolls_back_at_once_and_says_why_was_on_a_full_disk(offpipe, offpipe_faults):
        says = "echo 'sqlite3.OperationalError: database or disk is full' >&2; exit 1"
        spec = {**SWALLOWS, "stages": [{**SWALLOWS["stages"][0], "command": ["sh", "-c", says]}]}
        offpipe_faults.disk_full("it", after_bytes=3 * PAGE)
        assert offpipe.stage(spec, "it").exit_code == 1

    def test_who_fails_by_itself_was_on_no_full_disk(offpipe, offpipe_faults):
        offpipe_faults.disk_full("clean", after_bytes=10**7)
        assert offpipe.stage(SPEC, "clean", params={"fail": 3}).exit_code == 3

    @pytest.mark.offpipe_fault("disk_full", "clean", after_bytes=10**7)
    def test_all_of_it_has_room(offpipe):
        assert offpipe.stage(SPEC, "clean").status == "succeeded"
"""


def test_a_full_disk_is_real(pytester: pytest.Pytester, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    make_project(pytester.path)
    pytester.makepyfile(test_disk_full=DISK_FULL)
    result = pytester.runpytest_subprocess("-W", "error", *LEFT_OUT, "-n2")
    result.assert_outcomes(passed=11, errors=2)
    result.stdout.fnmatch_lines(
        ["  disk_full('clean', after_bytes=10000000): its stage did not run, failed before, or *"]
    )


DENIED = """
    def test_a_disk(offpipe, offpipe_faults):
        offpipe_faults.disk_full("clean", after_bytes=0)
        offpipe.stage("specs/small.json", "clean")
"""


def test_a_disk_that_cannot_be_mounted_is_a_plain_failure_where_checks_are_strict(pytester: pytest.Pytester) -> None:
    make_project(pytester.path)
    pytester.makepyfile(test_denied=DENIED)
    denied = [sys.executable, offline_deny.__file__, sys.executable, "-m", "pytest", "-p", "no:cacheprovider"]
    pytester.run(*denied).assert_outcomes(skipped=1)
    result = pytester.run(*denied, "--offpipe-strict")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["no disk of its own can be mounted here: unshare(*) failed: EPERM *"])
    result.stdout.no_fnmatch_line("*RefusedError*")
