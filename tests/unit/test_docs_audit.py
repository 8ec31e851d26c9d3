"""The independent checker in docs/audit.md runs as printed, on real state, and finds what the page says."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys

import pytest
from audit_bench import LEDGER, State, make_runs
from pipeline_bench import ROOT, PipelineBench, shell
from signing_keys import make_keys, run_shell, shell_blocks
from suites import full_but

from runner.canonical import KEY_VARIABLE

KEY = b"k" * 40


@pytest.fixture(scope="module", params=full_but(["plain", "keyed", "signed"], ["keyed"]))
def recorded(request, tmp_path_factory):
    base = tmp_path_factory.mktemp("docs")
    (base / "key").write_bytes(KEY)
    (base / "work").mkdir()
    bench = PipelineBench(base / "work")
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "keyed":
            patch.setenv(KEY_VARIABLE, str(base / "key"))
        if request.param == "signed":
            patch.setenv(*make_keys(base, "sign").env.popitem())
        make_runs(bench)
    bench.close()
    return base, request.param == "keyed"


@pytest.fixture
def check(recorded, tmp_path):
    base, keyed = recorded
    program = re.search(r"```python\n(.*?)```", (ROOT / "docs/audit.md").read_text(), re.DOTALL)[1]
    (tmp_path / "check.py").write_text(program)
    assert len([line for line in program.splitlines() if line.strip()]) <= 27
    state = State(base / "work/state", tmp_path / "state")

    def run(*, with_key=keyed):
        words = [str(state.path), *([str(base / "key")] if with_key else [])]
        return subprocess.run(
            [sys.executable, "-I", str(tmp_path / "check.py"), *words], capture_output=True, text=True, check=False
        )

    return state, run


def test_the_checker_finds_nothing_in_unchanged_state(check):
    state, run = check
    done = run()
    assert (done.stdout, done.stderr) == (f"intact, head {state.records(LEDGER)[-1]['hash']}\n", "")


@pytest.mark.full_after(2)
@pytest.mark.parametrize("name", [LEDGER, *(f"audit_{run}.jsonl" for run in ("first", "resumed", "idle1"))])
def test_the_checker_finds_what_was_changed_cut_or_rewritten(check, name):
    state, run = check
    whole = state.file(name).read_bytes()
    for changed in (
        whole.replace(b"bench", b"BENCH", 1), whole.replace(b",", b", ", 1), whole[:-40],
        b"".join(whole.splitlines(keepends=True)[1:]), b"".join(reversed(whole.splitlines(keepends=True))),
    ):  # fmt: skip
        state.file(name).write_bytes(changed)
        assert run().returncode == 1
    state.file(name).write_bytes(whole)
    assert run().returncode == 0
    if name != LEDGER:
        state.rewrite(name, lambda records: records[0]["data"].update(user="nobody"))
        assert run().returncode == 1


@pytest.mark.parametrize("recorded", ["keyed"], indirect=True)
def test_the_checker_needs_the_key_of_a_keyed_log(check):
    _, run = check
    done = run(with_key=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"audit_\w+\.jsonl:1: is keyed with [0-9a-f]{16}: name the file with the key\n", done.stderr)


@pytest.mark.skipif(not shutil.which("jq"), reason="jq is not installed")
def test_the_recipes_show_every_network_attempt_and_the_digest_of_the_effective_spec(tmp_path):
    bench = PipelineBench(tmp_path)
    call = f"{sys.executable} -c 'import socket; socket.create_connection((\"127.0.0.1\", 9))'"
    make = "echo ü > $PIPELINE_OUTPUT_OUT"
    bench.define(shell("a", f"{call}; {make}", offline={"onAttempt": "record"}), shell("b", make))
    attempts, digest = (block for block in shell_blocks("audit.md") if "openssl" not in block)
    bench.succeed("b", "--run-id", "first")
    assert run_shell(attempts, tmp_path).stdout == ""
    bench.succeed("--run-id", "second")
    (line,) = run_shell(attempts, tmp_path).stdout.splitlines()
    assert json.loads(line) == [bench.records("offline.attempt")[0]["run"], bench.records("offline.attempt")[0]["data"]]
    (record,) = [each for each in bench.records("run.start") if each["run"] == "first"]
    assert record["data"]["specSha256"] in run_shell(digest.replace("RUN", "first"), tmp_path).stdout
