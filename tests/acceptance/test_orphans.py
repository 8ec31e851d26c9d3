"""Orphans, outputs that no stage declares any more: results ignore them, verbs name them, only `clean` removes them."""

from __future__ import annotations

import json
import os
import re
import shutil

import pytest
from pipeline_bench import PipelineBench, kill_and_await, shell, wait_for
from suites import full_but

ALL = "all.txt"
ORPHAN = "is an orphan"


def source(name: str, output: str | None = None, stage: str | None = None) -> dict[str, object]:
    """A stage that copies in/NAME.txt."""
    return {
        "name": stage or name, "command": ["cp", "{inputs.text}", "{outputs.text}"],
        "inputs": {"text": f"in/{name}.txt"}, "outputs": {"text": output or f"out/{name}.txt"},
    }  # fmt: skip


def gather(*patterns: str) -> dict[str, object]:
    return {
        "name": "all", "command": ["cat", "{inputs.parts}"], "stdout": "all",
        "inputs": {"parts": list(patterns) or "out/*.txt"}, "outputs": {"all": ALL},
    }  # fmt: skip


def tree(name: str = "tree", output: str = "out/tree/") -> dict[str, object]:
    made = 'mkdir -p "$0/sub"; echo leaf >"$0/leaf.txt"; echo deep >"$0/sub/deep.txt"'
    return {"name": name, "command": ["sh", "-c", made, "{outputs.tree}"], "outputs": {"tree": output}}


@pytest.fixture
def pipeline(bench):
    """A pipeline of two sources that has run. Then in/b.txt and its stage were removed, so out/b.txt is an orphan."""
    for name in "ab":
        bench.write(f"in/{name}.txt", f"{name}\n")
    bench.define(source("a"), source("b"), gather())
    bench.succeed()
    assert bench.read(ALL) == b"a\nb\n"
    (bench.root / "in/b.txt").unlink()
    bench.define(source("a"), gather())
    return bench


def run_of(bench, path: str) -> str:
    """The run whose commit made an output."""
    commits = bench.records("stage.commit")
    return next(
        record["run"] for record in reversed(commits)
        if path in [output["path"] for output in record["data"]["outputs"].values()]
    )  # fmt: skip


def warning(bench, path: str, stage: str, run: str) -> str:
    what = f'"{path}" {ORPHAN}: stage "{stage}" made it in run {run}, and no stage declares it any more'
    return f"warning: {bench.spec}: {what}\nhint: "


# ---- the case that failed --------------------------------------------------------------------------------------------


def test_no_result_contains_data_of_a_source_that_was_removed(pipeline):
    orphan = warning(pipeline, "out/b.txt", "b", run_of(pipeline, "out/b.txt"))
    planned = pipeline.succeed("plan")
    assert re.search(r"^all  run +input out/b.txt: gone$", planned.stdout, re.MULTILINE), planned.stdout
    assert planned.stderr.count(orphan) == 1
    assert pipeline.succeed().stderr.count(orphan) == 1
    assert pipeline.read(ALL) == b"a\n"
    assert pipeline.succeed().stderr.count(orphan) == 1, "a run without work names it, too"
    assert pipeline.succeed("status").stderr.count(orphan) == 1
    assert pipeline.json("status")["undeclared"] == ["out/b.txt"]
    verified = pipeline.succeed("verify", "--outputs").stdout
    assert re.search(rf'^note: \S*out/b\.txt: {ORPHAN}: stage "b" made it in run ', verified, re.MULTILINE), verified
    assert pipeline.succeed("clean", "--orphans", "-n").stdout == "would remove out/b.txt\n"
    assert pipeline.exists("out/b.txt")
    assert pipeline.succeed("clean", "--orphans").stdout == "removed out/b.txt\n"
    assert not pipeline.exists("out/b.txt") and pipeline.exists("out/a.txt")
    for verb in ("plan", "status", "run"):
        assert ORPHAN not in pipeline.succeed(verb).stderr
    assert pipeline.json("status")["undeclared"] == []
    assert pipeline.succeed("clean", "--orphans").stdout == "nothing to remove\n"
    assert pipeline.skips_everything()


