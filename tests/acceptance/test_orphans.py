"""An output that no stage declares any more is in no result, is named by every verb, and goes only when told to."""

from __future__ import annotations

import json
import os
import re
import shutil

import pytest
from pipeline_bench import kill_and_await, shell, wait_for
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
def two(bench):
    """The pipeline of two sources has run; then in/b.txt and its stage went away."""
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


def test_no_result_contains_data_of_a_source_that_was_removed(two):
    orphan = warning(two, "out/b.txt", "b", run_of(two, "out/b.txt"))
    planned = two.succeed("plan")
    assert re.search(r"^all  run +input out/b.txt: gone$", planned.stdout, re.MULTILINE), planned.stdout
    assert planned.stderr.count(orphan) == 1
    assert two.succeed().stderr.count(orphan) == 1
    assert two.read(ALL) == b"a\n"
    assert two.succeed().stderr.count(orphan) == 1, "a run without work names it, too"
    assert two.succeed("status").stderr.count(orphan) == 1
    assert two.json("status")["undeclared"] == ["out/b.txt"]
    verified = two.succeed("verify", "--outputs").stdout
    assert re.search(rf'^note: \S*out/b\.txt: {ORPHAN}: stage "b" made it in run ', verified, re.MULTILINE), verified
    assert two.succeed("clean", "--orphans", "-n").stdout == "would remove out/b.txt\n"
    assert two.exists("out/b.txt")
    assert two.succeed("clean", "--orphans").stdout == "removed out/b.txt\n"
    assert not two.exists("out/b.txt") and two.exists("out/a.txt")
    for verb in ("plan", "status", "run"):
        assert ORPHAN not in two.succeed(verb).stderr
    assert two.json("status")["undeclared"] == []
    assert two.succeed("clean", "--orphans").stdout == "nothing to remove\n"
    assert two.skips_everything()


@pytest.mark.parametrize("words", full_but([(), ("--state",)], [()]))
def test_clean_removes_orphans_like_every_output(two, words):
    two.succeed()
    assert "out/b.txt\n" in two.succeed("clean", "-n", *words).stdout
    assert "out/b.txt\n" in two.succeed("clean", *words).stdout
    assert os.listdir(two.root / "out") == []
    two.succeed()
    assert two.read(ALL) == b"a\n"


@pytest.mark.full
def test_the_no_op_record_answers_a_run_without_orphans_only(two):
    two.define(source("a"))
    two.succeed()
    noop = two.root / ".offpipe/noop-spec.json"
    for _ in range(2):
        assert two.succeed().stderr.count(ORPHAN) == 2
        assert not noop.exists()
    two.succeed("clean", "--orphans")
    wait_for(lambda: two.succeed() and noop.exists(), "the no-op record")
    (two.root / "out/b.txt").write_text("b\n")
    assert two.succeed().stderr.count(ORPHAN) == 1, "it is back"


# ---- renames ---------------------------------------------------------------------------------------------------------


def test_an_output_that_was_renamed_is_an_orphan_before_and_after_its_stage_has_run(two):
    two.succeed()
    two.succeed("clean", "--orphans")
    run = run_of(two, "out/a.txt")
    two.define(source("a", "out/new.txt"), gather())
    orphan = warning(two, "out/a.txt", "a", run)
    assert orphan in two.succeed("plan").stderr
    two.succeed()
    assert two.read(ALL) == b"a\n", "once, and not twice"
    assert orphan in two.succeed("plan").stderr
    marker = json.loads(two.read("state/stage_a.json"))
    assert [(former["path"], former["run"]) for former in marker["former"]] == [("out/a.txt", run)]
    two.write("in/a.txt", "other\n")
    two.succeed()
    assert two.read(ALL) == b"other\n"
    assert orphan in two.succeed("plan").stderr, "the next marker knows it, too"
    two.succeed("verify", "--outputs")
    assert two.succeed("clean", "--orphans").stdout == "removed out/a.txt\n"
    two.write("in/a.txt", "third\n")
    two.succeed()
    assert two.read("state/stage_a.json").count(b'"out/a.txt"') == 1, "it may come back from a backup"


