"""The quick answer is "nothing to do" only if a full run would say so, too."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import subprocess
import sys
import time
import zlib
from pathlib import Path

import noop_words as quick
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pipeline_bench import ROOT, PipelineBench, shell, wait_for
from suites import full_but

from runner.engine import Options
from runner.engine.run import run
from runner.errors import OffpipeError, StateError
from runner.listener import Listener
from runner.plan.decisions import Skip
from runner.reading import TICK_NS
from runner.record.invocation import SHORT_SPEC
from runner.record.noop_record import MAGIC, conditions_now
from runner.verbs.query import plan

UPPER = "def upper(words):\n    open(words[0], 'w').write(open(words[1]).read().upper())\n"


class Remembered(PipelineBench):
    """A pipeline that gets the quick answer once it has settled. In `fresh`, `root` is the current directory."""

    def lay_out(self):
        self.write("in/a.txt", "a\n")
        self.write("in/b.txt", "b\n")
        self.write("tree/one", "1\n")
        self.write("tree/below/two", "2\n")
        self.write("bin/upper.py", "import sys\nimport helper\nfrom pack import more\nhelper.upper(sys.argv[1:])\n")
        self.write("bin/helper.py", UPPER)
        self.write("bin/pack/__init__.py", "")
        self.write("bin/pack/more.py", "")
        self.write("rules.txt", "x\n")
        self.define(
            {"name": "join", "command": ["sh", "-c", "cat $0 $1 > $2", "{inputs.all}", "{outputs.o}"],
             "inputs": {"all": "in/*.txt"}, "outputs": {"o": "w/joined"}},
            {"name": "upper", "processor": "bin/upper.py", "inputs": {"i": "w/joined"}, "outputs": {"o": "w/upper"},
             "args": ["{outputs.o}", "{inputs.i}", "rules.txt", "later.txt"]},
            {"name": "tree", "command": ["cp", "-r", "{inputs.t}", "{outputs.o}"], "inputs": {"t": "tree/"},
             "outputs": {"o": "out/tree/"}},
        )  # fmt: skip


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    made = Remembered(tmp_path_factory.mktemp("noop"))
    made.lay_out()
    return made


def full_answer(bench):
    """Whether a full plan finds nothing to do, without a fault or a warning."""
    warnings = []
    try:
        planned = plan(str(bench.spec), Options(), warnings.append)
    except OffpipeError:
        return False
    decided = all(isinstance(decision, Skip) for decision in planned.planning.plan.decisions.values())
    return decided and not planned.planning.plan.faults and not warnings


def in_place(path, content):
    """Change bytes in place and restore the modification time."""

    def edit(bench):
        target = bench.root / path
        if target.exists():  # an earlier edit may have removed it
            before = target.stat()
            target.write_bytes(content)
            os.utime(target, ns=(before.st_atime_ns, before.st_mtime_ns))

    return edit


def writes(path, content="new\n"):
    return lambda bench: bench.write(path, content)


def removes(path):
    def edit(bench):
        target = bench.root / path
        if target.is_dir() and not target.is_symlink():
            target.rename(bench.root.with_name(f"{bench.root.name}-{time.time_ns()}"))
        else:
            target.unlink(missing_ok=True)

    return edit


def links(path, to):
    def edit(bench):
        removes(path)(bench)
        (bench.root / path).symlink_to(to)

    return edit


def appends(path, content):
    def edit(bench):
        with (bench.root / path).open("ab") as file:
            file.write(content)

    return edit


def moves_away_and_back(bench):
    (bench.root / "w").rename(bench.root / "elsewhere")
    (bench.root / "elsewhere").rename(bench.root / "w")


def respecifies(**fields):
    def edit(bench):
        value = json.loads(bench.spec.read_text())
        value["stages"][0].update(fields)
        bench.spec.write_text(json.dumps(value))

    return edit


EDITS = {
    "nothing": lambda bench: None,
    "touch": lambda bench: os.utime(bench.root / "in/a.txt"),
    "edit_input": writes("in/a.txt", "A\n"),
    "edit_input_in_place": in_place("in/a.txt", b"z\n"),
    "new_match": writes("in/c.txt"),
    "hidden_match": writes("in/.hidden.txt"),
    "unmatched": writes("in/other"),
    "literal_match": writes("in/*.txt", "literal\n"),
    "no_match": removes("in/b.txt"),
    "edit_output": writes("w/upper", "x\n"),
    "edit_output_in_place": in_place("w/joined", b"x\ny\n"),
    "no_output": removes("w/upper"),
    "linked_output": links("w/upper", "joined"),
    "linked_directory": lambda bench: ((bench.root / "w").rename(bench.root / "v"), (bench.root / "w").symlink_to("v")),
    "moved_and_back": moves_away_and_back,
    "edit_processor": writes("bin/upper.py", "import helper, sys\nhelper.upper(sys.argv[1:])\n"),
    "touch_processor": lambda bench: os.utime(bench.root / "bin/upper.py"),
    "edit_module": in_place("bin/helper.py", UPPER.replace("upper()", "lower()").encode()),
    "shadowing_module": writes("bin/helper/__init__.py", "def upper(words):\n    open(words[0], 'w').close()\n"),
    "shadowing_standard": writes("bin/sys.py", ""),
    "shadowing_string": writes("bin/string.py", ""),
    "new_submodule": writes("bin/pack/more/__init__.py", ""),
    "banned_import": writes("bin/helper.py", "import socket\ndef upper(words):\n    pass\n"),
    "unused_module": writes("bin/unused.py", ""),
    "edit_named_file": writes("rules.txt", "y\n"),
    "later_named_file": writes("later.txt"),
    "edit_tree": in_place("tree/below/two", b"3\n"),
    "new_in_tree": writes("tree/below/three"),
    "chmod_in_tree": lambda bench: (bench.root / "tree/one").chmod(0o755),
    "link_in_tree": links("tree/one", "below/two"),
    "edit_output_tree": in_place("out/tree/below/two", b"9\n"),
    "new_in_output_tree": writes("out/tree/more"),
    "no_marker": removes("state/stage_join.json"),
    "damaged_marker": in_place("state/stage_join.json", b"{}"),
    "no_ledger": removes("state/audit_ledger.jsonl"),
    "torn_ledger": appends("state/audit_ledger.jsonl", b"{"),
    "leftover": writes("state/tmp/left"),
    "new_param": respecifies(params={"n": 1}),
    "new_name": respecifies(name="other"),
    "new_retry": respecifies(retry={"attempts": 2}),
    "invalid_spec": writes("spec.json", "{"),
}  # fmt: skip
HARMLESS = {"nothing", "hidden_match", "moved_and_back"}  # these may get the quick answer, but need not
ONE_OF_EACH_KIND = """
    nothing edit_input_in_place new_match edit_output_in_place no_output linked_output edit_module shadowing_module
    later_named_file new_in_tree chmod_in_tree damaged_marker no_ledger leftover new_param