@pytest.mark.parametrize("words", full_but([(), ("--state",)], [()]))
def test_clean_removes_orphans_like_every_output(pipeline, words):
    pipeline.succeed()
    assert "out/b.txt\n" in pipeline.succeed("clean", "-n", *words).stdout
    assert "out/b.txt\n" in pipeline.succeed("clean", *words).stdout
    assert os.listdir(pipeline.root / "out") == []
    pipeline.succeed()
    assert pipeline.read(ALL) == b"a\n"


@pytest.mark.full
def test_the_no_op_record_answers_a_run_without_orphans_only(pipeline):
    pipeline.define(source("a"))
    pipeline.succeed()
    noop = pipeline.root / ".offpipe/noop-spec.json"
    for _ in range(2):
        assert (
            "2 outputs that no stage declares any more are orphans: all.txt, out/b.txt\n" in pipeline.succeed().stderr
        )
        assert not noop.exists()
    (pipeline.root / "out/b.txt").unlink()
    (pipeline.root / ALL).unlink()
    wait_for(lambda: pipeline.succeed() and noop.exists(), "the no-op record")
    (pipeline.root / "out/b.txt").write_text("b\n")
    assert pipeline.succeed().stderr.count(ORPHAN) == 1, "it is back"


# ---- renames ---------------------------------------------------------------------------------------------------------


def test_an_output_that_was_renamed_is_an_orphan_before_and_after_its_stage_has_run(pipeline):
    pipeline.succeed()
    pipeline.succeed("clean", "--orphans")
    run = run_of(pipeline, "out/a.txt")
    pipeline.define(source("a", "out/new.txt"), gather())
    orphan = warning(pipeline, "out/a.txt", "a", run)
    assert orphan in pipeline.succeed("plan").stderr
    pipeline.succeed()
    assert pipeline.read(ALL) == b"a\n", "once, and not twice"
    assert orphan in pipeline.succeed("plan").stderr
    marker = json.loads(pipeline.read("state/stage_a.json"))
    assert [(former["path"], former["run"]) for former in marker["former"]] == [("out/a.txt", run)]
    pipeline.write("in/a.txt", "other\n")
    pipeline.succeed()
    assert pipeline.read(ALL) == b"other\n"
    assert orphan in pipeline.succeed("plan").stderr, "the next marker has it, too"
    pipeline.succeed("verify", "--outputs")
    assert pipeline.succeed("clean", "--orphans").stdout == "removed out/a.txt\n"
    pipeline.write("in/a.txt", "third\n")
    pipeline.succeed()
    assert pipeline.read("state/stage_a.json").count(b'"out/a.txt"') == 1, "it may come back from a backup"


@pytest.mark.full
def test_an_output_that_gets_its_old_name_back_is_no_orphan(pipeline):
    pipeline.succeed("clean")
    for output in ("out/a.txt", "out/new.txt", "out/a.txt"):
        pipeline.define(source("a", output), gather())
        pipeline.succeed()
    assert pipeline.read(ALL) == b"a\n"
    marker = json.loads(pipeline.read("state/stage_a.json"))
    assert [former["path"] for former in marker["former"]] == ["out/new.txt"]
    assert pipeline.succeed("clean", "--orphans", "-n").stdout == "would remove out/new.txt\n"


@pytest.mark.full
def test_a_stage_that_was_renamed_leaves_only_what_the_new_one_does_not_declare(pipeline):
    pipeline.succeed("clean", "--orphans")
    pipeline.define(source("a", stage="renamed"), gather())
    assert ORPHAN not in pipeline.succeed().stderr
    run = run_of(pipeline, "out/a.txt")
    pipeline.define(source("a", "out/new.txt", stage="again"), gather())
    assert warning(pipeline, "out/a.txt", "renamed", run) in pipeline.succeed().stderr
    assert pipeline.read(ALL) == b"a\n"


def test_a_killed_run_whose_stage_is_gone_leaves_an_orphan(bench):
    bench.write("in/a.txt", "a\n")
    bench.define(source("a"), shell("slow", "exec sleep 600", needs=["a"]))
    process = bench.start()
    wait_for(lambda: bench.exists("state/stage_a.json"))
    kill_and_await(process)
    bench.define(source("a", "out/new.txt", stage="other"), gather())
    bench.succeed()
    assert bench.read(ALL) == b"a\n"
    assert f'"out/a.txt" {ORPHAN}: stage "a" made it' in bench.succeed("plan").stderr


