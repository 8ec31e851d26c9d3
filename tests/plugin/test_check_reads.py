"""The check `reads`: which undeclared reads it finds and names, and when it says nothing."""

from __future__ import annotations

import json
import math
import os
import sqlite3
import sys
from pathlib import Path
from typing import NamedTuple

import offline_deny
import pytest
from spec_project import LEFT_OUT

from runner.executor import views

WORDS = (*LEFT_OUT, "-p", "no:cacheprovider", "-rs", "--offpipe-checks", "reads", "it.json::work[reads]")
ONE = {"inputs": {"text": "in.txt"}, "outputs": {"text": "out.txt"}}
OTHERS = [*(f"lib/part{number}/notes.txt" for number in range(20)), *(f"notes{number}.txt" for number in range(20))]


class Kind(NamedTuple):
    """One kind of undeclared read: the file that matters, and a script that copies its input and then reads the file.

    If a further path has to be there, it is `needs`.
    `reads` is a script of sh, or of Python if `module` is set or it begins with `import`. `files` are further ones.
    """

    path: str
    reads: str
    text: str | None = "more\n"
    files: dict[str, str] = {}  # noqa: RUF012 - never changed
    fields: dict[str, object] = {}  # noqa: RUF012 - the same
    needs: str | None = None


KINDS = {
    "data of a module": Kind(
        "tables.json",
        "import tables; to.write(tables.read())",
        files={
            "tables.py": "from pathlib import Path\n"
            "def read():\n"
            "    path = Path(__file__).with_name('tables.json')\n"
            "    return path.read_text() if path.exists() else 'none'\n"
        },
    ),
    "configuration beside the script": Kind(
        "scripts/work.ini",
        "import os; ini = __file__[:-3] + '.ini'; to.write(open(ini).read() if os.path.isfile(ini) else 'none')",
        fields={"processor": "scripts/work.py"},
    ),
    "two dots": Kind(
        "lib/part0/notes.txt",
        "cat lib/../extra/more.txt >>$o 2>/dev/null || true",
        files={"extra/more.txt": "more\n"},
        needs="extra/more.txt",
    ),
    "absolute path": Kind("extra/more.txt", "cat ROOT/extra/more.txt >>$o 2>/dev/null || true"),
    "glob": Kind("extra/more.cfg", "cat extra/*.cfg >>$o 2>/dev/null || true"),
    "listing": Kind("extra/more.txt", "ls extra >>$o 2>/dev/null || true"),
    "symbolic link": Kind(
        "more.txt",
        "cat more.txt >>$o 2>/dev/null || true",
        text=None,
        files={"extra/real.txt": "more\n"},
        needs="extra/real.txt",
    ),
    "output of another stage": Kind("other.txt", "cat other.txt >>$o 2>/dev/null || true"),
    "dotenv": Kind(".env", "test ! -f .env || . ./.env; echo $MORE >>$o", text="MORE=more\n"),
    "module under try": Kind(
        "optional.py",
        """
        import importlib
        try:
            to.write(importlib.import_module("option" + "al").TEXT)
        except ImportError:
            pass
        """,
        text="TEXT = 'more'\n",
    ),
    "data of a package": Kind(
        "pack/data.txt",
        """
        import pack
        from importlib.resources import files
        to.write(str(files("pack").joinpath("data.txt").is_file()))
        """,
        files={"pack/__init__.py": "\n"},
    ),
    "whether it exists": Kind("debug", "test ! -e debug || echo debug >>$o"),
    "its size": Kind("big.txt", "import os; to.write(str(os.path.exists('big.txt') and os.stat('big.txt').st_size))"),
    "hidden directory": Kind(".config/tool/rc", "cat .config/tool/rc >>$o 2>/dev/null || true"),
    "beside a directory input": Kind(
        "data/labels.txt",
        "cat $PIPELINE_INPUT_DIR/../labels.txt >>$o 2>/dev/null || true",
        files={"data/set/a.txt": "a\n"},
        fields={"inputs": {"text": "in.txt", "dir": "data/set/"}},
    ),
    "program on PATH": Kind(
        "bin/polish",
        "polish >>$o 2>/dev/null || true",
        text="#!/bin/sh\necho more\n",
        fields={"env": {"PATH": "bin:/usr/bin:/bin"}},
    ),
    "sourced script": Kind("config.sh", "test ! -r config.sh || . ./config.sh; echo $MORE >>$o", text="MORE=more\n"),
    "getline of awk": Kind("more.txt", """awk 'BEGIN { while ((getline line < "more.txt") > 0) print line }' >>$o"""),
    "include of make": Kind(
        "local.mk",
        r"""printf -- '-include local.mk\nall:\n\t@echo $(MORE)\n' >$TMPDIR/makefile; make -f $TMPDIR/makefile >>$o""",
        text="MORE = more\n",
    ),
    "walk": Kind(
        "extra/deep/more.csv",
        "import os; to.write(str([name for *_, names in os.walk('.') for name in names if name.endswith('.csv')]))",
    ),
    "database that is attached": Kind(
        "ref.db",
        """
        import sqlite3
        base = sqlite3.connect("file::memory:", uri=True)
        try:
            base.execute("ATTACH 'file:ref.db?mode=ro' AS ref")
            to.write(str(base.execute("SELECT * FROM ref.t").fetchall()))
        except sqlite3.OperationalError:
            pass
        """,
    ),
    "dangling link": Kind("current", "test ! -L current || echo current >>$o", text=None),
    "empty directory": Kind("debug/", "test ! -d debug || echo debug >>$o"),
    "file that stops it": Kind("stop", "test ! -e stop"),
}


