"""`offpipe report` writes what the record says about a run as one HTML page that needs nothing else."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import resource
import shutil
import signal
import sys
from pathlib import Path

import pytest
from audit_bench import LEDGER, State
from pipeline_bench import PipelineBench, lasting_directory, shell, wait_for
from report_page import ReportPage
from signing_keys import make_keys

from runner.display.text import seconds
from runner.record.invocation import SHORT_SPEC

SCRIPT = "<script>alert(1)<b>'\"&amp;\N{RIGHT-TO-LEFT OVERRIDE}"


def report(bench: PipelineBench, *words: str, code: int = 0) -> ReportPage:
    done = bench.run("report", "-o", "-", *words)
    assert done.returncode == code, done.stderr
    page = ReportPage(done.stdout)
    assert list(page.references()) == []
    return page


def report_of(target: Path, *words: str, code: int = 0, cwd: Path | None = None) -> ReportPage:
    """The report of a state directory."""
    bench = PipelineBench(target)
    bench.spec = target
    return report(bench, *words, code=code)


def ledger(bench: PipelineBench) -> list[dict[str, object]]:
    return [json.loads(line) for line in bench.read("state/audit_ledger.jsonl").splitlines()]


def contents(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def failing(bench: PipelineBench) -> None:
    """Lay out a copy of a run in which one stage succeeds after a retry, one fails, and one is blocked."""
    shutil.copytree(failed(), bench.root, dirs_exist_ok=True)


@functools.cache
def failed() -> Path:
    bench = PipelineBench(lasting_directory("failed-"))
    bench.write("in.txt", "x\n")
    retry = {"attempts": 2, "delaySeconds": 0.05, "jitter": 0}
    flaky = '[ "$PIPELINE_ATTEMPT" -gt 1 ] || exit 75; cp "$PIPELINE_INPUT_X" "$PIPELINE_OUTPUT_OUT"'
    bench.define(
        shell("first", flaky, inputs={"x": "in.txt"}, retry=retry),
        shell("second", "exit 3", inputs={"a": "out/first.txt"}),
        shell("third", "exit 0", inputs={"a": "out/second.txt"}),
    )
    assert bench.run().returncode == 1
    return bench.root


def test_a_page_says_what_ran_why_and_how_it_ended(bench) -> None:
    failing(bench)
    page = report(bench)
    assert page.row("stages", "first")[1:4] == ["succeeded", "no completed run", "2 exit 75"]
    assert page.row("stages", "second")[1] == "failed" and page.row("stages", "third")[1] == "blocked"
    assert page.row("stages", "third")[5] == "second"
    assert page.row("failures", "second")[2] == "failed with exit 3"
    log = page.row("failures", "second")[3]
    assert (bench.root / "state" / log).exists()
    timeline = page.text("timeline")
    assert "first, attempt 1 at " in timeline and ": exit 75" in timeline
    assert "first, attempt 2 at " in timeline and " after a wait of 0.05 s" in timeline
    assert "second" in page.text("graph") and "2 arrows" in page.text("graph")
    assert "failed" in page.text("history")


def test_digests_are_those_of_the_files_and_the_head_is_the_ledgers(bench) -> None:
    failing(bench)
    page = report(bench)
    rows = {tuple(row[-4:-2]): row[-1] for row in page.rows("files")[1:]}
    for kind, path in (("input", "in.txt"), ("output", "out/first.txt")):
        assert rows[kind, path] == hashlib.sha256(bench.read(path)).hexdigest()
    assert json.loads(bench.read("state/audit_ledger.jsonl").splitlines()[-1])["hash"] in page.text("record")


@pytest.mark.full
def test_a_stage_that_is_up_to_date_shows_what_an_earlier_run_made(bench) -> None:
    bench.write("in.txt", "x\n")
    bench.define(shell("a", "cp $PIPELINE_INPUT_X $PIPELINE_OUTPUT_OUT", inputs={"x": "in.txt"}))
    bench.succeed()
    (made,) = {record["run"] for record in bench.records()}
    bench.succeed()
    page = report(bench)
    assert page.row("stages", "a")[1] == "up to date"
    assert f"made by run {made}" in page.text("files")
    assert made in report(bench, "--run", made).text() and "made by run" not in report(bench, "--run", made).text(
        "files"
    )


@pytest.mark.full
def test_a_blocked_stage_shows_nothing_that_an_earlier_run_made(bench) -> None:
    bench.write("in.txt", "x\n")
    first = shell("a", "cp $PIPELINE_INPUT_X $PIPELINE_OUTPUT_OUT", inputs={"x": "in.txt"})
    second = shell("b", "cp $PIPELINE_INPUT_A $PIPELINE_OUTPUT_OUT", inputs={"a": "out/a.txt"})
    bench.define(first, second)
    bench.succeed()
    bench.define(shell("a", "exit 1", inputs={"x": "in.txt"}), second)
    assert bench.run().returncode == 1
    assert report(bench).row("stages", "b")[1] == "blocked" and "out/" not in report(bench).text("files")


@pytest.mark.full
def test_a_resumed_run_has_both_parts_in_its_timeline(bench) -> None:
    failing(bench)
    bench.define(
        shell("first", "cp $PIPELINE_INPUT_X $PIPELINE_OUTPUT_OUT", inputs={"x": "in.txt"}),
        shell("second", "cp $PIPELINE_INPUT_A $PIPELINE_OUTPUT_OUT", inputs={"a": "out/first.txt"}),
    )
    bench.succeed()
    page = report(bench)
    assert "2: it was resumed" in page.text("run") and "The run was resumed" in page.text("timeline")
    took = seconds(sum(past["seconds"] for past in bench.json("runs")["runs"]))
    assert f" {took} in 2 invocations " in page.text(), "the time of both invocations"
    assert page.row("stages", "second")[1:4:2] == ["succeeded", "2 exit 3"]
    assert "intact" in page.text("record") and not page.root.findall(".//section[@id='failures']")


def test_a_copy_of_the_state_directory_is_enough_and_nothing_is_written_to_it(bench, tmp_path) -> None:
    failing(bench)
    copy = tmp_path / "elsewhere" / "copy"
    shutil.copytree(bench.root / "state", copy)
    shutil.rmtree(bench.root / "state")
    before = {path: path.stat() for path in copy.rglob("*")}
    for path in [*before, copy]:
        path.chmod(path.stat().st_mode & ~0o222)
    page = report_of(copy)
    assert page.row("stages", "second")[1] == "failed" and "2 arrows" in page.text("graph")
    assert {path: path.stat().st_mtime_ns for path in copy.rglob("*")} == {
        path: status.st_mtime_ns for path, status in before.items()
    }


@pytest.mark.full
def test_any_run_on_record_can_be_shown(bench) -> None:
    failing(bench)
    (first,) = {record["run"] for record in bench.records()}
    (bench.root / "in.txt").unlink()
    assert bench.run("--run-id", "refused").returncode == 5
    newer = r"A newer invocation began \S+ \S+ UTC: refused , .*in.txt\": no such file"
    assert re.search(newer, report(bench).text()), "the last run with a log, and what came after it"
    bench.write("in.txt", "y\n")
    bench.define(shell("first", "cp $PIPELINE_INPUT_X $PIPELINE_OUTPUT_OUT", inputs={"x": "in.txt"}))
    bench.succeed("-f", "first", "--run-id", "forced")
    assert "out/first.txt" in report(bench, "--run", "forced").text("files")
    assert report(bench, "--run", first).row("stages", "second")[1] == "failed"
    refused = report(bench, "--run", "refused")
    assert 'in.txt": no such file' in refused.text() and "has no log" in refused.text("run")
    bench.succeed("prune", "--keep", "1")
    assert bench.run("report", "--run", "unknown").returncode == 2


@pytest.mark.full
def test_a_pruned_run_says_so(bench) -> None:
    bench.write("in.txt", "x\n")
    bench.define(shell("a", "cp $PIPELINE_INPUT_X $PIPELINE_OUTPUT_OUT", inputs={"x": "in.txt"}))
    bench.succeed("--run-id", "old")
    bench.succeed("-f", "a")
    bench.succeed("prune", "--keep", "1")
    page = report(bench, "--run", "old")
    (time,) = [record["ts"][:19].replace("T", " ") for record in ledger(bench) if record["ev"] == "pruned"]
    for section in ("stages", "graph", "timeline", "files", "network"):
        assert f"Not known: its log was pruned at {time} UTC." in page.text(section)
    assert "0 attempts" not in page.text() and "0 network" not in page.text() and " 1 succeeded " in page.text()
    assert [row[4] for row in page.rows("history")[1:] if "pruned" in row[4]] == ["old pruned"]


def test_a_run_at_work_is_running_and_a_killed_one_did_not_end(bench) -> None:
    waits = "touch begun; until test -e go; do sleep 0.01; done; echo >$PIPELINE_OUTPUT_OUT"
    bench.define(shell("a", waits), shell("b", "exit 0", inputs={"a": "out/a.txt"}))
    run = bench.start()
    wait_for((bench.root / "begun").exists)
    page = report(bench)
    assert " running " in page.text() and page.root.find(".//section[@id='failures']") is None
    assert page.row("stages", "a")[1] == "no end on record" and page.row("stages", "b")[1] == "not started"
    worked = re.search(r"a, attempt 1 at \S+, at least (\S+) s: no end on record", page.text("timeline"))
    assert worked and float(worked[1]) > 0, "the time until now"
    run.send_signal(signal.SIGKILL)
    run.wait()
    page = report(bench)
    assert " did not end " in page.text() and page.row("failures", "a")[1] == "no end on record"
    assert page.row("stages", "a")[4].startswith("at least ") and "the same command continues" in page.text()


@pytest.mark.full
def test_after_a_run_with_nothing_to_do_the_graph_comes_from_the_log_that_has_the_spec(bench) -> None:
    bench.write("in.txt", "x\n")
    copy = {"command": ["cp", "{inputs.x}", "{outputs.out}"]}
    first = {"name": "first", **copy, "inputs": {"x": "in.txt"}, "outputs": {"out": "w/first"}}
    last = {"name": "last", **copy, "inputs": {"x": "w/first"}, "outputs": {"out": "w/last"}}
    bench.define(first, last, description="x" * SHORT_SPEC)
    bench.succeed()
    first = bench.records("run.start")[0]
    wait_for(lambda: bench.succeed() and "specIn" in bench.records("run.start")[-1]["data"], "a short log")
    assert "2 boxes and 1 arrow" in report(bench).text("graph")
    assert report(bench).row("stages", "last")[1] == "up to date"
    assert f"made by run {first['run']}" in report(bench).text("files")
    assert "no stage was started" in report(bench).text("run")


def test_before_the_first_run_there_is_no_report(bench) -> None:
    bench.define(shell("a", "exit 0"))
    done = bench.run("report")
    assert done.returncode == 2 and done.stderr == "error: no run yet\n" and not list(bench.root.glob("*.html"))


@pytest.mark.full
def test_a_damaged_record_gives_a_report_that_says_so(bench) -> None:
    failing(bench)
    (log,) = [path for path in (bench.root / "state").glob("audit_*.jsonl") if path.name != "audit_ledger.jsonl"]
    whole = log.read_bytes()
    log.write_bytes(whole.replace(b'"exit":75', b'"exit":76', 1))
    page = report(bench, code=6)
    assert "The record is damaged." in page.text() and f"{log.name}:" in page.text("record")
    log.unlink()
    assert "is missing" in report(bench, code=6).text("record")
    log.write_bytes(whole)
    (bench.root / "state/audit_ledger.jsonl").unlink()
    assert "The record is damaged." in report(bench, code=6).text()


def test_without_its_key_a_keyed_record_counts_as_unchecked(bench, tmp_path) -> None:
    key = tmp_path / "key"
    key.write_bytes(os.urandom(32))
    project = PipelineBench(tmp_path / "project")
    project.root.mkdir()
    project.define(shell("a", "echo > $PIPELINE_OUTPUT_OUT"))
    project.succeed(env={"OFFPIPE_AUDIT_KEY_FILE": str(key)})
    assert "not checked" in report(project).text("record")


@pytest.mark.full
def test_signatures_are_checked_with_a_public_key_and_named_without(bench, tmp_path_factory) -> None:
    keys, other = (make_keys(tmp_path_factory.mktemp("keys"), name) for name in ("key", "other"))
    waits = "test -e wait || exit 0; touch begun; until test -e go; do sleep 0.01; done"
    bench.define(shell("a", f"echo >$PIPELINE_OUTPUT_OUT; {waits}"))
    bench.succeed()
    assert "Signature none" in report(bench).text("record")
    for _ in range(2):
        bench.succeed("-f", env=keys.env)
    assert f"signed with {keys.id}, not checked" in report(bench).text("record")
    covered = re.search(r"signed with [^)]*, covering 1 to \d+", bench.succeed("verify", *keys.words).stdout)
    assert covered and covered[0] in report(bench, *keys.words).text("record")
    assert "The record is signed with a key that was not given." in report(bench, *other.words, code=6).text()
    bench.write("wait", "")
    run = bench.start("-f", env=keys.env)
    wait_for((bench.root / "begun").exists)
    run.kill()
    run.wait()
    page, verified = report(bench, *keys.words), bench.json("verify", *keys.words)
    assert verified["incomplete"] and all(each["what"] in page.text("record") for each in verified["incomplete"])


@pytest.mark.full
def test_up_to_twenty_inputs_of_instances_are_listed(bench) -> None:
    for name in "abc":
        bench.write(f"in/{name}", name)
    copy = {"command": ["cp", "{inputs.x}", "{outputs.out}"], "inputs": {"x": "in/{each.n}"}}
    bench.define({"name": "copy", "each": {"n": "in/*"}, **copy, "outputs": {"out": "out/{each.n}"}})
    bench.succeed()
    rows = {tuple(row[-4:-2]): row[-1] for row in report(bench).rows("files")[1:]}
    expected = {("input", f"in/{name}"): hashlib.sha256(name.encode()).hexdigest() for name in "abc"}
    assert expected.items() <= rows.items()


def test_a_record_that_no_run_can_have_written_is_refused(bench, tmp_path_factory) -> None:
    bench.define(shell("a", "echo 1 > $PIPELINE_OUTPUT_OUT"))
    bench.succeed("--run-id", "r")
    state = State(bench.root / "state", tmp_path_factory.mktemp("forged") / "state")
    state.rewrite("audit_r.jsonl", lambda records: records[1]["data"].update(delayMicros="x"))
    hashes = [record["hash"] for record in state.records("audit_r.jsonl")]
    state.rewrite(LEDGER, lambda lines: [line["data"].update(logHash=hashes[line["data"]["logSeq"]]) for line in lines])
    bench.spec = state.path
    done = bench.run("report", "-o", "-")
    assert (done.returncode, done.stdout) == (6, "") and "cannot be understood" in done.stderr


@pytest.mark.full
def test_networks_and_warnings_are_listed(bench) -> None:
    goes_on = "trap '' TERM; (exec 3<>/dev/tcp/192.0.2.1/80) 2>/dev/null; echo > $PIPELINE_OUTPUT_OUT"
    stage = shell("call", goes_on)
    bench.define(
        {**stage, "command": ["bash", *stage["command"][1:]], "offline": {"onAttempt": "record"}}, vars={"v": 1}
    )
    bench.succeed("--offline", "best-effort")
    page = report(bench)
    if bench.records("offline.attempt"):
        assert page.row("network", "call")[2:] == ["bash (AF_INET)", "on record only"]
        bench.define({**stage, "command": ["bash", *stage["command"][1:]]})
        assert bench.run("-f", "--offline", "best-effort").returncode == 4
        failed = report(bench)
        assert failed.row("stages", "call")[3] == "1 exit 0, but failed" and ": exit 0, but failed" in failed.text(
            "timeline"
        )
        assert len(failed.root.findall(".//section[@id='timeline']//g[@class='bar bad']")) == 1
    else:
        assert bench.records("run.warning"), "a machine that cannot see network attempts says so"
    assert "#/vars/v: no stage uses it" in page.text("warnings").replace(" : ", ": ")


def test_names_cannot_change_the_page(bench) -> None:
    bench.write(f"in {SCRIPT}", "x\n")
    bench.define(shell("a", "cp in* $PIPELINE_OUTPUT_OUT", inputs={"x": "in *"}))
    bench.succeed("--events", str(bench.root / f"events{SCRIPT}\n\x1b[31m"))
    page = report(bench)
    assert "\N{RIGHT-TO-LEFT OVERRIDE}" not in page.html and "\x1b" not in page.html
    assert "in <script>alert(1)<b>'\"&amp;\\u202e" in page.text("files")
    assert "<script>alert(1)<b>'\"&amp;\\u202e\\n\\x1b[31m" in page.text("run")


def test_the_file_is_named_after_the_pipeline_and_replaces_only_reports(bench, tmp_path_factory) -> None:
    failing(bench)
    done = bench.run("report", cwd=bench.root, env={"PYTHONPATH": str(Path(__file__).resolve().parents[2])})
    assert (done.returncode, done.stdout) == (0, "bench-report.html\n"), done.stderr
    assert ReportPage((bench.root / "bench-report.html").read_text()).row("stages", "second")[1] == "failed"
    made = bench.root / "bench-report.html"
    made.chmod(0o640)
    (bench.root / "link").symlink_to(made)
    (bench.root / "other").hardlink_to(made)
    inode = made.stat().st_ino
    assert bench.run("report", "-o", str(bench.root / "link")).returncode == 0
    assert (bench.root / "link").is_symlink() and made.stat().st_ino != inode, "it is replaced in one step"
    assert made.stat().st_mode & 0o777 == 0o640
    bench.write("empty", "")
    bench.write("begun.html", made.read_bytes()[:30])
    bench.write("code.py", "pass\n")
    os.mkfifo(bench.root / "fifo")
    before = contents(bench.root)
    for other in ("empty", "begun.html", "code.py"):
        done = bench.run("report", "-o", str(bench.root / other))
        assert done.returncode == 2 and "holds something else, so it is not replaced" in done.stderr
    for other in ("out", "fifo", "/dev/null"):
        done = bench.run("report", "-o", str(bench.root / other))
        assert done.returncode == 74 and "not a regular file" in done.stderr
    for own in ("in.txt", "out/second.txt", "state/new.html", "state/audit_ledger.jsonl", "spec.json"):
        done = bench.run("report", "-o", str(bench.root / own))
        assert done.returncode == 2 and "belongs to the pipeline" in done.stderr
    assert bench.run("report", "-o", str(bench.root / "none/x.html")).returncode == 74
    bench.spec = bench.root / "state"
    assert bench.run("report", "-o", str(bench.root / "state/new.html")).returncode == 2
    assert contents(bench.root) == before


@pytest.mark.parametrize("package", ["jinja2", "graphlay"])
def test_without_the_extra_the_verb_says_which_one_to_install(bench, package) -> None:
    failing(bench)
    bench.write(f"without/{package}.py", f"raise ModuleNotFoundError(name='{package}')\n")
    done = bench.run("report", env={"PYTHONPATH": str(bench.root / "without")})
    assert done.returncode == 2 and f"needs {package}" in done.stderr and "pip install 'DIR[report]'" in done.stderr


@pytest.mark.full
@pytest.mark.parametrize(("templates", "drawn"), [(20, "40 boxes and 38 arrows"), (21, "21 boxes and 20 arrows")])
def test_a_graph_of_more_than_40_stages_has_a_box_for_each_template(bench, templates, drawn) -> None:
    bench.write("w/0-a", "x\n")
    bench.write("w/0-b", "x\n")
    bench.define(*(
        {"name": f"s{n}", "each": {"s": ["a", "b"]}, "command": ["cp", "{inputs.x}", "{outputs.out}"],
         "inputs": {"x": f"w/{n - 1}-{{each.s}}"}, "outputs": {"out": f"w/{n}-{{each.s}}"}}
        for n in range(1, templates + 1)
    ))  # fmt: skip
    bench.succeed("--durability", "process")
    assert drawn in report(bench).text("graph")


LARGE = {
    "instances": [
        {"name": "trim", "each": {"n": [f"{n:05}" for n in range(5000)]}, "outputs": {"out": "w/{each.n}.a"},
         "command": ["sh", "-c", 'case {each.n} in 0001?) exit 3;; esac; echo >"$0"', "{outputs.out}"]},
        {"name": "count", "each": "trim", "inputs": {"x": "w/{each.n}.a"}, "outputs": {"out": "w/{each.n}.b"},
         "command": ["cp", "{inputs.x}", "{outputs.out}"]},
    ],
    "written": [
        {"name": f"s{row:02}-{place:02}", "command": ["cp", "{inputs.x}", "{outputs.out}"],
         "inputs": {"x": f"w/{row - 1}-{place * 7 % 50}" if row else "in.txt"}, "outputs": {"out": f"w/{row}-{place}"}}
        for row in range(40) for place in range(50)
    ],
}  # fmt: skip


def processor_time() -> float:
    """Return the processor time, in seconds, of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.full