# ---- unchanged is decided by the content -----------------------------------------------------------------------------


def chmod(bench):
    for directory, _, names in os.walk(bench.root / "out"):
        for name in names:
            os.chmod(f"{directory}/{name}", 0o600)
        os.chmod(directory, 0o700)


def copy_and_restore(bench):
    os.rename(bench.root / "out", bench.root / "saved")  # it stays there, so that no copy gets the inode of an original
    shutil.copytree(bench.root / "saved", bench.root / "out", copy_function=shutil.copyfile)


def touch(bench):
    for path in (bench.root / "out").rglob("*"):
        os.utime(path, (1, 1))


@pytest.mark.full_after(2)
@pytest.mark.parametrize("change", [chmod, copy_and_restore, touch])
def test_other_modes_times_or_inodes_leave_an_orphan_an_orphan(pipeline, change):
    """No glob matches it, but `clean` removes only the very file that the stage made."""
    pipeline.define(source("a"), tree(), gather("out/*.txt", "out/**/*.txt"))
    pipeline.succeed()
    assert pipeline.read(ALL) == b"a\nleaf\ndeep\n"
    pipeline.define(source("a"), gather("out/*.txt", "out/**/*.txt"))
    change(pipeline)
    pipeline.succeed()
    assert pipeline.read(ALL) == b"a\n"
    undeclared = ["out/b.txt", "out/tree/"]
    assert pipeline.json("status")["undeclared"] == undeclared
    removed = undeclared if change is chmod else []
    for words in (("--orphans",), ()):
        done = pipeline.succeed("clean", *words, "-n")
        assert [path in done.stdout for path in ("out/b.txt", "out/tree")] == [path in removed for path in undeclared]
    pipeline.succeed("clean", "--orphans")
    kept = [path for path in undeclared if path not in removed]
    assert sorted(os.listdir(pipeline.root / "out")) == sorted(["a.txt", *(path[4:].rstrip("/") for path in kept)])
    pipeline.succeed()
    assert pipeline.read(ALL) == b"a\n", "what was kept is still known"


# ---- three things protect data ---------------------------------------------------------------------------------------


def test_an_orphan_that_was_changed_is_the_users_own_file(pipeline):
    pipeline.write("out/b.txt", "mine\n")
    changed = '"out/b.txt" was changed, so it is your own file'
    for verb in ("plan", "run", "run", "status"):
        assert pipeline.succeed(verb).stderr.count(changed) == 1
    assert pipeline.read(ALL) == b"a\nmine\n"
    for words in (("--orphans",), ("-n",), (), ("--state",)):
        done = pipeline.succeed("clean", *words)
        assert "out/b.txt" not in done.stdout and (changed in done.stderr) == (words == ("--orphans",)), words
    assert pipeline.read("out/b.txt") == b"mine\n"


def test_a_file_that_was_edited_and_got_its_size_and_time_back_is_not_removed(pipeline):
    path = pipeline.root / "out/b.txt"
    status = path.stat()
    path.write_text("c\n")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert pipeline.succeed("clean", "--orphans").stdout == "nothing to remove\n"
    pipeline.succeed()
    assert pipeline.read(ALL) == b"a\nc\n"


def test_a_link_in_place_of_an_orphan_is_the_users_own_file(pipeline):
    pipeline.write("kept.txt", "b\n")
    (pipeline.root / "out/b.txt").unlink()
    (pipeline.root / "out/b.txt").symlink_to("../kept.txt")
    assert pipeline.succeed("clean", "--orphans").stdout == "nothing to remove\n"
    pipeline.succeed()
    assert pipeline.read(ALL) == b"a\nb\n"


