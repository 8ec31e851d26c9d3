"""State directories that earlier releases wrote: they verify, nothing in them runs again, and killed runs resume.

A state directory that a newer release wrote is refused before anything is written.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from make_state import CHECKPOINT, LINES, unpack
from pipeline_bench import PipelineBench

from runner.errors import EXIT_DAMAGED, EXIT_OK, EXIT_PENDING, EXIT_STATE

KEPT = sorted(Path(__file__).parent.glob("v*"))
UPPER = "".join(f"{line.upper()}\n" for line in LINES).encode()


@pytest.fixture(params=KEPT, ids=lambda kept: kept.name)
def kept(request, tmp_path):
    """A function that unpacks one of the directories as a pipeline."""
    started = []

    def kept(name):
        started.append(PipelineBench(unpack(request.param / name, tmp_path / name)))
        return started[-1]

    yield kept
    for bench in started:
        bench.close()


def tree(bench):
    """Return all that a write could change."""
    entries = [(path, path.lstat()) for path in sorted(bench.root.rglob("*"))]
    return {
        path: (status.st_mode, status.st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path, status in entries
    }


def interpreter_of(bench):
    (stage,) = (record for record in bench.records("stage.commit") if record["data"]["stage"] == "upper")
    return json.loads(stage["data"]["components"])["interpreter"]


def test_a_finished_state_verifies_and_is_up_to_date(kept):
    bench = kept("finished")
    assert bench.run("verify", "--outputs").returncode == EXIT_OK
    decisions = {stage["stage"]: stage for stage in bench.json("plan")["stages"]}
    if interpreter_of(bench) != f"cpython-{sys.version_info.major}.{sys.version_info.minor}":
        assert {reason["component"] for reason in decisions.pop("upper")["reasons"]} == {"interpreter"}
        decisions.pop("flaky")  # it needs `upper`
    else:
        assert bench.skips_everything()
    assert {stage["decision"] for stage in decisions.values()} == {"skip"}


def test_a_killed_state_is_incomplete_and_the_next_run_completes_it(kept):
    bench = kept("killed")
    assert bench.run("verify").returncode == EXIT_PENDING
    done = bench.succeed()
    assert f"upper: started (from line {CHECKPOINT})" in done.stderr
    started = [(record["data"]["stage"], record["data"]["attempt"]) for record in bench.records("attempt.started")]
    assert started == [("twice", 1), ("upper", 1), ("upper", 2), ("last", 1)]
    assert {record["run"] for record in bench.records("run.resumed")} == {"first"}
    assert [record["data"]["tornBytes"] for record in bench.records("recovered")] == [28]
    assert bench.read("work/upper.txt") == bench.read("out/last.txt") == UPPER
    assert not bench.leftovers()
    assert bench.run("verify", "--outputs").returncode == EXIT_OK


def history(bench):
    """Run, part, outcome and exit code of each invocation, the oldest first."""
    fields = "run", "part", "outcome", "exitCode"
    return [tuple(each[field] for field in fields) for each in reversed(bench.json("runs")["runs"])]


def answers(bench):
    """Return what reading verbs say about a state, by its spec and by the directory alone; check that none writes."""
    before, results, spec = tree(bench), {}, bench.spec
    for target in (spec, bench.root / "state"):
        bench.spec, name = target, target.name
        results[name, "runs"] = history(bench)
        results[name, "open"] = bench.json("status")["openRuns"]
        results[name, "log"] = bench.succeed("log", "--run", "first").stdout.split()[1]
        results[name, "of a stage"] = bench.run("log", "twice").returncode
    bench.spec = spec
    assert tree(bench) == before
    return results


def test_a_finished_state_is_listed_and_run_on_and_pruned(kept):
    bench = kept("finished")
    old = [("first", None, "succeeded", 0), ("nothing-to-do", None, "succeeded", 0)]
    results = answers(bench)
    for name in ("spec.json", "state"):
        assert results[name, "runs"] == old
        assert (results[name, "open"], results[name, "log"], results[name, "of a stage"]) == ([], "run.start", 0)
    bench.write("in.txt", "changed\n")
    bench.succeed("run", "--run-id", "new")
    assert history(bench) == [*old, ("new", 1, "succeeded", 0)]
    bench.succeed("prune", "--keep", "1")
    assert sorted(path.name for path in (bench.root / "state").glob("audit_*")) == [
        "audit_ledger.jsonl", "audit_new.jsonl",
    ]  # fmt: skip
    assert history(bench)[:-1] == [*old, ("new", 1, "succeeded", 0)], "pruned runs stay listed"
    assert bench.run("verify", "--outputs").returncode == EXIT_OK
    assert bench.skips_everything()


def test_a_killed_state_is_listed_and_its_run_goes_on_as_a_second_part(kept):
    bench = kept("killed")
    results = answers(bench)
    for name in ("spec.json", "state"):
        assert results[name, "runs"] == [("first", None, "not recorded", None)]
        assert (results[name, "open"], results[name, "log"], results[name, "of a stage"]) == (["first"], "run.start", 0)
    (bench.root / "in.txt").rename(bench.root / "aside")
    assert bench.run().returncode == 5
    (bench.root / "aside").rename(bench.root / "in.txt")
    bench.succeed()
    first, refused, second = history(bench)
    assert (first, refused[2:], second) == (
        ("first", None, "not recorded", None), ("refused", 5), ("first", 2, "succeeded", 0),
    )  # fmt: skip
    assert bench.run("verify", "--outputs").returncode == EXIT_OK


# ---- a newer release -------------------------------------------------------------------------------------------------


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
    # state directory, file, words of the run
    ("finished", "state/audit_ledger.jsonl", ()),
    ("finished", "state/stage_tree.json", ()),
    ("finished", "state/audit_first.jsonl", ("--run-id", "first")),
    ("killed", "state/audit_ledger.jsonl", ()),
    ("killed", "state/stage_twice.json", ()),
    ("killed", "state/stage_twice.json", ("run", "upper")),
    ("killed", "state/progress_upper.json", ()),
    ("killed", "state/progress_upper.json", ("run", "twice")),
    ("killed", "state/audit_first.jsonl", ()),
    ("killed", "state/metrics_first.json", ()),
]


@pytest.mark.parametrize(("name", "path", "words"), NEWER, ids=[" ".join([case[1], *case[2]]) for case in NEWER])
def test_what_a_newer_release_wrote_is_refused_and_nothing_is_written(kept, name, path, words):
    bench = kept(name)
    make_newer(bench, path)
    before = tree(bench)
    done = bench.run(*words)
    assert done.returncode == EXIT_STATE, done.stderr
    assert f"{path}: was written by a newer release (v 2, this one knows 1)" in done.stderr.replace(
        f"{bench.root}/", ""
    )
    assert tree(bench) == before


@pytest.mark.parametrize("path", ["audit_ledger.jsonl", "audit_first.jsonl", "stage_twice.json"])
def test_verify_does_not_take_a_newer_file_for_damage(kept, path):
    bench = kept("finished")
    make_newer(bench, f"state/{path}")
    done = bench.run("verify")
    assert done.returncode == EXIT_STATE, done.stdout
    assert f"{path}:" in done.stderr
    assert "was written by a newer release" in done.stderr


def test_verify_takes_a_version_that_alone_was_changed_for_damage(kept):
    bench = kept("finished")
    bench.write("state/stage_twice.json", bench.read("state/stage_twice.json").replace(b'"v":1', b'"v":2'))
    assert bench.run("verify").returncode == EXIT_DAMAGED


def test_a_newer_cache_counts_as_missing(kept):
    """Without its cache a run only takes longer, so it is not refused."""
    bench = kept("killed")
    bench.write("state/files.json", b'{"v":2,"files":{"/x":["of","another","shape"]}}')
    done = bench.succeed()
    assert "files.json" not in done.stderr
    assert json.loads(bench.read("state/files.json"))["v"] == 1
