"""Temporary outputs: a run removes them as soon as nothing reads them any more, and makes them again if it must."""

from __future__ import annotations

import json
import os
import re
import shutil

import noop_words as quick
import pytest
from pipeline_bench import PipelineBench, wait_for

MAKE = "echo {name} >>notes; cat $PIPELINE_INPUT_X >$PIPELINE_OUTPUT_O"


@pytest.fixture
def bench(tmp_path):
    bench = PipelineBench(tmp_path)
    bench.write("in.txt", "input\n")
    yield bench
    bench.close()


def stage(name, source, output, script=MAKE, **fields):
    """A stage that notes that it ran, and copies."""
    command = ["sh", "-c", script.format(name=name)]
    return {"name": name, "command": command, "inputs": {"x": source}, "outputs": {"o": output}, **fields}


def maker(name="align", source="in.txt", output="w/a.bam", script=MAKE, **fields):
    return stage(name, source, output, script, temporary=["o"], **fields)


def reader(name="call", source="w/a.bam", script=MAKE, **fields):
    return stage(name, source, f"out/{name}", script, **fields)


def two(bench, **fields):
    bench.define(maker(), reader(**fields))


def ran(bench, *words):
    """Run, and return which stages ran, in the order in which they began their work."""
    (bench.root / "notes").unlink(missing_ok=True)
    bench.done = bench.succeed(*words)
    return bench.read("notes").decode().split() if bench.exists("notes") else []


def planned(bench, *words):
    return {each["stage"]: each for each in bench.json("plan", *words)["stages"]}


def decisions(bench, *words):
    return {name: each["decision"] for name, each in planned(bench, *words).items()}


# ---- removed ----


def test_it_is_gone_after_the_run_and_the_rest_is_there(bench):
    two(bench)
    assert ran(bench) == ["align", "call"]
    assert not bench.exists("w/a.bam")
    assert bench.read("out/call") == b"input\n"
    assert "2 succeeded" in bench.done.stdout
    assert "removed 1 temporary output (6 bytes)" in bench.done.stdout


def test_a_directory_goes_as_a_whole(bench):
    script = "mkdir $PIPELINE_OUTPUT_O; echo a >$PIPELINE_OUTPUT_O/a; mkdir $PIPELINE_OUTPUT_O/sub"
    bench.define(
        maker(output="w/dir/", script=script),
        reader(source="w/dir/", script="cp $PIPELINE_INPUT_X/a $PIPELINE_OUTPUT_O"),
    )
    ran(bench)
    assert os.listdir(bench.root / "w") == []
    assert bench.read("out/call") == b"a\n"
    assert bench.skips_everything()
    bench.succeed("verify", "--outputs")
    os.unlink(bench.root / "out/call")
    assert "removed 1 temporary output (2 bytes)" in bench.succeed().stdout


def test_nothing_is_to_do_afterwards_also_without_a_plan(bench):
    two(bench)
    ran(bench)
    assert decisions(bench) == {"align": "skip", "call": "skip"}
    assert bench.run("status", "--exit-code").returncode == 0
    quick.settle(bench)
    assert quick.answer([str(bench.spec), "-q"]) == 0


def test_a_file_that_comes_back_is_noticed_by_a_run_with_nothing_to_do(bench):
    two(bench)
    ran(bench)
    quick.settle(bench)
    assert ran(bench, "--keep-temporary", "-f") == ["align", "call"]
    bench.write("kept", "")
    os.replace(bench.root / "w/a.bam", bench.root / "kept")
    bench.succeed()
    quick.settle(bench)
    os.replace(bench.root / "kept", bench.root / "w/a.bam")
    assert "removed 1 temporary output" in bench.succeed().stdout
    assert not bench.exists("w/a.bam")