def test_an_input_that_names_an_orphan_adopts_it(pipeline):
    pipeline.define(source("a"), gather("out/b.txt", "out/*.txt"))
    adopted = f'"out/b.txt" {ORPHAN} that the spec names, so it is used'
    assert pipeline.succeed("plan").stderr.count(adopted) == 1
    assert pipeline.succeed().stderr.count(adopted) == 1
    assert pipeline.read(ALL) == b"b\na\n"
    for words in (("--orphans",), (), ("--state",)):
        assert "out/b.txt" not in pipeline.succeed("clean", *words).stdout
    assert pipeline.read("out/b.txt") == b"b\n"


@pytest.mark.full
def test_a_file_in_an_orphan_directory_adopts_all_of_it(pipeline):
    pipeline.define(source("a"), tree(), gather())
    pipeline.succeed()
    pipeline.define(source("a"), gather("out/tree/leaf.txt", "out/**/*.txt"))
    pipeline.succeed()
    assert pipeline.read(ALL) == b"leaf\na\n"
    assert pipeline.succeed("clean", "--orphans").stdout == "removed out/b.txt\n"
    assert pipeline.exists("out/tree/sub/deep.txt")


@pytest.mark.full
def test_a_processor_adopts_the_orphan_that_it_names(pipeline):
    script = "#!/bin/sh\\ncp in/a.txt \\$PIPELINE_OUTPUT_TEXT\\n"
    make = f'printf "{script}" >$PIPELINE_OUTPUT_T; chmod +x $PIPELINE_OUTPUT_T'
    pipeline.define(shell("tool", make, outputs={"t": "t.sh"}))
    pipeline.succeed()
    pipeline.define(
        {"name": "a", "processor": "t.sh", "inputs": {"text": "in/a.txt"}, "outputs": {"text": "out/a.txt"}}
    )
    pipeline.succeed()
    pipeline.succeed("clean", "--orphans")
    assert pipeline.exists("t.sh")


@pytest.mark.full_after(2)
@pytest.mark.parametrize("gone", ["a glob", "an empty directory", "a file", "a directory"])
def test_nothing_is_removed_while_a_source_is_missing(pipeline, gone):
    pipeline.write("disk/x.csv", "x\n")
    pipeline.write("mounted/y.csv", "y\n")
    reads = shell("reads", "cat mounted/* disk/* >$PIPELINE_OUTPUT_OUT", inputs={"d": "mounted/", "g": ["disk/*.csv"]})
    pipeline.define(source("a"), gather(), reads)
    pipeline.succeed()
    if gone == "a file":
        (pipeline.root / "in/a.txt").unlink()
    elif gone == "a glob":
        (pipeline.root / "disk/x.csv").unlink()
    else:
        (pipeline.root / "mounted/y.csv").unlink()
        if gone == "a directory":
            (pipeline.root / "mounted").rmdir()
    for words in (("-n",), ()):
        done = pipeline.run("clean", "--orphans", *words)
        assert done.returncode == 5 and "nothing is removed while a source is missing" in done.stderr, done.stderr
        assert f"{pipeline.spec}#/stages/" in done.stderr
    assert pipeline.read("out/b.txt") == b"b\n"
    pipeline.succeed("clean")
    assert not pipeline.exists("out/b.txt"), "`clean` removes everything anyway"


@pytest.mark.full
def test_a_directory_that_contains_an_orphan_is_refused_as_an_input(pipeline):
    pipeline.define(
        source("a"), shell("list", "ls out >$PIPELINE_OUTPUT_OUT", inputs={"d": "out/"}, outputs={"out": "l"})
    )
    for verb in ("validate", "plan", "run"):
        done = pipeline.run(verb)
        assert done.returncode == 5
        assert f'#/stages/1/inputs/d: "out/" contains "out/b.txt", which {ORPHAN}: stage "b"' in done.stderr
        assert "hint: `offpipe clean --orphans` removes it" in done.stderr
    pipeline.succeed("clean", "--orphans")
    pipeline.succeed()
    assert pipeline.read("l") == b"a.txt\n"


@pytest.mark.full
def test_a_directory_that_a_glob_matches_is_refused_if_it_contains_an_orphan(pipeline):
    pipeline.write("out/sub/x.txt", "x\n")
    pipeline.define(source("a"), {**source("b", "out/sub/b.txt"), "inputs": {"text": "in/a.txt"}})
    pipeline.succeed()
    pipeline.define(source("a"), shell("list", "ls out/* >$PIPELINE_OUTPUT_OUT", inputs={"d": "out/*/"}))
    done = pipeline.run()
    assert done.returncode == 5 and '"out/sub/" contains "out/sub/b.txt"' in done.stderr


