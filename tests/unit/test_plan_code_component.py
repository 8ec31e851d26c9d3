"""The code of a stage: which files are in its key, and how a change in one is named."""

from __future__ import annotations

import os
import shutil

import pytest
from pipeline_bench import shell
from plan_bench import PlanBench

from runner.errors import InputError, OfflineError
from runner.plan.code.component import CodeReader
from runner.plan.digests import DigestCache
from runner.spec.load import load_spec, ready_made_directory


@pytest.fixture
def bench(tmp_path):
    bench = PlanBench(tmp_path)
    bench.write("stages/p.py", "import helper\nfrom pkg import part\n")
    bench.write("stages/helper.py", "import deeper\n")
    bench.write("stages/deeper.py", "X = 1\n")
    bench.write("stages/pkg/__init__.py", "")
    bench.write("stages/pkg/part.py", "")
    return bench


def python(bench, identity="mtime", **fields):
    bench.define(
        {"name": "a", "processor": "stages/p.py", "outputs": ["out.txt"], **fields}, processorIdentity=identity
    )


def code(bench):
    return bench.fingerprint().components["code"]


def test_everything_local_that_is_imported_is_in_the_key(bench):
    python(bench)
    assert sorted(code(bench)["files"]) == [
        "stages/deeper.py", "stages/helper.py", "stages/p.py", "stages/pkg/__init__.py", "stages/pkg/part.py",
    ]  # fmt: skip


@pytest.mark.parametrize("path", ["stages/p.py", "stages/deeper.py", "stages/pkg/part.py"])
def test_a_changed_module_is_named_wherever_it_is_imported_from(bench, path):
    python(bench, "content")
    bench.complete()
    bench.write(path, (bench.root / path).read_text() + "# more\n")
    (reason,) = bench.reasons()
    assert reason[:2] == ("code", path)
    assert reason.old != reason.new


def test_a_new_file_that_shadows_another_is_seen(bench):
    python(bench, "content")
    bench.complete()
    bench.write("stages/deeper/__init__.py", "X = 2\n")
    assert [reason[1] for reason in bench.reasons()] == ["stages/deeper.py", "stages/deeper/__init__.py"]


def test_a_module_that_appears_where_none_was_is_seen(bench):
    bench.write("stages/p.py", "try:\n    import speedups\nexcept ImportError:\n    pass\n")
    python(bench, "content")
    assert code(bench)["absent"] == ["speedups"]
    bench.complete()
    bench.write("stages/speedups.py", "")
    assert [reason[1] for reason in bench.reasons()] == ["speedups (not found)", "stages/speedups.py"]


@pytest.mark.parametrize(("identity", "expected"), [("mtime", ["modification time"]), ("content", [])])
def test_a_touched_processor_counts_only_where_its_time_is_its_identity(bench, identity, expected):
    python(bench, identity)
    bench.complete()
    os.utime(bench.root / "stages/p.py", (1, 1))
    os.utime(bench.root / "stages/helper.py", (1, 1))  # never counts: only the processor's time can
    assert [reason.what for reason in bench.reasons()] == expected


def test_a_processor_in_another_language_is_its_bytes(bench):
    bench.write("tool", "#!/bin/sh\n", 0o755)
    bench.define({"name": "a", "processor": "tool", "outputs": ["out.txt"]}, processorIdentity="content")
    bench.complete()
    assert "interpreter" not in bench.fingerprint().components
    bench.write("tool", "#!/bin/sh\n:\n", 0o755)
    assert [reason[:2] for reason in bench.reasons()] == [("code", "tool")]


@pytest.mark.parametrize("word", ["rules.awk", "--rules=rules.awk", "./rules.awk", "sub/../rules.awk"])
def test_a_file_under_root_that_a_command_names_is_code(bench, word):
    bench.write("rules.awk", "1")
    bench.write("sub/x", "")
    bench.define({"name": "a", "command": ["awk", "-f", word], "outputs": ["out.txt"]})
    assert list(code(bench)["files"]) == ["rules.awk"]


