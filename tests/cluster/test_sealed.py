"""Sealed stages on workers: they see what they see on one machine, and no worker runs one without a view."""

from __future__ import annotations

import signal
import sys

import pytest
from dask_cluster import TTL, ended, used
from pipeline_bench import ROOT, descendants, shell, wait_for
from sealed_progress import KINDS, assert_whole, progressing, worked
from sealed_stages import LIST, look, sealed

NO_VIEWS = (sys.executable, f"{ROOT}/tests/support/harmless_lacking.py", "mount_setattr")
WHY = "mount_setattr failed: EPERM (Operation not permitted)"
# The first attempt writes for as long as its mark, in the root of its view, is there.
ZOMBIE = """
exec >>out/a.txt
echo $PIPELINE_ATTEMPT
[ $PIPELINE_ATTEMPT = 1 ] || exit 0
touch waits
while [ -e waits ]; do echo zombie; sleep 0.01; done
echo zombie
echo zombie, by path >>out/a.txt
"""


def records(bench, *names):
    return [tuple(record["data"].get(name) for name in names) for record in bench.records("attempt.started")]


# ---- what a stage on a worker sees ----


@pytest.mark.parametrize("address", ["scheduler", pytest.param("local:2", marks=pytest.mark.full)])
def test_a_stage_on_a_worker_finds_no_undeclared_file(bench, workers, address):
    bench.write("undeclared", "x")
    bench.write("in.txt", "in")
    words = "--cluster", str(workers.file) if address == "scheduler" else address
    assert look(bench, LIST, *words, inputs={"in": "in.txt"}) == ["./in.txt", "./look.seen"]
    assert records(bench, "sealed") == [(True,)]
    assert bench.run("verify", "--outputs").returncode == 0
    assert not bench.leftovers()


def test_a_stage_on_a_worker_that_reads_an_undeclared_file_fails_and_the_hint_names_it(bench, workers):
    bench.write("undeclared", "x")
    bench.define(sealed("look", "sh", "-c", "cat undeclared"))
    done = bench.run("--cluster", str(workers.file))
    assert done.returncode == 1
    assert 'hint: it is sealed, and does not declare "undeclared"' in done.stderr


def test_every_instance_on_a_worker_has_its_input_and_output_at_the_same_paths(bench, workers):
    for name in "pqrs":
        bench.write(f"queries/{name}.fa", f"{name}\n")
    script = "test \"$(echo *)\" = 'query.fa state' && cat query.fa query.fa >top_hits"
    bench.define(
        shell("search", script, each={"s": "queries/*.fa"}, sealed=True,
              inputs={"query": "queries/{each.s}.fa"}, outputs={"hits": "hits/{each.s}.txt"},
              seenAs={"query": "query.fa", "hits": "top_hits"}),
    )  # fmt: skip
    bench.succeed("--cluster", str(workers.file))
    assert [bench.read(f"hits/{name}.txt").decode() for name in "pqrs"] == [f"{name}\n{name}\n" for name in "pqrs"]
    assert records(bench, "sealed", "seenAs") == [(True, {"hits": "top_hits"})] * 4
    assert not bench.exists("top_hits")
    assert bench.skips_everything()


def test_directories_are_inputs_and_outputs_on_workers(bench, workers):
    bench.write("tree/deep/leaf", "leaf\n")
    bench.write("tree/other", "other\n")
    copies = "cp -r tree/. made; cp -r made out/elsewhere"
    bench.define(
        shell("a", f"mkdir made; {copies}", sealed=True, inputs={"t": "tree/"},
              outputs={"m": "made/", "s": "out/real/"}, seenAs={"s": "out/elsewhere/"}),
        shell("b", f"{LIST}; cat made/deep/leaf", sealed=True, inputs={"m": "{outputs.a.m}", "s": "out/real/"},
              stdout="out"),
    )  # fmt: skip
    bench.succeed("--cluster", str(workers.file))
    files = [f"./{place}/{name}" for place in ("made", "out/real") for name in ("deep/leaf", "other")]
    files.insert(2, "./out/b.txt")
    assert bench.read("out/b.txt").decode().split() == [*files, "leaf"]
    assert records(bench, "sealed") == [(True,)] * 2
    assert not bench.leftovers()
    assert bench.skips_everything()


# ---- workers that are killed or stopped ----


@pytest.mark.full_after(1)
@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_goes_on_on_another_worker_when_the_first_is_killed(bench, make_cluster, kind):
    cluster = make_cluster("one")
    progressing(bench, kind, "waits")
    process = bench.start("--cluster", str(cluster.file))
    for number, (name, following) in enumerate((("one", "two"), ("two", "three")), 1):
        wait_for(lambda number=number: len(worked(bench)) == number and len(worked(bench)[-1]) == 25, "the checkpoint")
        cluster.add(following)
        cluster.await_workers(number + 1)
        cluster.kill(name)
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 0, stdout + stderr
    assert [attempt.worker for attempt in ended(bench)] == ["one", "two", "three"]
    assert [attempt.lost is not None for attempt in ended(bench)] == [True, True, False]
    assert_whole(bench)
    assert records(bench, "sealed") == [(True,)] * 3