@pytest.mark.parametrize("path", ["w/a.bam", "w/dir/"])
def test_a_copy_of_it_stays_and_its_readers_may_use_it(path, bench):
    script = "mkdir -p $PIPELINE_OUTPUT_O; echo input >$PIPELINE_OUTPUT_O/a" if path.endswith("/") else MAKE
    copy = "cat $PIPELINE_INPUT_X/* >$PIPELINE_OUTPUT_O" if path.endswith("/") else MAKE
    bench.define(maker(output=path, script="echo align >>notes; " + script), reader(source=path, script=copy))
    bench.succeed()
    bench.write(f"{path}a" if path.endswith("/") else path, "input\n")
    assert bench.json("plan")["removes"] == []
    assert bench.run("status", "--exit-code").returncode == 0
    assert "nothing to do" in bench.succeed().stdout
    os.unlink(bench.root / "out/call")
    assert "align" not in ran(bench)
    assert bench.read("out/call") == b"input\n"
    assert bench.exists(path)
    bench.write("in.txt", "next\n")
    assert bench.json("plan")["removes"] == [path]
    assert "align" in ran(bench)
    assert not bench.exists(path), "it was replaced by what the stage made"


def test_the_record_of_the_removal_is_durable_before_it_and_names_the_commit(bench):
    two(bench)
    ran(bench)
    (commit,) = (record for record in bench.records("stage.commit") if record["data"]["stage"] == "align")
    (removed,) = bench.records("outputs.removed")
    assert removed["data"] == {
        "stage": "align", "commit": [commit["run"], commit["seq"]], "outputs": {"o": "w/a.bam"}, "size": 6,
    }  # fmt: skip
    readers = [record["seq"] for record in bench.records("stage.commit") if record["data"]["stage"] == "call"]
    assert removed["seq"] > max(readers)


def test_one_that_nothing_reads_goes_when_it_is_made_and_the_spec_is_warned_about(bench):
    bench.define(maker())
    assert 'no stage reads "w/a.bam"' in bench.run("validate").stderr
    assert ran(bench) == ["align"]
    assert not bench.exists("w/a.bam")
    assert bench.skips_everything()


def test_it_stays_with_keep_temporary_and_the_next_run_removes_it(bench):
    two(bench)
    assert ran(bench, "--keep-temporary") == ["align", "call"]
    assert bench.exists("w/a.bam")
    assert "removed" not in bench.done.stdout
    assert bench.json("plan", "--keep-temporary")["removes"] == []
    assert "nothing to do" in bench.succeed("--keep-temporary").stdout
    assert bench.json("plan")["removes"] == ["w/a.bam"]
    assert "removes 1 temporary output: w/a.bam" in bench.succeed("plan").stdout
    assert "removes 1 temporary output: w/a.bam" in bench.succeed("status").stdout
    assert bench.json("status")["removes"] == ["w/a.bam"]
    assert bench.run("status", "--exit-code").returncode == 3
    assert ran(bench) == []
    assert re.search(r"2 skipped in .*, removed 1 temporary output", bench.done.stdout)
    assert not bench.exists("w/a.bam")


def test_a_graph_names_the_temporary_outputs_of_each_stage(bench):
    two(bench)
    assert bench.succeed("graph").stdout == "align\n  temporary: o\ncall  <- align\n"
    align = maker(output="w/{each.s}", each={"s": ["a", "b"]})
    bench.define(align, reader("call", "{outputs.align.o}"))
    assert "align (2)\n  temporary: o\n" in bench.succeed("graph").stdout
    assert "align@a\n  temporary: o\n" in bench.succeed("graph", "--expand").stdout


def test_a_run_says_in_json_what_it_removed(bench):
    two(bench)
    assert bench.json("run")["removed"] == {"outputs": 1, "size": 6}


def test_without_the_field_it_is_made_again(bench):
    two(bench)
    ran(bench)
    bench.define({**maker(), "temporary": []}, reader())
    assert ran(bench) == ["align"]
    assert bench.exists("w/a.bam")
    assert bench.skips_everything()