@pytest.mark.parametrize("word", ["/etc/hostname", "../outside", "in.txt", "out.txt", "stages", "none"])
def test_a_word_that_is_outside_root_declared_or_no_file_is_not_code(bench, word):
    bench.write("in.txt", "")
    bench.write("out.txt", "")
    (bench.root.parent / "outside").write_text("")
    bench.define({"name": "a", "command": ["cat", word], "inputs": ["in.txt"], "outputs": ["out.txt"]})
    assert code(bench)["files"] == {}


def test_shared_code_is_the_same_for_all_stages_until_a_new_examiner_reads_it(bench):
    bench.define(*({"name": name, "processor": "stages/p.py", "outputs": [f"{name}.txt"]} for name in "ab"))
    session = bench.session()
    examiner = session.plan().new_examiner()
    first, second = (examiner.examine(stage).components["code"] for stage in session.stages)
    assert first == second
    bench.write("stages/deeper.py", "X = 2\n")
    assert session.plan().new_examiner().examine(session.stages[0]).components["code"] != first


def test_code_that_cannot_be_parsed_is_refused_by_its_line(bench):
    bench.write("stages/deeper.py", "x = 1\ndef (:\n")
    python(bench)
    with pytest.raises(OfflineError, match=r"deeper\.py:2"):
        bench.fingerprint()


def test_a_module_that_changes_while_the_stage_runs_is_seen(bench):
    python(bench, "content")
    session = bench.session()
    before = session.plan().new_examiner().examine(session.stages[0])
    bench.write("stages/deeper.py", "X = 3\n")
    changed = session.plan().new_examiner().changed_since(before)
    assert os.path.relpath(str(changed), bench.root) == "stages/deeper.py"


@pytest.mark.parametrize("where", ["elsewhere", "below root"])
def test_a_ready_made_stage_has_the_same_key_wherever_it_is_installed_and_whenever(bench, where, monkeypatch):
    if where == "below root":
        directory = bench.root / ".venv/lib/stages"
        shutil.copytree(ready_made_directory(), directory)
        monkeypatch.setattr("runner.spec.load.ready_made_directory", lambda: str(directory))
    bench.define({"name": "a", "processor": "offpipe:stage_copy.py", "inputs": {"text": "spec.json"},
                  "outputs": {"text": "out.txt"}})  # fmt: skip
    assert list(code(bench)["files"]) == ["offpipe:stage_copy.py"]
    assert "mtimeNs" not in code(bench)


def test_the_shell_words_of_a_command_name_no_code(bench):
    bench.define(shell("a", "true"))
    assert code(bench) == {"files": {}}


def test_a_placeholder_is_not_the_name_of_a_file(bench):
    bench.write("{params.script}", "#!/usr/bin/env python3\nimport socket\n")
    bench.define({"name": "a", "command": ["sh", "{params.script}"], "outputs": ["out.txt"], "params": {"script": "x"}})
    assert code(bench) == {"files": {}}


def test_a_processor_that_vanishes_is_an_unusable_input(bench):
    python(bench)
    spec = load_spec(str(bench.spec))
    (bench.root / "stages/p.py").unlink()
    with pytest.raises(InputError) as caught:
        CodeReader(spec, DigestCache(), frozenset()).read(spec.stages[0])
    assert str(caught.value) == "error: stages/p.py: cannot read it: No such file or directory"


def test_a_module_that_is_found_nowhere_is_a_warning_with_its_place_and_a_hint(bench):
    bench.write("lib/part.py", "")
    bench.write("stages/p.py", "import part\n")
    python(bench)
    spec, warnings = load_spec(str(bench.spec)), []
    CodeReader(spec, DigestCache(), frozenset(), warn=warnings.append).read(spec.stages[0])
    assert [fault.where for fault in warnings] == ["stages/p.py:1"]
    assert '"env": {"PYTHONPATH": "lib"}' in warnings[0].hint
