"""A sealed stage sees what it declares, and writes where the spec says."""

from __future__ import annotations

import os
import shlex
import shutil

import harmless_lacking
import pytest
from harmless_lives import bench_as_user
from pipeline_bench import shell
from sealed_stages import LIST, look, sealed

EPERM = "failed: EPERM (Operation not permitted)"


def stderr_of(bench, *words):
    done = bench.run(*words)
    assert done.returncode, done.stdout
    return done.stderr


# ---- what root holds ----


def test_root_holds_inputs_and_room_for_outputs_and_nothing_else(bench):
    for path in ("data/in.txt", "data/other.txt", "out/d/earlier", "tree/deep/leaf", "secret", ".hidden"):
        bench.write(path, path)
    script = "find . -mindepth 1 -name state -prune -o -print | sort; mkdir made/tree; echo >deep/er/file.txt"
    inputs = {"in": "data/in.txt", "tree": "tree/"}
    seen = look(bench, script, inputs=inputs, outputs={"file": "deep/er/file.txt", "dir": "made/tree/"})
    assert seen == [
        "./data", "./data/in.txt", "./deep", "./deep/er", "./look.seen", "./made", "./tree", "./tree/deep",
        "./tree/deep/leaf",
    ]  # fmt: skip


def test_of_the_state_directory_an_attempt_sees_what_is_its_own(bench):
    bench.write("in.txt", "in\n")
    script = 'ls -d locks .offpipe; find state ! -type d; cat "$1" "$PIPELINE_STAGE_FILE" >/dev/null'
    stage = sealed("look", "sh", "-c", script, "sh", "{list.in}", inputs={"in": "in.txt"}, needs=["a"])
    bench.define(shell("a", "echo >$PIPELINE_OUTPUT_OUT"), stage)
    bench.succeed()
    assert sorted(bench.read("look.seen").decode().split()) == [
        "state/attempt.in.list", "state/attempt.json", "state/log"
    ]  # fmt: skip


PACKAGE = {
    "p/stage.py": "import local, pkg.used, far, linked\nimport subprocess\n"
    f"subprocess.run({LIST!r}, shell=True, check=True)\n",
    "p/local.py": "", "p/unused.py": "", "p/pkg/__init__.py": "", "p/pkg/used.py": "from . import third",
    "p/pkg/third.py": "", "p/pkg/unused.py": "", "lib/far.py": "", "lib/real.py": "", "lib/unused.py": "",
}  # fmt: skip
NEEDED = ["lib/far.py", "lib/linked.py", "lib/real.py", "p/local.py", "p/pkg/__init__.py", "p/pkg/third.py",
          "p/pkg/used.py", "p/stage.py"]  # fmt: skip


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("script", ["p/stage.py", "link.py"])
def test_the_code_of_a_python_stage_is_there(bench, script, fresh):
    for path, content in PACKAGE.items():
        bench.write(path, content)
    (bench.root / "lib/linked.py").symlink_to("real.py")
    (bench.root / "link.py").symlink_to("p/stage.py")
    stage = {"name": "look", "processor": script, "stdout": "seen", "outputs": {"seen": "look.seen"}}
    paths = {"PYTHONPATH": "lib:p"}
    bench.define(stage, defaults={"sealed": True, "freshInterpreter": fresh, "env": paths})
    bench.succeed()
    seen = bench.read("look.seen").decode().split()
    assert sorted({*seen, f"./{script}"}) == sorted({"./look.seen", f"./{script}", *(f"./{path}" for path in NEEDED)})


@pytest.mark.parametrize("command", [["sh", "run.sh"], ["./run.sh"]])
def test_a_script_is_there(bench, command):
    bench.write("run.sh", f"#!/bin/sh\n{LIST}\n", 0o755)
    bench.write("other.sh", "")
    bench.define(sealed("look", *command))
    bench.succeed()
    assert bench.read("look.seen").split() == [b"./look.seen", b"./run.sh"]


# ---- paths and placeholders ----


def test_placeholders_and_variables_say_where_the_spec_says(bench):
    bench.write("data/in.txt", "in\n")
    words = ["{inputs.in}", "{outputs.o}", "{list.in}"]
    script = 'echo "$1" "$2"; cat "$3"; printenv PIPELINE_INPUT_IN PIPELINE_OUTPUT_O; pwd; echo >"$2"'
    bench.define(
        sealed("look", "sh", "-ec", script, "sh", *words, inputs={"in": "data/in.txt"}, outputs={"o": "out/o.txt"})
    )
    bench.succeed()
    root = str(bench.root)
    printed = ["data/in.txt out/o.txt", "data/in.txt", f"{root}/data/in.txt", f"{root}/out/o.txt", root]
    assert bench.read("look.seen").decode().splitlines() == printed