# ---- it stays while something may read it ----


def test_it_stays_until_the_last_of_its_readers_is_up_to_date(bench):
    bench.define(maker(), reader("one"), reader("two", script="test -e go || exit 1; " + MAKE))
    assert bench.run("-k").returncode == 1
    assert bench.exists("out/one")
    assert bench.exists("w/a.bam")
    bench.write("go", "")
    assert ran(bench) == ["two"]
    assert not bench.exists("w/a.bam")


def test_it_stays_while_a_reader_that_is_not_selected_is_out_of_date(bench):
    bench.define(maker(), reader("one"), reader("two"))
    assert ran(bench, "one") == ["align", "one"]
    assert bench.exists("w/a.bam")
    assert ran(bench, "two") == ["two"]
    assert not bench.exists("w/a.bam")


def test_a_reader_that_is_not_selected_counts_with_all_that_it_needs(bench):
    other = stage("other", "two.txt", "w/other")
    two = {**reader("two"), "inputs": {"x": "w/a.bam", "y": "w/other"}}
    bench.write("two.txt", "")
    bench.define(maker(), reader("one"), other, two)
    ran(bench)
    bench.write("in.txt", "next\n")
    assert ran(bench, "one") == ["align", "one"]
    assert bench.exists("w/a.bam")  # `two` has yet to read it
    ran(bench)
    bench.write("two.txt", "changed")
    os.unlink(bench.root / "out/one")
    assert ran(bench, "one") == ["align", "one"]
    assert bench.exists("w/a.bam")  # `two` runs as soon as `other` has


@pytest.mark.parametrize("path", ["w/a.bam", "w/{each.s}.bam", "{each.s}", "{outputs.align.o}"])
@pytest.mark.parametrize("words", [["one"], ["-k"]])
def test_it_stays_while_a_template_without_its_table_may_read_it(words, path, bench):
    each = {"each": {"rows": "t.csv", "key": "n"}, "outputs": {"o": "out/{each.n}"}}
    bench.define(maker(), reader("one"), {**reader("per", path), **each})
    assert bench.json("plan", "one")["removes"] == []
    assert bench.run(*words).returncode == (5 if "-k" in words else 0)
    assert bench.exists("out/one") and bench.exists("w/a.bam")
    value = "w/a.bam" if path == "{each.s}" else "a"
    bench.write("t.csv", f"n,s\n1,{value}\n")
    assert ran(bench) == ["per"]
    assert bench.read("out/1") == b"input\n"
    assert not bench.exists("w/a.bam")


@pytest.mark.parametrize(
    "fields",
    [
        {"inputs": ["w/{each.s}.bam", "in/{each.t}.txt"]},
        {"inputs": {"x": ["w/{each.s}.bam"], "more": ["{vars.more}"]}, "optional": ["more"]},
    ],
)
def test_it_stays_for_any_of_the_paths_that_a_template_without_its_table_reads(fields, bench):
    per = {**reader("per", each={"rows": "t.csv"}), "outputs": {"o": "out/{each.s}"}, **fields}
    bench.define(maker(), reader("one"), per, vars={"more": []})
    ran(bench, "one")
    assert bench.exists("w/a.bam")


def test_a_template_without_its_table_keeps_only_what_it_may_read(bench):
    per = reader("per", "in/{each.s}.txt", each={"rows": "t.csv"})
    bench.define(maker(), reader("one"), {**per, "outputs": {"o": "in/{each.s}.out.txt"}})
    ran(bench, "one")
    assert not bench.exists("w/a.bam")


def test_it_goes_when_a_stage_that_ends_later_brings_a_reader_that_is_not_selected_up_to_date(bench):
    two = {**reader("two"), "inputs": {"x": "w/a.bam", "y": "w/other"}}
    bench.define(maker(), reader("one"), stage("other", "in.txt", "w/other", needs=["one"]), two)
    ran(bench)
    os.unlink(bench.root / "w/other")
    os.unlink(bench.root / "out/one")
    assert ran(bench, "one", "other") == ["align", "one", "other"]
    assert not bench.exists("w/a.bam")
    assert bench.skips_everything()


