"""Warnings about files that a run would replace although no stage made them, and about outputs that are left behind."""

from __future__ import annotations

from pipeline_bench import shell

MADE_BY_NONE = "a run replaces files that no stage is known to have made:"


def test_validate_plan_and_the_run_warn_of_files_that_a_first_run_replaces(bench):
    bench.define(shell("a", "echo new >$PIPELINE_OUTPUT_OUT"), shell("b", "echo b >$PIPELINE_OUTPUT_OUT"))
    bench.write("out/a.txt", "somebody's\n")
    for verb in ("validate", "plan", "run"):
        messages = bench.succeed(verb).stderr
        assert f"warning: {bench.spec}: {MADE_BY_NONE} out/a.txt\nhint: move them away" in messages
    assert bench.read("out/a.txt") == b"new\n"
    bench.write("in.txt", "text\n")
    bench.define(shell("a", "echo newer >$PIPELINE_OUTPUT_OUT"), shell("b", "echo b >$PIPELINE_OUTPUT_OUT"))
    assert MADE_BY_NONE not in bench.succeed().stderr, "a run has made them"


def test_the_warning_names_the_first_of_many_files_to_be_replaced(bench):
    bench.define(*(shell(name, "echo >$PIPELINE_OUTPUT_OUT") for name in "abcdef"))
    for name in "bcdef":
        bench.write(f"out/{name}.txt", "")
    assert f"{MADE_BY_NONE} out/b.txt, out/c.txt, out/d.txt and 2 more\n" in bench.succeed("plan").stderr


def test_a_renamed_output_gives_a_warning_until_it_is_removed(bench):
    def define(output):
        bench.define(
            shell("part", "echo it >$PIPELINE_OUTPUT_OUT", outputs={"out": output}),
            shell("all", "cat $PIPELINE_INPUT_PARTS >$PIPELINE_OUTPUT_OUT", inputs={"parts": "out/part*.txt"}),
        )

    define("out/part1.txt")
    bench.succeed()
    define("out/part2.txt")
    left = f'warning: {bench.spec}: "out/part1.txt" is an orphan: stage "part" made it in run '
    assert all(left in bench.run(verb).stderr for verb in ("validate", "plan"))
    assert left in bench.run().stderr
    define("out/part3.txt")
    (bench.root / "out/part2.txt").unlink()
    messages = bench.run().stderr
    assert left in messages and '"out/part2.txt"' not in messages
    (bench.root / "out/part1.txt").unlink()
    assert "orphan" not in bench.run().stderr


def test_whether_a_stage_made_a_file_is_known_by_its_path_and_not_by_its_stage(bench):
    bench.define(shell("a", "echo >$PIPELINE_OUTPUT_OUT"))
    bench.succeed()
    bench.define(shell("renamed", "echo >$PIPELINE_OUTPUT_OUT", outputs={"out": "out/a.txt"}))
    assert MADE_BY_NONE not in bench.succeed("plan").stderr
    bench.write("out/other.txt", "somebody's\n")
    bench.define(shell("a", "echo >$PIPELINE_OUTPUT_OUT", outputs={"out": "out/other.txt"}))
    assert f"{MADE_BY_NONE} out/other.txt\n" in bench.succeed("plan").stderr


def test_an_output_that_another_stage_makes_now_is_not_left_behind(bench):
    bench.define(shell("a", "echo >$PIPELINE_OUTPUT_OUT"), shell("b", "echo >$PIPELINE_OUTPUT_OUT"))
    bench.succeed()
    bench.define(
        shell("a", "echo >$PIPELINE_OUTPUT_OUT", outputs={"out": "out/b.txt"}),
        shell("b", "echo >$PIPELINE_OUTPUT_OUT", outputs={"out": "out/a.txt"}),
    )
    assert "warning" not in bench.succeed().stderr


def test_a_directory_that_becomes_a_file_in_it_and_the_reverse_give_no_warning(bench):
    tree = shell("a", "mkdir -p $PIPELINE_OUTPUT_OUT; echo >$PIPELINE_OUTPUT_OUT/x", outputs={"out": "out/d/"})
    file = shell("a", "echo >$PIPELINE_OUTPUT_OUT", outputs={"out": "out/d/x"})
    for stage in (tree, file, tree):
        bench.define(stage)
        assert "warning" not in bench.run("plan").stderr
        bench.succeed()