NAMES = ["sp ace", "-x", "ünï", "'q'", "do$lar", "back\\slash", "deep/ b/c", ".hidden"]


def test_names_may_be_odd(bench):
    for name in NAMES:
        bench.write(f"d/{name}", f"{name}\n")
    copy = sealed("copy", "cp", "-r", "--", "d", "-odd out/ü", inputs={"d": "d/"}, outputs={"o": "-odd out/ü/"})
    stage = sealed("look", "cat", "--", "{inputs.a}", inputs={"a": [f"d/{name}" for name in NAMES]})
    bench.define(copy, stage)
    bench.succeed()
    assert bench.read("look.seen").decode().splitlines() == NAMES
    assert all(bench.read(f"-odd out/ü/{name}").decode() == f"{name}\n" for name in NAMES)


def test_names_in_a_directory_may_be_any_bytes(bench):
    (bench.root / "d").mkdir()
    for name in (b"by\xfftes", b"new\nline"):
        with open(os.fsencode(bench.root) + b"/d/" + name, "wb") as file:
            file.write(b"x\n")
    assert look(bench, "cat d/*; cp -r d out", inputs={"d": "d/"}, outputs={"o": "out/"}) == ["x", "x"]
    assert len(os.listdir(bench.root / "out")) == 2


def test_two_thousand_inputs_of_a_glob_are_there(bench):
    for number in range(2000):
        bench.write(f"d/{number}.txt", "1\n")
    bench.write("d/other", "")
    bench.define(sealed("look", "sh", "-ec", 'cat $(cat "$1") | wc -l; ls d | wc -l', "sh", "{list.a}",
                        inputs={"a": "d/*.txt"}))  # fmt: skip
    bench.succeed()
    assert bench.read("look.seen").split() == [b"2000", b"2000"]


def test_instances_stdin_references_and_optional_inputs(bench):
    for name in "ab":
        bench.write(f"in/{name}.txt", f"{name}\n")
    up = {"name": "up", "each": {"x": ["a", "b"]}, "command": ["tr", "a-z", "A-Z"], "stdin": "in", "stdout": "o",
          "inputs": {"in": "in/{each.x}.txt"}, "outputs": {"o": "out/{each.x}.txt"}}  # fmt: skip
    join = {"name": "join", "processor": "offpipe:stage_copy.py", "inputs": {"p": "{outputs.up.o}"},
            "outputs": {"o": "all.txt"}}  # fmt: skip
    script = 'cat all.txt; echo "[$PIPELINE_INPUT_OPT]" $#; cat "$1"; ls'
    inputs = {"all": "all.txt", "opt": "none/*.txt"}
    last = sealed("look", "sh", "-ec", script, "sh", "{list.opt}", "{inputs.opt}", inputs=inputs, optional=["opt"])
    bench.define(up, join, last, defaults={"sealed": True})
    bench.succeed()
    assert bench.read("look.seen").decode().split() == ["A", "B", "[]", "1", "all.txt", "look.seen", "state"]
    assert bench.skips_everything()


# ---- the key and the record ----


def test_sealed_is_on_record_and_not_in_the_key(bench):
    look(bench, "true")
    look(bench, "true", sealed=False)
    first, second = (record["data"] for record in bench.records("attempt.started"))
    assert first["sealed"] is True and "sealed" not in second
    assert first["key"] == second["key"]
    bench.define(sealed("look", "sh", "-ec", "true"))
    assert bench.skips_everything()


@pytest.mark.parametrize(
    ("message", "named"),
    [
        ("cat: conf/a.yaml: No such file or directory", "conf/a.yaml"),
        ("FileNotFoundError: [Errno 2] No such file or directory: './conf/a.yaml'", "conf/a.yaml"),
        ("cannot open {root}/conf/a.yaml, sorry.", "conf/a.yaml"),
        ('no "conf/sp ace.yaml"', "conf/sp ace.yaml"),
        ("no conf/missing.yaml, in.txt, out/o.txt or /etc/passwd", None),
    ],
)
def test_the_hint_of_a_failure_names_the_path_that_is_not_declared(bench, message, named):
    for path in ("conf/a.yaml", "conf/sp ace.yaml", "in.txt"):
        bench.write(path, "x\n")
    script = f"echo {shlex.quote(message.format(root=bench.root))} >&2; exit 1"
    files = {"inputs": {"in": "in.txt"}, "outputs": {"out": "out/o.txt"}}
    bench.define(sealed("look", "sh", "-c", script, **files))
    (hint,) = [line for line in stderr_of(bench).splitlines() if line.startswith("hint: ")]
    assert "it is sealed, and " in hint
    assert (named in hint) if named else ("yaml" not in hint and "in.txt" not in hint and "/" not in hint)


