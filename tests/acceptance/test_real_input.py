"""Sends the interpreter's own standard library through a pipeline, and compares the outputs with those of plain tools.

It has about 1,700 files in the encodings of real files: empty ones, latin-1, big5, bytes that are not text.
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
SOURCES = "find stdlib -name '*.py' -type f ! -path '*/.*' | LC_ALL=C sort"
COUNTING = '{ words += NF } /^def / { defs++ } END { printf "%d lines, %d words, %d defs\\n", NR, words, defs }'
SPLITTING = 'mkdir "$1" && split -a 4 -l 9999 "$2" "$1/part-"'
FILES_AND_LINES = "FNR == 1 { files++ } END { print files, NR }"
C = {"LC_ALL": "C"}

STAGES = [
    {
        "name": "copy", "processor": "offpipe:stage_copy.py",
        "inputs": {"text": "stdlib/**/*.py"}, "outputs": {"text": "work/all.txt"},
    },
    {
        "name": "upper", "processor": "offpipe:stage_upper.py", "params": {"encoding": "bytes"},
        "inputs": {"text": "work/all.txt"}, "outputs": {"text": "work/upper.txt"},
    },
    {
        "name": "sort", "command": ["sort", "-o", "{outputs.sorted}", "{inputs.text}"], "env": C,
        "inputs": {"text": "work/upper.txt"}, "outputs": {"sorted": "out/sorted.txt"},
    },
    {
        "name": "pack", "command": ["gzip", "-nc"], "stdin": "sorted", "stdout": "gz",
        "inputs": {"sorted": "out/sorted.txt"}, "outputs": {"gz": "out/sorted.txt.gz"},
    },
    {
        "name": "count", "command": ["awk", COUNTING, "{inputs.text}"], "stdout": "counts", "env": C,
        "inputs": {"text": "work/all.txt"}, "outputs": {"counts": "out/counts.txt"},
    },
    {
        "name": "files", "command": ["awk", FILES_AND_LINES, "{inputs.sources}"], "stdout": "counts", "env": C,
        "inputs": {"sources": "stdlib/**/*.py"}, "outputs": {"counts": "out/files.txt"},
    },
    {
        "name": "names", "command": ["cp", "{list.sources}", "{outputs.names}"],
        "inputs": {"sources": "stdlib/**/*.py"}, "outputs": {"names": "out/names.txt"},
    },
    {
        "name": "longest", "command": ["awk", "length > most { most = length } END { print most }", "{inputs.names}"],
        "stdout": "length", "inputs": {"names": "out/names.txt"}, "outputs": {"length": "out/longest.txt"},
    },
    {
        "name": "mirror", "command": ["cp", "-r", "--", "{inputs.tree}", "{outputs.tree}"],
        "inputs": {"tree": "stdlib/"}, "outputs": {"tree": "out/mirror/"},
    },
    {
        "name": "split", "command": ["sh", "-c", SPLITTING, "sh", "{outputs.parts}", "{inputs.text}"],
        "inputs": {"text": "work/upper.txt"}, "outputs": {"parts": "work/parts/"},
    },
    {
        "name": "join", "command": ["sh", "-c", 'cat "$1"/part-*', "sh", "{inputs.parts}"], "stdout": "text", "env": C,
        "inputs": {"parts": "work/parts/"}, "outputs": {"text": "out/joined.txt"},
    },
    {
        "name": "json", "command": ["cat", "{inputs.sources}"], "stdout": "text",
        "inputs": {"sources": "stdlib/json/*.py"}, "outputs": {"text": "out/json.txt"},
    },
]  # fmt: skip
DEPENDING = {"copy", "upper", "sort", "pack", "count", "files", "names", "mirror", "split", "join"}


class Library:
    """A copy of the standard library with a pipeline beside it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.copy_sources()
        spec = {"specVersion": 1, "name": "stdlib", "root": "..", "stateDir": "state/stdlib", "stages": STAGES}
        self.spec = root / "pipelines" / "stdlib.json"
        self.spec.parent.mkdir()
        self.spec.write_text(json.dumps(spec))

    def copy_sources(self) -> None:
        """Copy every .py file except those of installed packages: tests must not touch the interpreter's own."""
        standard = sysconfig.get_path("stdlib")

        def unwanted(_: str, names: list[str]) -> set[str]:
            installed = {"site-packages", "dist-packages", "__pycache__"}
            return {name for name in names if name in installed or ("." in name and not name.endswith(".py"))}

        shutil.copytree(standard, self.root / "stdlib", ignore=unwanted, symlinks=False, copy_function=shutil.copyfile)

    def run(self) -> dict[str, str]:
        """Run the pipeline as a user would; return how each stage ended, by name."""
        command = [sys.executable, "-m", "runner", str(self.spec), "--json"]
        done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr + done.stdout
        return {name: stage["status"] for name, stage in json.loads(done.stdout)["stages"].items()}

    def shell(self, script: str) -> bytes:
        """Return what a line of shell prints, run with plain tools in the root."""
        command = ["bash", "-euo", "pipefail", "-c", script]
        environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", **C}
        return subprocess.run(command, cwd=self.root, env=environment, capture_output=True, check=True).stdout

    def bytes_of(self, path: str) -> bytes:
        return (self.root / path).read_bytes()