""".split()


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    made = Remembered(tmp_path / "root")
    made.root.mkdir()
    monkeypatch.chdir(made.root)
    made.lay_out()
    quick.settle(made)
    return made


@pytest.mark.parametrize("edit", full_but(EDITS, ONE_OF_EACH_KIND))
def test_the_quick_way_answers_only_what_the_long_way_would(fresh, edit):
    EDITS[edit](fresh)
    answer = quick.answer([str(fresh.spec), "-q"])
    if answer is not None:
        assert answer == 0
        assert full_answer(fresh)
        assert edit in HARMLESS
    elif edit == "nothing":
        pytest.fail("nothing changed, and there is no quick answer")


@pytest.mark.full
@settings(max_examples=25)
@given(
    edits=st.lists(st.sampled_from(sorted(set(EDITS) - {"invalid_spec", "new_name", "linked_directory"})), max_size=3)
)
def test_no_series_of_edits_gets_a_quick_answer_that_a_full_run_would_not_give(bench, edits):
    """All examples share one pipeline, and each first repairs what the last series damaged."""
    bench.lay_out()
    for path in (
        "in/*.txt",
        "in/c.txt",
        "bin/sys.py",
        "bin/string.py",
        "later.txt",
        "tree/below/three",
        "state/tmp/left",
    ):
        removes(path)(bench)
    for path in ("bin/helper", "bin/pack/more", "state/audit_ledger.jsonl"):
        if (bench.root / path).is_dir() or path.endswith(".jsonl"):
            removes(path)(bench)
    quick.settle(bench)
    for edit in edits:
        EDITS[edit](bench)
        if quick.answer([str(bench.spec), "-q"]) == 0:
            assert full_answer(bench), edits


def test_a_new_file_behind_a_wildcard_is_seen(fresh):
    fresh.write("data/a/in.txt", "a\n")
    (fresh.root / "data/b").mkdir()
    (fresh.root / "data/l").symlink_to("../later")
    fresh.define(
        {"name": "s", "command": ["cat", "{inputs.i}"], "stdout": "o", "inputs": {"i": "data/*/in.txt"},
         "outputs": {"o": "o"}}
    )  # fmt: skip
    fresh.succeed("clean", "--orphans")  # each would be a warning, and a quick answer has none
    quick.settle(fresh)
    fresh.write("data/b/in.txt", "b\n")
    assert quick.answer([str(fresh.spec), "-q"]) is None
    quick.settle(fresh)
    fresh.write("later/in.txt", "l\n")
    assert quick.answer([str(fresh.spec), "-q"]) is None


def test_a_module_behind_a_link_that_led_nowhere_is_seen(fresh):
    fresh.write(
        "bin/upper.py",
        f"try:\n    import late\nexcept ImportError:\n    pass\n{(fresh.root / 'bin/upper.py').read_text()}",
    )
    (fresh.root / "bin/late.py").symlink_to("../late.py")
    quick.settle(fresh)
    fresh.write("late.py", "")
    assert quick.answer([str(fresh.spec), "-q"]) is None
    assert not full_answer(fresh)


def test_two_specs_of_one_name_in_one_workspace_have_two_records(fresh, tmp_path):
    first, second = PipelineBench(tmp_path / "a"), PipelineBench(tmp_path / "b")
    for bench in (first, second):
        bench.root.mkdir()
        bench.write("in.txt", "x")
        bench.define(shell("s", "cp $PIPELINE_INPUT_I $PIPELINE_OUTPUT_OUT", inputs={"i": "in.txt"}))
    quick.settle(first, "--workspace", str(tmp_path / "w"))
    assert quick.answer([str(second.spec), "-q", "--workspace", str(tmp_path / "w")]) is None


def test_a_fifo_in_the_place_of_the_record_is_not_waited_for(fresh):
    (fresh.root / ".offpipe/noop-spec.json").unlink()
    os.mkfifo(fresh.root / ".offpipe/noop-spec.json")
    assert quick.answer([str(fresh.spec), "-q"]) is None


def test_a_verb_is_no_spec(fresh):
    (fresh.root / "schema").write_bytes(fresh.spec.read_bytes())
    assert quick.answer(["schema"]) is None


def test_a_full_disk_leaves_nothing_half_done(fresh, monkeypatch):
    def refuse(*_arguments):
        raise OSError(28, "No space left on device")

    before = sorted(os.listdir("state"))
    monkeypatch.setattr(os, "fdatasync", refuse)
    with pytest.raises(StateError):
        quick.answer([str(fresh.spec), "-q"])
    assert sorted(os.listdir("state")) == before


# ---- what else needs a full run --------------------------------------------------------------------------------------


@pytest.mark.full_after(1)
@pytest.mark.parametrize("name", ["PATH", "HOME"])
def test_another_environment_needs_a_full_run(fresh, monkeypatch, name):
    monkeypatch.setenv(name, f"{os.environ.get(name, '')}:/more")
    assert quick.answer([str(fresh.spec), "-q"]) is None


@pytest.mark.parametrize("locked", ["locks/pipeline.lock", "state"])
def test_a_held_lock_needs_a_full_run(fresh, locked):
    descriptor = os.open(fresh.root / locked, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    assert quick.answer([str(fresh.spec), "-q"]) is None
    os.close(descriptor)
    assert quick.answer([str(fresh.spec), "-q"]) == 0


@pytest.mark.full_after(1)
@pytest.mark.parametrize("torn", [b'{"data":{"invo', b"{", b'{"data":{"invocation":{"began":'], ids=len)
def test_a_line_of_the_ledger_that_a_kill_tore_is_cut_off_by_the_next_run(fresh, torn):
    with open(fresh.root / "state/audit_ledger.jsonl", "ab") as ledger:
        ledger.write(torn)
    fresh.succeed()
    assert "intact" in fresh.succeed("verify").stdout


@pytest.mark.parametrize("variable", ["OFFPIPE_PLAIN", "OFFPIPE_AUDIT_KEY_FILE"])
def test_plain_mode_or_a_key_needs_a_full_run(fresh, monkeypatch, variable):
    monkeypatch.setenv(variable, "1")
    assert quick.answer([str(fresh.spec), "-q"]) is None


@pytest.mark.full
@pytest.mark.parametrize(
    "words",
    [
        ["-f"], ["join"], ["--paranoid"], ["--param", "join.n=1"], ["--json"], ["-n"], ["-v"], ["--run-id", "x"],
        ["-j0"], ["-j", "x"], ["--durability", "none"], ["--offline", "strict"], ["--workspace", "elsewhere"],
        ["--pipeline", "x"], ["--help"], ["--", "x"], ["--wait"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_other_words_need_a_full_run(fresh, words):
    assert quick.answer([str(fresh.spec), *words]) is None


@pytest.mark.full_after(3)
@pytest.mark.parametrize(
    "words",
    [[], ["-j", "4"], ["--on-failure", "tell"], ["-q"], ["-k"], ["-j2"], ["--jobs=1"], ["--durability=process"]],
    ids=" ".join,
)
def test_words_that_matter_only_if_a_stage_runs_get_a_quick_answer(fresh, words):
    assert quick.answer([*words, str(fresh.spec)]) == 0
    assert quick.answer(["run", str(fresh.spec), *words]) == 0


@pytest.mark.full_after(2)
@pytest.mark.parametrize("at", [0, -1, 20, 40, 60])
def test_a_damaged_record_is_not_used(fresh, at):
    path = fresh.root / ".offpipe/noop-spec.json"
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
    assert quick.answer([str(fresh.spec), "-q"]) is None
    path.write_bytes(b"")
    assert quick.answer([str(fresh.spec), "-q"]) is None


@pytest.mark.full_after(1)
@pytest.mark.parametrize("content", [None, b"", b"{}"], ids=["changed", "empty", "other"])
def test_a_damaged_record_is_reported_once_and_written_anew(fresh, content):
    path = fresh.root / ".offpipe/noop-spec.json"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + b"\0" if content is None else content)
    done = fresh.succeed()
    assert done.stderr.count("warning:") == 1 and ".offpipe/noop-spec.json" in done.stderr
    assert "nothing to do" in done.stdout
    assert fresh.succeed().stderr == ""
    quick.settle(fresh)


def test_a_record_of_another_interpreter_is_written_anew_without_a_word(fresh):
    path = fresh.root / ".offpipe/noop-spec.json"
    content = bytearray(path.read_bytes())
    content[len(MAGIC)] ^= 1
    path.write_bytes(content)
    assert fresh.succeed().stderr == ""
    quick.settle(fresh)


def test_a_run_with_work_takes_the_record_away_before_its_first_stage(fresh):
    (fresh.root / "in/a.txt").write_text("changed\n")
    fresh.write(
        "bin/upper.py", "import os, sys\nopen(sys.argv[1], 'w').write(str(os.path.exists('.offpipe/noop-spec.json')))\n"
    )
    fresh.succeed()
    assert fresh.read("w/upper") == b"False"


def records(state):
    last = json.loads((state / "audit_ledger.jsonl").read_bytes().splitlines()[-1])
    newest = state / f"audit_{last['run']}.jsonl"  # not by time: two runs may have the same time
    return [json.loads(line) for line in newest.read_bytes().splitlines()], newest


def test_records_what_a_full_run_records(fresh):
    """Compares log, metrics, ledger and output, without times and hashes."""
    program = [sys.executable, "-m", "runner", "spec.json"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    texts = []
    for plain in ("", "1"):
        done = subprocess.run(program, env={**env, "OFFPIPE_PLAIN": plain}, capture_output=True, text=True, check=True)
        entries, log = records(fresh.root / "state")
        metrics = json.loads(Path(str(log).replace("audit_", "metrics_").replace(".jsonl", ".json")).read_text())
        ledger = json.loads((fresh.root / "state/audit_ledger.jsonl").read_bytes().splitlines()[-1])
        run = ledger["run"]
        for record in (*entries, ledger):
            for name in ("hash", "prev", "ts", "seq"):
                del record[name]
        del ledger["data"]["logHash"], ledger["data"]["invocation"]["began"]
        del entries[0]["data"]["ledgerHead"], entries[1]["data"]["metricsSha256"], metrics["totals"]["seconds"]
        text = json.dumps(
            [entries, metrics, ledger, done.stdout.splitlines()[0], len(done.stdout.splitlines()), done.stderr]
        )
        texts.append(text.replace(run, "RUN"))
    assert texts[0] == texts[1]
    assert fresh.succeed("verify").returncode == 0


@pytest.mark.full
def test_runs_side_by_side_leave_a_chain(fresh):
    started = [fresh.start("-q") for _ in range(8)]
    assert [process.wait(60) for process in started] == [0] * 8
    fresh.close()
    assert fresh.succeed("verify").returncode == 0


@pytest.mark.full
def test_one_record_serves_both_ways_to_start_and_every_directory(fresh, tmp_path):
    script = [sys.executable, "-c", "from runner.__main__ import main; raise SystemExit(main())", str(fresh.spec), "-q"]
    module = [sys.executable, "-m", "runner", str(fresh.spec), "-q"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    record = fresh.root / ".offpipe/noop-spec.json"
    subprocess.run(script, cwd=fresh.root, env=env, check=True)  # this process has another sys.path than its children
    before = record.stat().st_mtime_ns
    for command, directory in ((script, tmp_path), (module, ROOT), (module, tmp_path), (script, fresh.root)):
        subprocess.run(command, cwd=directory, env=env, check=True)
        assert record.stat().st_mtime_ns == before, "the run was planned, and recorded anew"


@pytest.mark.full
def test_a_long_spec_is_in_one_log_and_named_by_those_that_follow(fresh):
    value = json.loads(fresh.spec.read_text())
    value["description"] = "x" * SHORT_SPEC
    fresh.spec.write_text(json.dumps(value))
    fresh.succeed("-f")
    quick.settle(fresh)
    (start, _), log = records(fresh.root / "state")
    holder = log.with_name(f"audit_{start['data']['specIn']}.jsonl")
    first = json.loads(holder.read_bytes().splitlines()[0])
    assert "spec" not in start["data"] and holder != log
    assert hashlib.sha256(first["data"]["spec"].encode()).hexdigest() == start["data"]["specSha256"]
    assert fresh.succeed("verify").returncode == 0


@pytest.mark.full
@pytest.mark.parametrize("module", [True, False], ids=["module", "script"])
def test_exit_functions_and_profilers_still_run(fresh, tmp_path, module):
    """Coverage needs its exit function; a profiler runs the program in its own process."""
    (tmp_path / "sitecustomize.py").write_text("import atexit\natexit.register(print, 'the end')\n")
    script = tmp_path / "offpipe"
    script.write_text("import sys\nfrom runner.__main__ import program\nsys.exit(program())\n")
    words = [*(["-m", "runner"] if module else [script]), fresh.spec, "-q"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}

    def printed(*before, path=str(ROOT)):
        command = [sys.executable, *before, *words]
        return subprocess.run(
            command, env={**env, "PYTHONPATH": path}, capture_output=True, text=True, check=True
        ).stdout

    assert printed() == ""
    record = fresh.root / ".offpipe/noop-spec.json"
    before = record.stat().st_mtime_ns
    assert printed(path=f"{tmp_path}:{ROOT}") == "the end\n"
    assert "function calls" in printed("-m", "cProfile")
    assert record.stat().st_mtime_ns == before, "the run was planned"


@pytest.mark.full_after(1)
@pytest.mark.parametrize("length", [255, 200, 201])
def test_a_spec_with_the_longest_possible_name_has_a_record(tmp_path, length):
    bench = PipelineBench(tmp_path)
    bench.spec = tmp_path / f"{'s' * (length - 5)}.json"
    bench.define(shell("a", "echo >$PIPELINE_OUTPUT_OUT"))
    bench.succeed()
    quick.settle(bench)
    assert len(list((tmp_path / ".offpipe").iterdir())) == 1


def forged(bench, number, field):
    """Replace a field of the record, and make its checksum fit."""
    path = bench.root / ".offpipe/noop-spec.json"
    conditions = conditions_now(str(bench.spec), None)
    start = len(MAGIC) + len(conditions) + 8
    fields = path.read_bytes()[start:].split(b"\0")
    fields[number] = field
    body = b"\0".join(fields)
    path.write_bytes(MAGIC + conditions + b"%08x" % zlib.crc32(body) + body)


FORGERIES = {
    "a state directory that is none": (0, b"/nowhere"),
    "another spec": (4, b"0" * 64),
    "a run outside": (5, b"../none"),
    "a locks directory that is a file": (1, b"/dev/null"),
    "another pipeline": (2, b"other"),
    "more stages than any": (3, b"9" * 5000),
    "a run that is none": (5, b"none"),
    "a state that is no number": (6, b"x"),
    "more paths than there are": (9, b"999999999"),
}  # fmt: skip


@pytest.mark.full_after(3)
@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forged_record_leads_to_a_full_run_and_an_intact_log(fresh, forgery):
    forged(fresh, *FORGERIES[forgery])
    assert quick.answer([str(fresh.spec), "-q"]) is None
    done = fresh.succeed()
    assert "nothing to do" in done.stdout and "Traceback" not in done.stderr
    assert fresh.succeed("verify").returncode == 0


class Swaps(Listener):
    """Points the link `data` to an older directory once a plan hashes its large input."""

    def __init__(self, root: Path) -> None:
        self._link = root / "sub/x/data"

    def hashed(self, path, total, size):
        del path, total, size
        self._link.unlink()
        self._link.symlink_to("other")
        self.hashed = lambda *_: None


@pytest.mark.parametrize("other", ["another\n", None], ids=["another file", "no file"])
def test_a_link_that_leads_elsewhere_before_the_record_is_written_is_noticed(tmp_path, other):
    bench = PipelineBench(tmp_path)
    bench.write("sub/x/first/in.txt", "one\n")
    (tmp_path / "sub/x/other").mkdir()
    if other:
        bench.write("sub/x/other/in.txt", other)
    (tmp_path / "sub/x/data").symlink_to("first")
    with open(tmp_path / "large", "wb") as file:
        file.truncate(8 << 20)
    count = shell("b", "wc -c <$PIPELINE_INPUT_X >$PIPELINE_OUTPUT_OUT", inputs={"x": "large"})
    bench.define(shell("a", "cp $PIPELINE_INPUT_X $PIPELINE_OUTPUT_OUT", inputs={"x": "sub/x/data/in.txt"}), count)
    bench.succeed()
    os.utime(tmp_path / "large")  # so that the next plan hashes it again
    newest = max(path.lstat().st_ctime_ns for path in tmp_path.rglob("*"))
    wait_for(lambda: time.time_ns() > newest + 3 * TICK_NS, "time stamps that have settled")
    run(str(bench.spec), Options(), Swaps(tmp_path))
    done = bench.run()
    assert done.returncode == (0 if other else 5), done.stdout
    assert bench.read("out/a.txt") == (other or "one\n").encode()
