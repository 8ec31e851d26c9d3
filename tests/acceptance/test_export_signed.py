"""With a signing key, Statements get envelopes that an independent library opens, if the record is signed."""

from __future__ import annotations

import json
import shutil

import pytest
from attestations import check_statement
from audit_bench import LEDGER, State
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from pipeline_bench import shell, wait_for
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey
from signing_keys import make_keys, needs_openssl, run_shell, shell_blocks

from runner.errors import EXIT_DAMAGED, EXIT_INVALID, EXIT_PENDING, EXIT_STAGE_FAILED


@pytest.fixture
def keys(tmp_path_factory):
    return make_keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def signed(bench, keys):
    """A pipeline whose runs were signed."""
    bench.define(shell("a", "echo 1 > $PIPELINE_OUTPUT_OUT"), shell("b", "echo 2 > $PIPELINE_OUTPUT_OUT"))
    bench.succeed("a", env=keys.env)
    bench.succeed(env=keys.env)
    return bench


def opened(text: str, keys) -> list[bytes]:
    """Check the signatures of envelopes with the public key, and return the payloads."""
    public = SSlibKey.from_crypto(load_pem_public_key(keys.public.read_bytes()), keyid=keys.id)
    envelopes = [Envelope.from_dict(json.loads(line)) for line in text.splitlines()]
    assert all(envelope.verify([public], 1) for envelope in envelopes)
    return [envelope.payload for envelope in envelopes]


def test_each_line_is_an_envelope_around_what_is_printed_without_a_key(signed, keys):
    payloads = opened(signed.succeed("export", env=keys.env).stdout, keys)
    assert payloads == signed.succeed("export").stdout.encode().splitlines() and len(payloads) == 2
    assert all(map(check_statement, payloads))


@needs_openssl
def test_openssl_alone_checks_an_envelope_as_the_page_says(signed, keys, tmp_path_factory):
    place, (recipe,) = tmp_path_factory.mktemp("check"), shell_blocks("export.md")
    shutil.copy(keys.public, place / "sign.pub")
    printed = signed.succeed("export", env=keys.env).stdout
    (place / "demo.intoto.jsonl").write_text(printed)
    assert "Verified Successfully" in run_shell(recipe, place).stdout
    assert (place / "payload").read_bytes() == opened(printed, keys)[0]
    shutil.copy(make_keys(tmp_path_factory.mktemp("other")).public, place / "sign.pub")
    assert run_shell(recipe, place).returncode == 1


def test_a_state_directory_alone_is_enough(signed, keys, tmp_path_factory):
    printed = signed.succeed("export", env=keys.env).stdout
    signed.spec = shutil.copytree(signed.root / "state", tmp_path_factory.mktemp("copy") / "state")
    assert signed.succeed("export", env=keys.env).stdout == printed


def test_a_record_that_is_not_signed_gets_no_signature(bench, keys):
    bench.define(shell("a", "echo 1 > $PIPELINE_OUTPUT_OUT"))
    bench.succeed()
    done = bench.run("export", env=keys.env)
    assert (done.returncode, done.stdout) == (EXIT_DAMAGED, "") and "has no signature; nothing was exp" in done.stderr
    bench.succeed(env=keys.env)
    assert opened(bench.succeed("export", env=keys.env).stdout, keys)


def test_a_record_that_was_rewritten_without_the_key_gets_no_signature(signed, keys, tmp_path_factory):
    state = State(signed.root / "state", tmp_path_factory.mktemp("forged") / "state")
    state.rewrite(LEDGER, lambda lines: lines[-2]["data"]["invocation"].update(exitCode=1))
    signed.spec = state.path
    assert signed.run("verify").returncode == 0
    done = signed.run("export", env=keys.env)
    assert (done.returncode, done.stdout) == (EXIT_DAMAGED, "") and "does not match" in done.stderr


