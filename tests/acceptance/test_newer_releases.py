"""A state directory that a newer release wrote is refused before anything is written, and is not taken for damage."""

from __future__ import annotations

import json
import re

import pytest
from pipeline_bench import kill_and_await, shell, wait_for

from runner.errors import EXIT_DAMAGED, EXIT_STATE

COPY = shell("twice", 'cat "$PIPELINE_INPUT_TEXT" >"$PIPELINE_OUTPUT_OUT"', inputs={"text": "in.txt"})
HOLDS = """set -e
head -n 1 "$PIPELINE_INPUT_TEXT" >"$PIPELINE_OUTPUT_OUT"
printf '{"v":1,"key":"%s","lineOffset":1,"outputs":{"out":{"length":2}}}' "$PIPELINE_KEY" >"$PIPELINE_PROGRESS"
touch holds
exec sleep 600
"""


def finish(bench):
    bench.write("in.txt", "1\n2\n")
    bench.define(COPY)
    bench.succeed("--run-id", "first")


def kill(bench):
    """Kill a run after the first checkpoint of its second stage."""
    bench.write("in.txt", "1\n2\n")
    bench.define(COPY, shell("upper", HOLDS, inputs={"text": "out/twice.txt"}))
    process = bench.start("--run-id", "first")
    wait_for((bench.root / "holds").exists)
    kill_and_await(process)


def tree(bench):
    """Return all that a write could change."""
    entries = [(path, path.lstat()) for path in sorted(bench.root.rglob("*"))]
    return {
        path: (status.st_mode, status.st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path, status in entries
    }


def make_newer(bench, path):
    """Set `"v": 2` in a file, or in the last whole record of a log, with another hash; create a missing file."""
    file = bench.root / path
    content = file.read_bytes() if file.exists() else b'{"v":1}'
    whole = content.rindex(b"\n") + 1 if file.suffix == ".jsonl" else len(content)
    start = content.rfind(b"\n", 0, whole - 1) + 1 if file.suffix == ".jsonl" else 0
    newer = re.sub(rb'"v":1(?=[,}])', b'"v":2', content[start:whole], count=1)
    assert newer != content[start:whole]
    newer = re.sub(rb'"(checksum|hash)":"[0-9a-f]{64}"', rb'"\1":"%064d"' % 0, newer)
    bench.write(path, content[:start] + newer + content[whole:])


NEWER = [
    # what happened before, file, words of the run
    (finish, "state/audit_ledger.jsonl", ()),
    (finish, "state/stage_twice.json", ()),
    (finish, "state/audit_first.jsonl", ("--run-id", "first")),
    (kill, "state/audit_ledger.jsonl", ()),
    (kill, "state/stage_twice.json", ()),
    (kill, "state/stage_twice.json", ("run", "upper")),
    (kill, "state/progress_upper.json", ()),
    (kill, "state/progress_upper.json", ("run", "twice")),
    (kill, "state/audit_first.jsonl", ()),
    (kill, "state/metrics_first.json", ()),
]


@pytest.mark.parametrize(("before", "path", "words"), NEWER, ids=[" ".join([case[1], *case[2]]) for case in NEWER])
def test_what_a_newer_release_wrote_is_refused_and_nothing_is_written(bench, before, path, words):
    before(bench)
    make_newer(bench, path)
    left = tree(bench)
    done = bench.run(*words)
    assert done.returncode == EXIT_STATE, done.stderr
    what = f"{path}: was written by a newer release (v 2, this one knows 1)"
    assert what in done.stderr.replace(f"{bench.root}/", "")
    assert tree(bench) == left


@pytest.mark.parametrize("path", ["audit_ledger.jsonl", "audit_first.jsonl", "stage_twice.json"])
def test_verify_does_not_take_a_newer_file_for_damage(bench, path):
    finish(bench)
    make_newer(bench, f"state/{path}")
    done = bench.run("verify")
    assert done.returncode == EXIT_STATE, done.stdout
    assert f"{path}:" in done.stderr
    assert "was written by a newer release" in done.stderr


@pytest.mark.parametrize("path", ["audit_ledger.jsonl", "audit_first.jsonl", "stage_twice.json"])
def test_verify_takes_a_version_that_alone_was_changed_for_damage(bench, path):
    finish(bench)
    before, mark, after = bench.read(f"state/{path}").rpartition(b'"v":1')
    bench.write(f"state/{path}", b'%b"v":2%b' % (before, after))
    assert mark and bench.run("verify").returncode == EXIT_DAMAGED


def test_a_newer_cache_counts_as_missing(bench):
    """Without its cache a run only takes longer, so it is not refused."""
    finish(bench)
    bench.write("state/files.json", b'{"v":2,"files":{"/x":["of","another","shape"]}}')
    done = bench.succeed("-f")
    assert "files.json" not in done.stderr
    assert json.loads(bench.read("state/files.json"))["v"] == 1
