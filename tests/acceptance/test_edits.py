"""A run notices every edit, however soon it comes."""

from __future__ import annotations

import os

from pipeline_bench import shell


def test_a_module_edited_within_the_same_second_to_the_same_size_is_what_runs(bench):
    stage = {"name": "a", "processor": "p.py", "outputs": {"out": "a.txt"}}
    bench.write("p.py", "import os, helper\nopen(os.environ['PIPELINE_OUTPUT_OUT'], 'w').write(helper.X)\n")
    bench.define(stage)
    for text in ("one", "two"):
        bench.write("helper.py", f"X = '{text}'\n")
        os.utime(bench.root / "helper.py", (1_700_000_000, 1_700_000_000 + (text == "two") * 1e-3))
        bench.succeed()
        assert bench.read("a.txt") == text.encode()


def test_another_version_of_an_installed_package_runs_the_stages_that_import_it(bench):
    bench.write("lib/site-packages/dep.py", "")
    bench.write("lib/site-packages/dep-1.0.dist-info/METADATA", "")
    bench.write("p.py", "import os, dep\nopen(os.environ['PIPELINE_OUTPUT_OUT'], 'w').close()\n")
    bench.define(
        {"name": "a", "processor": "p.py", "outputs": {"out": "a.txt"}, "env": {"PYTHONPATH": "lib/site-packages"}},
        shell("b", "touch $PIPELINE_OUTPUT_OUT"),
    )
    bench.succeed()
    (bench.root / "lib/site-packages/dep-1.0.dist-info").rename(bench.root / "lib/site-packages/dep-2.0.dist-info")
    reasons = bench.succeed("explain", "a").stdout
    assert "dep 1.0" in reasons and "dep 2.0" in reasons
    bench.succeed()
    assert sorted(record["data"]["stage"] for record in bench.records("stage.commit")) == ["a", "a", "b"]


def test_a_checkpoint_of_other_inputs_goes_when_its_stage_is_up_to_date_again(bench):
    script = (
        'f=$PIPELINE_OUTPUT_OUT; cat "$PIPELINE_INPUT_IN" > $f; grep -q wrong $f || exit 0; '
        'printf \'{"key": "%s", "lineOffset": 1, "outputs": {"out": {"length": 1}}}\' $PIPELINE_KEY '
        "> $PIPELINE_PROGRESS; exit 3"
    )
    stages = [
        {"name": "a", "command": ["sh", "-c", script], "inputs": {"in": "in.txt"}, "outputs": {"out": "o/a.txt"}},
        {"name": "list", "command": ["ls", "-A", "o"], "stdout": "l", "inputs": {"o": "o/"}, "outputs": {"l": "l.txt"}},
    ]
    bench.write("in.txt", "right\n")
    bench.define(*stages)
    bench.succeed()
    bench.write("in.txt", "wrong\n")
    assert bench.run().returncode == 1
    assert len(os.listdir(bench.root / "o")) == 2
    bench.write("in.txt", "right\n")
    bench.succeed()
    assert os.listdir(bench.root / "o") == ["a.txt"]
    assert not (bench.root / "state" / "progress_a.json").exists()


def test_a_run_of_named_stages_does_not_close_a_run_in_which_others_failed(bench):
    bench.define(
        {"name": "a", "command": ["sh", "-c", ": > $PIPELINE_OUTPUT_A"], "outputs": {"a": "a.txt"}},
        {"name": "b", "command": ["sh", "-c", "[ -e go ] && : > $PIPELINE_OUTPUT_B"], "outputs": {"b": "b.txt"}},
    )
    assert bench.run().returncode == 1
    (failed,) = bench.records("run.start")
    bench.succeed("run", "a", "-f")
    bench.write("go", "")
    bench.succeed()
    ended = {record["run"] for record in bench.records("run.end")}
    assert failed["run"] in ended
    assert failed["run"] in {record["run"] for record in bench.records("run.resumed")}


def test_an_output_that_was_replaced_by_a_link_to_the_same_content_is_made_again(bench):
    bench.define(shell("a", "touch $PIPELINE_OUTPUT_OUT", outputs={"out": "out"}))
    bench.succeed()
    (bench.root / "out").rename(bench.root / "moved")
    (bench.root / "out").symlink_to("moved")
    assert "output out: is a symbolic link" in bench.succeed("plan").stdout
    assert bench.run("verify", "--outputs").returncode == 6
    bench.succeed()
    assert not (bench.root / "out").is_symlink()
    assert bench.run("verify", "--outputs").returncode == 0


def test_what_cannot_be_in_an_output_directory_is_named(bench):
    bench.define(shell("a", 'mkdir -p "$PIPELINE_OUTPUT_OUT/sub"', outputs={"out": "out/"}))
    bench.succeed()
    os.mkfifo(bench.root / "out/sub/pipe")
    assert 'output out/: "sub/pipe" in it is a FIFO' in bench.succeed("plan").stdout
    bench.succeed()
    assert bench.run("verify", "--outputs").returncode == 0


def test_nothing_is_published_through_a_link_that_replaced_the_directory(bench, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    script = f'rm -r o; ln -s {elsewhere} o; echo hi > "$PIPELINE_OUTPUT_OUT"'
    bench.define({"name": "a", "command": ["sh", "-c", script], "outputs": {"out": "o/a.txt"}})
    done = bench.run()
    assert done.returncode == 1
    assert "was replaced by a link" in done.stderr
    assert not (elsewhere / "a.txt").exists()
