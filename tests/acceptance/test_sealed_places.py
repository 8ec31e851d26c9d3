"""What a sealed stage sees, wherever root, workspace, HOME, programs and the interpreter lie.

All of them are below /tmp here, of whose other contents a view shows nothing.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest
from pipeline_bench import ROOT, PipelineBench
from sealed_stages import LIST, look, sealed

HIDDEN = ("/home", "/root", "/mnt", "/media", "/srv", "/run", "/tmp", "/var/tmp", "/dev/shm")
HOME = 'echo $HOME; ls -A "$HOME"; echo x >"$HOME/made"'


@pytest.fixture
def bench(tmp_path):
    made = PipelineBench(tmp_path / "root")
    made.write("in.txt", "in\n")
    made.write("other.txt", "other\n")
    yield made
    made.close()


def program(path: Path, content: str) -> Path:
    """Write a program that others are beside, in its directory and in that above."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    path.chmod(0o755)
    (path.parent / "beside").touch()
    (path.parent.parent / "above").touch()
    return path


# ---- elsewhere ----


def test_the_places_of_users_hold_only_what_the_stage_needs(bench):
    shown = [bench.root, Path(sys.prefix), Path(sys.base_prefix), ROOT, Path.home()]
    needed = {str(path) for place in shown for path in (place, *place.parents)}
    for directory in filter(os.path.isdir, HIDDEN):
        listed = look(bench, f"ls -A {directory}")
        assert {f"{directory}/{name}" for name in listed} <= needed, directory


def test_elsewhere_all_is_there_and_nothing_can_be_written(bench):
    assert look(bench, "ls -A /etc /usr/bin") == look(bench, "ls -A /etc /usr/bin", sealed=False)
    script = "for each in / /etc /usr /dev /sys/kernel; do ! touch $each/offpipe-test || exit 1; done; echo >/dev/null"
    look(bench, script)
    assert not os.path.exists("/etc/offpipe-test")


def test_temporary_directories_are_writable_and_go_with_the_attempt(bench):
    script = 'echo "$TMPDIR"; stat -c %d "$TMPDIR"; for each in /tmp /var/tmp /dev/shm; do touch $each/left-by-it; done'
    assert look(bench, script) == ["/tmp", str(bench.root.stat().st_dev)]
    assert not any(os.path.exists(f"{each}/left-by-it") for each in ("/tmp", "/var/tmp", "/dev/shm"))
    assert not [*bench.root.rglob("left-by-it")]


# ---- HOME ----


@pytest.mark.parametrize("home", ["home", "root/home", "missing", "root/missing", "link", "link/below"])
def test_home_keeps_its_value_and_is_empty_and_writable(bench, tmp_path, home):
    for directory in ("home", "real/below", "root/home"):
        (tmp_path / directory).mkdir(parents=True)
        (tmp_path / directory / "secret").touch()
    (tmp_path / "link").symlink_to("real")
    place = str(tmp_path / home)
    assert look(bench, HOME, run={"env": {"HOME": place}}) == [place]
    assert not os.path.exists(f"{place}/made")


def test_home_may_be_root(bench):
    seen = look(bench, HOME, inputs={"in": "in.txt"}, run={"env": {"HOME": str(bench.root)}})
    assert seen == [str(bench.root), "in.txt", "look.seen", "state"]
    assert not bench.exists("made")


def test_home_may_hold_root(bench, tmp_path):
    (tmp_path / "secret").touch()
    assert look(bench, HOME, run={"env": {"HOME": str(tmp_path)}}) == [str(tmp_path), "root"]


def test_home_may_hold_inputs_and_outputs(bench):
    bench.write("home/in.txt", "in\n")
    bench.write("home/secret", "")
    script = f"{HOME}; cp home/in.txt home/out.txt; cp home/in.txt home/deep/out.txt"
    outputs = {"one": "home/out.txt", "two": "home/deep/out.txt"}
    home = str(bench.root / "home")
    seen = look(bench, script, inputs={"in": "home/in.txt"}, outputs=outputs, run={"env": {"HOME": home}})
    assert seen == [home, "deep", "in.txt"]
    assert bench.read("home/out.txt") == bench.read("home/deep/out.txt") == b"in\n"