@pytest.mark.full
def test_an_output_that_gets_its_old_name_back_is_no_orphan(two):
    two.succeed("clean")
    for output in ("out/a.txt", "out/new.txt", "out/a.txt"):
        two.define(source("a", output), gather())
        two.succeed()
    assert two.read(ALL) == b"a\n"
    marker = json.loads(two.read("state/stage_a.json"))
    assert [former["path"] for former in marker["former"]] == ["out/new.txt"]
    assert two.succeed("clean", "--orphans", "-n").stdout == "would remove out/new.txt\n"


@pytest.mark.full
def test_a_stage_that_was_renamed_leaves_only_what_the_new_one_does_not_declare(two):
    two.succeed("clean", "--orphans")
    two.define(source("a", stage="renamed"), gather())
    assert ORPHAN not in two.succeed().stderr
    run = run_of(two, "out/a.txt")
    two.define(source("a", "out/new.txt", stage="again"), gather())
    assert warning(two, "out/a.txt", "renamed", run) in two.succeed().stderr
    assert two.read(ALL) == b"a\n"


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
    shutil.copytree(bench.root / "out", bench.root / "saved")
    shutil.rmtree(bench.root / "out")
    shutil.copytree(bench.root / "saved", bench.root / "out", copy_function=shutil.copyfile)
    shutil.rmtree(bench.root / "saved")


def touch(bench):
    for path in (bench.root / "out").rglob("*"):
        os.utime(path, (1, 1))


@pytest.mark.full
@pytest.mark.parametrize("change", [copy_and_restore, chmod, touch])
def test_an_orphan_stays_one_whatever_happens_to_modes_times_and_inodes(two, change):
    two.define(source("a"), tree(), gather("out/*.txt", "out/**/*.txt"))
    two.succeed()
    assert two.read(ALL) == b"a\nleaf\ndeep\n"
    two.define(source("a"), gather("out/*.txt", "out/**/*.txt"))
    change(two)
    said = two.succeed().stderr
    assert two.read(ALL) == b"a\n"
    assert [f'"{path}" {ORPHAN}' in said for path in ("out/b.txt", "out/tree/")] == [True, True], said
    assert two.succeed("clean", "--orphans").stdout == "removed out/b.txt\nremoved out/tree\n"
    assert os.listdir(two.root / "out") == ["a.txt"]


# ---- three things protect data ---------------------------------------------------------------------------------------


def test_a_file_that_was_changed_is_somebody_elses(two):
    two.write("out/b.txt", "mine\n")
    changed = '"out/b.txt" was changed, so it is your own file'
    for verb in ("plan", "run", "run", "status"):
        assert two.succeed(verb).stderr.count(changed) == 1
    assert two.read(ALL) == b"a\nmine\n"
    for words in (("--orphans",), ("-n",), (), ("--state",)):
        done = two.succeed("clean", *words)
        assert "out/b.txt" not in done.stdout and changed in done.stderr
    assert two.read("out/b.txt") == b"mine\n"


def test_a_file_that_was_edited_and_got_its_size_and_time_back_is_not_removed(two):
    path = two.root / "out/b.txt"
    status = path.stat()
    path.write_text("c\n")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert two.succeed("clean", "--orphans").stdout == "nothing to remove\n"
    two.succeed()
    assert two.read(ALL) == b"a\nc\n"


def test_a_link_in_its_place_is_somebody_elses(two):
    two.write("kept.txt", "b\n")
    (two.root / "out/b.txt").unlink()
    (two.root / "out/b.txt").symlink_to("../kept.txt")
    assert two.succeed("clean", "--orphans").stdout == "nothing to remove\n"
    two.succeed()
    assert two.read(ALL) == b"a\nb\n"


def test_an_input_that_names_an_orphan_adopts_it(two):
    two.define(source("a"), gather("out/b.txt", "out/*.txt"))
    adopted = f'"out/b.txt" {ORPHAN} that the spec names, so it is used'
    assert two.succeed("plan").stderr.count(adopted) == 1
    assert two.succeed().stderr.count(adopted) == 1
    assert two.read(ALL) == b"b\na\n"
    for words in (("--orphans",), (), ("--state",)):
        assert "out/b.txt" not in two.succeed("clean", *words).stdout
    assert two.read("out/b.txt") == b"b\n"


