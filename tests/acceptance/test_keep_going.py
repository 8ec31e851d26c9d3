"""`-k` continues past a missing source: only the stages that need it are blocked."""

from __future__ import annotations

import pytest
from pipeline_bench import shell

COPY = 'cp "$PIPELINE_INPUT_X" "$PIPELINE_OUTPUT_OUT"'


def copy(name: str, source: str, **fields: object) -> dict[str, object]:
    return shell(name, COPY, inputs={"x": source}, **fields)


def statuses(result: dict[str, object]) -> dict[str, str]:
    return {name: stage["status"] for name, stage in result["stages"].items()}


@pytest.mark.full_after(1)
@pytest.mark.parametrize(("missing", "arrives"), [("late/*.txt", "late/b.txt"), ("in/b.txt", "in/b.txt")])
def test_only_what_needs_a_missing_source_is_blocked_until_it_arrives(bench, missing, arrives) -> None:
    bench.write("in/a.txt", "a\n")
    bench.define(
        copy("a", "in/a.txt"), copy("b", missing), copy("after-b", "out/b.txt"), copy("after-a", "out/a.txt"),
        copy("behind", "out/after-b.txt"),
    )  # fmt: skip
    assert bench.run().returncode == 5
    assert bench.has_only_refused()
    late = bench.json("run", "-k")
    assert (late["exitCode"], late["status"]) == (5, "failed")
    assert statuses(late) == {
        "a": "succeeded", "after-a": "succeeded", "b": "blocked", "after-b": "blocked", "behind": "blocked",
    }  # fmt: skip
    error = late["stages"]["b"]["error"]
    assert error["where"] == "stage b" and "#/stages/1/inputs/x: " in error["what"] and missing in error["what"]
    assert error["hint"]
    assert late["stages"]["after-b"]["error"]["what"] == "blocked by b"
    bench.write(arrives, "b\n")
    done = bench.json("run", "-k")
    assert (done["exitCode"], done["run"]) == (0, late["run"])
    assert statuses(done)["a"] == "skipped" and statuses(done)["behind"] == "succeeded"
    assert bench.run("verify").returncode == 0


@pytest.mark.parametrize("quiet", [(), ("-q",)])
def test_a_missing_source_is_named_with_what_it_blocks(bench, quiet) -> None:
    bench.write("in/a.txt", "a\n")
    bench.define(copy("a", "in/a.txt"), copy("b", "in/b.txt"), copy("after-b", "out/b.txt"))
    done = bench.run("run", "-k", *quiet)
    assert done.returncode == 5
    assert "error: stage b: " in done.stderr and '"in/b.txt": no such file\nhint: ' in done.stderr
    if not quiet:
        assert "blocked by what failed: after-b\n" in done.stderr and "not started" not in done.stderr
        assert done.stdout.startswith("bench: 1 succeeded, 2 blocked in ")


@pytest.mark.parametrize(("ends", "code"), [("exit 75", 75), ("exit 3", 1), ("true", 5)])
def test_the_exit_code_is_that_of_the_worst_cause(bench, ends, code) -> None:
    bench.define(copy("late", "late.txt"), shell("ends", f'{ends}; touch "$PIPELINE_OUTPUT_OUT"'))
    assert bench.run("-k").returncode == code
    (run,) = bench.json("runs")["runs"]
    assert run["fault"].startswith("stage late: " if code == 5 else "stage ends: "), "the cause of the exit code"
    assert (f"\n  exit 5: {run['fault']}\n" in bench.run("status").stdout) == (code == 5)


def test_a_source_that_arrives_before_its_stage_has_its_turn_blocks_nothing(bench) -> None:
    bench.define(
        shell("slow", 'echo b >late.txt; touch "$PIPELINE_OUTPUT_OUT"'),
        copy("late", "late.txt", needs=["slow"]),
        copy("after", "out/late.txt"),
    )
    bench.succeed("-k")
    assert bench.read("out/after.txt") == b"b\n"


def test_a_source_removed_during_the_run_blocks_its_stage(bench) -> None:
    bench.write("in.txt", "x\n")
    bench.define(
        shell("slow", 'rm in.txt; touch "$PIPELINE_OUTPUT_OUT"'),
        copy("gone", "in.txt", needs=["slow"]),
        shell("other", 'touch "$PIPELINE_OUTPUT_OUT"', needs=["slow"]),
    )
    done = bench.json("run", "-k")
    assert (done["exitCode"], statuses(done)) == (5, {"slow": "succeeded", "gone": "blocked", "other": "succeeded"})


def test_a_missing_source_keeps_the_checkpoint_of_its_stage(bench) -> None:
    bench.write("in.txt", "".join(f"line {n}\n" for n in range(1000)))
    bench.write("stage.py", """
from runner import sdk
with sdk.stage() as stage, stage.lines("x", to="out") as job:
    for number, line in enumerate(job, job.line_offset):
        if number == 500 and stage.attempt == 1:
            raise sdk.Transient("not now")
        job.write(line)
    print("resumed:", job.resumed)
""")  # fmt: skip
    bench.define({
        "name": "a", "processor": "stage.py", "inputs": {"x": "in.txt"}, "outputs": {"out": "out.txt"},
        "checkpoint": {"everyLines": 100},
    })  # fmt: skip
    assert bench.run().returncode == 75
    (bench.root / "in.txt").rename(bench.root / "elsewhere")
    assert bench.run("-k").returncode == 5
    (bench.root / "elsewhere").rename(bench.root / "in.txt")
    bench.succeed("-k")
    assert bench.run("log", "a").stdout == "resumed: True\n"