def test_a_glob_that_matches_only_orphans_matches_nothing(pipeline):
    pipeline.define(source("a"), gather("out/b*.txt"))
    done = pipeline.run()
    assert done.returncode == 5
    assert 'no file matches "out/b*.txt"\nhint: hidden files and orphans are never matched' in done.stderr


def test_orphans_and_state_exclude_each_other(pipeline):
    done = pipeline.run("clean", "--orphans", "--state")
    assert done.returncode == 2 and "--orphans" in done.stderr
    assert pipeline.exists("state") and pipeline.exists("out/b.txt")


def test_a_marker_that_names_a_path_outside_removes_nothing(pipeline):
    """Any process that can write to the state directory can write a marker."""
    from runner.record.markers import Marker

    pipeline.write("../precious.txt", "b\n")
    marker = Marker.decode(pipeline.read("state/stage_b.json"))
    outputs = {name: output._replace(path="../precious.txt") for name, output in marker.outputs.items()}
    (pipeline.root / "state/stage_b.json").write_bytes(marker._replace(outputs=outputs).encode())
    assert pipeline.succeed("clean", "--orphans").stdout == "nothing to remove\n"
    assert (pipeline.root / "../precious.txt").read_text() == "b\n"


def test_another_workspace_has_orphans_of_its_own(pipeline):
    pipeline.succeed("--workspace", str(pipeline.root / "w"))
    pipeline.define(shell("other", "echo >$PIPELINE_OUTPUT_OUT"))
    there = pipeline.succeed("plan", "--workspace", str(pipeline.root / "w")).stderr
    here = pipeline.succeed("plan").stderr
    assert ": 2 outputs that no stage declares" in there and ": 3 outputs that no stage declares" in here, (there, here)


def test_state_of_an_earlier_release_has_orphans_too(pipeline):
    """Its markers have no change time, so the content decides."""
    from runner.record.markers import Marker

    marker = Marker.decode(pipeline.read("state/stage_b.json"))
    (pipeline.root / "state/stage_b.json").write_bytes(marker.with_ctime(None).encode())
    pipeline.succeed()
    assert pipeline.read(ALL) == b"a\n"
    assert pipeline.succeed("clean", "--orphans").stdout == "removed out/b.txt\n"


@pytest.mark.full_after(1)
@pytest.mark.parametrize("orphan", ["out/tree/", "out/b.txt"])
def test_no_input_takes_in_what_a_killed_clean_leaves(pipeline, orphan):
    """A directory with the rest of an orphan is refused as an input until `clean` has removed that rest."""
    pipeline.define(source("a"), source("b"), tree(), gather())
    pipeline.write("in/b.txt", "b\n")
    pipeline.succeed()
    pipeline.define(source("a"), gather(), {**gather("out/"), "name": "list", "command": ["ls", "-R", "{inputs.parts}"],
                                       "outputs": {"all": "list.txt"}, "needs": ["a"]})  # fmt: skip
    place = pipeline.root / orphan
    if place.is_dir():  # as after a kill between the two steps
        place.rename(place.parent / ".partial-000000.tree")
    else:
        shutil.rmtree(pipeline.root / "out/tree")
    assert pipeline.run().returncode == 5
    removed = pipeline.succeed("clean", "--orphans").stdout
    assert (".partial-000000.tree" in removed) == orphan.endswith("/")
    pipeline.succeed()
    assert pipeline.read("list.txt").split() == [b"out:", b"a.txt"]


def test_an_orphan_that_is_restored_is_still_an_orphan(pipeline):
    """Its stage ran again while the file was away."""
    pipeline.define(source("a", "out/new.txt"), gather())
    shutil.copytree(pipeline.root / "out", pipeline.root / "away")
    shutil.rmtree(pipeline.root / "out")
    pipeline.write("in/a.txt", "a2\n")
    pipeline.succeed()
    shutil.copytree(pipeline.root / "away", pipeline.root / "out", dirs_exist_ok=True)
    pipeline.succeed()
    assert pipeline.read(ALL) == b"a2\n"