class Project:
    """A root with a stage `work`, and a stage `other`, whose output is there since an earlier run."""

    def __init__(self, pytester, kind):
        self.pytester, self.root = pytester, pytester.path
        for path in OTHERS:
            self.write(path, "something else\n")
        self.write("in.txt", "b\na\n")
        for path, text in kind.files.items():
            self.write(path, text)
        self.write("other.sh", "cp in.txt other.txt\n")
        self.lay(kind)
        self.stage = {**ONE, **kind.fields}
        script = kind.reads.replace("ROOT", str(self.root))
        if script.lstrip().startswith("import"):
            lines = [f"    {line.removeprefix(' ' * 8)}" for line in script.strip().splitlines()]
            opened = 'import os\nwith open(os.environ["PIPELINE_OUTPUT_TEXT"], "w") as to:\n'
            self.stage.setdefault("processor", "work.py")
            self.write(self.stage["processor"], opened + "\n".join(lines))
        else:
            self.write("work.sh", f"i=$PIPELINE_INPUT_TEXT o=$PIPELINE_OUTPUT_TEXT\ncat $i >$o\n{script}\n")
            self.stage["command"] = ["sh", "-e", "work.sh"]

    def lay(self, kind):
        path = self.root / kind.path
        if kind.path.endswith("/"):
            path.mkdir()
        elif kind.text is None:
            path.symlink_to(next(iter(kind.files), "nowhere"))
        elif kind.path.endswith(".db"):
            with sqlite3.connect(path) as base:
                base.execute("CREATE TABLE t AS SELECT 'more'")
            base.close()
        else:
            self.write(kind.path, kind.text, 0o755)

    def write(self, path, text, mode=0o644):
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)

    def check(self, *arguments):
        self.write_spec()
        return self.pytester.runpytest_inprocess(*WORDS, *arguments)

    def write_spec(self):
        other = {"name": "other", "command": ["sh", "other.sh"], **ONE, "outputs": {"text": "other.txt"}}
        spec = {"specVersion": 1, "name": "it", "stages": [{"name": "work", **self.stage}, other]}
        self.write("it.json", json.dumps(spec))


@pytest.mark.full_after(3)
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_names_an_undeclared_file_within_the_bound(pytester, kind):
    project = Project(pytester, kind)
    entries = sum(len(names) + len(files) for _, names, files in os.walk(project.root))
    result = project.check()
    result.assert_outcomes(failed=1)
    named = [path for path in (kind.path.rstrip("/"), kind.needs) if path]
    lines = [f"{path}: the stage uses it, and does not declare it" for path in named]
    first, *_ = found = [line for line in result.outlines if line.endswith("does not declare it")]
    assert first == lines[0]
    assert [line.removeprefix("  found:  ").strip() for line in found[1:]] == lines
    kept = next(line.split()[1] for line in result.outlines if line.strip().startswith("kept:"))
    runs = len([*Path(kept).rglob("audit_*.jsonl")])
    also = 1 + len(named)  # whether they matter alone, and whether there are further ones
    assert runs - also <= 2 + len(named) * math.ceil(math.log2(entries))


def test_names_each_undeclared_file(pytester):
    reads = "for file in notes0.txt lib/part7/notes.txt; do test ! -f $file || cat $file >>$o; done"
    result = Project(pytester, Kind("extra/more.txt", reads)).check()
    result.stdout.fnmatch_lines([
        "  found:    lib/part7/notes.txt: the stage uses it, and does not declare it",
        "            notes0.txt: the stage uses it, and does not declare it",
        '            hint: declare it as an input, or let the stage see only what it declares ("sealed": true)',
        "            text differs at line 3 (4 and 34 bytes)",
        "            only declared: (the end)",
        r"            all of root:   'something else\n'",
    ])  # fmt: skip


def test_says_that_there_are_more_where_it_names_no_further_ones(pytester):
    result = Project(pytester, Kind("extra/more.txt", "ls >>$o")).check("--offpipe-budget", "0.001")
    result.stdout.fnmatch_lines(["            and more"])
    assert len([line for line in result.outlines if line.endswith("does not declare it")]) == 2


