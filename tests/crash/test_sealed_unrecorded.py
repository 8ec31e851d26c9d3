"""A power cut may take the record of a sealed attempt's start, and leave its directory: the next run removes it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest
from pipeline_bench import ROOT, kill_and_await, shell, wait_for
from sealed_stages import sealed

from runner.paths import is_view

# Appends a line to its output, and notes another line as a checkpoint would. Waits to be killed if HOME says so.
APPENDS = """
printf 'line\\n' >>$PIPELINE_OUTPUT_OUT
echo ready >&2
case $HOME in */waits) sleep 600;; esac
"""


def killed(bench):
    """Run, kill everything while the stage waits, and return the directory of its attempt."""
    (bench.root / "waits").mkdir(exist_ok=True)
    process = bench.start(env={"HOME": str(bench.root / "waits")})
    wait_for(lambda: any("ready" in log.read_text() for log in bench.root.glob("state/logs/*/a.1.log")))
    kill_and_await(process)
    return views(bench)


def views(bench):
    return [path for path in bench.root.rglob(".partial-*") if is_view(path.name)]


def lose_start(bench):
    """Take the record of the attempt's start from the log, as a power cut may."""
    (log,) = bench.root.glob("state/audit_2*.jsonl")
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[: next(at for at, line in enumerate(lines) if b'"attempt.started"' in line)]))


def define(bench, **fields):
    bench.write("in.txt", "in")
    bench.define(shell("a", APPENDS, inputs={"text": "in.txt"}, sealed=True, **fields))


def assert_ends_as_without_the_cut(bench, content=b"line\n"):
    bench.succeed()
    assert bench.read("out/a.txt") == content
    assert views(bench) == []
    assert bench.leftovers() == []
    assert bench.run("verify", "--outputs").returncode == 0


def test_the_same_attempt_begins_with_empty_outputs(bench):
    define(bench)
    assert killed(bench)
    lose_start(bench)
    assert_ends_as_without_the_cut(bench)


def test_an_attempt_with_another_key_leaves_nothing_of_it(bench):
    define(bench)
    assert killed(bench)
    lose_start(bench)
    define(bench, params={"x": 1})
    assert_ends_as_without_the_cut(bench)


def test_a_view_of_a_state_directory_that_is_gone_is_removed(bench):
    define(bench)
    assert killed(bench)
    shutil.rmtree(bench.root / "state")
    assert_ends_as_without_the_cut(bench)


def test_a_view_is_removed_if_its_record_is_gone_and_no_stage_is_sealed_any_more(bench):
    define(bench)
    assert killed(bench)
    shutil.rmtree(bench.root / "state")
    bench.define(shell("a", APPENDS, inputs={"text": "in.txt"}))
    assert_ends_as_without_the_cut(bench)


def test_the_view_of_another_pipeline_that_runs_in_the_same_workspace_stays(bench):
    define(bench)
    (bench.root / "waits").mkdir()
    process = bench.start(env={"HOME": str(bench.root / "waits")})
    wait_for(lambda: views(bench))
    before = views(bench)
    other = bench.root / "other.json"
    spec = bench.spec.read_text().replace('"bench"', '"other", "stateDir": "other"').replace("out/", "elsewhere/")
    other.write_text(spec)
    bench.spec, mine = other, bench.spec
    bench.succeed()
    assert views(bench) == before
    bench.spec = mine
    kill_and_await(process)
    assert_ends_as_without_the_cut(bench)


@pytest.mark.parametrize("verb", ["run", "clean"])
@pytest.mark.parametrize(("state", "script"), [("state/b", ""), ("b", "mkdir state;")], ids=["nested", "stray"])
def test_another_pipeline_leaves_the_view_of_an_attempt_at_work(bench, verb, state, script):
    """The other's view has a directory where the first pipeline has its state."""
    bench.define(sealed("a", "echo", "a"), name="a")
    other = bench.root / "other.json"
    waits = sealed("b", "sh", "-c", f"{script} echo b > b.txt; exec sleep 1000", outputs={"text": "b.txt"})
    other.write_text(json.dumps({"specVersion": 1, "name": "b", "stateDir": state, "stages": [waits]}))
    command = [sys.executable, "-m", "runner", "run", str(other)]
    with subprocess.Popen(command, cwd=ROOT) as process:
        (at,) = wait_for(lambda: [*bench.root.glob(".partial-*/b.txt")], "the attempt")
        bench.succeed(verb)
        assert at.exists() and process.poll() is None
        process.kill()


def test_the_view_of_another_pipeline_with_the_tag_of_an_attempt_stays(bench):
    """A tag has six digits, so attempts of two pipelines may have the same."""
    tag = "tag=${PIPELINE_OUTPUT_OUT##*/.partial-}; tag=${tag%%.*}"
    view = "$(dirname $PIPELINE_OUTPUT_OUT)/.partial-$tag..partial-000000.0123456789abcdef"
    bench.define(shell("a", f"{tag}; echo x >$PIPELINE_OUTPUT_OUT; mkdir {view}"))
    bench.succeed()
    assert len(views(bench)) == 1