# ---- a stage that moves to another spec ------------------------------------------------------------------------------


def other_spec(bench, *stages: dict[str, object]) -> PipelineBench:
    """A second spec of the same workspace, with a name and a state directory of its own."""
    other = PipelineBench(bench.root)
    other.spec = bench.root / "other.json"
    other.define(*stages, name="other", stateDir="state/other")
    return other


@pytest.mark.full_after(1)
@pytest.mark.parametrize("words", [("--orphans",), ()])
def test_what_another_spec_made_again_is_not_removed(pipeline, words):
    """Not even if it made the same bytes."""
    pipeline.write("in/b.txt", "b\n")
    pipeline.define(source("a"), source("b"), tree(), gather())
    pipeline.succeed()
    pipeline.define(source("a"), gather())
    other = other_spec(pipeline, source("b"), tree())
    other.succeed()
    again = (
        "2 outputs that no stage declares any more are orphans that were made again or copied: out/b.txt, out/tree/\n"
    )
    assert again in pipeline.succeed("clean", *words).stderr
    assert other.skips_everything()
    assert pipeline.succeed().stderr.count(again) == 1, "it is still known"


def test_a_stage_whose_orphans_were_removed_moves_without_a_trace(pipeline):
    pipeline.succeed("clean", "--orphans")
    pipeline.write("in/b.txt", "b\n")
    other = other_spec(pipeline, source("b"))
    other.succeed()
    assert "warning" not in pipeline.succeed().stderr
    assert pipeline.read(ALL) == b"a\nb\n"
    assert pipeline.succeed("clean", "--orphans").stdout == "nothing to remove\n"
    assert other.skips_everything()


# ---- the markers of stages that are gone -----------------------------------------------------------------------------


def attested(bench) -> set[str]:
    """The outputs that `export` says the runs made."""
    done = bench.run("export")
    assert done.returncode == (0 if done.stdout else 2), done.stderr
    return {each["name"] for line in done.stdout.splitlines() for each in json.loads(line)["subject"]}


@pytest.mark.parametrize("words", [("--orphans",), (), ("--state",)])
def test_clean_forgets_a_stage_that_is_gone_with_its_outputs(pipeline, words):
    pipeline.succeed()
    assert attested(pipeline) == {"out/a.txt", "out/b.txt", ALL}
    pipeline.succeed("clean", *words, "-n")
    assert pipeline.exists("state/stage_b.json")
    pipeline.succeed("clean", *words)
    assert not pipeline.exists("state/stage_b.json")
    if words != ("--state",):
        assert attested(pipeline) == ({"out/a.txt", ALL} if words else set())
        pipeline.succeed("verify", "--outputs")
    pipeline.succeed()
    pipeline.write("out/b.txt", "b\n")
    pipeline.succeed()
    assert pipeline.read(ALL) == b"a\nb\n", "the file is your own"


def test_clean_forgets_a_stage_whose_outputs_you_removed(pipeline):
    (pipeline.root / "out/b.txt").unlink()
    assert pipeline.succeed("clean", "--orphans").stdout == "nothing to remove\n"
    assert attested(pipeline) == {"out/a.txt", ALL}


@pytest.mark.parametrize("words", [("--orphans",), ()])
def test_clean_keeps_the_marker_of_an_orphan_that_it_keeps(pipeline, words):
    pipeline.define(source("a"), gather("out/b.txt", "out/*.txt"))
    pipeline.succeed("clean", *words)
    assert pipeline.exists("state/stage_b.json")
    pipeline.define(source("a"), gather())
    pipeline.succeed()
    assert pipeline.read(ALL) == b"a\n" and warning_of("out/b.txt", pipeline)


def test_a_stage_that_was_renamed_adopts_after_clean_orphans_too(pipeline):
    pipeline.define(source("a", stage="renamed"), gather())
    assert pipeline.succeed("clean", "--orphans").stdout == "removed out/b.txt\n"
    assert pipeline.json("plan")["stages"][0]["decision"] == "adopt"


