"""A log that is not keyed as the ledger says is damaged: anybody can write a key id into record 0."""

from __future__ import annotations

import shutil

import pytest
from audit_bench import LEDGER, A, B, State, chained

from runner.record.seal import Seal

KEY = b"0123456789abcdef0123456789abcdef"
UNKEYED = "the hash is that of a record without a key"


@pytest.fixture
def key(tmp_path_factory):
    path = tmp_path_factory.mktemp("keys") / "key"
    path.write_bytes(KEY)
    path.chmod(0o600)
    return {"OFFPIPE_AUDIT_KEY_FILE": str(path)}


@pytest.fixture
def verify_after(bench, tmp_path_factory):
    """Define two stages. The function changes their state directory and returns `verify`'s exit code and output."""
    bench.write("in.txt", "one\n")
    bench.define(A, B)

    def verify_after(change, **options):
        state = State(bench.root / "state", tmp_path_factory.mktemp("copy") / "state")
        change(state)
        shutil.rmtree(bench.root / "state")
        shutil.copytree(state.path, bench.root / "state")
        shown = bench.run("verify", **options)
        return shown.returncode, shown.stdout

    return verify_after


def claim(key_id, run="first", *, refers=True):
    """Write a key id into record 0 of a log, and make the plain hashes of the log and the ledger fit again."""

    def change(state):
        name = f"audit_{run}.jsonl"
        state.rewrite(name, lambda records: records[0]["data"].update(keyId=key_id))
        hashes = [record["hash"] for record in state.records(name)]
        entries = state.records(LEDGER)
        for entry in entries:
            if refers and entry["run"] == run:
                entry["data"]["logHash"] = hashes[entry["data"]["logSeq"]]
        state.put(LEDGER, chained(entries, []))

    return change


def test_a_log_that_claims_a_key_which_the_ledger_does_not_name_is_damaged(bench, verify_after):
    bench.succeed("run", "--run-id", "first")
    code, text = verify_after(claim("0123456789abcdef"))
    assert code == 6
    assert f"audit_first.jsonl:1: data.keyId: is keyed with 0123456789abcdef, but {UNKEYED}" in text


def test_a_log_of_a_failed_run_that_claims_a_key_is_damaged(bench, verify_after):
    bench.define(A, {**B, "command": ["false"]})
    assert bench.run("run", "--run-id", "first").returncode == 1
    assert verify_after(claim("0123456789abcdef"))[0] == 6


def test_a_claim_in_a_log_older_than_the_key_is_damage_even_without_the_key(bench, verify_after, key):
    bench.succeed("run", "--run-id", "first")
    bench.write("in.txt", "two\n")
    bench.succeed("run", "--run-id", "second", env=key)

    def change(state):
        state.rewrite("audit_first.jsonl", lambda records: records[0]["data"].update(keyId=Seal(KEY).id))

    code, text = verify_after(change)
    assert code == 6 and "audit_first.jsonl:1: data.keyId" in text


def test_logs_keyed_as_the_ledger_says_are_only_unchecked_without_the_key(bench, verify_after, key):
    bench.succeed("run", "--run-id", "first")
    bench.define(A, B, {**B, "name": "c", "command": ["false"], "outputs": {"out": "out/c.txt"}})
    assert bench.run("run", "--run-id", "second").returncode == 1
    bench.write("in.txt", "two\n")
    assert bench.run("run", "--run-id", "third", env=key).returncode == 1
    assert verify_after(lambda _: None)[0] == 2
    assert verify_after(lambda _: None, env=key)[0] == 3


@pytest.mark.parametrize("fits", [False, True], ids=["hash as before", "hash computed anew"])
def test_a_last_line_of_the_ledger_that_claims_a_key_is_damage_and_asks_for_no_key(bench, verify_after, fits):
    bench.succeed("run", "--run-id", "first")

    def change(state):
        if fits:
            state.rewrite(LEDGER, lambda records: records[-1]["data"].update(keyId=Seal(KEY).id))
        else:
            last = state.lines(LEDGER)[-1].replace(b'"keyId":null', b'"keyId":"0123456789abcdef"')
            state.put(LEDGER, [*state.lines(LEDGER)[:-1], last])

    code, text = verify_after(change)
    assert code == 6 and "audit_ledger.jsonl:2: data.keyId: is keyed with" in text and UNKEYED in text
    assert "name the file" not in bench.run("verify").stderr
    assert bench.run().returncode == 74
    assert bench.run("prune", "--keep=1").returncode == 74


def test_a_ledger_whose_first_keyed_line_is_its_last_one_needs_the_key(bench, verify_after, key):
    bench.succeed("run", "--run-id", "first")
    bench.succeed("run", "--run-id", "idle", env=key)
    assert verify_after(lambda _: None)[0] == 2
    assert bench.run().returncode == 2
    assert verify_after(lambda _: None, env=key)[0] == 0