def statuses(ran: set[str]) -> dict[str, str]:
    return {stage["name"]: "succeeded" if stage["name"] in ran else "skipped" for stage in STAGES}


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    """The pipeline, run once. Every test leaves it up to date, so tests may run in any order."""
    library = Library(tmp_path_factory.mktemp("library"))
    assert library.run() == statuses({stage["name"] for stage in STAGES})
    return library


# run_tests.sh gives a whole file to one worker, so the library is copied and run once.
pytestmark = pytest.mark.full


def test_the_input_is_what_real_input_is_like(library):
    files = library.shell(SOURCES).splitlines()
    contents = [library.bytes_of(os.fsdecode(file)) for file in files]
    assert len(files) > 500
    assert any(content == b"" for content in contents)
    assert any(not content.isascii() for content in contents)


@pytest.mark.parametrize(
    ("output", "script"),
    [
        pytest.param("work/all.txt", f"{SOURCES} | xargs -d '\\n' cat", id="copy"),
        pytest.param("work/upper.txt", "tr a-z A-Z < work/all.txt", id="upper"),
        pytest.param("out/sorted.txt", "sort work/upper.txt", id="sort"),
        pytest.param("out/sorted.txt.gz", "gzip -nc < out/sorted.txt", id="pack"),
        pytest.param("out/counts.txt", f"awk '{COUNTING}' work/all.txt", id="count"),
        pytest.param("out/files.txt", f"{SOURCES} | xargs -d '\\n' -n 1000000 awk '{FILES_AND_LINES}'", id="files"),
        pytest.param("out/names.txt", SOURCES, id="list of names"),
        pytest.param("out/json.txt", "cat $(ls stdlib/json/*.py | sort)", id="one directory"),
        pytest.param("out/joined.txt", "cat work/upper.txt", id="split and joined"),
    ],
)
def test_outputs_are_byte_for_byte_what_plain_tools_give(library, output, script):
    assert library.bytes_of(output) == library.shell(script)


def test_directory_outputs_hold_what_plain_tools_make(library):
    assert library.shell("diff -r stdlib out/mirror") == b""
    library.shell("rm -rf plain && mkdir plain && split -a 4 -l 9999 work/upper.txt plain/part-")
    assert library.shell("diff -r plain work/parts && rm -r plain") == b""


def test_nothing_but_the_declared_outputs_is_left(library):
    assert sorted(os.listdir(library.root)) == ["out", "pipelines", "state", "stdlib", "work"]
    assert sorted(os.listdir(library.root / "work")) == ["all.txt", "parts", "upper.txt"]
    assert len(os.listdir(library.root / "out")) == 9
    assert library.shell("find . -name '.partial-*'") == b""


def test_second_run_skips_everything_and_changes_no_byte(library):
    before = library.shell("find work out -type f -printf '%p %T@ %i\\n' | sort")
    assert library.run() == statuses(set())
    assert library.shell("find work out -type f -printf '%p %T@ %i\\n' | sort") == before


def test_touched_file_runs_nothing(library):
    os.utime(library.root / "stdlib" / "this.py")
    assert library.run() == statuses(set())


def test_edited_file_runs_what_depends_on_it_and_nothing_else(library):
    edited = library.root / "stdlib" / "this.py"
    edited.write_bytes(edited.read_bytes() + b"# caf\xe9\n")
    # The list of names comes out the same, so its readers stay up to date. stdlib/json/ did not change.
    assert library.run() == statuses(DEPENDING)
    assert b"# caf\xe9\n" in library.bytes_of("work/all.txt")
    assert b"# CAF\xe9\n" in library.bytes_of("out/sorted.txt")
    assert library.bytes_of("work/all.txt") == library.shell(f"{SOURCES} | xargs -d '\\n' cat")


def test_removed_file_is_gone_from_every_output(library):
    removed = library.root / "stdlib" / "antigravity.py"
    removed.unlink()
    assert library.run()["json"] == "skipped"
    assert b"stdlib/antigravity.py\n" not in library.bytes_of("out/names.txt")
    assert not (library.root / "out" / "mirror" / "antigravity.py").exists()
    assert library.bytes_of("out/names.txt") == library.shell(SOURCES)