@pytest.mark.parametrize("kind", LARGE)
def test_the_report_of_a_large_run_takes_seconds_and_less_than_five_megabytes(bench, kind) -> None:
    bench.write("in.txt", "x\n")
    bench.define(*LARGE[kind])
    before = processor_time()
    assert bench.run("-q", "-k", "--durability", "process", timeout=500).returncode == (kind == "instances")
    ran = processor_time() - before
    page = report(bench)
    assert processor_time() - before - ran < max(5, ran / 4), "seconds; on a slow machine a quarter of the run's"
    assert len(page.html) < 5_000_000
    if kind == "written":
        assert len(page.rows("stages")) == 2001
        assert "40 boxes and 39 arrows" in page.text("graph") and "share a box" in page.text("graph")
        return
    assert page.row("stages", "trim (5,000 instances)")[1] == "10 failed, 4,990 succeeded"
    assert len(page.rows("failures")) == 11
    outputs = {f"w/{n:05}.a": hashlib.sha256(b"\n").hexdigest() for n in range(5000) if n // 10 != 1}
    canonical = json.dumps(outputs, sort_keys=True, separators=(",", ":")).encode()
    assert hashlib.sha256(canonical).hexdigest() in page.text("files")


def test_status_does_not_load_the_report_room_or_its_libraries(bench) -> None:
    failing(bench)
    program = (
        "import sys; sys.argv[1:] = ['status', sys.argv[1]]; from runner.cli.main import main; main();"
        "print(*{'jinja2', 'graphlay', 'runner.extras.report'} & sys.modules.keys(), file=sys.stderr)"
    )
    done = bench.run(command=(sys.executable, "-c", program, str(bench.spec)))
    assert done.stderr == "\n"
