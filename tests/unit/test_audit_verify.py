"""`verify` as a command: on a spec or a copy of its state, with outputs, heads and keys, and what it prints."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys

import pytest
from audit_bench import FAIL_ONCE, LEDGER, MAKE, A, B
from forked_runs import offpipe
from pipeline_bench import ROOT, PipelineBench, shell

from runner.canonical import KEY_VARIABLE
from runner.record.seal import Seal

KEY = b"0123456789abcdef0123456789abcdef"


@pytest.fixture
def bench(tmp_path):
    (tmp_path / "work").mkdir()
    bench = PipelineBench(tmp_path / "work")
    bench.write("in.txt", "one\n")
    bench.define(A, B)
    yield bench
    bench.close()


def verify(path, *words, env=None, **popen):
    return offpipe("verify", path, *words, env=env, **popen)


def ledger(bench):
    return [json.loads(line) for line in bench.read(f"state/{LEDGER}").splitlines()]


# ---- places ----------------------------------------------------------------------------------------------------------


def test_a_spec_and_a_copy_of_its_state_directory_verify_alike(bench, tmp_path):
    bench.succeed()
    shutil.copytree(bench.root / "state", tmp_path / "copy")
    by_spec, by_copy = verify(bench.spec), verify(tmp_path / "copy")
    assert (by_spec.returncode, by_copy.returncode) == (0, 0)
    assert by_spec.stdout == by_copy.stdout
    lines = by_spec.stdout.splitlines()
    assert lines[0].startswith("bench: intact (1 run, ") and lines[1] == f"ledger head: {ledger(bench)[-1]['hash']}"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_an_unprivileged_user_verifies_a_copy_that_nobody_may_write(bench, tmp_path_factory):
    bench.succeed()
    copy = tmp_path_factory.mktemp("copy")
    for parent in (copy, *copy.parents[:-1]):
        if parent.stat().st_uid == os.getuid() and parent.stat().st_mode & stat.S_IXOTH == 0:
            parent.chmod(0o755)
    shutil.copytree(bench.root / "state", copy / "state")
    for path in [copy / "state", *(copy / "state").rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    program = (
        "import os, sys; from runner.audit.verification import Verification; from runner.record.seal import PLAIN\n"
    )
    program += "os.setgid(65534); os.setuid(65534)\n"  # after the imports: other users may not read the modules
    program += "found = Verification(sys.argv[1], PLAIN); found.check(); print(found.findings.damage, found.runs)"
    done = subprocess.run(
        [sys.executable, "-c", program, str(copy / "state")],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("[] 1\n", "")


def test_before_the_first_run_there_is_nothing_to_verify(bench):
    shown = verify(bench.spec)
    assert (shown.returncode, shown.stdout) == (0, f"{os.path.relpath(bench.root / 'state')}: no run yet\n")
    assert verify(bench.spec, "--expect-head", "a" * 64).returncode == 6
    assert not bench.exists("state")


def test_a_directory_without_state_is_refused_rather_than_called_intact(bench):
    bench.succeed()
    shown = verify(bench.root)
    assert shown.returncode == 2 and f"hint: did you mean {bench.root}/state?" in shown.stderr


def test_outputs_need_the_spec_and_a_run_must_be_there(bench):
    bench.succeed()
    assert verify(bench.root / "state", "--outputs").returncode == 2
    shown = verify(bench.spec, "--run", "nowhere")
    assert (shown.returncode, shown.stderr) == (2, 'error: --run: no run "nowhere"\n')
    run = ledger(bench)[0]["run"]
    assert verify(bench.spec, "--run", run).stdout.startswith("bench: intact (1 run, ")


@pytest.mark.parametrize("head", ["", "0" * 63, "0" * 65, "g" * 64])
def test_a_head_is_64_hex_digits(bench, head):
    shown = verify(bench.spec, f"--expect-head={head}")
    assert shown.returncode == 2 and "is not a head" in shown.stderr


@pytest.mark.full
def test_the_head_that_a_run_prints_is_the_one_to_expect(bench):
    head = bench.succeed().stdout.rpartition("ledger head: ")[2].strip()
    assert verify(bench.spec, "--expect-head", head.upper()).returncode == 0
    bench.succeed()
    shown = verify(bench.spec, "--expect-head", head)
    assert shown.returncode == 6 and f"{LEDGER}:3: hash: the head expected is" in shown.stdout
    assert "the head expected is that of line 2; 1 record was appended since, the head is" in shown.stdout
    assert json.loads(verify(bench.spec, "--expect-head", head, "--json").stdout)["expectedHeadLine"] == 2


def test_the_state_of_another_pipeline_is_refused(bench):
    bench.succeed()
    bench.define(A, name="other")
    shown = verify(bench.spec)
    assert (shown.returncode, shown.stdout) == (2, "")
    assert '#/name: the state directory belongs to the pipeline "bench", this one is "other"' in shown.stderr
    assert verify(str(bench.root / "state")).returncode == 0
    (bench.root / "state" / LEDGER).write_text("{}\n")
    shown = verify(bench.spec)
    assert shown.returncode == 6 and "ledger head" not in shown.stdout, "a damaged ledger has no head"


def test_json_has_every_field(bench):
    bench.define(A, shell("c", FAIL_ONCE))
    assert bench.run().returncode == 1
    metrics = next((bench.root / "state").glob("metrics_*.json"))
    metrics.write_bytes(b"{}")
    report = json.loads(verify(bench.spec, "--json").stdout)
    assert (report["status"], report["exitCode"], report["runs"], report["keyId"]) == ("damaged", 6, 1, None)
    (damage,) = report["damage"]
    assert damage["file"].endswith(metrics.name) and damage["line"] == 0 and "it was changed" in damage["what"]
    assert [entry["file"].rpartition("/")[2] for entry in report["incomplete"]] == [
        f"audit_{ledger(bench)[0]['run']}.jsonl"
    ]


# ---- incomplete ------------------------------------------------------------------------------------------------------


def test_a_run_that_failed_is_incomplete_until_it_succeeds(bench):
    bench.define(A, shell("c", FAIL_ONCE))
    assert bench.run().returncode == 1
    shown = verify(bench.spec, "--outputs")
    assert shown.returncode == 3 and "incomplete: " in shown.stdout and "has not succeeded yet" in shown.stdout
    bench.succeed()
    assert verify(bench.spec, "--outputs").returncode == 0


# ---- outputs ---------------------------------------------------------------------------------------------------------


def restored(path, change):
    """Change a file in place and restore its times; assert that its size and inode are the same."""
    before = path.stat()
    change(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns, path.stat().st_ino) == (
        before.st_size, before.st_mtime_ns, before.st_ino,
    )  # fmt: skip


def overwrite(path):
    with open(path, "r+b") as file:
        file.write(b"X")


def link_to_moved(path):
    path.rename(f"{path}.x")
    path.symlink_to(f"{path}.x")


OUTPUT_EDITS = {
    "content with size and time restored": ("out/a.txt", lambda path: restored(path, overwrite), "sha256"),
    "removed": ("out/a.txt", lambda path: path.unlink(), "is missing"),
    "a link in its place": ("out/a.txt", link_to_moved, "not a regular file"),
    "a mode in a directory": ("tree/x", lambda path: path.chmod(0o600), "tree: sha256"),
    "more content": ("out/a.txt", lambda path: path.write_text("much more"), "size"),
    "a FIFO in its place": ("out/a.txt", lambda path: (path.unlink(), os.mkfifo(path)), "is a FIFO"),
    "a file of a directory": ("tree/x", lambda path: restored(path, overwrite), "tree: sha256"),
    "one more in a directory": ("tree/y", lambda path: path.write_text(""), "tree: sha256"),
    "a directory removed": ("tree", shutil.rmtree, "tree: is missing"),
}  # fmt: skip


@pytest.mark.full_after(4)
@pytest.mark.parametrize("edit", OUTPUT_EDITS)
def test_an_edited_output_is_named_with_outputs(bench, edit):
    bench.succeed()
    path, change, words = OUTPUT_EDITS[edit]
    change(bench.root / path)
    assert verify(bench.spec).returncode == 0
    shown = verify(bench.spec, "--outputs")
    assert shown.returncode == 6 and words in shown.stdout.splitlines()[0]


def test_outputs_that_were_touched_or_copied_are_the_same(bench):
    bench.succeed()
    shutil.copytree(bench.root / "tree", bench.root / "tree2")
    shutil.rmtree(bench.root / "tree")
    (bench.root / "tree2").rename(bench.root / "tree")
    (bench.root / "out/a.txt").touch()
    shown = verify(bench.spec, "--outputs")
    assert shown.returncode == 0 and ", 2 outputs)" in shown.stdout


@pytest.mark.full
def test_an_output_belongs_to_the_stage_that_made_it_last(bench):
    bench.define(shell("old", MAKE, inputs={"i": "in.txt"}, outputs={"out": "out/x"}))
    bench.succeed()
    bench.write("in.txt", "two\n")
    bench.define(shell("new", MAKE, inputs={"i": "in.txt"}, outputs={"out": "out/x"}))
    bench.succeed()
    assert verify(bench.spec, "--outputs").returncode == 0
    bench.define(shell("old", MAKE, inputs={"i": "in.txt"}, outputs={"out": "out/x"}))
    assert verify(bench.spec, "--outputs").returncode == 0


def test_an_edited_output_is_found_although_another_stage_made_it_last(bench):
    first = shell("first", "echo x > $PIPELINE_OUTPUT_OUT", outputs={"OUT": "made.txt"})
    for stage in (first, {**first, "name": "second"}, first):
        bench.define(stage)
        bench.succeed()
    bench.write("made.txt", "y\n")
    shown = verify(bench.spec, "--outputs")
    assert shown.returncode == 6 and "made.txt" in shown.stdout


def test_what_clean_removed_is_not_missed(bench):
    bench.succeed()
    bench.succeed("clean")
    shown = verify(bench.spec, "--outputs")
    assert shown.returncode == 0 and ", 0 outputs)" in shown.stdout


# ---- the key ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def key(tmp_path):
    path = tmp_path / "key"
    path.write_bytes(KEY)
    path.chmod(0o600)
    return {KEY_VARIABLE: str(path)}


@pytest.fixture
def other(tmp_path):
    path = tmp_path / "other"
    path.write_bytes(KEY[::-1])
    path.chmod(0o600)
    return {KEY_VARIABLE: str(path)}


def test_a_keyed_run_is_verified_with_its_key(bench, key):
    bench.succeed(env=key)
    bench.succeed(env=key)
    shown = verify(bench.spec, "--outputs", env=key)
    assert shown.returncode == 0 and f", keyed with {Seal(KEY).id})" in shown.stdout
    assert {record["data"]["keyId"] for record in ledger(bench)} == {Seal(KEY).id}
    assert [record["data"]["keyId"] for record in bench.records("run.start")] == [Seal(KEY).id] * 2


def test_without_the_key_only_form_is_checked_and_that_is_no_success(bench, key):
    bench.succeed(env=key)
    shown = verify(bench.spec)
    assert shown.returncode == 2 and "bench: unchecked (" in shown.stdout
    assert f"keyed with {Seal(KEY).id}: without that key only the form was checked" in shown.stderr
    metrics = next((bench.root / "state").glob("metrics_*.json"))
    metrics.write_bytes(b"{}")
    assert verify(bench.spec).returncode == 6


def test_another_key_is_reported_once(bench, key, other):
    bench.succeed(env=key)
    shown = verify(bench.spec, env=other)
    assert shown.returncode == 6
    assert f"data.keyId: is keyed with {Seal(KEY).id}, but the key given is {Seal(KEY[::-1]).id}" in shown.stdout
    assert shown.stdout.count("data.keyId") == 2  # in the ledger and in the log


def test_a_key_and_a_ledger_that_is_not_keyed_do_not_go_together(bench, key):
    bench.succeed()
    shown = verify(bench.spec, env=key)
    assert shown.returncode == 6 and "data.keyId: is null" in shown.stdout


def test_a_run_without_the_key_of_the_ledger_is_refused_before_it_writes(bench, key, other):
    bench.succeed(env=key)
    bench.write("in.txt", "two\n")
    before = {path: path.stat().st_mtime_ns for path in (bench.root / "state").rglob("*")}
    for env, words in (({}, "but no key is given"), (other, f"but the key given is {Seal(KEY[::-1]).id}")):
        for _ in range(2):
            done = bench.run(env=env)
            assert done.returncode == 2 and f"is keyed with {Seal(KEY).id}, {words}" in done.stderr
            bench.write("in.txt", "one\n")  # also refused without work
    assert {path: path.stat().st_mtime_ns for path in (bench.root / "state").rglob("*")} == before


@pytest.mark.full
def test_verbs_that_only_read_need_no_key(bench, key, other):
    bench.succeed(env=key)
    unreadable = {KEY_VARIABLE: "/nonexistent/key"}
    for env in ({}, other, unreadable):
        assert bench.run("status", env=env).returncode == 0
        assert bench.run("plan", env=env).returncode == 0
        assert bench.run("explain", "a", env=env).returncode == 0
        assert "run.end" in bench.run("log", env=env).stdout
    assert bench.run(env=unreadable).returncode == 74
    assert verify(bench.spec, env=unreadable).returncode == 74


@pytest.mark.full
def test_a_ledger_is_keyed_from_some_line_on(bench, key):
    bench.succeed()
    bench.write("in.txt", "two\n")
    bench.succeed(env=key)
    shown = verify(bench.spec, env=key)
    assert shown.returncode == 0 and " from line 3 of the ledger on)" in shown.stdout


def test_a_run_resumes_with_the_key_that_it_began_with(bench, key):
    bench.define(A, shell("c", FAIL_ONCE))
    assert bench.run(env=key).returncode == 1
    assert bench.run().returncode == 2
    bench.succeed(env=key)
    (start,), (resumed,) = bench.records("run.start"), bench.records("run.resumed")
    assert start["data"]["keyId"] == resumed["data"]["keyId"] == Seal(KEY).id
    assert verify(bench.spec, env=key).returncode == 0


@pytest.mark.full
def test_a_run_that_began_without_a_key_resumes_without_it_in_a_keyed_ledger(bench, key):
    bench.define(A, shell("c", FAIL_ONCE))
    assert bench.run().returncode == 1
    bench.succeed(env=key)
    assert [record["data"]["keyId"] for record in bench.records("run.resumed")] == [None]
    assert [record["data"]["keyId"] for record in ledger(bench)] == [None, None, Seal(KEY).id, Seal(KEY).id]
    assert verify(bench.spec, env=key).returncode == 0


@pytest.mark.full_after(1)
@pytest.mark.parametrize("what", ["without the key", "of another run"])
def test_a_run_does_not_resume_from_a_log_that_replaced_its_own(bench, key, what):
    from audit_bench import State

    bench.succeed("run", "--run-id", "before", env=key)
    bench.define(A, shell("c", FAIL_ONCE))
    assert bench.run("run", "-f", "--run-id", "open", env=key).returncode == 1
    state = State(bench.root / "state", bench.root.parent / "copy")
    if what == "without the key":
        state.rewrite("audit_open.jsonl", lambda records: records[0]["data"].update(keyId=None))
    else:
        state.put("audit_open.jsonl", state.lines("audit_before.jsonl")[:-1])
    forged = state.file("audit_open.jsonl").read_bytes()
    bench.write("state/audit_open.jsonl", forged)
    done = bench.run(env=key)
    assert done.returncode == 74
    assert "audit_open.jsonl:1: the log is not the one that the ledger knows" in done.stderr
    assert bench.read("state/audit_open.jsonl") == forged


def test_nothing_can_be_rewritten_without_the_key(bench, key):
    """The log and the ledger are rewritten consistently with plain hashes, with and without the key's id."""
    from audit_bench import State

    bench.succeed(env=key)
    (log,) = (path.name for path in (bench.root / "state").glob("audit_*") if path.name != LEDGER)
    for id_ in (None, Seal(KEY).id):
        state = State(bench.root / "state", bench.root.parent / f"copy{id_}")

        def forge(records, id_=id_):
            for record in records:
                record["data"].pop("user", None)
                if "keyId" in record["data"]:
                    record["data"]["keyId"] = id_

        def refer(records, state=state, forge=forge):
            forge(records)
            of_log = state.records(log)
            for record in records:
                record["data"]["logHash"] = of_log[record["data"]["logSeq"]]["hash"]

        state.rewrite(log, forge)
        state.rewrite(LEDGER, refer)
        assert verify(state.path, env=key).returncode == 6


