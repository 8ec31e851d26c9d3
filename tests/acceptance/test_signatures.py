"""Signatures of the ledger: every invocation signs, a forgery needs the key, and no signed record goes on unsigned."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import noop_words as quick
import pytest
from audit_bench import FAIL_ONCE, LEDGER, State
from forked_runs import offpipe
from pipeline_bench import PipelineBench, shell, wait_for
from signing_keys import KeyPair, make_keys, needs_openssl, openssl, run_shell, shell_blocks
from suites import full_but

from runner.canonical import KEY_VARIABLE, spell
from runner.record.seal import PLAIN, SIGNING_VARIABLE, signing

A = shell("a", "cat in.txt > $PIPELINE_OUTPUT_OUT", inputs={"x": "in.txt"})


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """Keys and a pipeline, for each test to copy: one signed run, and then three refused ones.

    The ledger lines of refused runs have no log.
    """
    base = tmp_path_factory.mktemp("template")
    keys, bench = make_keys(base), PipelineBench(base / "work")
    bench.write("in.txt", "one\n")
    bench.define(A)
    bench.succeed(env=keys.env)
    for _ in range(3):
        assert bench.run("nope", env=keys.env).returncode == 2
    return base


@pytest.fixture
def keys(template, tmp_path_factory):
    place = tmp_path_factory.mktemp("keys")
    return KeyPair(*(Path(shutil.copy2(template / name, place)) for name in ("key.pem", "key.pub")))


@pytest.fixture
def others(tmp_path_factory):
    return make_keys(tmp_path_factory.mktemp("keys"), "other")


@pytest.fixture
def signed(bench, template):
    """A copy of the pipeline, signed with `keys`."""
    shutil.copytree(template / "work", bench.root, dirs_exist_ok=True)
    return bench


def ledger(bench):
    return [json.loads(line) for line in bench.read(f"state/{LEDGER}").splitlines()]


def files(bench):
    return {path: path.stat().st_mtime_ns for path in bench.root.rglob("*")}


def events(records):
    return [record["ev"] for record in records]


# ---- signing ---------------------------------------------------------------------------------------------------------


def test_every_invocation_ends_with_a_signature_and_its_head_is_printed(bench, keys):
    bench.write("in.txt", "one\n")
    bench.define(A, shell("c", FAIL_ONCE))
    for words, code, event in (
        (("run",), 1, "ended"), (("run",), 0, "closed"), (("run",), 0, "noop"), (("run", "nope"), 2, "ended"),
        (("prune", "--keep", "1"), 0, "pruned"), (("clean",), 0, "ended"),
    ):  # fmt: skip
        done = bench.run(*words, env=keys.env)
        last = ledger(bench)[-1]
        assert (done.returncode, last["ev"], ledger(bench)[-2]["ev"]) == (code, "signed", event)
        assert last["data"]["signer"] == keys.id
        if code == 0 and words != ("clean",):
            assert done.stdout.splitlines()[-1] == f"ledger head: {last['hash']}"
        verified = bench.run("verify", *keys.words)
        assert verified.returncode == (3 if code == 1 else 0), verified.stdout
        lines = len(ledger(bench))
        assert f"signed with {keys.id}: signatures on lines 2 to {lines}, covering 1 to {lines}" in verified.stdout
    assert set(events(ledger(bench))[1::2]) == {"signed"} and "signed" not in events(ledger(bench))[::2]


def test_a_run_with_nothing_to_do_signs_without_a_plan(bench, keys, monkeypatch):
    bench.write("in.txt", "one\n")
    bench.define(A)
    bench.succeed(env=keys.env)
    assert quick.answer([str(bench.spec), "-q"]) is None, "another key, another record"
    monkeypatch.setenv(SIGNING_VARIABLE, str(keys.private))
    quick.settle(bench)
    assert events(ledger(bench))[-2:] == ["noop", "signed"]
    bench.succeed("verify", *keys.words)
    keys.private.chmod(0o644)
    assert quick.answer([str(bench.spec), "-q"]) is None
    assert bench.run().returncode == 2


@pytest.mark.full_after(1)
@pytest.mark.parametrize("place", ["a link to the directory", "a link into the workspace", "a hard link"])
def test_a_run_with_nothing_to_do_notices_that_the_key_lies_in_the_workspace_now(bench, keys, monkeypatch, place):
    bench.write("in.txt", "one\n")
    bench.define(A)
    monkeypatch.setenv(SIGNING_VARIABLE, str(keys.private))
    bench.succeed()
    quick.settle(bench)
    inside = bench.root / "kept"
    if place == "a hard link":
        os.link(keys.private, inside)
    else:
        moved = keys.private.parent if place == "a link to the directory" else keys.private
        moved.rename(inside)
        moved.symlink_to(inside)
    before = ledger(bench)
    assert quick.answer([str(bench.spec), "-q"]) is None
    assert bench.run().returncode == 2
    assert ledger(bench) == before


@pytest.mark.full
def test_a_run_without_a_key_loads_no_cryptography(bench):
    bench.write("in.txt", "one\n")
    bench.define(A)
    for words in (("run",), ("run",), ("run", "-f"), ("verify",), ("prune", "--keep", "1"), ("clean",)):
        done = bench.succeed(*words, env={"PYTHONPROFILEIMPORTTIME": "1"})
        assert "runner.noop" in done.stderr and "cryptography" not in done.stderr
        assert "runner.record.signatures" not in done.stderr


@needs_openssl
def test_openssl_alone_checks_a_signature_as_the_page_says_and_the_name_of_the_key(signed, keys, tmp_path):
    recipe = next(block for block in shell_blocks("audit.md") if "openssl" in block)
    place = tmp_path / "check"
    place.mkdir()
    shutil.copy(keys.public, place / "sign.pub")
    shutil.copytree(signed.root / "state", place / "state")
    assert "Verified Successfully" in run_shell(recipe, place).stdout
    state = State(place / "state", place / "forged")
    state.rewrite(LEDGER, lambda records: records[-1]["data"].update(pipeline="other"))
    shutil.copy(state.file(LEDGER), place / "state")
    assert run_shell(recipe, place).returncode == 1
    openssl("pkey", "-pubin", "-in", keys.public, "-outform", "DER", "-out", tmp_path / "der")
    assert ledger(signed)[-1]["data"]["signer"] in openssl("dgst", "-sha256", tmp_path / "der")


def test_no_stage_gets_the_key(bench, keys):
    bench.define(shell("env", "env > $PIPELINE_OUTPUT_OUT"))
    bench.succeed(env=keys.env)
    assert SIGNING_VARIABLE.encode() not in bench.read("out/env.txt")


# ---- what is refused -------------------------------------------------------------------------------------------------


def test_once_signed_nothing_is_written_without_a_key(signed, keys, monkeypatch):
    quick.settle(copy := unsigned_copy(signed))
    shutil.copy(signed.root / "state" / LEDGER, copy.root / "state" / LEDGER)  # as if another process had signed
    for bench in (signed, copy):
        before = files(bench)
        assert bench.run("nope").returncode == 2
        for words in ((), ("-f",), ("clean",), ("clean", "--state"), ("prune", "--keep", "1")):
            done = bench.run(*words)
            assert done.returncode == 2 and f"is signed with {keys.id}, but no signing key is given" in done.stderr
        assert files(bench) == before
    for words in (("plan",), ("status",), ("log",), ("runs",), ("verify",), ("clean", "-n")):
        signed.succeed(*words)
    signed.succeed(env=keys.env)


def unsigned_copy(bench):
    """Return the same pipeline, laid out beside it and never signed."""
    copy = PipelineBench(bench.root / "copy")
    copy.write("in.txt", "one\n")
    copy.define(A)
    copy.succeed()
    return copy


@pytest.mark.full_after(3)
@pytest.mark.parametrize(
    "fault",
    ["missing", "readable by others", "in the workspace", "public", "rsa", "a hard link",
     "no cryptography", "empty", "encrypted", "cut", "a directory", "in the state directory"],
)  # fmt: skip
def test_a_key_that_cannot_be_used_is_refused_and_nothing_is_written(bench, keys, tmp_path_factory, fault):
    bench.write("in.txt", "one\n")
    bench.define(A)
    path, env, key = keys.private, {}, keys.private.read_bytes()
    if fault == "missing":
        path.unlink()
    elif fault == "readable by others":
        path.chmod(0o640)
    elif fault == "public":
        path.write_bytes(keys.public.read_bytes())
    elif fault in ("rsa", "encrypted"):
        path.write_bytes(other_key(encrypted=fault == "encrypted"))
    elif fault == "cut":
        path.write_bytes(key[:-8])
    elif fault == "a directory":
        path = path.parent
    elif fault == "in the workspace":
        path = bench.write("key.pem", key, 0o600)
    elif fault == "in the state directory":
        path = bench.write("state/key.pem", key, 0o600)
    elif fault == "a hard link":
        os.link(path, bench.root / "link.pem")
    elif fault == "no cryptography":
        shadow = tmp_path_factory.mktemp("shadow")
        (shadow / "cryptography.py").write_text("raise ImportError('no such package')\n")
        env = {"PYTHONPATH": f"{shadow}:{os.environ.get('PYTHONPATH', '')}"}
    before = files(bench)
    for words in ((), ("clean",), ("prune", "--keep", "1")):
        done = bench.run(*words, env={**env, SIGNING_VARIABLE: "" if fault == "empty" else str(path)})
        assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
        assert 'with the extra "sign"' in done.stderr or fault != "no cryptography"
        assert "OFFPIPE_SIGNING_KEY_FILE: is empty" in done.stderr or fault != "empty"
    assert files(bench) == before


def other_key(*, encrypted: bool) -> bytes:
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

    key = ed25519.Ed25519PrivateKey.generate() if encrypted else rsa.generate_private_key(65537, 2048)
    hidden = form.BestAvailableEncryption(b"word") if encrypted else form.NoEncryption()
    return key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, hidden)


@pytest.mark.parametrize("fault", ["missing", "private", "text"])
def test_a_file_that_is_no_public_key_is_refused_by_verify(signed, keys, fault):
    if fault == "missing":
        keys.public.unlink()
    else:
        keys.public.write_bytes(keys.private.read_bytes() if fault == "private" else b"key\n")
    assert signed.run("verify", *keys.words).returncode == 2


# ---- what verify finds -----------------------------------------------------------------------------------------------


def forged(bench, change) -> State:
    """Return a copy of the state with a changed ledger, chained anew as a forger would do it."""
    state = State(bench.root / "state", bench.root.parent / f"{bench.root.name}-forged")
    state.rewrite(LEDGER, change)
    return state


def verify(state, *words):
    return offpipe("verify", state.path, *words)


def assert_found(state, keys, where, *, code=6):
    """Check that only the public key shows the forgery: without it, `verify` finds nothing."""
    plain = state.verify()
    assert not (plain.exit_code or plain.damage or plain.incomplete)
    verified = state.verify(public_keys=[keys.key])
    assert verified.exit_code == code
    assert where in [damage.field for damage in verified.damage] if code == 6 else verified.incomplete


def test_rewriting_everything_without_the_key_is_found(signed, keys):
    (log,) = [path.name for path in (signed.root / "state").glob("audit_2*.jsonl")]

    def refer(records):
        of_log = state.records(log)
        for record in records:
            if "logHash" in record["data"]:
                record["data"]["logHash"] = of_log[record["data"]["logSeq"]]["hash"]

    state = State(signed.root / "state", signed.root.parent / "rewritten")
    state.rewrite(log, lambda records: [record["data"].update(user="nobody") for record in records[:1]])
    state.rewrite(LEDGER, refer)
    (state.path / "stage_a.json").unlink()  # as `clean` does
    assert_found(state, keys, "data.signature")


def test_two_runs_that_were_swapped_are_found(signed, keys):
    def swap(records):
        records[-4:] = [*records[-2:], *records[-4:-2]]

    assert_found(forged(signed, swap), keys, "data.signature")


def test_one_missing_signature_is_found_as_a_kill_and_two_as_damage(signed, keys):
    def drop(count):
        def change(records):
            for record in [each for each in records if each["ev"] == "signed"][-count:]:
                records.remove(record)

        return change

    assert_found(forged(signed, drop(1)), keys, "", code=3)
    shutil.rmtree(signed.root.parent / f"{signed.root.name}-forged")
    assert_found(forged(signed, drop(2)), keys, "data.signature")


def test_a_forged_run_is_found_also_in_the_form_of_an_earlier_release(signed, keys):
    before = len(ledger(signed))
    signed.succeed("-f", env=keys.env)

    def strip(records):
        records[before:] = [record for record in records[before:] if record["ev"] != "signed"]
        assert events(records[before:]) == ["opened", "closed"]
        for record in records[before:]:
            record["data"].pop("invocation", None)
            del record["data"]["part"]

    assert_found(forged(signed, strip), keys, "data.signature")


def test_a_line_without_a_signature_before_signed_ones_is_found(signed, keys, monkeypatch):
    """Only the holder of the key can make such a ledger."""
    monkeypatch.setenv(SIGNING_VARIABLE, str(keys.private))
    *_, refused, last = ledger(signed)
    unsigned, head = spell(refused["data"], "ended", "left-out", last["seq"] + 1, last["ts"], last["hash"], PLAIN.hash)
    more, _ = signing(PLAIN, ()).entry(refused["data"], "ended", "later", last["seq"] + 2, last["ts"], head)
    state = State(signed.root / "state", signed.root.parent / f"{signed.root.name}-forged")
    state.file(LEDGER).write_bytes(state.file(LEDGER).read_bytes() + unsigned + more)
    assert_found(state, keys, "data.signature")


def test_no_run_goes_on_behind_two_lines_without_signatures(signed, keys):
    forged(signed, lambda records: [records.pop(at) for at in (-1, -2)])
    copy = signed.root.parent / f"{signed.root.name}-forged" / LEDGER
    shutil.copy(copy, signed.root / "state" / LEDGER)
    assert events(ledger(signed))[-2:] == ["ended", "ended"]
    done = signed.run(env=keys.env)
    assert done.returncode == 74 and "ledger.jsonl:7: the record has no signature" in done.stderr
    assert copy.read_bytes() == signed.root.joinpath("state", LEDGER).read_bytes()
    verified = signed.run("verify", *keys.words)
    assert verified.returncode == 6 and "is missing for 1 of the lines after line 6" in verified.stdout


def test_a_line_that_another_process_added_is_never_signed(signed, keys):
    before = signed.root.joinpath("state", LEDGER).read_bytes()
    state = forged(signed, lambda records: records.append({**records[-2], "run": "made-up"}))
    added = state.file(LEDGER).read_bytes()
    signed.root.joinpath("state", LEDGER).write_bytes(added)
    verified = signed.run("verify", *keys.words)
    assert verified.returncode == 3 and "has no signature" in verified.stdout
    assert "made-up" not in signed.run("runs").stdout + signed.run("status").stdout
    signed.succeed(env=keys.env)
    signed.succeed("verify", *keys.words)
    now = signed.root.joinpath("state", LEDGER).read_bytes()
    assert now.startswith(before) and b"made-up" not in now


def test_dropping_all_signatures_is_found(signed, keys):
    def drop(records):
        records[:] = [record for record in records if record["ev"] != "signed"]
        for record in records:
            del record["data"]["signer"]

    state = forged(signed, drop)
    assert_found(state, keys, "")
    assert "audit_ledger.jsonl: has no signature" in verify(state, *keys.words).stdout


def test_unsigned_lines_behind_signed_ones_are_damage_even_without_the_public_key(signed):
    def drop(records):
        del records[-2:]
        del records[-1]["data"]["signer"], records[-1]["data"]["signature"]

    assert [damage.field for damage in forged(signed, drop).verify().damage] == ["data.signer"]


def test_a_signature_in_another_spelling_is_found(signed, keys):
    def spell(records):
        records[-1]["data"]["signature"] = records[-1]["data"]["signature"].upper()

    assert_found(forged(signed, spell), keys, "data.signature")


@pytest.mark.parametrize("field", ["signer", "signature"])
@pytest.mark.parametrize("value", [None, 1, [], {"a": 1}, "", "\u00fc", "ff", "00" * 64, "\udc80"], ids=repr)
def test_a_signature_of_another_form_is_damage(signed, keys, field, value):
    state = forged(signed, lambda records: records[-1]["data"].update({field: value}))
    verified = state.verify(public_keys=[keys.key])
    assert verified.exit_code == 6 and f"data.{field}" in [damage.field for damage in verified.damage]


def test_history_that_began_unsigned_is_covered_by_the_first_signature(bench, keys):
    bench.write("in.txt", "one\n")
    bench.define(A)
    bench.succeed()
    assert bench.run("nope").returncode == 2
    assert bench.run("verify", *keys.words).returncode == 6
    bench.succeed("run", "--run-id", "signed", env=keys.env)
    bench.succeed("verify", *keys.words)

    state = State(bench.root / "state", bench.root.parent / "forged")
    newest = "audit_signed.jsonl"
    state.rewrite(LEDGER, lambda records: records[2]["data"]["invocation"].update(exitCode=1))
    state.rewrite(newest, lambda records: records[0]["data"].update(ledgerHead=state.records(LEDGER)[2]["hash"]))
    log = state.records(newest)
    state.rewrite(LEDGER, lambda records: records[3]["data"].update(logHash=log[-1]["hash"]))
    assert_found(state, keys, "data.signature")


def test_after_a_change_of_keys_the_auditor_names_both(signed, keys, others):
    signed.succeed(env=others.env)
    last = len(ledger(signed))
    both = signed.succeed("verify", *keys.words, *others.words).stdout
    assert f"signed with {keys.id}: signatures on lines 2 to {last - 2}, covering 1 to {last - 2}" in both
    assert f"signed with {others.id}: signatures on lines {last} to {last}, covering 1 to {last}" in both
    for pair in (keys, others):
        verified = signed.run("verify", *pair.words)
        assert verified.returncode == 6 and "bench: signed with a key that was not given (" in verified.stdout
        assert verified.stdout.count("data.signer") == 1


def test_a_roll_back_is_found_with_the_expected_head_only(signed, keys):
    state = State(signed.root / "state", signed.root.parent / "earlier")
    signed.succeed(env=keys.env)
    head = ledger(signed)[-1]["hash"]
    assert verify(state, *keys.words).returncode == 0
    assert verify(state, *keys.words, "--expect-head", head).returncode == 6
    signed.succeed("verify", *keys.words, "--expect-head", head)


def test_without_a_state_directory_there_is_no_signature(bench, keys):
    bench.define(A)
    verified = bench.run("verify", *keys.words)
    assert verified.returncode == 6 and "is missing, but a signature is expected" in verified.stdout


@pytest.mark.full
def test_a_record_that_is_keyed_and_signed_needs_both_keys(bench, keys, tmp_path_factory):
    secret = tmp_path_factory.mktemp("secret") / "key"
    secret.write_bytes(b"k" * 40)
    secret.chmod(0o600)
    keyed = {KEY_VARIABLE: str(secret)}
    bench.write("in.txt", "one\n")
    bench.define(A)
    bench.succeed(env={**keyed, **keys.env})
    bench.succeed(env={**keyed, **keys.env})
    for words in ((), ("clean",), ("prune", "--keep", "1")):
        assert bench.run(*words, env=keyed).returncode == bench.run(*words, env=keys.env).returncode == 2
    bench.succeed("verify", *keys.words, env=keyed)
    assert bench.run("verify", *keys.words).returncode == 2, "without the secret, only the form is checked"


def test_a_summary_names_the_signer_and_the_line(signed, keys):
    summary = json.loads(signed.run("verify", "--json", *keys.words).stdout)
    assert summary["signer"] == keys.id
    assert summary["signatures"] == {keys.id: [2, len(ledger(signed))]}
    summary = json.loads(signed.run("verify", "--json").stdout)
    assert (summary["signer"], summary["signatures"]) == (keys.id, {})


# ---- kills -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", full_but([17, 1], [17]))
def test_a_write_torn_at_any_byte_leaves_at_most_incomplete_and_the_next_run_signs(
    signed, keys, step, tmp_path_factory
):
    state = State(signed.root / "state", tmp_path_factory.mktemp("torn") / "state")
    lines = state.lines(LEDGER)
    public, whole = [keys.key], b"".join(lines)
    ends = [len(whole) - len(lines[-1]) - len(lines[-2]), len(whole) - len(lines[-1]), len(whole)]
    for end in range(ends[0] + 1, ends[2], step):
        state.file(LEDGER).write_bytes(whole[:end])
        verified = state.verify(public_keys=public)
        assert verified.exit_code == 3 and not verified.damage, end
    for end in (ends[0] + 1, ends[1] - 1, ends[1], ends[1] + 1, ends[2] - 1):
        (signed.root / "state" / LEDGER).write_bytes(whole[:end])
        signed.succeed(env=keys.env)
        signed.succeed("verify", *keys.words)
        assert set(events(ledger(signed))[1::2]) == {"signed"}


def test_a_run_that_was_killed_is_covered_by_the_next_one(bench, keys):
    bench.define(shell("a", "until test -e go; do sleep 0.01; done; date > $PIPELINE_OUTPUT_OUT"))
    run = bench.start(env=keys.env)
    wait_for(lambda: bench.records("attempt.started"))
    run.kill()
    run.communicate()
    verified = bench.run("verify", *keys.words)
    assert verified.returncode == 3 and "no signature covers its records after 0" in verified.stdout
    bench.write("go", "")
    bench.succeed(env=keys.env)
    bench.succeed("verify", *keys.words)
