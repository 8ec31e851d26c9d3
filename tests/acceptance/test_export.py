"""Statements of `export` have the published form, and agree with the files on disk and the recorded commits."""

from __future__ import annotations

import os
import shutil
from importlib.metadata import version
from pathlib import Path

import pytest
from attestations import check_statement, dependencies, digest_on_disk, run_of, statements, subjects, true_statements
from audit_bench import LEDGER, State
from pipeline_bench import PipelineBench, shell, wait_for
from signing_keys import make_keys

from runner.canonical import KEY_VARIABLE
from runner.errors import EXIT_DAMAGED, EXIT_INVALID, EXIT_STAGE_FAILED, EXIT_STATE
from runner.record.events import OPENINGS

COPY = "cat in.txt > $PIPELINE_OUTPUT_OUT"
TREE = "mkdir -p $PIPELINE_OUTPUT_OUT/deep; echo x > $PIPELINE_OUTPUT_OUT/deep/f; ln -s deep $PIPELINE_OUTPUT_OUT/link"


def runs(exported) -> list[str]:
    return [run_of(statement) for statement in exported]


def named_program(bench, stage) -> str:
    """Return the program that a stage started, according to the record."""
    return next(each["data"]["program"] for each in bench.records("stage.commit") if each["data"]["stage"] == stage)


def only_state(bench, tmp_path_factory) -> PipelineBench:
    """Copy the state directory alone, read-only, to another place."""
    moved = tmp_path_factory.mktemp("auditor") / "copy"
    shutil.copytree(bench.root / "state", moved)
    for path in (*moved.rglob("*"), moved):
        path.chmod(0o555 if path.is_dir() else 0o444)
    auditor = PipelineBench(moved.parent)
    auditor.spec = moved
    return auditor


@pytest.fixture(scope="module")
def three_nights(tmp_path_factory):
    bench = PipelineBench(tmp_path_factory.mktemp("nights"))
    bench.write("in.txt", "1")
    tree = shell("tree", TREE, outputs={"out": "out/tree/"}, inputs={"a": "out/a.txt"})
    bench.define(shell("a", COPY, inputs={"x": "in.txt"}), tree, shell("b", "date +%N > $PIPELINE_OUTPUT_OUT"))
    for words in ((), ("-f", "tree"), ("-f", "b")):
        bench.succeed(*words)
    return bench.root


@pytest.fixture
def nights(bench, three_nights):
    """Three runs: one of all stages, one of `tree` alone (a directory), one of `b` alone."""
    shutil.copytree(three_nights, bench.root, symlinks=True, dirs_exist_ok=True)
    return bench


def test_each_output_that_stands_is_covered_once_by_the_run_that_made_it(nights):
    exported = true_statements(nights)
    first, second, third = dict.fromkeys(record["run"] for record in nights.records("stage.commit"))
    assert {path: run for path, (run, _) in subjects(exported).items()} == {
        "out/a.txt": first, "out/tree/": second, "out/b.txt": third,
    }  # fmt: skip
    assert runs(exported) == [first, second, third]


def test_a_named_run_attests_all_that_it_committed_and_nothing_else(nights):
    commits = nights.records("stage.commit")
    (statement,) = statements(nights, "--run", commits[0]["run"])
    wanted = {
        output["path"]: (record["run"], output["sha256"])
        for record in commits
        for output in record["data"]["outputs"].values()
        if record["run"] == commits[0]["run"]
    }
    assert subjects([statement]) == wanted and len(wanted) == 3
    assert wanted["out/b.txt"][1] != digest_on_disk(nights.root / "out/b.txt")  # a later run made it anew


@pytest.mark.full
def test_only_the_last_commit_of_a_path_in_a_run_counts(bench):
    bench.write("in.txt", "1")
    bench.define(shell("a", COPY, inputs={"x": "in.txt"}), shell("b", "exit 1"))
    assert bench.run("--run-id", "r").returncode == EXIT_STAGE_FAILED
    bench.write("in.txt", "2")
    assert bench.run("--run-id", "r").returncode == EXIT_STAGE_FAILED
    assert len(bench.records("stage.commit")) == 2
    assert statements(bench, "--run", "r") == true_statements(bench)