def test_nothing_that_a_given_up_attempt_writes_in_its_view_is_published(bench, make_cluster):
    cluster = make_cluster("one", "two", **TTL)
    bench.define(shell("a", ZOMBIE, sealed=True))
    process = bench.start("--cluster", str(cluster.file))
    (waits,) = wait_for(lambda: [*bench.root.glob(".partial-*/waits")], "the first attempt")
    stage = bench.program_processes()
    name = next(name for name, worker in cluster.workers.items() if {*stage} & {*descendants(worker.pid)})
    cluster.kill(name, signal.SIGSTOP)
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 0, stdout + stderr
    assert not waits.exists()
    cluster.kill(name, signal.SIGCONT)
    wait_for(lambda: not bench.program_processes(), "the end of the attempt that was given up")
    assert bench.read("out/a.txt") == b"2\n"
    assert [attempt.lost is not None for attempt in ended(bench)] == [True, False]
    assert bench.run("verify", "--outputs").returncode == 0


# ---- workers without views ----


def start_then_add(bench, cluster, here, *words):
    """Start a run of four sealed stages after one that waits for the file `go`; then add a worker without views."""
    bench.define(
        shell("a", f"touch {here}/a; until [ -e {here}/go ]; do sleep 0.01; done; echo >$PIPELINE_OUTPUT_OUT"),
        *(shell(name, "ls >$PIPELINE_OUTPUT_OUT", needs=["a"], sealed=True) for name in "bcde"),
    )
    process = bench.start("--cluster", str(cluster.file), *words)
    wait_for((here / "a").exists, "the first stage")
    cluster.add("bad", before=NO_VIEWS)
    return process


def test_a_later_worker_without_views_is_left_out(bench, make_cluster, tmp_path):
    process = start_then_add(bench, make_cluster("good"), tmp_path)
    wait_for(lambda: bench.records("run.warning"), "the warning")
    (tmp_path / "go").touch()
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 0, stdout + stderr
    assert f"/bad: left out: it gives sealed stages no views: {WHY}" in stderr
    assert used(bench) == {"good"}
    assert records(bench, "stage", "sealed") == [("a", None), *((name, True) for name in "bcde")]


def test_a_later_worker_without_views_gets_work_if_no_stage_is_sealed(bench, make_cluster, tmp_path):
    cluster = make_cluster("good")
    meet = "touch {here}/{own}; until [ -e {here}/{other} ]; do sleep 0.01; done; echo >$PIPELINE_OUTPUT_OUT"
    bench.define(*(shell(own, meet.format(here=tmp_path, own=own, other=other)) for own, other in ("ab", "ba")))
    process = bench.start("--cluster", str(cluster.file), "-j2")
    wait_for(lambda: bench.records("attempt.started"), "the first attempt")
    cluster.add("bad", before=NO_VIEWS)
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 0, stdout + stderr
    assert used(bench) == {"good", "bad"}
    assert "views" not in bench.records("run.start")[0]["data"]["isolation"]


def test_a_first_worker_without_views_refuses_the_run_and_is_named(bench, make_cluster):
    cluster = make_cluster("good")
    cluster.add("bad", before=NO_VIEWS)
    cluster.await_workers(2)
    bench.define(sealed("look", "true"))
    done = bench.run("--cluster", str(cluster.file))
    assert done.returncode == 4, done.stderr
    assert "error: stage look: is sealed, but gets no view here: worker " in done.stderr
    assert f"/bad: {WHY}\nhint: " in done.stderr
    assert not bench.records("attempt.started")


def test_best_effort_with_a_first_worker_without_views_runs_all_sealed_stages_unsealed(bench, make_cluster):
    """On every worker, also on one that has views, so that a stage finds its outputs at the same paths."""
    cluster = make_cluster("good")
    cluster.add("bad", before=NO_VIEWS)
    cluster.await_workers(2)
    bench.write("undeclared", "x\n")
    bench.define(*(sealed(name, "sh", "-c", "cat undecl*; sleep 0.1") for name in "abcd"))
    done = bench.succeed("--cluster", str(cluster.file), "--sealed", "best-effort", "-j4")
    assert "warning: sealed stages: run unsealed" in done.stderr and f"/bad: {WHY}" in done.stderr
    assert used(bench) == {"good", "bad"}
    assert records(bench, "sealed") == [(False,)] * 4
    assert {bench.read(f"{name}.seen") for name in "abcd"} == {b"x\n"}
    bench.define(sealed("seen", "true", outputs={"o": "o"}, seenAs={"o": "elsewhere"}))
    refused = bench.run("--cluster", str(cluster.file), "--sealed", "best-effort")
    assert refused.returncode == 4 and '"seenAs"' in refused.stderr


@pytest.mark.full
def test_best_effort_leaves_out_a_later_worker_without_views_if_the_run_has_them(bench, make_cluster, tmp_path):
    cluster = make_cluster("good")
    process = start_then_add(bench, cluster, tmp_path, "--sealed", "best-effort", "--cluster-wait", "1")
    wait_for(lambda: bench.records("run.warning"), "the warning")
    (tmp_path / "go").touch()
    assert process.wait(timeout=30) == 0
    assert used(bench) == {"good"}


@pytest.mark.full
def test_a_run_whose_last_worker_has_no_views_ends_with_4(bench, make_cluster, tmp_path):
    cluster = make_cluster("good")
    process = start_then_add(bench, cluster, tmp_path, "--cluster-wait", "1")
    wait_for(lambda: bench.records("run.warning"), "the warning")
    cluster.kill("good")
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 4, stdout + stderr
    assert "/bad: left out: it gives sealed stages no views: " in stderr
    assert True not in [was_sealed for (was_sealed,) in records(bench, "sealed")]