@pytest.mark.full
def test_a_file_in_an_orphan_directory_adopts_all_of_it(two):
    two.define(source("a"), tree(), gather())
    two.succeed()
    two.define(source("a"), gather("out/tree/leaf.txt", "out/**/*.txt"))
    two.succeed()
    assert two.read(ALL) == b"leaf\na\n"
    assert two.succeed("clean", "--orphans").stdout == "removed out/b.txt\n"
    assert two.exists("out/tree/sub/deep.txt")


@pytest.mark.full
def test_a_processor_adopts_what_made_it(two):
    script = "#!/bin/sh\\ncp in/a.txt \\$PIPELINE_OUTPUT_TEXT\\n"
    make = f'printf "{script}" >$PIPELINE_OUTPUT_T; chmod +x $PIPELINE_OUTPUT_T'
    two.define(shell("tool", make, outputs={"t": "t.sh"}))
    two.succeed()
    two.define({"name": "a", "processor": "t.sh", "inputs": {"text": "in/a.txt"}, "outputs": {"text": "out/a.txt"}})
    two.succeed()
    two.succeed("clean", "--orphans")
    assert two.exists("t.sh")


@pytest.mark.full_after(2)
@pytest.mark.parametrize("gone", ["a glob", "an empty directory", "a file", "a directory"])
def test_nothing_is_removed_while_a_source_is_missing(two, gone):
    two.write("disk/x.csv", "x\n")
    two.write("mounted/y.csv", "y\n")
    reads = shell("reads", "cat mounted/* disk/* >$PIPELINE_OUTPUT_OUT", inputs={"d": "mounted/", "g": ["disk/*.csv"]})
    two.define(source("a"), gather(), reads)
    two.succeed()
    if gone == "a file":
        (two.root / "in/a.txt").unlink()
    elif gone == "a glob":
        (two.root / "disk/x.csv").unlink()
    else:
        (two.root / "mounted/y.csv").unlink()
        if gone == "a directory":
            (two.root / "mounted").rmdir()
    for words in (("-n",), ()):
        done = two.run("clean", "--orphans", *words)
        assert done.returncode == 5 and "nothing is removed while a source is missing" in done.stderr, done.stderr
        assert f"{two.spec}#/stages/" in done.stderr
    assert two.read("out/b.txt") == b"b\n"
    two.succeed("clean")
    assert not two.exists("out/b.txt"), "`clean` removes everything anyway"


@pytest.mark.full
def test_a_directory_that_contains_an_orphan_is_refused_as_an_input(two):
    two.define(source("a"), shell("list", "ls out >$PIPELINE_OUTPUT_OUT", inputs={"d": "out/"}, outputs={"out": "l"}))
    for verb in ("validate", "plan", "run"):
        done = two.run(verb)
        assert done.returncode == 5
        assert f'#/stages/1/inputs/d: "out/" contains "out/b.txt", which {ORPHAN}: stage "b"' in done.stderr
        assert "hint: `offpipe clean --orphans` removes it" in done.stderr
    two.succeed("clean", "--orphans")
    two.succeed()
    assert two.read("l") == b"a.txt\n"


@pytest.mark.full
def test_a_directory_that_a_glob_matches_is_refused_too(two):
    two.write("out/sub/x.txt", "x\n")
    two.define(source("a"), {**source("b", "out/sub/b.txt"), "inputs": {"text": "in/a.txt"}})
    two.succeed()
    two.define(source("a"), shell("list", "ls out/* >$PIPELINE_OUTPUT_OUT", inputs={"d": "out/*/"}))
    done = two.run()
    assert done.returncode == 5 and '"out/sub/" contains "out/sub/b.txt"' in done.stderr


def test_a_glob_that_matches_only_orphans_matches_nothing(two):
    two.define(source("a"), gather("out/b*.txt"))
    done = two.run()
    assert done.returncode == 5
    assert 'no file matches "out/b*.txt"\nhint: hidden files and orphans are never matched' in done.stderr


def test_orphans_and_state_exclude_each_other(two):
    done = two.run("clean", "--orphans", "--state")
    assert done.returncode == 2 and "--orphans" in done.stderr
    assert two.exists("state") and two.exists("out/b.txt")