def test_a_refused_invocation_with_the_id_of_a_run_is_not_part_of_it(bench):
    bench.define(shell("a", "echo 1 > $PIPELINE_OUTPUT_OUT"))
    bench.succeed("--run-id", "r")
    before = statements(bench)
    assert bench.run("--run-id", "r", "-f").returncode == EXIT_INVALID
    assert {each["outcome"] for each in bench.json("runs")["runs"] if each["run"] == "r"} == {"succeeded", "refused"}
    assert statements(bench) == before


def test_each_invocation_has_its_git_commit_and_the_program_has_its_digest(bench):
    bench.write(".git/HEAD", f"{'5eed' * 10}\n")
    (bench.root / ".git/objects").mkdir()
    (bench.root / ".git/refs").mkdir()
    bench.define(shell("a", "echo 1 > $PIPELINE_OUTPUT_OUT"), shell("b", "test -e ok && echo 2 > $PIPELINE_OUTPUT_OUT"))
    assert bench.run("-k").returncode == EXIT_STAGE_FAILED
    bench.write(".git/HEAD", f"{'face' * 10}\n")
    bench.write("ok", "")
    bench.succeed()
    (statement,) = true_statements(bench)
    invocations = statement["predicate"]["buildDefinition"]["internalParameters"]["invocations"]
    assert [each["gitCommit"] for each in invocations] == ["5eed" * 10, "face" * 10]
    spec, *others = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert {each["specSha256"] for each in invocations} == {spec["digest"]["sha256"]}
    assert "effective spec" not in [each["name"] for each in others]
    program = named_program(bench, "a")
    assert [(each["name"], each["digest"]["sha256"]) for each in others] == [(program, digest_on_disk(Path(program)))]


def test_dependencies_are_inputs_code_interpreter_and_programs(bench):
    bench.write("in.txt", "1")
    bench.write("dir/x", "1")
    bench.write("helper.py", "import pluggy\n")
    bench.write("s.py", "import os, helper\nopen(os.environ['PIPELINE_OUTPUT_OUT'], 'w').write('1')\n")
    bench.define(
        shell("a", COPY, inputs={"x": ["in.txt"], "d": "dir/"}, params={"y": 0.5}),
        {"name": "b", "command": ["{python}", "s.py"], "inputs": {"a": "out/a.txt"}, "outputs": {"out": "out/b.txt"}},
    )
    bench.succeed()
    (statement,) = true_statements(bench)
    named = dependencies(statement)
    read = ("in.txt", "dir/", "helper.py", "s.py", "out/a.txt")
    assert {path: named.pop(path) for path in read} == {path: digest_on_disk(bench.root / path) for path in read}
    uris = {each.get("uri") for each in statement["predicate"]["buildDefinition"]["resolvedDependencies"]}
    assert {f"pkg:pypi/pluggy@{version('pluggy')}", f"file://{named_program(bench, 'a')}"} < uris
    (opening,) = bench.records("run.start")
    assert named.pop("effective spec") == opening["data"]["specSha256"]
    assert {os.path.basename(name).rstrip("0123456789.") for name in named} == {"sh", "cpython", "python", "pluggy"}
    stages = {each["stage"]: each for each in statement["predicate"]["buildDefinition"]["externalParameters"]["stages"]}
    assert stages["a"]["params"] == {"y": 0.5} and stages["a"]["inputs"] == {"x": ["in.txt"], "d": ["dir/"]}
    assert {each["annotations"]["stage"]: each["annotations"]["record"] for each in statement["subject"]} == {
        record["data"]["stage"]: record["seq"] for record in bench.records("stage.commit")
    }
    metadata = statement["predicate"]["runDetails"]["metadata"]
    assert metadata["startedOn"] < opening["ts"] < metadata["finishedOn"]


