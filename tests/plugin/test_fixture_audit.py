"""`offpipe_audit` and `offpipe_run`: records are intact and complete, or the failure says where they are not."""

from __future__ import annotations

import pytest
from fixture_project import make_project
from spec_project import LEFT_OUT

AUDIT = r"""
    import json
    from pathlib import Path
    import pytest
    from runner.errors import UsageError

    SPEC = "specs/small.json"

    def the_log(report):
        return Path(report.state_dir, f"audit_{report.run_id}.jsonl")

    def test_an_intact_record_is_verified(offpipe, offpipe_audit, monkeypatch, tmp_path):
        (tmp_path / "key").write_bytes(b"k" * 32)
        monkeypatch.setenv("OFFPIPE_AUDIT_KEY_FILE", str(tmp_path / "key"))  # which tests leave alone
        monkeypatch.setenv("OFFPIPE_SIGNING_KEY_FILE", "nowhere")  # the same
        report = offpipe.run(SPEC)
        for given in (report, None):
            found = offpipe_audit.verify(given)
            assert (found.runs, found.outputs, found.damage) == (1, 3, [])
        monkeypatch.delenv("OFFPIPE_AUDIT_KEY_FILE")
        assert offpipe_audit.verify(report.state_dir).runs == 1
        alone = offpipe.stage(SPEC, "clean")
        assert offpipe_audit.verify(alone).outputs == 1

    def test_a_flipped_byte_is_shown_with_file_line_and_field(offpipe, offpipe_audit):
        report = offpipe.run(SPEC, stages="clean")
        log = the_log(report)
        log.write_bytes(log.read_bytes().replace(b'"exit":0', b'"exit":1', 1))
        with pytest.raises(AssertionError) as failed:
            offpipe_audit.verify()
        assert f"{log.name}:3: hash: " in str(failed.value).splitlines()[0]

    def test_an_output_that_was_changed_is_damage_too(offpipe, offpipe_audit):
        report = offpipe.run(SPEC)
        report.stages["sort"].outputs["text"].path.write_text("other")
        with pytest.raises(AssertionError, match="work/sorted.txt"):
            offpipe_audit.verify(report)

    def test_what_is_missing_is_told_by_its_file_alone(offpipe, offpipe_audit):
        report = offpipe.run(SPEC, stages="clean")
        metrics = Path(report.state_dir, f"metrics_{report.run_id}.json")
        metrics.unlink()
        with pytest.raises(AssertionError) as failed:
            offpipe_audit.verify(report)
        first = str(failed.value).splitlines()[0]
        assert f"/{metrics.name}: is missing, but line " in first

    def test_what_cannot_be_asserted_is_refused(offpipe, offpipe_audit):
        report = offpipe.stage(SPEC, "clean")
        for given, message in (
            (lambda: offpipe_audit.verify(3), "offpipe_audit: is 3, of type int"),
            (lambda: offpipe_audit.assert_events("run.start"), "offpipe_audit: is 'run.start', of type str"),
            (lambda: offpipe_audit.assert_events(report, 3), "an event: is 3, of type int"),
            (lambda: offpipe_audit.assert_events(report, {"stage": "clean"}), "an event: is {'stage': 'clean'}"),
        ):
            with pytest.raises(UsageError) as refused:
                given()
            assert message in str(refused.value)

    def test_a_failed_run_is_incomplete_and_no_damage(offpipe, offpipe_audit, offpipe_faults):
        offpipe_faults.exit_code("clean", 3)
        report = offpipe.run(SPEC)
        assert offpipe_audit.verify(report).incomplete

    def test_events_are_asserted_in_order_with_others_between(offpipe, offpipe_audit, offpipe_faults, offpipe_clock):
        offpipe_faults.exit_code("clean", 75)
        spec = {**json.loads(Path(SPEC).read_text()), "root": ".", "defaults": {"retry": {"attempts": 2}}}
        report = offpipe.run(spec)
        found = offpipe_audit.assert_events(
            report,
            "run.start",
            {"ev": "attempt.finished", "stage": "clean", "exit": 75},
            {"ev": "attempt.finished", "stage": "clean", "exit": 0},
            {"ev": "stage.commit", "stage": "sort"},
            "run.end",
        )
        assert [record["seq"] for record in found] == sorted(record["seq"] for record in found)

    def test_what_is_missing_is_shown_by_what_is_nearest(offpipe, offpipe_audit):
        report = offpipe.stage(SPEC, "clean")
        for events, message in (
            ([{"ev": "attempt.finished", "stage": "clean", "exit": 75}], "  data.exit: expected 75, found 0"),
            ([{"ev": "attempt.finished", "stage": "clean", "code": 0}], "  data.code: expected 0, found 'nothing'"),
            ([{"ev": "attempt.finished", "exit": 75}], '\nthe nearest one is record 2: {"'),
            (["stage.comit"], 'did you mean "stage.commit"?'),
            (["run.end", "run.start"], "it comes before the event that it should follow"),
        ):
            with pytest.raises(AssertionError) as failed:
                offpipe_audit.assert_events(report, *events)
            text = str(failed.value)
            assert text.startswith(f"event {len(events)} is not in the log") and message in text

    def test_there_is_nothing_to_verify(offpipe_audit):
        with pytest.raises(UsageError, match="no run of offpipe in this test"):
            offpipe_audit.verify()
"""


def test_records_are_asserted(pytester: pytest.Pytester) -> None:
    make_project(pytester.path)
    pytester.makepyfile(test_audit=AUDIT)
    result = pytester.runpytest_inprocess("-W", "error", *LEFT_OUT)
    result.assert_outcomes(passed=9)