def test_it_stays_for_a_retry_and_after_a_failure(bench):
    script = "[ -e w/a.bam ] && [ $PIPELINE_ATTEMPT -gt 2 ] || exit 75; " + MAKE
    two(bench, script=script, retry={"attempts": 2, "delaySeconds": 0})
    assert bench.run().returncode == 75
    assert bench.exists("w/a.bam")
    assert ran(bench) == ["call"]
    assert not bench.exists("w/a.bam")


def test_one_that_another_run_removed_while_its_run_is_open_is_not_made_again(bench):
    bench.define(maker(), reader("one", script="test -e go || exit 1; " + MAKE), reader("two", source="in.txt"))
    assert bench.run().returncode == 1
    bench.write("go", "")
    ran(bench, "one")
    assert not bench.exists("w/a.bam")
    assert "align" not in ran(bench)


def test_a_reader_that_is_gone_from_the_spec_keeps_nothing(bench):
    bench.define(maker(), reader("one"), reader("two", script="exit 1"))
    assert bench.run("-k").returncode == 1
    bench.define(maker(), reader("one"))
    assert bench.json("plan")["removes"] == ["w/a.bam"]
    assert ran(bench) == []
    assert not bench.exists("w/a.bam")


def test_chains_of_three_leave_only_the_end(bench):
    bench.define(maker("a", output="w/a"), maker("b", "w/a", "w/b"), maker("c", "w/b", "w/c"), reader("d", "w/c"))
    assert ran(bench) == ["a", "b", "c", "d"]
    assert os.listdir(bench.root / "w") == []
    assert "removed 3 temporary outputs" in bench.done.stdout
    assert bench.skips_everything()


def chains(count, script=MAKE):
    made = [maker(f"make{n}", output=f"w/{n}", script=script) for n in range(count)]
    return [*made, *(reader(f"read{n}", f"w/{n}", script=script) for n in range(count))]


@pytest.mark.parametrize("durability", ["full", "process"])
def test_of_fifty_chains_at_most_ten_temporary_outputs_exist_at_once(durability, bench):
    count = "ls w | grep -vc partial >>counts; " + MAKE
    bench.define(*chains(50, count))
    bench.write("w/.keep", "")
    bench.succeed("-j2", "--durability", durability)
    assert max(map(int, bench.read("counts").split())) <= 10
    assert os.listdir(bench.root / "w") == [".keep"]


def test_a_gather_of_many_is_no_deadlock_and_removes_all(bench):
    merge = "echo merge >>notes; cat $(cat $PIPELINE_STAGE_FILE >/dev/null; echo w/*) >$PIPELINE_OUTPUT_O"
    bench.define(*chains(20)[:20], reader("merge", "w/*", script=merge))
    assert ran(bench, "-j1")[-1] == "merge"
    assert bench.read("out/merge") == b"input\n" * 20
    assert os.listdir(bench.root / "w") == []
    assert decisions(bench)["merge"] == "skip"


# ---- made again ----


def test_a_reader_whose_output_is_lost_runs_its_producer_again(bench):
    two(bench)
    ran(bench)
    os.unlink(bench.root / "out/call")
    assert planned(bench)["align"]["reasons"][0]["what"] == "call needs w/a.bam again"
    assert re.search(r"^align +run +call needs w/a.bam again$", bench.succeed("plan").stdout, re.MULTILINE)
    assert ran(bench) == ["align", "call"]
    assert not bench.exists("w/a.bam")
    started = [record["data"] for record in bench.records("attempt.started")]
    assert started[2]["reasons"] == [["needed", "call needs w/a.bam again", None, None]]