def test_instances_are_covered_like_stages(bench):
    for name in "abc":
        bench.write(f"in/{name}.txt", name)
    copy = {"name": "copy", "each": {"s": "in/*.txt"}, "command": ["cp", "{inputs.x}", "{outputs.out}"]}
    bench.define({**copy, "inputs": {"x": "in/{each.s}.txt"}, "outputs": {"out": "out/{each.s}.txt"}})
    bench.succeed()
    bench.write("in/b.txt", "changed")
    bench.succeed()
    first, second = true_statements(bench)
    assert sorted(each["annotations"]["stage"] for each in first["subject"]) == ["copy@a", "copy@c"]
    assert [each["annotations"]["stage"] for each in second["subject"]] == ["copy@b"]


@pytest.mark.full
@pytest.mark.parametrize("is_pruned", [True, False])
def test_what_was_adopted_belongs_to_the_run_that_made_it(nights, is_pruned):
    before = subjects(true_statements(nights))
    for name in ("renamed", "again"):
        nights.define(shell(name, COPY, inputs={"x": "in.txt"}, outputs={"out": "out/a.txt"}))
        nights.succeed()
    adopted = nights.records("stage.adopted")
    assert len(adopted) == 2
    if is_pruned:
        nights.succeed("prune", "--before", "0d")
    exported = true_statements(nights)
    assert subjects(exported) == before
    (annotations,) = (each["annotations"] for each in exported[0]["subject"] if each["name"] == "out/a.txt")
    assert annotations == ({} if is_pruned else {"stage": "a", "record": adopted[0]["data"]["adopts"][2]})
    assert nights.run("export", "--run", adopted[1]["run"]).returncode == EXIT_INVALID


def test_a_pruned_run_whose_outputs_were_made_anew_cannot_be_exported(nights):
    runs = [record["run"] for record in nights.records("stage.commit")]
    nights.succeed("-f")
    nights.succeed("prune", "--keep", "1")
    done = nights.run("export", "--run", runs[0])
    assert done.returncode == 2 and f'the run "{runs[0]}" has no log: it was pruned' in done.stderr


def test_pruned_runs_are_attested_by_what_the_markers_prove(nights):
    whole = true_statements(nights)
    nights.succeed("prune", "--keep", "1")
    exported = true_statements(nights)
    assert subjects(exported) == subjects(whole) and exported[2] == whole[2] and exported[0] != whole[0]
    for pruned, before in zip(exported, whole, strict=True):
        assert pruned["predicate"]["runDetails"]["metadata"] == before["predicate"]["runDetails"]["metadata"]
        lost = {"effective spec", *(name for name in dependencies(before) if name.startswith("/"))}
        assert dependencies(before).items() - dependencies(pruned).items() <= {
            (name, dependencies(before)[name]) for name in lost
        }
    assert subjects(statements(nights, "--run", runs(exported)[0])) == subjects(exported[:1])


def test_a_state_directory_alone_exports_the_same(nights, tmp_path_factory):
    assert only_state(nights, tmp_path_factory).run("export").stdout == nights.succeed("export").stdout


def test_what_a_failed_run_committed_is_attested_and_the_resumed_run_is_one_statement(bench):
    bench.define(shell("a", "echo 1 > $PIPELINE_OUTPUT_OUT"), shell("b", "test -e ok && echo 2 > $PIPELINE_OUTPUT_OUT"))
    assert bench.run("-k").returncode == EXIT_STAGE_FAILED
    (failed,) = true_statements(bench)
    assert [each["name"] for each in failed["subject"]] == ["out/a.txt"]
    bench.write("ok", "")
    bench.succeed("-j", "1")
    (resumed,) = true_statements(bench)
    assert runs([resumed]) == runs([failed]) and len(resumed["subject"]) == 2
    invocations = resumed["predicate"]["buildDefinition"]["internalParameters"]["invocations"]
    openings = [{**each["data"], "began": each["ts"]} for each in bench.records() if each["ev"] in OPENINGS]
    assert [{**each, "spec": data["spec"]} for each, data in zip(invocations, openings, strict=True)] == openings
    times = [each["predicate"]["runDetails"]["metadata"] for each in (failed, resumed)]
    assert times[0]["startedOn"] == times[1]["startedOn"] and times[0]["finishedOn"] < times[1]["finishedOn"]