def test_without_home_it_is_the_temporary_directory(bench):
    assert look(bench, 'echo "$HOME"; touch "$HOME/x"', run={"command": ("env", "-u", "HOME")}) == ["/tmp"]


# ---- programs ----


@pytest.mark.parametrize(
    ("path", "seen"),
    [
        ("home/bin/prog", "home/bin/beside home/bin/prog"),  # the prefix is HOME
        ("home/tool/bin/prog", "home/tool/above home/tool/bin/beside home/tool/bin/prog"),
        ("tool/bin/prog", "tool/above tool/bin/beside tool/bin/prog"),
        ("home/tool/prog", "home/tool/prog"),
        ("home/prog", "home/prog"),
    ],
)
def test_a_program_is_seen_with_its_prefix(bench, tmp_path, path, seen):
    listing = f"#!/bin/sh\ncd {tmp_path}; find . ! -type d ! -path './root/*' | sort"
    file = program(tmp_path / path, listing)
    bench.define(sealed("look", str(file)))
    bench.succeed(env={"HOME": str(tmp_path / "home")})
    assert bench.read("look.seen").decode().split() == [f"./{each}" for each in seen.split()]


@pytest.mark.parametrize("path", ["bin/prog", "tool/bin/prog"])
def test_a_program_in_root_is_seen_with_its_prefix_but_not_all_of_root(bench, path):
    program(bench.root / path, f"#!/bin/sh\n{LIST}")
    bench.define(sealed("look", path))
    bench.succeed()
    beside = [] if path == "bin/prog" else ["./tool/above", "./tool/bin/beside"]
    assert bench.read("look.seen").decode().split() == sorted(["./look.seen", f"./{path}", *beside])


@pytest.mark.parametrize("target", ["home/tool/bin/prog", "home/tool/prog", "other/bin/prog"])
def test_a_link_to_a_program_is_seen_with_its_target(bench, tmp_path, target):
    program(tmp_path / target, '#!/bin/sh\necho "$0"; ls "$(dirname "$(readlink -f "$0")")"')
    link = tmp_path / "home/bin/prog"
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(f"../../{target}")
    bench.define(sealed("look", "prog", env={"PATH": f"{link.parent}:/usr/bin:/bin"}))
    bench.succeed(env={"HOME": str(tmp_path / "home")})
    assert bench.read("look.seen").decode().split()[:2] == [str(link), "beside" if "bin" in target else "prog"]


@pytest.mark.parametrize("line", ["{shell} -e", "/usr/bin/env mysh"])
def test_the_interpreter_of_a_script_is_seen_with_its_prefix(bench, tmp_path, line):
    shell = program(tmp_path / "tool/bin/mysh", "")
    shutil.copy("/bin/sh", shell)
    bench.write("script", f"#!{line.format(shell=shell)}\nls {tmp_path}/tool\n", 0o755)
    bench.define(sealed("look", "./script", env={"PATH": f"{shell.parent}:/usr/bin:/bin"}))
    bench.succeed()
    assert bench.read("look.seen").decode().split() == ["above", "bin"]


# ---- the interpreter ----


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("place", ["root/.venv", "root", "home/venv", "home", "venv"])
def test_the_environment_of_python_stages_may_lie_anywhere(bench, tmp_path, place, fresh):
    venv = tmp_path / place
    packages = venv / f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
    packages.mkdir(parents=True)
    (packages / "installed.py").write_text("WHERE = __file__\n")
    (venv / "bin").mkdir()
    (venv / "bin/python").symlink_to(os.path.realpath(sys.executable))
    (venv / "pyvenv.cfg").write_text(f"home = {sys.base_exec_prefix}/bin\n")
    paths = f"{ROOT}:{next(path for path in sys.path if path.endswith('site-packages'))}"
    bench.write("stage.py", "import installed, os\nprint(installed.WHERE, *sorted(os.listdir()))\n")
    stage = {"name": "look", "processor": "stage.py", "stdout": "seen", "outputs": {"seen": "look.seen"}}
    bench.define(stage, defaults={"sealed": True, "freshInterpreter": fresh})
    env = {"HOME": str(tmp_path / "home"), "PYTHONPATH": paths}
    bench.succeed(command=("sh", "-c", f'exec {venv}/bin/python "$@"'), env=env)
    where, *names = bench.read("look.seen").decode().split()
    assert where == str(packages / "installed.py") and "other.txt" not in names