def test_a_chain_of_three_is_made_again_from_its_beginning(bench):
    bench.define(maker("a", output="w/a"), maker("b", "w/a", "w/b"), maker("c", "w/b", "w/c"), reader("d", "w/c"))
    ran(bench)
    os.unlink(bench.root / "out/d")
    assert set(decisions(bench).values()) == {"run"}
    assert ran(bench) == ["a", "b", "c", "d"]
    assert os.listdir(bench.root / "w") == []


def test_a_lost_output_runs_one_producer_and_not_the_others(bench):
    bench.define(*chains(5))
    ran(bench)
    os.unlink(bench.root / "out/read3")
    assert ran(bench) == ["make3", "read3"]


def test_what_is_made_again_with_the_same_bytes_runs_no_other_reader(bench):
    bench.define(maker(), reader("one"), reader("two"))
    ran(bench)
    os.unlink(bench.root / "out/one")
    assert decisions(bench) == {"align": "run", "one": "run", "two": "depends"}
    assert ran(bench) == ["align", "one"]
    assert not bench.exists("w/a.bam")


def test_what_is_made_again_with_other_bytes_runs_its_other_readers(bench):
    bench.define(maker(script="echo align >>notes; date +%N >$PIPELINE_OUTPUT_O"), reader("one"), reader("two"))
    ran(bench)
    os.unlink(bench.root / "out/one")
    assert sorted(ran(bench)) == ["align", "one", "two"]
    assert bench.read("out/one") == bench.read("out/two")
    assert not bench.exists("w/a.bam")
    assert bench.skips_everything()


def test_a_forced_reader_runs_its_producer_again(bench):
    two(bench)
    ran(bench)
    assert ran(bench, "-f", "call") == ["align", "call"]
    assert ran(bench, "-f") == ["align", "call"]
    assert not bench.exists("w/a.bam")


def depending(bench, *, script=MAKE, **other):
    """A reader that also reads what `up` makes. If `up` changes, it depends, and may need `w/a.bam` again."""
    up = stage("up", "up.txt", "w/up", "echo up >>notes; head -c 1 $PIPELINE_INPUT_X >$PIPELINE_OUTPUT_O")
    call = {**reader(), "inputs": {"x": "w/a.bam", "up": "w/up"}}
    bench.write("up.txt", "1 one")
    bench.define(maker(script=script), up, call, reader("other", **other))
    ran(bench)


def test_a_producer_that_may_be_needed_again_runs_only_if_it_is(bench):
    depending(bench)
    bench.write("up.txt", "1 other")
    assert decisions(bench) == {"align": "depends", "up": "run", "call": "depends", "other": "skip"}
    assert planned(bench)["align"] == {
        "stage": "align", "decision": "depends", "upstream": [], "needed": ["call may need w/a.bam again"],
    }  # fmt: skip
    assert "call may need w/a.bam again" in bench.succeed("plan").stdout
    assert ran(bench) == ["up"]
    assert not bench.exists("w/a.bam")
    bench.write("up.txt", "2 other")
    assert ran(bench) == ["up", "align", "call"]
    assert not bench.exists("w/a.bam")
    assert bench.skips_everything()


@pytest.mark.parametrize("fields", [{}, {"programVersion": ["echo", "1"]}])
def test_readers_that_had_been_found_up_to_date_run_if_it_is_made_again_with_other_bytes(fields, bench):
    depending(bench, script="echo align >>notes; date +%N >$PIPELINE_OUTPUT_O", **fields)
    bench.write("up.txt", "2 other")
    assert ran(bench)[:2] == ["up", "align"]
    assert bench.read("out/call") == bench.read("out/other")
    assert not bench.exists("w/a.bam")
    assert bench.skips_everything()
    bench.succeed("verify", "--outputs")


