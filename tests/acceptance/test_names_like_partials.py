"""A file whose name looks like that of a partial counts like any other file in a directory."""

from __future__ import annotations

import pytest
from pipeline_bench import shell

NAME = ".partial-0123ab.txt"


@pytest.mark.full_after(1)
@pytest.mark.parametrize("name", [f"sub/{NAME}", NAME, f"{NAME}/file"])
def test_a_file_named_like_a_partial_counts_in_a_directory_input(bench, name):
    bench.write("in/file", "x")
    bench.write(f"in/{name}", "one")
    bench.define(shell("a", "cat $PIPELINE_INPUT_D/" + name + " > $PIPELINE_OUTPUT_OUT", inputs={"d": "in/"}))
    bench.succeed()
    assert bench.skips_everything()
    bench.write(f"in/{name}", "two")
    assert not bench.skips_everything()
    bench.succeed()
    (out,) = [path for path in bench.root.glob("out/*") if path.is_file()]
    assert out.read_text() == "two"
    assert bench.skips_everything()


def test_a_file_named_like_a_partial_counts_in_a_directory_output(bench):
    script = f"mkdir $PIPELINE_OUTPUT_OUT; echo x > $PIPELINE_OUTPUT_OUT/{NAME}"
    bench.define(shell("a", script, outputs={"out": "out/"}))
    bench.succeed()
    assert bench.run("verify", "--outputs").returncode == 0
    assert bench.skips_everything()
    bench.write(f"out/{NAME}", "other")
    assert bench.run("verify", "--outputs").returncode == 6
    bench.succeed()
    assert bench.read(f"out/{NAME}") == b"x\n"


def test_a_partial_of_an_output_does_not_count_in_the_directory_that_it_lies_in(bench):
    """A partial comes and goes with the attempts of its stage."""
    bench.define(
        shell("a", "echo 1 > $PIPELINE_OUTPUT_OUT", outputs={"out": "o/a.txt"}),
        shell("list", "ls -A o > $PIPELINE_OUTPUT_OUT", inputs={"o": "o/"}),
    )
    bench.succeed()
    bench.write("o/.partial-0123ab.a.txt", "left by a killed run")
    assert bench.skips_everything()
    bench.write("o/.partial-0123ab.b.txt", "nobody's")
    assert not bench.skips_everything()


def test_the_directory_of_a_sealed_attempt_does_not_count_in_the_directory_that_it_lies_in(bench):
    """It comes and goes with its attempt, beside an output on another file system."""
    bench.define(
        shell("a", "echo 1 > $PIPELINE_OUTPUT_OUT", outputs={"out": "o/a.txt"}),
        shell("list", "ls -A o > $PIPELINE_OUTPUT_OUT", inputs={"o": "o/"}),
    )
    bench.succeed()
    bench.write("o/.partial-0123ab..partial-abcdef.0123456789abcdef/state/a.txt", "left by a killed run")
    assert bench.skips_everything()