@pytest.fixture
def failed(bench, keys):
    """A signed run that failed, so that the next one continues its log: `a` was made, `b` was not."""
    bench.define(shell("a", "echo 1 > $PIPELINE_OUTPUT_OUT"), shell("b", "test -e ok && echo 2 > $PIPELINE_OUTPUT_OUT"))
    assert bench.run("-j", "1", env=keys.env).returncode == EXIT_STAGE_FAILED
    return bench


def test_what_a_run_at_work_made_gets_no_signature_until_the_run_has_signed_it(failed, keys):
    assert len(opened(failed.succeed("export", env=keys.env).stdout, keys)) == 1
    failed.write("ok", "")
    failed.define(
        shell("a", "echo 1 > $PIPELINE_OUTPUT_OUT"),
        shell("b", "echo 2 > $PIPELINE_OUTPUT_OUT"),
        shell("c", "until test -e go; do sleep 0.01; done; echo 3 > $PIPELINE_OUTPUT_OUT", needs=["b"]),
    )
    running = failed.start(env=keys.env)
    wait_for(lambda: failed.exists("state/stage_b.json"))
    for env, words in ((keys.env, ()), ({}, keys.words)):
        done = failed.run("export", *words, env=env)
        assert (done.returncode, done.stdout) == (EXIT_PENDING, "") and "no signature covers" in done.stderr
    assert len(failed.succeed("export").stdout.splitlines()) == 1, "without a key the run is attested as far as it got"
    failed.write("go", "")
    assert running.wait() == 0
    (payload,) = opened(failed.succeed("export", env=keys.env).stdout, keys)
    assert len(check_statement(payload)["subject"]) == 3


def test_a_commit_that_was_appended_to_the_log_of_a_failed_run_gets_no_signature(failed, keys, tmp_path_factory):
    (name,) = (path.name for path in (failed.root / "state").glob("audit_2*.jsonl"))
    state = State(failed.root / "state", tmp_path_factory.mktemp("forged") / "state")

    def forge(records):
        start, commit = records[0], next(record for record in records if record["ev"] == "stage.commit")
        records += [{**start, "ev": "run.resumed"}, {**commit, "data": {**commit["data"], "replaces": None}}]

    state.rewrite(name, forge)
    state.file("stage_a.json").unlink()  # as `clean` does
    failed.spec, run = state.path, name.removeprefix("audit_").removesuffix(".jsonl")
    assert failed.run("verify").returncode == EXIT_PENDING, "without the key the forgery looks like a kill"
    assert check_statement(failed.succeed("export", "--run", run).stdout)
    done = failed.run("export", "--run", run, env=keys.env)
    assert (done.returncode, done.stdout) == (EXIT_PENDING, "") and "no signature covers" in done.stderr


def test_a_line_behind_the_newest_signature_gets_no_signature(signed, keys, tmp_path_factory):
    state = State(signed.root / "state", tmp_path_factory.mktemp("forged") / "state")
    state.rewrite(LEDGER, lambda records: records.pop())
    signed.spec = state.path
    assert signed.run("verify").returncode == 0
    done = signed.run("export", env=keys.env)
    assert (done.returncode, done.stdout) == (EXIT_PENDING, "") and "no signature covers" in done.stderr


@pytest.mark.full
def test_after_a_change_of_keys_the_older_key_must_be_named(signed, keys, tmp_path_factory):
    newer = make_keys(tmp_path_factory.mktemp("newer"))
    signed.succeed("-f", env=newer.env)
    assert signed.run("export", env=newer.env).returncode == EXIT_DAMAGED
    assert opened(signed.succeed("export", *keys.words, env=newer.env).stdout, newer)


def test_a_key_that_cannot_be_used_exports_nothing(signed, keys):
    shutil.copy(keys.private, signed.root / "key.pem")
    inside = signed.run("export", env=keys._replace(private=signed.root / "key.pem").env)
    keys.private.chmod(0o644)
    for done in (inside, signed.run("export", env=keys.env)):
        assert (done.returncode, done.stdout) == (EXIT_INVALID, "") and "key.pem: " in done.stderr