def test_a_key_inside_the_workspace_is_refused_by_runs_and_by_verify(bench):
    bench.write("key", KEY, 0o600)
    env = {KEY_VARIABLE: str(bench.root / "key")}
    done = bench.run(env=env)
    assert done.returncode == 2 and "the audit key is inside" in done.stderr
    assert not bench.exists("state")
    bench.succeed()
    assert verify(bench.spec, env=env).returncode == 2
    (bench.root / "key").rename(bench.root / "state/key")
    assert verify(bench.root / "state", env={KEY_VARIABLE: str(bench.root / "state/key")}).returncode == 2


def test_the_key_is_nowhere_but_in_its_file(bench, key, tmp_path):
    bench.define(A, shell("env", "env > $PIPELINE_OUTPUT_OUT; cat /proc/*/environ >> $PIPELINE_OUTPUT_OUT 2>&1; true"))
    shown = bench.succeed(env=key)
    assert verify(bench.spec, env=key).returncode == 0
    leaks = [
        path for path in bench.root.rglob("*")
        if path.is_file() and (KEY in path.read_bytes() or KEY_VARIABLE.encode() in path.read_bytes())
    ]  # fmt: skip
    assert leaks == []
    assert KEY.decode() not in shown.stdout + shown.stderr


def test_a_key_that_others_can_read_is_used_with_a_warning(bench, key):
    os.chmod(key[KEY_VARIABLE], 0o644)
    path = key[KEY_VARIABLE]
    warning = f"warning: {path}: other users may read the audit key (mode 644)\nhint: chmod 600 {path}\n"
    assert warning in bench.succeed(env=key).stderr
    assert bench.succeed("-q", env=key).stderr == ""
    assert verify(bench.spec, env=key).stderr == warning