SHARED = r"""
    import pytest

    def test_one(offpipe_run, offpipe_audit):
        assert offpipe_run.exit_code == 0 and list(offpipe_run.stages) == ["clean", "sort", "gather"]
        assert {one.status for one in offpipe_run.stages.values()} == {"succeeded"}
        offpipe_audit.verify(offpipe_run)
        assert len(offpipe_run.earlier) == 3 and offpipe_run.run_id not in offpipe_run.earlier
        offpipe_audit.assert_events(offpipe_run, {"ev": "stage.commit", "stage": "clean"}, "run.end",
                                    {"ev": "stage.commit", "stage": "sort"}, "run.end")
        offpipe_run.stages.clear()  # is nobody else's

    def test_two(offpipe_run):
        assert offpipe_run.stages["clean"].outputs["text"].lines[0] == b"line 0"

    def test_three(offpipe_run, offpipe_spec):
        assert offpipe_spec["name"] == "small" and offpipe_run.stages["gather"].outputs["all"] == b"A\nB\n"

    @pytest.mark.offpipe_spec("specs/small.json", params={"clean": {"mode": "upper"}})
    def test_with_other_params(offpipe_run):
        assert offpipe_run.stages["clean"].outputs["text"].lines[0] == b"LINE 0"

    @pytest.mark.offpipe_spec("specs/small.json", params={"clean": {"fail": 3}})
    def test_that_fails(offpipe_run):
        assert offpipe_run.exit_code == 1 and offpipe_run.stages["clean"].exit_code == 3
"""


def test_one_run_is_shared_by_tests_workers_and_checks(pytester: pytest.Pytester) -> None:
    witness = pytester.path / "witness"
    make_project(pytester.path)
    stage = pytester.path / "stages/clean.py"
    stage.write_text(f"{stage.read_text()}\nwith open({str(witness)!r}, 'a') as file:\n    file.write('ran\\n')\n")
    pytester.makepyfile(test_shared=SHARED)
    result = pytester.runpytest_inprocess(
        "-W", "error", *LEFT_OUT, "-n2", "--offpipe-spec", "specs/small.json", "--offpipe-checks=run",
        "test_shared.py",
    )  # fmt: skip
    result.assert_outcomes(passed=5 + 3)
    # Once for all tests that share it, once with other params. The run that fails ends before that line.
    assert witness.read_text() == "ran\n" * 2


CHANGED = r"""
    import os

    def test_writes(offpipe_run):
        offpipe_run.stages["clean"].outputs["text"].path.write_text("mine")

    def test_removes(offpipe_run):
        os.unlink(offpipe_run.stages["gather"].outputs["all"].path)

    def test_looks_only(offpipe_run, tmp_path):
        assert offpipe_run.stages["sort"].outputs["text"].lines
        (tmp_path / "mine").write_text("mine")
"""


def test_a_test_that_changes_files_of_the_shared_run_fails(pytester: pytest.Pytester) -> None:
    make_project(pytester.path)
    pytester.makepyfile(test_changed=CHANGED)
    result = pytester.runpytest_inprocess(
        "-W", "error", *LEFT_OUT, "--offpipe-spec", "specs/small.json", "--offpipe-checks=audit",
        "test_changed.py",
    )  # fmt: skip
    result.assert_outcomes(passed=3, failed=1, errors=2)  # the check `audit` finds it too
    result.stdout.fnmatch_lines(
        [
            "changed the run that all tests share (offpipe_run):",
            "  changed: *work/clean.txt",
            "changed the run that all tests share (offpipe_run):",
            "  removed: *work/all.csv",
        ]
    )


BEGINNING = r"""
    import os, sys, threading
    from pathlib import Path

    from filelock import FileLock
    from runner.record.log import encode_record
    from runner.record.ledger import read_head

    def lock_of(report):
        return Path(report.spec).parents[3] / "lock"

    def is_waiting(thread):
        frame = sys._current_frames()[thread]
        while frame is not None:
            if frame.f_globals["__name__"].startswith("filelock"):
                return True
            frame = frame.f_back
        return False

    def begin_a_run(report, begun, verified, verifier):
        # As a worker does that makes a run of its own there: its log is begun, and the ledger not told of it yet.
        head = read_head(f"{report.state_dir}/audit_ledger.jsonl").position.hash
        first = report.audit[0]
        log = f"{report.state_dir}/audit_other.jsonl"
        with FileLock(lock_of(report)):
            line, _ = encode_record(
                0, "other", first["ts"], "run.start", first["data"] | {"ledgerHead": head}, first["prev"])
            with open(log, "wb") as file:
                file.write(line)
            begun.set()
            while not verified.is_set() and not is_waiting(verifier):
                pass
            os.unlink(log)

    def test_while_another_begins(offpipe_run, offpipe_audit):
        assert lock_of(offpipe_run).exists()
        begun, verified = threading.Event(), threading.Event()
        other = threading.Thread(
            target=begin_a_run, args=(offpipe_run, begun, verified, threading.main_thread().ident))
        other.start()
        begun.wait()
        try:
            offpipe_audit.verify(offpipe_run)
        finally:
            verified.set()
            other.join()
"""


@pytest.mark.full
def test_runs_of_other_workers_are_waited_for(pytester: pytest.Pytester) -> None:
    make_project(pytester.path)
    pytester.makepyfile(test_beginning=BEGINNING)
    result = pytester.runpytest_inprocess(
        "-W", "error", *LEFT_OUT, "-n1", "--offpipe-spec", "specs/small.json", "--offpipe-checks=run",
        "test_beginning.py",
    )  # fmt: skip
    result.assert_outcomes(passed=1 + 3)