# ---- root and workspace ----


def assert_sealed_apart(tmp_path, root, workspace):
    """Run two sealed stages; root and workspace look the same to the second, and hold what it declares."""
    bench = PipelineBench(tmp_path / root)
    bench.write("in.txt", "in\n")
    places = tmp_path / root, tmp_path / workspace
    for place in places:
        place.mkdir(parents=True, exist_ok=True)
        (place / "secret").touch()
    first = sealed("first", "cp", "{inputs.in}", "{outputs.o}", inputs={"in": "in.txt"}, outputs={"o": "out/a"})
    script = 'pwd; cat {inputs.made} {inputs.in}; for each; do ls "$each" "$each/out"; done'
    inputs = {"made": "out/a", "in": "in.txt"}
    bench.define(first, sealed("second", "sh", "-ec", script, "sh", *map(str, places), inputs=inputs))
    bench.succeed("--workspace", str(places[1]))
    here, *printed = (places[1] / "second.seen").read_text().splitlines()
    assert here == os.path.realpath(places[0])
    assert printed[:2] == ["in", "in"] and "secret" not in printed
    assert all(printed.count(name) == 2 for name in ("in.txt", "second.seen", "a"))


@pytest.mark.parametrize(
    ("root", "workspace"), [("r", "w"), ("r", "r/w"), ("w/r", "w"), ("r", "deep/er/w"), ("spaced r", "ünïcode w")]
)
def test_root_and_workspace_may_be_two_directories(tmp_path, root, workspace):
    assert_sealed_apart(tmp_path, root, workspace)


@pytest.mark.parametrize(
    ("root", "workspace"),
    [("link", "link"), ("link/below", "link/below"), ("r", "link"), ("link", "w"), ("link", "real")],
)
def test_root_and_workspace_may_be_links(tmp_path, root, workspace):
    (tmp_path / "real/below").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")
    assert_sealed_apart(tmp_path, root, workspace)


# ---- inputs ----


