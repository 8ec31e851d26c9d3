"""A stage with a new name adopts the outputs that it made under the old name, and does not run again."""

from __future__ import annotations

import json
import os

import pytest

COPY = ["cp", "{inputs.x}", "{outputs.o}"]


def copy(name: str, source: str, to: str, **fields: object) -> dict[str, object]:
    return {"name": name, "command": COPY, "inputs": {"x": source}, "outputs": {"o": to}, **fields}


WRITTEN = [
    copy(f"{stage}-{name}", f"{source}/{name}.txt", f"{to}/{name}.txt")
    for name in "ab" for stage, source, to in (("first", "in", "work"), ("second", "work", "out"))
]  # fmt: skip
ALL = {"name": "all", "command": ["cat", "{inputs.x}"], "stdout": "o", "inputs": {"x": "out/*.txt"},
       "outputs": {"o": "all.txt"}}  # fmt: skip
TEMPLATES = [
    copy("first", "in/{each.s}.txt", "work/{each.s}.txt", each={"s": "in/*.txt"}),
    copy("second", "work/{each.s}.txt", "out/{each.s}.txt", each="first"),
]
INSTANCES = ["first@a", "first@b", "second@a", "second@b"]


@pytest.fixture
def written(bench):
    """A pipeline of stages written by hand, after a run."""
    for name in "ab":
        bench.write(f"in/{name}.txt", f"{name}\n")
    bench.define(*WRITTEN, ALL)
    bench.succeed()
    return bench


def started(bench) -> list[str]:
    return [record["data"]["stage"] for record in bench.records("attempt.started")]


def adopted(bench) -> list[str]:
    return [record["data"]["stage"] for record in bench.records("stage.adopted")]


def decisions(bench) -> dict[str, str]:
    return {stage["stage"]: stage["decision"] for stage in bench.json("plan")["stages"]}


def test_written_stages_that_move_to_each_run_nothing_again(written):
    before = started(written)
    written.define(*TEMPLATES, ALL)
    assert decisions(written) == {**dict.fromkeys(INSTANCES, "adopt"), "all": "skip"}
    assert "first@a   adopt    what first-a made, with the same key\n" in written.succeed("plan", "-v").stdout
    assert written.succeed("plan").stdout.startswith("first   0 of 2 up to date, 2 to adopt\n")
    done = written.succeed()
    assert "bench: 4 adopted, 1 skipped in " in done.stdout and "orphan" not in done.stderr
    assert started(written) == before and adopted(written) == INSTANCES
    assert set(decisions(written).values()) == {"skip"}
    assert written.skips_everything()
    assert written.run("verify", "--outputs").stdout.startswith("bench: intact (3 runs, ")


def test_an_adoption_is_on_record_with_the_commit_that_it_adopts(written):
    commit = next(r for r in written.records("stage.commit") if r["data"]["stage"] == "first-a")
    written.define(copy("renamed", "in/a.txt", "work/a.txt"), *WRITTEN[1:], ALL)
    written.succeed()
    (record,) = written.records("stage.adopted")
    assert record["data"]["adopts"] == ["first-a", commit["run"], commit["seq"]]
    assert {name: record["data"][name] for name in ("key", "components")} == {
        name: commit["data"][name] for name in ("key", "components")
    }
    assert record["data"]["outputs"]["o"] == {**commit["data"]["outputs"]["o"], "run": commit["run"]}
    marker = json.loads(written.read("state/stage_renamed.json"))
    assert (marker["run"], marker["auditSeq"]) == (record["run"], record["seq"])
    assert f'because\n  from stage "first-a", run {commit["run"]}\n' in written.succeed("explain", "renamed").stdout
    done = written.run("log", "renamed")
    assert done.returncode == 2
    assert f'was never started; its outputs are from stage "first-a", run {commit["run"]}\nhint: ' in done.stderr
    assert written.run("log", "first-a", "--run", commit["run"]).returncode == 0


@pytest.mark.full_after(2)
@pytest.mark.parametrize("edit", ["key", "content", "force", "touched", "output"])
def test_nothing_is_adopted_where_key_or_content_differ(written, edit):
    renamed = copy("renamed", "in/a.txt", "work/a.txt")
    words = ()
    if edit == "key":
        written.write("in/a.txt", "other\n")
    elif edit == "content":
        written.write("work/a.txt", "edited\n")
    elif edit == "touched":
        os.utime(written.root / "work/a.txt", (1, 1))
    elif edit == "output":
        renamed = copy("renamed", "in/a.txt", "work/A.txt")
    else:
        words = ("-f", "renamed")
    written.define(renamed, *WRITTEN[2:])
    written.succeed(*words)
    assert adopted(written) == (["renamed"] if edit == "touched" else [])
    assert written.run("verify", "--outputs").returncode == 0


def test_a_renamed_stage_adopts_after_its_input_was_made_again_with_the_same_bytes(written):
    first = copy("first-a", "in/a.txt", "work/a.txt", env={"X": "1"})
    written.define(first, copy("renamed", "work/a.txt", "out/a.txt"), *WRITTEN[2:], ALL)
    before = len(started(written))
    written.succeed()
    assert started(written)[before:] == ["first-a"] and adopted(written) == ["renamed"]


@pytest.mark.full
def test_a_rename_and_its_undoing_run_nothing(written):
    before = started(written)
    written.define(*TEMPLATES, ALL)
    written.succeed()
    written.define(*WRITTEN, ALL)
    written.succeed()
    assert started(written) == before and written.run("verify", "--outputs").returncode == 0


@pytest.mark.full
def test_an_adopted_output_becomes_an_orphan_of_its_new_stage(written):
    written.define(*TEMPLATES, ALL)
    written.succeed()
    (written.root / "in/b.txt").unlink()
    run = written.records("stage.commit")[0]["run"]
    assert "2 outputs that no stage declares any more are orphans: out/b.txt, work/b.txt\n" in written.succeed().stderr
    what = f'work/b.txt: is an orphan: stage "first@b" made it in run {run}, and no stage declares it any more'
    assert what in written.succeed("verify", "--outputs").stdout
    assert written.read("all.txt") == b"a\n"
    assert written.succeed("clean", "--orphans").stdout == "removed out/b.txt\nremoved work/b.txt\n"


def test_a_kill_between_record_and_marker_costs_nothing(written):
    """Removes the markers and the end of the run, as if a kill had come before them."""
    before = started(written)
    written.define(*TEMPLATES, ALL)
    written.succeed()
    log = max((written.root / "state").glob("audit_2*.jsonl"), key=lambda path: path.stat().st_mtime_ns)
    lines = log.read_bytes().splitlines(keepends=True)
    last = max(number for number, line in enumerate(lines) if b'"ev":"stage.adopted"' in line)
    log.write_bytes(b"".join(lines[: last + 1]))
    ledger = written.root / "state/audit_ledger.jsonl"
    ledger.write_bytes(b"".join(ledger.read_bytes().splitlines(keepends=True)[:-1]))
    for name in INSTANCES:
        (written.root / f"state/stage_{name}.json").unlink()
    written.succeed()
    assert started(written) == before and adopted(written) == INSTANCES
    assert written.run("verify", "--outputs").returncode == 0
