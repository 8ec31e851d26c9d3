"""Which files an input means, and which can never be an input."""

from __future__ import annotations

import os
import socket

import pytest
from pipeline_bench import shell
from plan_bench import PlanBench

from runner.errors import EXIT_INPUT, InputError
from runner.plan.inputs import read_fault


@pytest.fixture
def bench(tmp_path):
    return PlanBench(tmp_path)


def reading(pattern):
    return shell("a", "true", inputs={"in": pattern}, outputs={"out": "a.out"})


def matches(bench, pattern, **options):
    bench.define(reading(pattern))
    return bench.inputs(**options)["in"]


def refused(bench, pattern, **options):
    bench.define(reading(pattern))
    with pytest.raises(InputError) as caught:
        bench.inputs(**options)
    assert caught.value.exit_code == EXIT_INPUT
    (fault,) = caught.value.faults
    assert fault.where.endswith("#/stages/0/inputs/in")
    return fault


FILES = ["d/b.txt", "d/a.txt", "d/.hidden.txt", "d/sub/c.txt", "d/.git/x.txt", "d/sub/deep/e.txt", "d/readme.md"]
GLOBS = {
    "d/*.txt": ["d/a.txt", "d/b.txt"],
    "d/?.txt": ["d/a.txt", "d/b.txt"],
    "d/[!b].txt": ["d/a.txt"],
    "*/sub/c.txt": ["d/sub/c.txt"],
    "d/**": ["d/a.txt", "d/b.txt", "d/readme.md", "d/sub/c.txt", "d/sub/deep/e.txt"],
    "**/*.txt": ["d/a.txt", "d/b.txt", "d/sub/c.txt", "d/sub/deep/e.txt"],
    "d/**/deep/*": ["d/sub/deep/e.txt"],
    "d/**/sub/**/e.txt": ["d/sub/deep/e.txt"],
    "*/": ["d/"],
    "d/*/": ["d/sub/"],
    "*/sub/": ["d/sub/"],
    "d/sub/**/": ["d/sub/", "d/sub/deep/"],
    "d/sub/": ["d/sub/"],
}


@pytest.mark.parametrize("pattern", GLOBS)
def test_a_glob_means_what_it_matches_in_the_order_of_paths(bench, pattern):
    for path in FILES:
        bench.write(path, path)
    assert matches(bench, pattern) == GLOBS[pattern]


def test_a_new_match_is_named_by_the_next_plan(bench):
    bench.write("d/a.txt", "a")
    bench.define(reading("d/*.txt"))
    bench.complete()
    bench.write("d/.b.txt", "hidden")
    bench.write("d/.partial-0123ab.c.txt", "half")
    assert bench.reasons() == []
    bench.write("d/b.txt", "b")
    (reason,) = bench.reasons()
    assert (reason.component, reason.what, reason.old) == ("inputs", "in: d/b.txt", None)
    os.unlink(bench.root / "d/b.txt")
    assert bench.reasons() == []


def test_a_file_literally_named_like_the_pattern_wins(bench):
    for name in ("d/[ab].txt", "d/a.txt"):
        bench.write(name, name)
    assert matches(bench, "d/[ab].txt") == ["d/[ab].txt"]


def test_what_runs_write_is_never_matched(bench):
    bench.write("x.json", "{}")
    for path in ("state/stage_b.json", "state/logs/r/b.1.log", "locks/b.json"):
        bench.write(path, "{}")
    assert matches(bench, "**/*.json") == ["spec.json", "x.json"]
    bench.write("data/x", "")
    assert matches(bench, "*/") == ["data/"]


@pytest.mark.parametrize("name", [b"caf\xe9.txt", b"a\nb.txt", b"a\x7fb.txt", "a\x85b.txt".encode()])
def test_a_match_that_cannot_be_passed_to_a_stage_is_refused_with_its_name_escaped(bench, name):
    bench.write("d/ok.txt", "")
    with open(os.fsencode(bench.root / "d") + b"/" + name, "wb"):
        pass
    fault = refused(bench, "d/*.txt")
    assert "not UTF-8 or holds a control character" in fault.what
    assert fault.what.isascii() and fault.what.isprintable()


def make_fifo(path):
    os.mkfifo(path)


def make_socket(path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(path))


def link_to(target):
    return lambda path: os.symlink(target, path)


STRANGE = {
    "a FIFO": (make_fifo, "is a FIFO"),
    "a socket": (make_socket, "is a socket"),
    "a link to a device": (link_to("/dev/zero"), "is a character device"),
    "a directory": (os.mkdir, "is a directory"),
    "a link that leads nowhere": (link_to("nowhere"), "o such file"),
    "a link to itself": (link_to("x"), "Too many levels of symbolic links"),
}


@pytest.mark.parametrize("what", STRANGE)
def test_what_no_stage_could_read_is_refused_unopened(bench, what, monkeypatch):
    """Opening a FIFO without a writer would block, so the test ends only if nothing is opened."""
    monkeypatch.chdir(bench.root)
    make, message = STRANGE[what]
    os.mkdir(bench.root / "d")
    make(bench.root / "d/x")
    assert message in refused(bench, "d/x").what


@pytest.mark.parametrize("what", ["a FIFO", "a socket", "a link to a device", "a link that leads nowhere"])
def test_what_no_stage_could_read_is_refused_as_one_match_of_many(bench, what, monkeypatch):
    monkeypatch.chdir(bench.root)
    make, message = STRANGE[what]
    bench.write("d/a", "")
    make(bench.root / "d/x")
    assert message in refused(bench, "d/*").what