def test_a_stage_that_made_the_output_of_one_that_is_gone_keeps_no_marker_of_it(pipeline):
    """The stage that is gone had another output, too: nothing must attest that for ever."""
    two = shell("two", "echo >$PIPELINE_OUTPUT_X; echo >$PIPELINE_OUTPUT_Y", outputs={"x": "out/x.txt", "y": "y"})
    pipeline.define(source("a"), two, gather())
    pipeline.succeed()
    pipeline.define(source("a"), shell("x", "echo x >$PIPELINE_OUTPUT_X", outputs={"x": "out/x.txt"}), gather())
    pipeline.succeed("clean", "--orphans")
    assert pipeline.exists("state/stage_two.json"), "stage `x` has no marker yet"
    pipeline.succeed()
    pipeline.succeed("clean", "--orphans")
    assert attested(pipeline) == {"out/a.txt", "out/x.txt", ALL}


def test_clean_keeps_the_markers_of_a_template_whose_source_is_missing(pipeline):
    """Its instances are not gone for good."""
    each = {**source("{each.s}"), "name": "copy", "each": {"s": "in/*.txt"}}
    pipeline.define({**each, "inputs": {"text": "in/{each.s}.txt"}, "outputs": {"text": "copy/{each.s}.txt"}})
    pipeline.succeed()
    (pipeline.root / "in").rename(pipeline.root / "away")
    pipeline.succeed("clean")
    assert pipeline.read("copy/a.txt") == b"a\n" and pipeline.exists("state/stage_copy@a.json")


@pytest.mark.full
def test_clean_keeps_the_record_of_an_orphan_that_it_keeps(pipeline):
    pipeline.define(
        source("a", "out/new.txt"), gather(), {**source("a", "kept.txt", "use"), "inputs": {"text": "out/a.txt"}}
    )
    pipeline.succeed()
    pipeline.succeed("clean")
    assert pipeline.read("out/a.txt") == b"a\n"
    pipeline.define(source("a", "out/new.txt"), gather())
    pipeline.succeed()
    assert pipeline.read(ALL) == b"a\n" and warning_of("out/a.txt", pipeline)


def warning_of(path: str, bench) -> bool:
    return any(path in each["what"] for each in bench.json("status")["warnings"])


def test_clean_removes_nothing_behind_a_link(pipeline):
    (pipeline.root / "out").rename(pipeline.root.parent / "archive")
    (pipeline.root / "out").symlink_to("../archive")
    pipeline.define({**source("a"), "outputs": {"text": "new/a.txt"}}, gather("new/*.txt"))
    for words in (("clean", "--orphans"), ("clean",)):
        pipeline.succeed(*words)
        assert sorted(os.listdir(pipeline.root.parent / "archive")) == ["a.txt", "b.txt"]


def test_a_failed_run_removes_no_partial_of_a_stage_that_another_pipeline_makes_now(bench):
    """Its log knows the output, but not the attempt."""
    slow = shell(
        "a",
        'echo a >"$PIPELINE_OUTPUT_OUT"; touch waits; until test -e go; do :; done; echo b >>"$PIPELINE_OUTPUT_OUT"',
    )
    fails = shell(
        "b", "test -e ok && echo b >$PIPELINE_OUTPUT_OUT", outputs={"out": "b.txt"}, inputs={"a": "out/a.txt"}
    )
    bench.write("go", "")
    bench.define(slow, fails)
    assert bench.run().returncode == 1
    bench.define({**fails, "inputs": {}})
    (bench.root / "go").unlink()
    (bench.root / "waits").unlink()
    bench.write("ok", "")
    spec = {"specVersion": 1, "name": "other", "stateDir": "other", "stages": [slow]}
    other = bench.write("other.json", json.dumps(spec))
    first, bench.spec = bench.spec, other
    running = bench.start("-q")
    bench.spec = first
    wait_for(lambda: bench.exists("waits"), "the stage of the other pipeline")
    bench.succeed()
    bench.write("go", "")
    assert running.wait() == 0
    assert bench.read("out/a.txt") == b"a\nb\n" and bench.run("verify", "--outputs").returncode == 0