@pytest.mark.parametrize("target", ["real/a.txt", "../outside/a.txt", "{tmp}/outside/a.txt", "again.txt"])
def test_an_input_may_be_a_link(bench, tmp_path, target):
    for path in ("root/real/a.txt", "outside/a.txt"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text("linked\n")
    (bench.root / "again.txt").symlink_to("real/a.txt")
    (bench.root / "a.txt").symlink_to(target.format(tmp=tmp_path))
    assert look(bench, f"cat a.txt; {LIST}", inputs={"a": "a.txt"}) == ["linked", "./a.txt", "./look.seen"]


@pytest.mark.parametrize("place", ["root/real", "outside"])
def test_a_directory_above_an_input_may_be_a_link(bench, tmp_path, place):
    (tmp_path / place / "deep").mkdir(parents=True)
    for name in ("a.txt", "b.txt"):
        (tmp_path / place / "deep" / name).write_text("linked\n")
    (bench.root / "data").symlink_to(tmp_path / place)
    inputs = {"a": "data/deep/a.txt"}
    assert look(bench, f"cat data/deep/a.txt; {LIST}", inputs=inputs) == ["linked", "./data/deep/a.txt", "./look.seen"]


def test_inputs_outside_root_are_where_they_are(bench, tmp_path):
    for name in ("a", "b", "secret", "tree/c"):
        (tmp_path / "outside" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "outside" / name).write_text(f"{name}\n")
    inputs = {"a": "../outside/a", "b": f"{tmp_path}/outside/b", "tree": "../outside/tree/"}
    script = 'cat "$PIPELINE_INPUT_A" "$PIPELINE_INPUT_B" "$PIPELINE_INPUT_TREE/c"; ls ../outside; ! touch ../outside/a'
    assert look(bench, script, inputs=inputs) == ["a", "b", "tree/c", "a", "b", "tree"]


def test_an_input_outside_root_may_be_a_link(bench, tmp_path):
    (tmp_path / "real").write_text("linked\n")
    (tmp_path / "link").symlink_to("real")
    assert look(bench, "cat ../link", inputs={"link": "../link"}) == ["linked"]


def test_links_in_a_directory_lead_to_what_is_declared(bench):
    for path in ("tree/inner", "declared", "undeclared"):
        bench.write(path, f"{path}\n")
    for name, target in {"one": "inner", "two": "../declared", "three": "../undeclared"}.items():
        (bench.root / "tree" / name).symlink_to(target)
    inputs = {"tree": "tree/", "declared": "declared"}
    assert look(bench, "cat tree/one tree/two; ! cat tree/three", inputs=inputs) == ["tree/inner", "declared"]


def test_an_input_in_a_workspace_below_root_is_refused_if_the_view_would_cover_it(bench):
    """Root and workspace are one directory in a view, so `ws/in.txt` would be `in.txt`."""
    bench.write("ws/in.txt", "of the workspace\n")
    bench.define(sealed("look", "cat", "ws/in.txt", inputs={"a": "in.txt", "b": "ws/in.txt"}))
    done = bench.run("--workspace", str(bench.root / "ws"))
    assert done.returncode == 2 and not bench.exists("ws/look.seen")
    assert 'stage look: cannot be sealed: "ws/in.txt" lies where a view shows root and workspace' in done.stderr
    bench.define(sealed("look", "cat", "in.txt", inputs={"a": "in.txt"}))
    bench.succeed("--workspace", str(bench.root / "ws"))
    assert bench.read("ws/look.seen") == b"in\n"


@pytest.mark.parametrize(
    ("command", "outputs", "seen_as", "home"),
    [
        (["sh", "run.sh"], {"o": "out/o"}, {"o": "run.sh"}, None),
        (["sh", "code/run.sh"], {"o": "out/"}, {"o": "code/"}, None),
        (["true"], {"o": "made/"}, {}, "made/home"),
    ],
    ids=["a script", "a directory with a script", "a directory with HOME"],
)
def test_what_a_view_shows_for_another_reason_is_no_output(bench, command, outputs, seen_as, home):
    for path in ("run.sh", "code/run.sh"):
        bench.write(path, "true\n")
    bench.define(sealed("a", *command, outputs=outputs, seenAs=seen_as))
    done = bench.run(**({"env": {"HOME": str(bench.root / home)}} if home else {}))
    assert done.returncode == 2 and "overlaps with" in done.stderr, done.stderr
    assert not any(map(bench.exists, outputs.values()))


def test_an_input_in_place_of_the_state_directory_is_refused(bench, tmp_path):
    """It would be shown in place of `$PIPELINE_STAGE_FILE`, which is in the state directory of the workspace."""
    bench.write("state/attempt.json", "of root\n")
    bench.define(sealed("look", "cat", "state/attempt.json", inputs={"a": "state/attempt.json"}))
    done = bench.run("--workspace", str(tmp_path / "workspace"))
    assert done.returncode == 2
    assert 'stage look, input a: "state/attempt.json" overlaps with "state", the state directory' in done.stderr


def test_a_stage_of_root_slash_is_refused_with_a_reason(bench, tmp_path):
    stage = sealed("look", "true", inputs={"a": str(bench.root / "in.txt").removeprefix("/")})
    bench.define(stage, root="/")
    done = bench.run("--workspace", str(tmp_path / "workspace"))
    assert done.returncode == 2 and "stage look: cannot be sealed: root or the workspace is /" in done.stderr