def test_a_run_at_work_is_attested_as_far_as_it_got(bench):
    bench.define(
        shell("a", "echo 1 > $PIPELINE_OUTPUT_OUT"),
        shell("b", "until test -e go; do sleep 0.01; done; echo 2 > $PIPELINE_OUTPUT_OUT", needs=["a"]),
    )
    running = bench.start()
    wait_for(lambda: bench.exists("state/stage_a.json"))
    (statement,) = true_statements(bench)
    assert [each["name"] for each in statement["subject"]] == ["out/a.txt"]
    assert "finishedOn" not in statement["predicate"]["runDetails"]["metadata"]
    bench.write("go", "")
    assert running.wait() == 0
    assert len(true_statements(bench)[0]["subject"]) == 2


def test_an_output_that_another_stage_made_later_is_covered_once(bench):
    bench.define(shell("a", "echo 1 > $PIPELINE_OUTPUT_OUT"), shell("b", "echo 1 > $PIPELINE_OUTPUT_OUT"))
    bench.succeed()
    bench.define(shell("a2", "echo 2 > $PIPELINE_OUTPUT_OUT", outputs={"out": "out/a.txt"}))
    bench.succeed()
    first, second = true_statements(bench)
    assert [each["name"] for each in first["subject"]] == ["out/b.txt"]  # an orphan
    assert [each["annotations"]["stage"] for each in second["subject"]] == ["a2"]


@pytest.mark.full_after(2)
@pytest.mark.parametrize("file", ["audit_RUN.jsonl", "stage_a.json", "audit_ledger.jsonl", "metrics_RUN.json"])
def test_a_damaged_record_is_not_exported(nights, file):
    path = nights.root / "state" / file.replace("RUN", nights.records("stage.commit")[0]["run"])
    content = path.read_bytes()
    at = content.index(b"0")
    path.write_bytes(content[:at] + b"1" + content[at + 1 :])
    done = nights.run("export", "-o", str(nights.root / "x.jsonl"))
    assert (done.returncode, done.stdout) == (EXIT_DAMAGED, "") and "; nothing was exported\nhint: see " in done.stderr
    assert not nights.exists("x.jsonl")


@pytest.mark.parametrize("field", ["versions", "specSha256"])
def test_a_record_chained_anew_without_a_field_is_refused(bench, tmp_path_factory, field):
    bench.define(shell("a", "echo 1 > $PIPELINE_OUTPUT_OUT"))
    bench.succeed("--run-id", "r")
    state = State(bench.root / "state", tmp_path_factory.mktemp("forged") / "state")
    state.rewrite("audit_r.jsonl", lambda records: records[0]["data"].pop(field))
    hashes = [record["hash"] for record in state.records("audit_r.jsonl")]
    state.rewrite(LEDGER, lambda lines: [line["data"].update(logHash=hashes[line["data"]["logSeq"]]) for line in lines])
    if field != "specSha256":
        assert not state.damage()
    bench.spec = state.path
    done = bench.run("export")
    assert (done.returncode, done.stdout) == (EXIT_DAMAGED, "") and "; nothing was exported" in done.stderr


def test_a_keyed_record_needs_its_key(bench, tmp_path_factory):
    key = tmp_path_factory.mktemp("keys") / "key"
    key.write_bytes(b"k" * 32)
    bench.define(shell("a", "echo 1 > $PIPELINE_OUTPUT_OUT"))
    bench.succeed(env={KEY_VARIABLE: str(key)})
    without = bench.run("export")
    assert (without.returncode, without.stdout) == (EXIT_INVALID, "") and "without that key" in without.stderr
    assert check_statement(bench.succeed("export", env={KEY_VARIABLE: str(key)}).stdout)