def test_a_marker_that_names_a_path_outside_removes_nothing(two):
    """Any process that can write to the state directory can write a marker."""
    from runner.record.markers import Marker

    two.write("../precious.txt", "b\n")
    marker = Marker.decode(two.read("state/stage_b.json"))
    outputs = {name: output._replace(path="../precious.txt") for name, output in marker.outputs.items()}
    (two.root / "state/stage_b.json").write_bytes(marker._replace(outputs=outputs).encode())
    assert two.succeed("clean", "--orphans").stdout == "nothing to remove\n"
    assert (two.root / "../precious.txt").read_text() == "b\n"


def test_another_workspace_has_orphans_of_its_own(two):
    two.succeed("--workspace", str(two.root / "w"))
    two.define(shell("other", "echo >$PIPELINE_OUTPUT_OUT"))
    there = two.succeed("plan", "--workspace", str(two.root / "w")).stderr
    here = two.succeed("plan").stderr
    assert there.count(ORPHAN) == 2 and here.count(ORPHAN) == 3, (there, here)


def test_state_of_an_earlier_release_has_orphans_too(two):
    """Its markers have no change time, and so the content decides."""
    from runner.record.markers import Marker

    marker = Marker.decode(two.read("state/stage_b.json"))
    (two.root / "state/stage_b.json").write_bytes(marker.with_ctime(None).encode())
    two.succeed()
    assert two.read(ALL) == b"a\n"
    assert two.succeed("clean", "--orphans").stdout == "removed out/b.txt\n"


@pytest.mark.full_after(1)
@pytest.mark.parametrize("orphan", ["out/tree/", "out/b.txt"])
def test_a_killed_clean_leaves_nothing_that_an_input_takes_in(two, orphan):
    """Whatever is left of an orphan, a directory that holds it is refused until `clean` has removed it."""
    two.define(source("a"), source("b"), tree(), gather())
    two.write("in/b.txt", "b\n")
    two.succeed()
    two.define(source("a"), gather(), {**gather("out/"), "name": "list", "command": ["ls", "-R", "{inputs.parts}"],
                                       "outputs": {"all": "list.txt"}, "needs": ["a"]})  # fmt: skip
    place = two.root / orphan
    if place.is_dir():  # as after a kill between the two steps
        place.rename(place.parent / ".partial-000000.tree")
    else:
        shutil.rmtree(two.root / "out/tree")
    assert two.run().returncode == 5
    removed = two.succeed("clean", "--orphans").stdout
    assert (".partial-000000.tree" in removed) == orphan.endswith("/")
    two.succeed()
    assert two.read("list.txt").split() == [b"out:", b"a.txt"]


@pytest.mark.parametrize("words", full_but([(), ("clean", "--orphans")], [()]))
def test_an_orphan_that_comes_back_is_still_one(two, words):
    """Its stage has run again while it was away."""
    two.define(source("a", "out/new.txt"), gather())
    shutil.copytree(two.root / "out", two.root / "away")
    if words:
        two.succeed(*words)
    else:
        shutil.rmtree(two.root / "out")
    two.write("in/a.txt", "a2\n")
    two.succeed()
    shutil.copytree(two.root / "away", two.root / "out", dirs_exist_ok=True)
    two.succeed()
    assert two.read(ALL) == b"a2\n"


@pytest.mark.full
def test_clean_keeps_what_is_known_of_an_orphan_that_it_keeps(two):
    two.define(
        source("a", "out/new.txt"), gather(), {**source("a", "kept.txt", "use"), "inputs": {"text": "out/a.txt"}}
    )
    two.succeed()
    two.succeed("clean")
    assert two.read("out/a.txt") == b"a\n"
    two.define(source("a", "out/new.txt"), gather())
    two.succeed()
    assert two.read(ALL) == b"a\n" and warning_of("out/a.txt", two)


def warning_of(path: str, bench) -> bool:
    return any(path in each["what"] for each in bench.json("status")["warnings"])


def test_clean_removes_nothing_behind_a_link(two):
    (two.root / "out").rename(two.root.parent / "archive")
    (two.root / "out").symlink_to("../archive")
    two.define({**source("a"), "outputs": {"text": "new/a.txt"}}, gather("new/*.txt"))
    for words in (("clean", "--orphans"), ("clean",)):
        two.succeed(*words)
        assert sorted(os.listdir(two.root.parent / "archive")) == ["a.txt", "b.txt"]