SILENT = {
    "a stage that reads what it declares": Kind("extra/more.txt", "tr a-z A-Z <$i >>$o"),
    "what a glob declares": Kind(
        "data/deep/b.txt",
        "find data -name '*.txt' | wc -l >>$o",
        files={"data/a.txt": "a\n"},
        fields={"inputs": {"text": "in.txt", "all": "data/**/*.txt"}},
    ),
    "its own earlier output": Kind("out.txt", "cat ROOT/out.txt >>$o 2>/dev/null || true"),
    "state of earlier runs": Kind(".offpipe/it/state/x", "ls -A .offpipe >>$o 2>/dev/null || true"),
    "version control": Kind(".git/HEAD", "cat .git/HEAD >>$o 2>/dev/null || true"),
    "bytes that are called volatile": Kind(
        "extra/more.txt", "ls extra >>$o 2>/dev/null || true", fields={"x-offpipe": {"volatile": "lists files"}}
    ),
    "the order of hashes": Kind("extra/more.txt", "import sys; to.write(str({str(n) for n in range(9)}))"),
    "a temporary file in a directory of root": Kind(
        "tmp/keep", "mkdir -p tmp; sort $i >tmp/sorted; cat tmp/sorted >>$o; rm tmp/sorted"
    ),
    "a temporary file in an empty directory of root": Kind(
        "tmp/", "mkdir -p tmp; sort $i >tmp/sorted; cat tmp/sorted >>$o; rm tmp/sorted"
    ),
    "files outside root": Kind("extra/more.txt", "cat HOME/rc >>$o 2>/dev/null || true"),
}


@pytest.mark.full_after(2)
@pytest.mark.parametrize("kind", SILENT.values(), ids=SILENT)
def test_does_not_complain_of(pytester, kind, tmp_path_factory, monkeypatch):
    home = tmp_path_factory.mktemp("home")
    (home / "rc").write_text("setting\n")
    monkeypatch.setenv("HOME", str(home))
    kind = kind._replace(reads=kind.reads.replace("HOME", str(home)))
    Project(pytester, kind).check().assert_outcomes(passed=1)


def test_follows_no_link_that_leads_in_a_circle(pytester):
    project = Project(pytester, Kind("data/a.txt", "cat data/a.txt >>$o"))
    project.stage["inputs"] = {"text": "in.txt", "all": "data/**/*.txt"}
    (project.root / "data/loop").symlink_to(".")
    project.check().assert_outcomes(passed=1)


def test_warns_if_a_sealed_stage_would_use_what_it_does_not_see(pytester):
    reads = "cat extra/more.txt >>$o 2>/dev/null || true"
    result = Project(pytester, Kind("extra/more.txt", reads, fields={"sealed": True})).check("-Wdefault")
    result.assert_outcomes(passed=1, warnings=1)
    result.stdout.fnmatch_lines([
        "*work[[]reads]: sealed, it does not see what would change its outputs",
        "*extra/more.txt: the stage uses it, and does not declare it",
    ])  # fmt: skip


def test_says_nothing_of_files_in_the_places_where_a_sealed_stage_sees_others(pytester):
    fields = {"sealed": True, "seenAs": {"in": "fixed.txt", "out": "result.txt"}}
    project = Project(pytester, Kind("fixed.txt", ""))
    project.write("result.txt", "earlier\n")
    project.stage = {"inputs": {"in": "in.txt"}, "outputs": {"out": "out.txt"}, **fields}
    project.stage["command"] = ["sh", "-c", "cat fixed.txt >result.txt"]
    project.check().assert_outcomes(passed=1)


def test_is_skipped_if_bytes_differ_anyway(pytester):
    result = Project(pytester, Kind("extra/more.txt", "cat /proc/sys/kernel/random/uuid >>$o")).check()
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*its bytes differ even with nothing done to it"])


def test_is_skipped_if_root_has_nothing_else(pytester):
    project = Project(pytester, Kind("extra/more.txt", "cat $i >>$o"))
    (project.root / "alone").mkdir()
    (project.root / "alone/in.txt").write_text("b\n")
    spec = {"specVersion": 1, "name": "it", "root": "alone", "stages": [
        {"name": "work", "command": ["cp", "in.txt", "{outputs.text}"], **ONE}]}  # fmt: skip
    project.write("it.json", json.dumps(spec))
    result = pytester.runpytest_inprocess(*WORDS)
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*root has nothing else that it could read"])


def test_is_skipped_where_there_are_no_views(pytester):
    project = Project(pytester, Kind("extra/more.txt", "cat $i >>$o"))
    project.write_spec()
    result = pytester.run(sys.executable, offline_deny.__file__, sys.executable, "-m", "pytest", *WORDS)
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*stage work: is sealed, but gets no view here*"])


def test_is_skipped_if_root_has_more_entries_than_a_view(pytester, monkeypatch):
    monkeypatch.setattr(views, "MOST_ENTRIES", 20)
    result = Project(pytester, Kind("extra/more.txt", "ls >>$o")).check()
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*stage work: its view would have * entries, more than 20"])


def test_names_a_module_of_a_program_that_the_stage_finds_along_path(pytester):
    project = Project(pytester, Kind("bin/words.py", "", text="TEXT = 'more'\n"))
    project.write("bin/polish", "#!/usr/bin/env python3\nimport words\nprint(words.TEXT)\n", 0o755)
    path = "bin:/usr/local/bin:/usr/bin:/bin"
    project.stage = {**ONE, "command": ["polish"], "env": {"PATH": path}, "stdout": "text"}
    result = project.check()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["  found:    bin/words.py: the stage uses it, and does not declare it"])
