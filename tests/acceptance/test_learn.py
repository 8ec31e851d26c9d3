"""`offpipe learn -- COMMAND...` makes a sealed stage from a command that works, and loses nothing."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import harmless_lacking
import pytest
from harmless_lives import bench_as_user
from pipeline_bench import ROOT, PipelineBench, wait_for

ENV = {**os.environ, "PYTHONPATH": str(ROOT)}
PLAIN = ("-p", "no:randomly", "-p", "no:hypothesispytest", "-p", "no:cacheprovider")
VISITS, NAMES = "2026-03-01,1\n2026-03-02,2\n", "1,Ada\n2,Grace\n"
TIDY = """
import csv, sys
names = dict(csv.reader(open(sys.argv[2])))
with open(sys.argv[3], "w") as tidy:
    for date, number in csv.reader(open(sys.argv[1])):
        tidy.write(f"{date},{names[number]}\\n")
"""
CONFIGURED = """
import configparser
settings = configparser.ConfigParser()
settings.read("tool.ini")
from helpers.case import change
with open("in.txt") as text, open("changed.txt", "w") as changed:
    changed.write(change(text.read(), settings["tool"]["case"]))
"""
CASE = "def change(text, case):\n    return getattr(text, case)()\n"
TWO = """
#!/bin/sh
mkdir -p out
grep a "$1" > out/with.txt
grep -v a "$1" > out/without.txt
"""
REPRODUCIBLE = ("--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner")  # reproducible-builds.org
MAIN = '#include <stdio.h>\n#include "say.h"\nint main(void) { puts(SAY); return 0; }\n'


class Case(NamedTuple):
    """A command, the files that it finds, and what the stage is expected to hold."""

    words: list[str]
    files: dict[str, str]
    stage: dict[str, object]


TEXT = {"in.txt": "b 2\na 1\nc 3\n"}
CASES = {
    "python": Case(
        ["python", "tidy.py", "visits.csv", "names.csv", "out.csv"],
        {"tidy.py": TIDY, "visits.csv": VISITS, "names.csv": NAMES},
        {"name": "tidy", "processor": "tidy.py", "args": ["{inputs.visits}", "{inputs.names}", "{outputs.out}"],
         "inputs": {"names": "names.csv", "visits": "visits.csv"}, "outputs": {"out": "out.csv"}},
    ),
    "awk": Case(
        ["awk", '{ print $2 > "second.txt" }', "in.txt"], TEXT,
        {"name": "awk", "command": ["awk", '{ print $2 > "second.txt" }', "{inputs.in}"],
         "inputs": {"in": "in.txt"}, "outputs": {"second": "second.txt"}},
    ),
    "sort": Case(
        ["sort", "--output=sorted.txt", "in.txt"], TEXT,
        {"name": "sort", "command": ["sort", "--output={outputs.sorted}", "{inputs.in}"],
         "inputs": {"in": "in.txt"}, "outputs": {"sorted": "sorted.txt"}},
    ),
    "gzip": Case(
        ["gzip", "-kn", "a.csv", "b.csv"], {"a.csv": "a\n", "b.csv": "b\n", "c.csv": "c\n"},
        {"name": "gzip", "command": ["gzip", "-kn", "{inputs.a}", "{inputs.b}"],
         "inputs": {"a": "a.csv", "b": "b.csv"}, "outputs": {"a_csv": "a.csv.gz", "b_csv": "b.csv.gz"}},
    ),
    "pipe": Case(
        ["sh", "-c", "cut -d' ' -f1 in.txt | sort > first.txt"], TEXT,
        {"name": "sh", "command": ["sh", "-c", "cut -d' ' -f1 in.txt | sort > first.txt"],
         "inputs": {"in": "in.txt"}, "outputs": {"first": "first.txt"}},
    ),
    "tar": Case(
        ["tar", *REPRODUCIBLE, "-cf", "data.tar", "data"], {"data/a": "a", "data/deep/b": "b", "other": ""},
        {"name": "tar", "command": ["tar", *REPRODUCIBLE, "-cf", "{outputs.data}", "{inputs.data}"],
         "inputs": {"data": "data/"}, "outputs": {"data": "data.tar"}},
    ),
    "compiler": Case(
        ["gcc", "-o", "hello", "src/main.c"], {"src/main.c": MAIN, "src/say.h": '#define SAY "hello"\n'},
        {"name": "gcc", "command": ["gcc", "-o", "{outputs.hello}", "{inputs.main}"],
         "inputs": {"main": "src/main.c", "say": "src/say.h"}, "outputs": {"hello": "hello"}},
    ),
    "config": Case(
        ["python", "tool.py"],
        {"tool.py": CONFIGURED, "tool.ini": "[tool]\ncase = upper\n", "helpers/case.py": CASE, **TEXT},
        {"name": "tool", "processor": "tool.py",
         "inputs": {"in": "in.txt", "tool": "tool.ini"}, "outputs": {"changed": "changed.txt"}},
    ),
    "two files": Case(
        ["sh", "scripts/two.sh", "in.txt"], {"scripts/two.sh": TWO.lstrip(), "out/kept": "", **TEXT},
        {"name": "two", "command": ["sh", "scripts/two.sh", "{inputs.in}"],
         "inputs": {"in": "in.txt"}, "outputs": {"with": "out/with.txt", "without": "out/without.txt"}},
    ),
    "directory": Case(
        ["sh", "-c", "mkdir parts && split -l 1 in.txt parts/x"], TEXT,
        {"name": "sh", "command": ["sh", "-c", "mkdir parts && split -l 1 in.txt parts/x"],
         "inputs": {"in": "in.txt"}, "outputs": {"parts": "parts/"}},
    ),
}  # fmt: skip


def learn(bench, *words, options=(), before=(), **popen):
    """Learn from a command in the root of the bench. `before` stands before the interpreter."""
    line = [*before, sys.executable, "-m", "runner", "learn", *options, "--", *words]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.run(line, cwd=bench.root, env=ENV, timeout=100, **{**pipes, **popen}, check=False)


def learned(bench, *words, **more):
    """Learn from a command; return its stage, and what stderr says after the first line and what the command prints."""
    done = learn(bench, *words, **more)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr.partition("\n")[2]


def content_of(bench, paths):
    """Return the bytes of files, also those in directories."""
    found = [path for name in paths for path in (bench.root / name, *(bench.root / name).rglob("*"))]
    assert found
    return {str(path): path.read_bytes() for path in found if path.is_file()}


@pytest.mark.full_after(3)
@pytest.mark.parametrize("name", CASES)
def test_what_is_learned_makes_the_same_bytes_and_passes_its_checks(bench, name):
    words, files, expected = CASES[name]
    for path, content in files.items():
        bench.write(path, content)
    stage, notes = learned(bench, *words)
    assert stage == {"sealed": True, **expected}
    assert notes == ""
    made = content_of(bench, stage["outputs"].values())
    for path in stage["outputs"].values():
        (shutil.rmtree if path.endswith("/") else os.remove)(bench.root / path)
    bench.define(stage)
    bench.succeed()
    assert content_of(bench, stage["outputs"].values()) == made
    suite = [sys.executable, "-m", "pytest", "-q", *PLAIN, "--offpipe-spec", bench.spec]
    env = os.environ | {"PYTHONPATH": str(ROOT)}  # ENV lacks what fixtures have set
    checked = subprocess.run(suite, cwd=bench.root, env=env, capture_output=True, text=True, timeout=100, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


# ---- what it says and does not lose ----


def test_earlier_outputs_are_no_inputs(bench):
    bench.write("in.txt", "b\na\n")
    stages = [learned(bench, "sh", "-c", "sort -o sorted.txt in.txt; sort in.txt > shell.txt") for _ in range(2)]
    assert stages[0] == stages[1]
    assert stages[0][0]["inputs"] == {"in": "in.txt"}


def test_a_path_that_was_only_asked_for_is_an_input(bench):
    bench.write("stop", "")
    bench.write("tree/file", "")
    stage, _ = learned(bench, "sh", "-c", "test -e stop && test -d tree && test ! -e missing && echo > out")
    assert stage["inputs"] == {"stop": "stop", "tree": "tree/"}


def test_a_program_below_root_is_the_processor_and_its_script_is_code(bench):
    bench.write("bin/tool", '#!/bin/sh\n. ./lib.sh\ncp "$1" "$2"\n', 0o755)
    bench.write("lib.sh", "")
    bench.write("in.txt", "")
    stage, _ = learned(bench, "./bin/tool", str(bench.root / "in.txt"), "out.txt")
    assert (stage["processor"], stage["args"]) == ("bin/tool", ["{inputs.in}", "{outputs.out}"])
    assert stage["inputs"] == {"in": "in.txt", "lib": "lib.sh"}


def test_an_environment_that_a_program_is_in_is_among_the_tools_of_the_stage(bench):
    bench.write("tool.py", "import local\nopen('out.txt', 'w').write(local.TEXT)\n")
    bench.write("local.py", "TEXT = 'local'\n")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", bench.root / "envs/own"], check=True)
    stage, notes = learned(bench, "envs/own/bin/python", "tool.py")
    assert stage == {
        "name": "tool", "sealed": True, "processor": "tool.py", "outputs": {"out": "out.txt"}, "tools": "envs/own"
    }  # fmt: skip
    assert notes == ""
    os.remove(bench.root / "out.txt")
    bench.define(stage)
    bench.succeed()
    assert bench.read("out.txt") == b"local"


def test_a_program_from_a_bin_beside_root_hides_nothing(tmp_path):
    bench = PipelineBench(tmp_path / "root")
    bench.write("in.txt", "")
    tool = bench.write("../bin/tool", "#!/bin/sh\ncat in.txt > out.txt\n", 0o755).resolve()
    stage, notes = learned(bench, str(tool))
    assert (stage["command"], stage["inputs"], notes) == ([str(tool)], {"in": "in.txt"}, "")


def test_a_new_directory_is_an_output_unless_its_files_are_named(bench):
    bench.write("in.txt", "")
    bench.write("copy.sh", 'mkdir -p "$(dirname "$2")" && cp "$1" "$2"\n')
    assert learned(bench, "sh", "copy.sh", "in.txt", "a/b/c.txt")[0]["outputs"] == {"c": "a/b/c.txt"}
    assert learned(bench, "sh", "-c", "sh copy.sh in.txt x/y/z.txt")[0]["outputs"] == {"x": "x/"}


def test_its_outputs_stay_and_nothing_else_is_made(bench):
    bench.write("in.txt", "b\na\n")
    learned(bench, "sh", "-c", "sort -S 1b -T . in.txt > out.txt; t=$(mktemp) && rm $t")
    assert bench.read("out.txt") == b"a\nb\n"
    assert sorted(path.name for path in bench.root.iterdir()) == ["in.txt", "out.txt"]


CANNOT = {
    "echo b > new; cat old >> both": "both: it was read and then written",
    "sed -i s/o/n/ old; echo > new": "old: it was read and then written",
    "rm old; echo > new": "old: it was removed, and a stage removes nothing",
    "ln -s old link; echo > new": "link: it is a symbolic link",
    "cat OUTSIDE > new": "OUTSIDE: it was read outside root",
    "echo > new; echo > OUTSIDE": "OUTSIDE: it was written outside root",
    "ls d > d/new": "d: its entries were listed, and outputs lie in it",
    "ls > new": ".: its entries were listed, and outputs lie in it",
    "python -c 'import _socket; _socket.socket()'; echo > new": "tried to reach a network (AF_INET)",
}


@pytest.mark.full_after(4)
@pytest.mark.parametrize("script", CANNOT)
def test_what_no_stage_can_say_is_on_stderr(tmp_path, script):
    bench = PipelineBench(tmp_path / "root")
    for path in ("old", "both", "d/file"):
        bench.write(path, "o\n")
    outside = tmp_path / "outside"
    outside.write_text("o\n")
    _, notes = learned(bench, "sh", "-c", script.replace("OUTSIDE", str(outside)))
    assert CANNOT[script].replace("OUTSIDE", str(outside)) in notes
    assert notes.count("warning: ") == 1


def test_of_many_files_outside_root_some_are_named(tmp_path):
    bench = PipelineBench(tmp_path / "root")
    bench.write("in.txt", "")
    for number in range(30):
        (tmp_path / f"{number}").touch()
    _, notes = learned(bench, "sh", "-c", "cat ../[0-9]* > out")
    assert notes.count(": it was read outside root") == 10 and "it read 30 files outside root" in notes


def test_an_option_before_the_command_needs_two_dashes(bench):
    words = [sys.executable, "-m", "runner", "learn", "sort", "-o", "out", "in.txt"]
    done = subprocess.run(words, cwd=bench.root, env=ENV, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "hint: what follows -- is the command" in done.stderr


def test_what_the_command_prints_is_on_stderr(bench):
    done = learn(bench, "sh", "-c", "echo printed; echo wrong >&2; echo > out")
    assert json.loads(done.stdout)["name"] == "sh"
    assert done.stderr.splitlines()[1:] == ["printed", "wrong"]


REFUSED = {
    "exit 3": (1, "sh: failed with exit 3"),
    "kill -TERM $$": (1, "sh: was ended by SIGTERM"),
    "true": (1, "sh: made no file below root"),
}


@pytest.mark.parametrize("end", REFUSED)
def test_a_command_that_fails_or_makes_nothing_is_no_stage(bench, end):
    bench.write("kept", "")
    done = learn(bench, "sh", "-c", f"cat kept; {'echo > out; ' if end != 'true' else ''}{end}")
    assert (done.returncode, done.stdout) == (REFUSED[end][0], "")
    assert f"error: {REFUSED[end][1]}" in done.stderr and "hint: " in done.stderr
    assert bench.exists("out") == (end != "true")


@pytest.mark.parametrize(
    ("words", "what"),
    [(["nosuch"], 'no program "nosuch"'), ([], "no command given"), (["true"], '"a/b" is not a name')],
    ids=str,
)
def test_it_runs_nothing_that_it_cannot_say(bench, words, what):
    done = learn(bench, *words, options=["--name", "a/b"] if words == ["true"] else [])
    assert (done.returncode, done.stdout) == (2, "")
    assert what in done.stderr and "runs here" not in done.stderr


@pytest.mark.full
def test_a_large_root_is_refused_before_anything_runs(bench):
    for number in range(100_001):
        os.mkdir(bench.root / str(number))
    done = learn(bench, "sh", "-c", "echo > out")
    assert done.returncode == 2 and "more than 100,000" in done.stderr
    assert not bench.exists("out")


def test_below_level_kernel_nothing_runs(bench):
    wrapper = [sys.executable, harmless_lacking.__file__, "unshare"]
    done = learn(bench, "sh", "-c", "echo > out", before=wrapper)
    assert done.returncode == 4 and "the command cannot be watched: unshare" in done.stderr, done.stderr
    assert not bench.exists("out")


# ---- a spec that gets the stage ----

SPEC = """\ufeff{
  "specVersion": 1, "name": "mine", "x-note": "é \\u00e9 1.50",
  "defaults": {"env": {"WORD": "hello"}},
  "stages": [
    {"name": "one",   "command": ["true"], "outputs": ["one.txt"]}

  ],
  "x-more": [1, 2e3]
}
"""


def test_into_adds_the_stage_and_keeps_every_other_byte(bench):
    bench.write("in.txt", "")
    bench.spec.write_bytes(SPEC.encode())
    bench.spec.chmod(0o640)
    done = learn(bench, "sh", "-c", "cat in.txt; echo $WORD > two.txt", options=["--into", "spec.json"])
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    stage = (
        ',\n    {"name": "sh", "sealed": true,\n     "command": ["sh", "-c", "cat in.txt; echo $WORD > two.txt"],\n'
        '     "inputs": {"in": "in.txt"},\n     "outputs": {"two": "two.txt"}}'
    )
    end = '["one.txt"]}'
    assert bench.spec.read_bytes().decode() == SPEC.replace(end, end + stage)
    assert bench.spec.stat().st_mode & 0o777 == 0o640
    assert bench.read("two.txt") == b"hello\n"  # the defaults of the spec apply
    bench.succeed("validate")
    assert sorted(path.name for path in bench.root.iterdir()) == ["in.txt", "spec.json", "two.txt"]


def test_the_tools_of_the_spec_apply(bench):
    bench.write("tool.py", "import sys\nopen('out.txt', 'w').write(sys.prefix)\n")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", bench.root / "envs/own"], check=True)
    bench.define(
        {"name": "one", "command": ["true"], "outputs": ["one.txt"]}, defaults={"tools": "envs/own", "sealed": True}
    )
    done = learn(bench, "python", "tool.py", options=["--into", "spec.json"])
    assert done.returncode == 0 and "warning: " not in done.stderr, done.stderr
    assert json.loads(bench.spec.read_text())["stages"][1] == {
        "name": "tool", "sealed": True, "processor": "tool.py", "outputs": {"out": "out.txt"}
    }  # fmt: skip
    made = bench.read("out.txt")
    assert made == os.fsencode(bench.root / "envs/own")
    os.remove(bench.root / "out.txt")
    bench.succeed("run", "tool")
    assert bench.read("out.txt") == made


@pytest.mark.parametrize("layout", ["[%s]", "[ %s ]", "[\n%s]", "[\n\t%s\n\t]", "[%s, %s\n]"])  # fmt: skip
def test_into_keeps_the_layout_of_a_spec(bench, layout):
    stages = [f'{{"name": "s{number}", "command": ["true"], "outputs": ["s{number}"]}}' for number in range(2)]
    before = '{"stages": ' + layout % tuple(stages[: layout.count("%")]) + ', "specVersion": 1, "name": "it"}'
    bench.spec.write_text(before)
    done = learn(bench, "sh", "-c", "echo > out", options=["--into", "spec.json", "--name", "new"])
    assert done.returncode == 0, done.stderr
    after = bench.spec.read_text()
    names = [stage["name"] for stage in json.loads(after)["stages"]]
    assert names == [*(f"s{number}" for number in range(layout.count("%"))), "new"]
    at = next(number for number, (old, new) in enumerate(zip(before, after, strict=False)) if old != new)
    assert after.endswith(before[at:])


def unchanged(bench, *words, **more):
    """Learn into the spec, which must not change; return the exit code and stderr."""
    before = bench.spec.read_bytes()
    done = learn(bench, *words, **{"options": ["--into", "spec.json"], **more})
    assert bench.spec.read_bytes() == before
    return done.returncode, done.stderr


def test_into_refuses_a_name_that_exists_before_it_runs(bench):
    bench.define({"name": "SH", "command": ["true"], "outputs": ["a"]})
    code, said = unchanged(bench, "sh", "-c", "echo > out")
    assert code == 2 and 'has a stage "sh"' in said
    assert not bench.exists("out")


def test_into_refuses_what_validate_would_refuse_and_still_shows_the_stage(bench):
    bench.define({"name": "one", "command": ["true"], "outputs": ["out"]})
    code, said = unchanged(bench, "sh", "-c", "echo > out")
    assert code == 2 and '"out"' in said.partition("error: ")[2]
    assert '"outputs": {"out": "out"}}' in said
    bench.define({"name": "one", "command": ["true"], "outputs": ["one"], "inputs": ["missing"]})
    assert unchanged(bench, "sh", "-c", "echo > out")[0] == 5


def test_into_makes_the_spec_if_there_is_none(bench):
    for word in ("a", "b"):
        done = learn(bench, "sh", "-c", f"echo > {word}", options=["--into", "new.json", "--name", word])
        assert done.returncode == 0, done.stderr
    made = json.loads(bench.read("new.json"))
    assert (made["name"], [stage["name"] for stage in made["stages"]]) == ("new", ["a", "b"])
    done = learn(bench, "sh", "-c", "false", options=["--into", "failed.json"])
    assert done.returncode == 1 and not bench.exists("failed.json")
    os.mkdir(bench.root / "below")
    done = learn(bench, "sh", "-c", "echo > c", options=["--into", "below/new.json"])
    assert done.returncode == 2 and f"hint: cd {bench.root}/below" in done.stderr
    assert not bench.exists("c")


def test_into_refuses_a_spec_with_another_root(bench):
    bench.define({"name": "one", "command": ["true"], "outputs": ["one"]}, root="..")
    code, said = unchanged(bench, "sh", "-c", "echo > out")
    assert code == 2 and f"hint: cd {bench.root.parent}" in said
    assert not bench.exists("out")


# ---- its end ----


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_when_it_is_killed_no_process_is_left(bench, number):
    mark = f"1000.{os.getpid()}{int(number)}"
    script = f"setsid -f sleep {mark}; (trap '' TERM INT; sleep {mark}) & echo > out; sleep {mark}"
    line = [sys.executable, "-m", "runner", "learn", "--", "sh", "-c", script]
    process = subprocess.Popen(line, cwd=bench.root, env=ENV, stderr=subprocess.DEVNULL, start_new_session=True)
    wait_for(lambda: sleepers(mark) == 3, "the processes of the command")
    process.send_signal(number)
    assert process.wait(timeout=30) != 0
    wait_for(lambda: not sleepers(mark), "the end of all processes")
    assert bench.exists("out")


def sleepers(mark):
    """Return how many processes have this word in their command line."""
    count = 0
    for path in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            count += path.name.isdecimal() and mark.encode() in (path / "cmdline").read_bytes().split(b"\0")
    return count


def test_processes_that_outlive_the_command_are_ended(bench):
    mark = f"1001.{os.getpid()}"
    learned(bench, "sh", "-c", f"setsid -f sleep {mark}; echo > out")
    assert sleepers(mark) == 0


def test_any_user_may_learn():
    with bench_as_user("kernel", "unprivileged") as bench:
        bench.write("in.txt", "b\na\n")
        bench.write("closed/file", "").parent.chmod(0o700)  # root's
        bench.owner.owns(bench.root / "in.txt")
        words = [
            *bench.wrapped(()),
            bench.owner.interpreter,
            "-m",
            "runner",
            "learn",
            "--",
            "sort",
            "-o",
            "out",
            "in.txt",
        ]
        env = {**os.environ, "PYTHONPATH": bench.owner.cwd, **bench.owner.env}
        done = subprocess.run(words, cwd=bench.root, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["outputs"] == {"out": "out"}