def test_a_link_to_a_file_is_read_and_a_circle_of_directories_is_not_walked(bench):
    bench.write("far/f.txt", "text")
    os.mkdir(bench.root / "d")
    os.symlink("../far/f.txt", bench.root / "d/l.txt")
    os.symlink("..", bench.root / "d/up")
    assert matches(bench, "d/**") == ["d/l.txt"]


@pytest.mark.parametrize(
    ("pattern", "what"),
    [("d/none", "no such file"), ("d/*.none", 'no file matches "d/*.none"'), ("d/a/b", "Not a directory"),
     ("d/a/", "is not a directory"), ("d", "is a directory")],
)  # fmt: skip
def test_a_missing_input_is_refused_by_its_pointer(bench, pattern, what):
    bench.write("d/a", "")
    assert what in refused(bench, pattern).what


def test_an_input_without_read_permission_has_a_place_and_a_hint():
    [fault] = read_fault("p.json#/stages/0/inputs/in", "d/a", PermissionError(13, "Permission denied"), "/d/a").faults
    assert (fault.where, fault.what) == ("p.json#/stages/0/inputs/in", '"d/a": Permission denied')
    assert "readable" in fault.hint


def test_all_faults_of_all_inputs_are_reported_at_once(bench):
    bench.define(shell("a", "true", inputs={"x": "none", "y": "*.none"}), shell("b", "true", inputs={"z": "gone"}))
    plan = bench.session().plan().plan
    assert [fault.where.rpartition("#")[2] for fault in plan.faults] == [
        "/stages/0/inputs/x", "/stages/0/inputs/y", "/stages/1/inputs/z",
    ]  # fmt: skip


class TestWithAWorkspace:
    """Sources are below root, products below the workspace, and neither stands in for the other."""

    @pytest.fixture(autouse=True)
    def layout(self, bench):
        self.workspace = str(bench.root / "ws")
        for path in ("d/source.txt", "ws/d/stray.txt", "out/made.txt", "ws/out/made.txt", "state/stage_x.txt"):
            bench.write(path, path)

    def define(self, bench, pattern):
        bench.define(shell("made", "true", outputs={"out": "out/made.txt"}), reading(pattern))

    @pytest.mark.parametrize(
        ("pattern", "places"),
        [("d/*.txt", ["d/source.txt"]), ("d/source.txt", ["d/source.txt"]), ("out/made.txt", ["ws/out/made.txt"]),
         ("out/*.txt", ["ws/out/made.txt"]), ("**/*.txt", ["d/source.txt", "ws/out/made.txt"])],
    )  # fmt: skip
    def test_each_file_comes_from_its_own_side(self, bench, pattern, places):
        self.define(bench, pattern)
        files = bench.fingerprint(workspace=self.workspace).inputs["in"]
        assert [os.path.relpath(file.absolute, bench.root) for file in files] == places

    def test_a_product_that_is_only_below_root_is_missing(self, bench):
        os.unlink(bench.root / "ws/out/made.txt")
        self.define(bench, "out/made.txt")
        with pytest.raises(InputError):
            bench.inputs(workspace=self.workspace)


def test_a_list_keeps_its_order_and_names_each_file_once(bench):
    for path in FILES:
        bench.write(path, path)
    assert matches(bench, ["d/readme.md", "d/*.txt", "d/sub/", "d/**/*.txt", "./d/b.txt"]) == [
        "d/readme.md", "d/a.txt", "d/b.txt", "d/sub/", "d/sub/c.txt", "d/sub/deep/e.txt",
    ]  # fmt: skip


def test_a_list_takes_outputs_from_the_workspace_and_the_rest_from_root(bench):
    bench.write("d/source.txt", "source")
    bench.write("ws/out/made.txt", "made")
    bench.define(shell("make", "true", outputs={"out": "out/made.txt"}), reading(["out/made.txt", "d/source.txt"]))
    files = bench.fingerprint(workspace=str(bench.root / "ws")).inputs["in"]
    assert [os.path.relpath(file.absolute, bench.root) for file in files] == ["ws/out/made.txt", "d/source.txt"]


def test_the_hint_for_a_glob_without_a_match_names_the_missing_directory(bench):
    bench.write("d/a", "")
    hint = "hidden files and orphans are never matched"
    assert refused(bench, "d/*.none").hint == refused(bench, "*.none").hint == hint
    assert refused(bench, "d/b/*/z*").hint == 'there is no directory "d/b"'


def test_standard_input_is_one_file(bench):
    bench.define({**reading("d/*.txt"), "stdin": "in"})
    bench.write("d/a.txt", "a")
    assert bench.inputs()["in"] == ["d/a.txt"]
    bench.write("d/b.txt", "b")
    with pytest.raises(InputError) as caught:
        bench.inputs()
    (fault,) = caught.value.faults
    assert fault.where.endswith("#/stages/0/stdin")
    assert fault.what == 'input "in" is 2 files, and standard input can be only one'


def test_an_input_that_a_sealed_stage_sees_elsewhere_is_one_file(bench):
    bench.define({**reading("d/*.txt"), "optional": ["in"], "sealed": True, "seenAs": {"in": "x"}})
    assert bench.inputs()["in"] == []
    bench.write("d/a.txt", "a")
    assert bench.inputs()["in"] == ["d/a.txt"]
    bench.write("d/b.txt", "b")
    with pytest.raises(InputError) as caught:
        bench.inputs()
    (fault,) = caught.value.faults
    assert fault.where.endswith("#/stages/0/seenAs/in")
    assert fault.what == 'input "in" is 2 files, and "x" can be only one'