def test_without_anything_to_attest_it_ends_with_2(bench, tmp_path):
    bench.define(shell("a", "false"))
    assert "nothing to attest" in bench.run("export").stderr
    assert bench.run().returncode == EXIT_STAGE_FAILED
    (run,) = {record["run"] for record in bench.records()}
    for words, what in (
        ((), "nothing to attest"),
        (("--run", run), "has no commit on record"),
        (("--run", "x"), 'no run "x"'),
    ):
        done = bench.run("export", *words)
        assert (done.returncode, done.stdout) == (EXIT_INVALID, "") and what in done.stderr


def test_writes_to_a_file_but_to_no_file_of_the_pipeline(nights, tmp_path):
    printed = nights.succeed("export", "-o", "-").stdout
    target = nights.root / "made.jsonl"
    target.write_text(printed * 2)
    assert nights.succeed("export", "-o", str(target)).stdout == "" and target.read_text() == printed
    nights.write("keys.pem", "-----BEGIN PRIVATE KEY-----\n")
    before = {path: path.read_bytes() for path in nights.root.rglob("*") if path.is_file()}
    assert "holds something else" in nights.run("export", "-o", str(nights.root / "keys.pem")).stderr
    for own in (
        "spec.json",
        "in.txt",
        "out/a.txt",
        "out/tree/x",
        "state/audit_ledger.jsonl",
        "state/new",
        ".offpipe/x",
    ):
        done = nights.run("export", "-o", str(nights.root / own))
        assert done.returncode == EXIT_INVALID and "belongs to the pipeline" in done.stderr
    assert {path: path.read_bytes() for path in nights.root.rglob("*") if path.is_file()} == before
    assert nights.run("export", "-o", str(nights.root / "none/x")).returncode == EXIT_STATE
    state, real = str(nights.root / "state"), nights.root
    (tmp_path / "link").symlink_to(real)
    nights.spec = tmp_path / "link/spec.json"
    for own in ("out/tree/x", "state/new"):
        assert "belongs to the pipeline" in nights.run("export", "-o", str(real / own)).stderr
    nights.spec = state
    assert nights.run("export", "-o", f"{state}/new").returncode == EXIT_INVALID


def test_a_file_of_signed_statements_is_replaced_by_signed_ones_only(bench, tmp_path_factory):
    keys, target = make_keys(tmp_path_factory.mktemp("keys")), bench.root / "x.jsonl"
    bench.define(shell("a", "echo 1 > $PIPELINE_OUTPUT_OUT"))
    bench.succeed("--run-id", "first", env=keys.env)
    bench.succeed("export", "-o", str(target), env=keys.env)
    first = target.read_text()
    bench.succeed("-f", env=keys.env)
    bench.succeed("export", "-o", str(target), env=keys.env)
    kept = target.read_text()
    done = bench.run("export", "-o", str(target))
    assert done.returncode == EXIT_INVALID and "holds something else" in done.stderr
    assert target.read_text() == kept != first


def test_the_builder_is_who_you_say(nights):
    for statement in statements(nights, "--builder-id", "https://example.org/builders/1"):
        assert statement["predicate"]["runDetails"]["builder"]["id"] == "https://example.org/builders/1"
    for bad in ("builder", "", ":x", "https:", "a b:c", "ü:x"):
        assert nights.run("export", "--builder-id", bad).returncode == EXIT_INVALID


def test_names_that_are_not_utf_8_make_valid_json(tmp_path):
    bench = PipelineBench(tmp_path / os.fsdecode(b"\xff x"))
    bench.write("ü.sh", f"#!/bin/sh\n{COPY}\n", 0o755)
    bench.write("in.txt", "1")
    params = {"t": 'ü"\\udcff\n'}
    bench.define(
        {"name": "a", "processor": "ü.sh", "inputs": {"x": "in.txt"}, "outputs": {"out": "o"}, "params": params}
    )
    bench.succeed()
    (statement,) = true_statements(bench)
    named = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    (program,) = (each for each in named if "uri" in each)
    assert program["name"].endswith("/\\xff x/ü.sh") and program["uri"].endswith("/%FF%20x/%C3%BC.sh")
    assert dependencies(statement)["ü.sh"] == digest_on_disk(bench.root / "ü.sh")
    assert statement["predicate"]["buildDefinition"]["externalParameters"]["stages"][0]["params"] == params