def test_a_chain_that_may_be_needed_runs_from_its_beginning(bench):
    up = stage("up", "up.txt", "w/up")
    call = {**reader("call", "w/b"), "inputs": {"x": "w/b", "up": "w/up"}}
    bench.write("up.txt", "1")
    bench.define(maker("a", output="w/a"), maker("b", "w/a", "w/b"), up, call)
    ran(bench)
    bench.write("up.txt", "2")
    assert decisions(bench) == {"a": "depends", "b": "depends", "up": "run", "call": "depends"}
    assert ran(bench) == ["up", "a", "b", "call"]
    assert os.listdir(bench.root / "w") == ["up"]


def test_a_producer_with_an_output_that_a_stage_before_the_reader_reads_is_made_again_too(bench):
    both = "echo align >>notes; cat $PIPELINE_INPUT_X | tee $PIPELINE_OUTPUT_LOG >$PIPELINE_OUTPUT_O"
    align = {**maker(script=both), "outputs": {"o": "w/a.bam", "log": "out/log"}}
    summary = stage("summary", "out/log", "out/summary")
    call = {**reader(), "inputs": {"x": "w/a.bam", "s": "out/summary"}}
    bench.define(align, summary, call)
    ran(bench)
    bench.define(align, {**summary, "command": ["sh", "-c", "echo summary >>notes; echo 2 >$PIPELINE_OUTPUT_O"]}, call)
    assert ran(bench) == ["summary", "align", "call"]
    assert bench.skips_everything()


def test_one_that_was_made_again_and_removed_is_made_again_once_more(bench):
    """Its reader also reads what `m` makes. That is made again later, with other bytes each time, for `late`."""
    bench.write("up.txt", "1")
    both = "echo m >>notes; date +%N | tee $PIPELINE_OUTPUT_O >$PIPELINE_OUTPUT_LOG"
    m = {**maker("m", script=both), "outputs": {"o": "w/t", "log": "out/m"}}
    call = {**reader("call", "w/a"), "inputs": {"x": "w/a", "m": "out/m", "up": "w/first"}}
    late = {**reader("late", "w/t"), "inputs": {"x": "w/t", "up": "w/second"}}
    first, second = stage("first", "up.txt", "w/first"), stage("second", "up.txt", "w/second", needs=["call"])
    bench.define(maker("a", output="w/a"), m, first, call, second, late)
    ran(bench)
    bench.write("up.txt", "2")
    assert sorted(ran(bench)) == ["a", "a", "call", "call", "first", "late", "m", "second"]
    assert "attempt 2" not in bench.done.stderr
    assert sorted(os.listdir(bench.root / "w")) == ["first", "second"]
    assert bench.skips_everything()


def test_if_the_producer_fails_the_reader_is_blocked_and_the_next_run_goes_on(bench):
    two(bench)
    ran(bench)
    bench.define(maker(script="exit 3"), reader())
    bench.define(maker(script="test ! -e fail || exit 3; " + MAKE), reader())
    ran(bench)
    os.unlink(bench.root / "out/call")
    bench.write("fail", "")
    done = bench.run()
    assert done.returncode == 1
    assert "call" in done.stderr
    os.unlink(bench.root / "fail")
    assert ran(bench) == ["align", "call"]


def test_a_renamed_producer_adopts_nothing_that_is_absent(bench):
    two(bench)
    ran(bench)
    bench.define(maker("other"), reader())
    assert decisions(bench) == {"other": "run", "call": "depends"}
    assert ran(bench) == ["other"]
    assert not bench.exists("w/a.bam")
    assert bench.skips_everything()


def test_a_renamed_producer_adopts_what_is_there_and_it_goes(bench):
    align = maker()
    bench.define(align, reader())
    ran(bench, "--keep-temporary")
    bench.define({**align, "name": "other"}, reader())
    assert decisions(bench) == {"other": "adopt", "call": "skip"}
    assert ran(bench) == []
    assert not bench.exists("w/a.bam")
    assert bench.skips_everything()
    bench.succeed("verify", "--outputs")