@pytest.mark.full
def test_more_entries_than_a_view_can_have_are_refused(bench):
    for number in range(50_001):
        os.close(os.open(bench.root / f"{number}.x", os.O_CREAT, 0o600))
    bench.define(sealed("look", "true", inputs={"a": "*.x"}))
    done = bench.run()
    assert done.returncode == 4 and "more than 50,000" in done.stderr, done.stderr


# ---- where there are no views ----


@pytest.fixture(params=["root", "unprivileged"])
def lacking(request):
    """Return a function that runs where system calls fail; its bench is an attribute."""
    with bench_as_user("kernel", request.param) as bench:
        shutil.copy(harmless_lacking.__file__, bench.root)

        def run(calls, *words):
            wrapper = (bench.owner.interpreter, str(bench.root / "harmless_lacking.py"), calls)
            return bench.run(*words, wrapper=wrapper)

        run.bench = bench
        yield run


CALLS = pytest.mark.parametrize(
    ("calls", "why"), [("mount_setattr", f"mount_setattr {EPERM}"), ("mount", f"making / a slave mount {EPERM}")]
)


@CALLS
def test_without_views_sealed_stages_are_refused_with_the_reason(lacking, calls, why):
    lacking.bench.define(sealed("look", "true"))
    done = lacking(calls)
    assert done.returncode == 4
    assert f"stage look: is sealed, but gets no view here: {why}" in done.stderr
    assert "--sealed best-effort" in done.stderr
    assert not lacking.bench.records("attempt.started")


@CALLS
def test_best_effort_runs_sealed_stages_unsealed_and_says_so(lacking, calls, why):
    bench = lacking.bench
    bench.write("undeclared", "x\n")
    bench.define(sealed("look", "sh", "-ec", "cat undecl*"))
    done = lacking(calls, "--sealed", "best-effort")
    assert done.returncode == 0, done.stderr
    assert "warning" in done.stderr and "run unsealed" in done.stderr and why in done.stderr
    assert bench.read("look.seen") == b"x\n"
    assert [record["data"]["sealed"] for record in bench.records("attempt.started")] == [False]
    assert "look" in bench.run("verify").stdout + bench.run("verify").stderr


def test_best_effort_refuses_paths_that_only_a_view_has(lacking):
    lacking.bench.write("in.txt", "in\n")
    stage = sealed("look", "true", inputs={"in": "in.txt"}, seenAs={"in": "query"})
    lacking.bench.define(stage)
    done = lacking("mount_setattr", "--sealed", "best-effort")
    assert done.returncode == 4 and "stage look: is sealed, but" in done.stderr and '"seenAs"' in done.stderr


def test_without_sealed_stages_to_run_views_are_not_missed(lacking):
    bench = lacking.bench
    bench.define(sealed("look", "true"), {**sealed("open", "true"), "sealed": False})
    bench.succeed()
    assert lacking("mount_setattr").returncode == 0


def test_a_stage_that_has_to_run_after_all_is_refused_too(lacking):
    """It is up to date when the run starts. Then its temporary output is removed, and another stage needs that."""
    bench = lacking.bench

    def define(*script):
        bench.define(
            sealed("made", "sh", "-c", "echo x > temporary", outputs={"t": "temporary"}, temporary=["t"]),
            {**sealed("removes", "rm", "-f", *script), "sealed": False},
            {**sealed("needs", "cat", "temporary", *script), "sealed": False, "needs": ["removes"],
             "inputs": {"t": "temporary"}},
        )  # fmt: skip

    define()
    bench.succeed("--keep-temporary")
    define("temporary")
    done = lacking("mount_setattr")
    assert done.returncode == 4, done.stderr
    assert "error: stage made: is sealed, but gets no view here: mount_setattr" in done.stderr
    assert not [record for record in bench.records("attempt.started") if record["data"].get("sealed") is False]
