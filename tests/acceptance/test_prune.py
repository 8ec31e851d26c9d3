"""`prune` removes only the records of old runs. The rest stays intact, even if `prune` is killed at any call."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

import pytest
from call_tracer import trace, why_not
from crash_sweep import sample
from pipeline_bench import ROOT, PipelineBench, shell, wait_for

if TYPE_CHECKING:
    from pathlib import Path

TOUCH = "cat in.txt > $PIPELINE_OUTPUT_OUT"


def night(bench: PipelineBench, text: str) -> None:
    bench.write("in.txt", text)
    bench.succeed("-q")


def nights(bench: PipelineBench) -> PipelineBench:
    """Lay out a pipeline with five runs: three with work of `a`, the first also of `b`, and two with nothing to do."""
    bench.write("in.txt", "")
    stages = shell("a", TOUCH, inputs={"x": "in.txt"}), shell("b", "echo x > $PIPELINE_OUTPUT_OUT")
    bench.define(*stages)
    for text in ("1", "2", "3", "3", "3"):
        night(bench, text)
    return bench


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def runs_on_disk(bench: PipelineBench) -> set[str]:
    logs = (bench.root / "state").glob("audit_2*.jsonl")
    return {path.stem.removeprefix("audit_") for path in logs}


def test_it_removes_whole_old_runs_and_the_record_stays_intact(bench) -> None:
    nights(bench)
    before, newest = files(bench.root), [each["run"] for each in bench.json("runs")["runs"][:2]]
    dry = bench.succeed("prune", "--keep", "2", "-n").stdout
    assert files(bench.root) == before and dry.count("would remove") == 3
    done = bench.succeed("prune", "--keep", "2").stdout
    assert runs_on_disk(bench) == set(newest)
    gone = before - files(bench.root)
    assert all(any(run in path for run in dry.split()) for path in gone), gone
    verified = bench.succeed("verify", "--outputs").stdout
    assert "intact" in verified and "3 runs pruned" in verified
    assert verified.splitlines()[-1] == done.splitlines()[-1], "prune prints the ledger's head"
    listed = bench.json("runs")["runs"]
    assert [each["pruned"] for each in listed] == [False, False, False, True, True, True]
    bench.succeed()
    assert bench.skips_everything()
    assert "was pruned" in bench.run("log", "a").stderr


def test_invocations_that_were_refused_push_out_no_records(bench) -> None:
    """They have no records themselves: else a night of refusals would remove those of all good runs."""
    nights(bench)
    good = runs_on_disk(bench)
    (bench.root / "in.txt").unlink()
    for _ in good:
        assert bench.run("-q").returncode == 5
    assert bench.succeed("prune", "--keep", str(len(good))).stdout.startswith("nothing to remove\n")
    assert runs_on_disk(bench) == good
    bench.succeed("prune", "--keep", "2")
    assert len(runs_on_disk(bench)) == 2


def test_a_run_that_was_continued_counts_once(bench) -> None:
    nights(bench)
    good = runs_on_disk(bench)
    bench.write("in.txt", "another")
    bench.define(shell("a", "exit 1"))
    for _ in good:
        assert bench.run("-q").returncode == 1
    bench.define(shell("a", TOUCH))
    bench.succeed("-q")
    bench.succeed("prune", "--keep", str(len(good) + 1))
    assert len(runs_on_disk(bench)) == len(good) + 1


def test_it_removes_what_began_before_a_date(bench) -> None:
    nights(bench)
    for date in ("2020-01-01", "0206-11-01", "600000d"):
        assert bench.succeed("prune", "--before", date).stdout.startswith("nothing to remove\n")
        assert len(bench.json("runs", "--since", date, "--limit", str(1 << 70))["runs"]) > 5
    bench.succeed("prune", "--before", "0d")
    assert runs_on_disk(bench) == set()
    bench.succeed("verify", "--outputs")
    for words in ((), ("--keep", "1", "--before", "1d"), ("--keep", "0"), ("--before", "soon")):
        assert bench.run("prune", *words).returncode == 2


@pytest.mark.full
def test_a_marker_of_a_pruned_run_that_was_changed_is_found(bench) -> None:
    nights(bench)
    old = bench.read("state/stage_a.json")
    night(bench, "4")
    bench.succeed("prune", "--before", "0d")
    marker = bench.root / "state" / "stage_a.json"
    content = marker.read_bytes()
    marker.write_bytes(old)  # put back: its commit is in no record
    assert bench.run("verify").returncode == 6
    marker.write_bytes(content.replace(b'"size":1', b'"size":7'))
    assert bench.run("verify").returncode == 6
    marker.write_bytes(content)
    bench.succeed("verify", "--outputs")


def test_an_open_run_and_a_log_that_others_refer_to_stay(bench) -> None:
    long = shell("a", "echo x > $PIPELINE_OUTPUT_OUT", env={"LONG": "y" * 5000})
    bench.define(long)
    for _ in range(4):
        bench.succeed("-q")
    (holder,) = {record["data"]["specIn"] for record in bench.records("run.start") if "specIn" in record["data"]}
    bench.succeed("prune", "--keep", "1")
    assert holder in runs_on_disk(bench), "a later record names it with specIn"
    bench.define({**long, "command": ["sh", "-c", "exit 1"]})
    bench.run("-q")
    bench.succeed("prune", "--before", "0d")
    assert len(runs_on_disk(bench)) == 1, "the failed run is open"
    assert bench.run("verify").returncode == 3


@pytest.mark.full
def test_a_damaged_record_is_not_pruned(bench) -> None:
    nights(bench)
    metrics = next((bench.root / "state").glob("metrics_*.json"))
    metrics.write_bytes(metrics.read_bytes().replace(b"succeeded", b"succeedeD"))
    before = files(bench.root)
    done = bench.run("prune", "--keep", "1")
    assert done.returncode == 6 and metrics.name in done.stderr and "hint: " in done.stderr
    assert files(bench.root) == before


@pytest.mark.skipif(bool(why_not()), reason=f"cannot trace: {why_not()}")
def test_a_killed_prune_is_not_completed_where_a_later_run_refers_to_a_spec(bench, tmp_path) -> None:
    bench.define(shell("a", "echo x > $PIPELINE_OUTPUT_OUT", env={"LONG": "y" * 5000}))
    bench.succeed("-q")
    wait_for(lambda: bench.exists(".offpipe/noop-spec.json") or (bench.succeed("-q") and False))
    words = [sys.executable, "-m", "runner", "prune", str(bench.spec), "--before", "0d"]
    killed = trace(words, log=str(tmp_path / "log"), cwd=str(ROOT), position=1, when=lambda call: call.name == "unlink")
    assert killed.victims
    bench.run("nope")  # right after the line of `prune`, a run with nothing to do would not refer to a pruned run
    bench.succeed("-q")
    holder = bench.records("run.start")[-1]["data"]["specIn"]
    assert {each["run"]: each["pruned"] for each in bench.json("runs")["runs"]}[holder]
    bench.succeed("prune", "--keep", "1")
    assert holder in runs_on_disk(bench)
    bench.succeed("verify", "--outputs")


@pytest.mark.full
@pytest.mark.skipif(bool(why_not()), reason=f"cannot trace: {why_not()}")
def test_killed_at_any_call_it_leaves_whole_runs_and_the_next_completes_it(bench, tmp_path_factory) -> None:
    nights(bench)

    def prune(position: int):
        place = PipelineBench(tmp_path_factory.mktemp("killed") / "w")
        shutil.copytree(bench.root, place.root, symlinks=True)
        words = [sys.executable, "-m", "runner", "prune", str(place.spec), "--keep", "2"]
        return place, trace(words, log="/dev/null", position=position, cwd=str(ROOT))

    pruned, undisturbed = prune(0)
    assert undisturbed.code == 0
    old = runs_on_disk(bench) - runs_on_disk(pruned)
    for position in sample(range(1, len(undisturbed.calls) + 1), 12, "prune"):
        place, killed = prune(position)
        assert killed.victims, position
        gone = files(bench.root) - files(place.root)
        assert all(any(run in path for run in old) for path in gone), f"{killed.calls[-1]}: {gone}"
        assert place.run("verify", "--outputs").returncode == 0, killed.calls[-1]
        place.succeed("prune", "--keep", "2")
        assert len(runs_on_disk(place)) == 2
        assert len(list((place.root / "state").glob("metrics_*"))) == 2
        assert place.skips_everything()


@pytest.mark.full
def test_the_id_of_a_pruned_run_is_not_used_again(bench) -> None:
    nights(bench)
    bench.succeed("-f", "--run-id=old")
    bench.succeed("prune", "--before", "0d")
    for words in ((), ("-f",)):
        done = bench.run("--run-id=old", *words)
        assert done.returncode == 2 and "pruned" in done.stderr
    bench.succeed("verify", "--outputs")