def test_an_edit_upstream_runs_all_as_if_nothing_had_been_removed(bench):
    bench.define(maker(), reader("one"), reader("two"))
    ran(bench)
    bench.write("in.txt", "next\n")
    assert sorted(ran(bench)) == ["align", "one", "two"]
    assert bench.read("out/one") == bench.read("out/two") == b"next\n"
    assert not bench.exists("w/a.bam")


# ---- what is in its place ----


def test_another_file_in_its_place_counts_as_absent_and_stays(bench):
    two(bench)
    ran(bench)
    bench.write("w/a.bam", "mine\n")
    done = bench.succeed()
    assert "nothing to do" in done.stdout
    assert '"w/a.bam" is not what stage "align" made: it stays, and no stage gets it' in done.stderr
    assert "it stays" in bench.succeed().stderr  # each run repeats the warning
    assert bench.read("w/a.bam") == b"mine\n"
    assert "is not what stage align made" in bench.succeed("verify", "--outputs").stdout


def test_another_file_in_its_place_is_replaced_if_it_is_made_again(bench):
    two(bench)
    ran(bench)
    bench.write("w/a.bam", "mine\n")
    os.unlink(bench.root / "out/call")
    assert ran(bench) == ["align", "call"]
    assert bench.read("out/call") == b"input\n"
    assert not bench.exists("w/a.bam")


def test_one_that_was_changed_before_its_reader_ran_is_not_read(bench):
    two(bench)
    ran(bench, "align")
    assert bench.exists("w/a.bam")
    bench.write("w/a.bam", "mine\n")
    assert ran(bench) == ["align", "call"]
    assert bench.read("out/call") == b"input\n"


def test_a_new_reader_gets_it_and_so_its_producer_runs_again(bench):
    two(bench)
    ran(bench)
    bench.define(maker(), reader(), reader("new"))
    assert ran(bench) == ["align", "new"]
    assert bench.read("out/new") == b"input\n"
    assert not bench.exists("w/a.bam")


def test_one_that_a_stranger_removes_after_the_plan_is_made_again(bench):
    wait = "touch waits; while test ! -e go; do sleep 0.01; done; "
    first = stage("first", "in.txt", "out/first", wait + MAKE)
    bench.define(maker(), first, {**reader(), "needs": ["first"]})
    ran(bench, "align")
    assert bench.exists("w/a.bam")
    run = bench.start()
    wait_for(lambda: bench.exists("waits"))
    os.unlink(bench.root / "w/a.bam")
    bench.write("go", "")
    assert run.wait() == 0
    assert bench.read("out/call") == b"input\n"


# ---- looking back ----


def test_verify_takes_a_recorded_absence_for_intact_and_no_other(bench):
    two(bench)
    ran(bench)
    assert "intact" in bench.succeed("verify", "--outputs").stdout
    ran(bench, "-f", "--keep-temporary")
    os.unlink(bench.root / "w/a.bam")
    done = bench.run("verify", "--outputs")
    assert done.returncode == 6
    assert "w/a.bam: is missing" in done.stdout
    assert bench.skips_everything()  # a plan does not need it


def test_a_recorded_absence_survives_prune(bench):
    two(bench)
    ran(bench)
    ran(bench)
    bench.succeed("prune", "--keep", "1")
    assert "1 run pruned" in bench.succeed("verify", "--outputs").stdout
    ran(bench)
    bench.succeed("prune", "--keep", "1")
    bench.succeed("verify", "--outputs")


def test_verify_of_one_run_says_that_another_log_may_know(bench):
    two(bench)
    ran(bench, "--keep-temporary")
    (commit, _) = bench.records("stage.commit")
    ran(bench)
    done = bench.succeed("verify", "--outputs", "--run", commit["run"])
    assert "w/a.bam: is temporary" in done.stdout


def test_export_and_report_say_who_removed_it(bench):
    two(bench)
    ran(bench)
    (removed,) = bench.records("outputs.removed")
    (statement,) = map(json.loads, bench.succeed("export").stdout.splitlines())
    notes = {each["name"]: each["annotations"] for each in statement["subject"]}
    assert notes["w/a.bam"]["removedBy"] == removed["run"]
    assert "removedBy" not in notes["out/call"]
    bench.succeed("report", "-o", str(bench.root / "page.html"))
    assert bench.read("page.html").count(b"removed by the run") == 1
    assert "outputs.removed align" in bench.succeed("log").stdout


def test_orphans_of_a_producer_that_is_gone_are_only_what_is_there(bench):
    two(bench)
    ran(bench)
    bench.define(stage("call", "in.txt", "out/call"))
    assert "orphan" not in bench.run("plan").stderr
    bench.succeed("clean", "--orphans")
    assert not bench.exists("state/stage_align.json")


def test_clean_removes_the_rest(bench):
    two(bench)
    ran(bench, "--keep-temporary")
    bench.succeed("clean")
    assert not bench.exists("w/a.bam")
    assert ran(bench) == ["align", "call"]


# ---- the same, but for what is removed ----


EDITS = {
    "input": lambda bench: bench.write("in.txt", "edited\n"),
    "the same input": lambda bench: bench.write("in.txt", "input\n"),
    "second input": lambda bench: bench.write("two.txt", "edited\n"),
    "lost end": lambda bench: os.unlink(bench.root / "out/end"),
    "lost count": lambda bench: os.unlink(bench.root / "out/count"),
    "lost first": lambda bench: os.unlink(bench.root / "out/first"),
    "all lost": lambda bench: shutil.rmtree(bench.root / "out"),
    "marker of a": lambda bench: os.unlink(bench.root / "state/stage_a.json"),
    "marker of end": lambda bench: os.unlink(bench.root / "state/stage_end.json"),
    "touched": lambda bench: os.utime(bench.root / "in.txt"),
    "edited end": lambda bench: bench.write("out/end", "edited"),
    "no caches": lambda bench: (bench.root / "state/files.json").unlink(missing_ok=True),
    "wrong file": lambda bench: bench.write("w/a", "wrong\n"),
    "wrong file and a lost end": lambda bench: (bench.write("w/b", "wrong\n"), os.unlink(bench.root / "out/end")),
    "nothing": lambda _: None,
}  # fmt: skip


def test_over_fifteen_edits_it_makes_what_the_same_pipeline_makes_without_the_field(tmp_path):
    benches = [PipelineBench(tmp_path / name) for name in ("with", "without")]
    for bench, temporary in zip(benches, (["o"], []), strict=True):
        bench.write("in.txt", "input\n")
        bench.write("two.txt", "two\n")
        join = "echo b >>notes; cat $PIPELINE_INPUT_X $PIPELINE_INPUT_Y >$PIPELINE_OUTPUT_O"
        b = stage("b", "w/a", "w/b", join, temporary=temporary)
        b["inputs"]["y"] = "two.txt"
        count = reader("count", "w/b", script="echo count >>notes; wc -l <$PIPELINE_INPUT_X >$PIPELINE_OUTPUT_O")
        first = reader("first", "w/a", script="echo first >>notes; head -n 1 $PIPELINE_INPUT_X >$PIPELINE_OUTPUT_O")
        bench.define(stage("a", "in.txt", "w/a", temporary=temporary), b, count, first, reader("end", "w/b"))
        bench.succeed()
    for name, edit in EDITS.items():
        ends = []
        for bench in benches:
            edit(bench)
            ran(bench)
            assert bench.skips_everything(), name
            assert bench.run("verify", "--outputs").returncode == 0, name
            ends.append({path.name: path.read_bytes() for path in (bench.root / "out").iterdir()})
        assert ends[0] == ends[1], name
        left = [path for path in ("w/a", "w/b") if benches[0].exists(path)]
        assert all(benches[0].read(path) == b"wrong\n" for path in left), name
    for bench in benches:
        bench.close()
