"""A Python stage that the launcher forks sees what it would see in a fresh interpreter."""

from __future__ import annotations

import difflib
import json
import os
import re
import subprocess
import sys

import pytest
from forkserver_probes import PROBES
from pipeline_bench import ROOT, PipelineBench

from runner.sandbox.forkserver import PURE

# What differs between any two runs: addresses, long numbers, the run's own directory of logs and scratch.
VARYING = re.compile(rb"0x[0-9a-f]+|\d{5,}|\d{8}T\d{6}Z-[0-9a-f]{4}")


# Probes that log something else when forked (docs/known-limits.md). They still end the same way.
DIFFER = {
    "gc": "objects that were there before the fork are frozen",
    "end_coroutine": "the warning about a coroutine that was never awaited names another line",
    "end_warns": "so do the warnings about files that were never closed",
    "end_del": "a `__del__` at the end still finds an interpreter that works",
    "end_profile": "a profile function that is left on sees the calls of the end",
    "end_trace": "so does a trace function",
    "end_audit": "so does an audit hook",
    "end_file_held_by_a_class_left": "a file that a class of the library was made to hold is written after the rest",
}
WAYS = {"fresh": True, "forked": False}  # freshInterpreter


@pytest.fixture(autouse=True, scope="module")
def with_caches():
    """Keep the caches on: without them nothing is forked, and the comparison would prove nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("OFFPIPE_PLAIN", raising=False)
        yield


@pytest.fixture(scope="module")
def ways(tmp_path_factory):
    """Run every probe in every way, and return {probe: (how it ended, its log)} by way."""
    results = {}
    root = tmp_path_factory.mktemp("forkserver") / "root"
    for way, fresh in WAYS.items():
        root.mkdir()  # at the same place: probes print paths
        bench = PipelineBench(root)
        bench.write("helper.py", "WHO = 'the helper'\n")
        for name, source in PROBES.items():
            bench.write(f"probe_{name}.py", source)
        bench.define(
            *(
                {"name": name, "processor": f"probe_{name}.py", "args": ["one", "\u00fc"],
                 "outputs": {"out": f"out/{name}"}, "freshInterpreter": fresh, "timeoutSeconds": 30}
                for name in PROBES
            ),
            defaults={"retry": {"attempts": 1}},
        )  # fmt: skip
        done = bench.run("-k", "-j1")
        assert done.returncode == 1, done.stderr
        results[way] = ends_of(root)
        bench.close()
        root.rename(root.with_name(way))
    return results


def ends_of(root):
    metrics = json.loads(next(root.glob("state/metrics_*.json")).read_text())
    logs = next(root.glob("state/logs/*"))
    ends = {}
    for name, stage in metrics["stages"].items():
        last = stage["attempts"][-1]
        content = (logs / f"{name}.1.log").read_bytes()
        ends[name] = (last["exit"], last["signal"], last["timedOut"]), VARYING.sub(b"N", content)
    return ends


@pytest.mark.full
@pytest.mark.parametrize("probe", PROBES)
def test_a_forked_stage_is_told_from_a_fresh_one_by_nothing(ways, probe):
    (forked, forked_log), (fresh, fresh_log) = ways["forked"][probe], ways["fresh"][probe]
    lines = [log.decode("utf-8", "backslashreplace").splitlines() for log in (fresh_log, forked_log)]
    difference = "\n".join(difflib.unified_diff(*lines, "fresh", "forked", lineterm=""))
    assert probe in DIFFER or forked_log == fresh_log, difference
    assert forked == fresh


def test_probes_are_forked(tmp_path):
    """Else the comparison above proves nothing. Only a forked stage has the launcher's program as its command."""
    bench = PipelineBench(tmp_path)
    source = "import os\nopen(os.environ['PIPELINE_OUTPUT_OUT'], 'wb').write(open('/proc/self/cmdline', 'rb').read())\n"
    bench.write("show.py", source)
    stage = {"name": "a", "processor": "show.py", "outputs": {"out": "a"}}
    bench.define(stage, {**stage, "name": "b", "outputs": {"out": "b"}, "freshInterpreter": True})
    bench.succeed()
    assert b"/sandbox/program.py" in bench.read("a")
    assert b"/sandbox/program.py" not in bench.read("b")


def test_a_stage_is_forked_even_if_the_interpreter_is_spelled_in_another_way(tmp_path):
    bench = PipelineBench(tmp_path)
    bench.write("show.py", WRITES + "out.write_bytes(open('/proc/self/cmdline', 'rb').read())\n")
    bench.define({"name": "a", "processor": "show.py", "outputs": {"out": "a"}})
    directory, name = os.path.split(sys.executable)
    spelled = f"{directory}/../{os.path.basename(directory)}/{name}"
    subprocess.run([spelled, "-m", "runner", "-q", str(bench.spec)], cwd=ROOT, check=True)
    assert b"/sandbox/program.py" in bench.read("a")


# ---- stages of one run do not affect each other ---------------------------------------------------------------------

WRITES = "import os\nfrom pathlib import Path\nout = Path(os.environ['PIPELINE_OUTPUT_OUT'])\n"


def pair(bench, first, second, **fields):
    """Run two stages, one after the other, in one run, and return what the second wrote."""
    bench.write("first.py", WRITES + first)
    bench.write("second.py", WRITES + second)
    bench.define(
        {"name": "first", "processor": "first.py", "outputs": {"out": "first"}},
        {"name": "second", "processor": "second.py", "needs": ["first"], "outputs": {"out": "second"}, **fields},
    )
    bench.succeed("-j1")
    return bench.read("second").decode()


SHOWS_ENVIRONMENT = """
import json, os, sys
if os.environ["PIPELINE_STAGE"] == "fails" and os.environ["PIPELINE_ATTEMPT"] == "1":
    sys.exit(75)
json.dump(dict(os.environ), open(os.environ["PIPELINE_OUTPUT_OUT"], "w"))
"""


def test_no_stage_gets_the_environment_of_another(tmp_path):
    """One launcher starts all four, with and without a fork and a retry. Each gets the environment of its own only."""
    bench = PipelineBench(tmp_path)
    bench.write("shows.py", SHOWS_ENVIRONMENT)
    enforced = {"resources": {"memoryMiB": 500, "enforce": True}}  # no fork
    own = {"fails": {"MODE": "a"}, "other": {"ONLY_OTHER": "1"}, "third": {"MODE": "b"}, "fourth": {"MODE": "c"}}
    bench.define(
        *(
            {"name": name, "processor": "shows.py", "env": env, "outputs": {"out": name},
             "retry": {"attempts": 2, "delaySeconds": 0}, **(enforced if name == "other" else {})}
            for name, env in own.items()
        )
    )  # fmt: skip
    bench.succeed("-j1")
    names = {"MODE", "ONLY_OTHER"}
    environments = {name: json.loads(bench.read(name)) for name in own}
    assert {name: {var: env[var] for var in names & set(env)} for name, env in environments.items()} == own


def test_what_one_stage_changes_in_the_library_no_other_sees(tmp_path):
    spoils = "import json\njson.dumps = None\njson.mine = 1\nout.write_text('x')\n"
    asks = "import json\nout.write_text(json.dumps(hasattr(json, 'mine')))\n"
    assert pair(PipelineBench(tmp_path), spoils, asks) == "false"


def test_what_one_stage_loads_is_not_loaded_in_another(tmp_path):
    loads = "import json, sqlite3, decimal\nout.write_text('x')\n"
    asks = "import sys\nout.write_text(str([name in sys.modules for name in ('sqlite3', 'decimal')]))\n"
    assert pair(PipelineBench(tmp_path), loads, asks) == str([False] * 2), "but json may be: it is in PURE"


LATER = """
def f():
    import array, collections.abc, copy, copyreg, csv, datetime, decimal, fractions, json, numbers, pickle, re, sqlite3
    import statistics, tomllib, uuid, zlib, gzip, xml.etree.ElementTree as tree
    class C: pass
    copyreg.pickle(C, lambda c: (str, ("heeded",)))
    yield isinstance(decimal.Decimal(1), numbers.Number), isinstance(fractions.Fraction(1), numbers.Rational)
    yield pickle.loads(pickle.dumps(C())), copy.copy(C()), issubclass(array.array, collections.abc.MutableSequence)
    yield pickle.loads(pickle.dumps([datetime.date(2000, 1, 2), re.compile("x"), decimal.Decimal("1.5")]))
    base = sqlite3.connect(":memory:", detect_types=sqlite3.PARSE_DECLTYPES)
    base.execute("create table t (d date)")
    base.execute("insert into t values (?)", (datetime.date(2000, 1, 2).isoformat(),))
    yield base.execute("select d from t").fetchall(), csv.list_dialects(), statistics.mean([1, 2])
    for fails in (lambda: json.loads("{"), lambda: tomllib.loads("="), lambda: zlib.decompress(b"x")):
        try:
            fails()
        except (json.JSONDecodeError, tomllib.TOMLDecodeError, zlib.error) as error:
            yield type(error).__name__
    yield copy.deepcopy(tree.fromstring("<a><b/></a>")).tag, gzip.decompress(gzip.compress(b"x"))
out.write_text(repr(list(f())))
"""


@pytest.mark.full
def test_what_a_stage_imports_later_is_what_it_would_be_without_another_stage(tmp_path):
    """The launcher loads every module in PURE beforehand, because the first stage imports it."""
    everything = "import " + ", ".join(sorted(PURE)) + ", decimal, pickle, sqlite3, fractions\nout.write_text('x')\n"
    bench = PipelineBench(tmp_path)
    forked = pair(bench, everything, LATER)
    fresh = pair(bench, everything, LATER, freshInterpreter=True)
    assert forked == fresh
    assert "heeded" in forked


def test_stages_draw_other_random_numbers(tmp_path):
    draws = "import random, uuid\nout.write_text(f'{random.random()} {uuid.uuid4()}')\n"
    bench = PipelineBench(tmp_path)
    assert pair(bench, draws, draws).split()[0] != bench.read("first").decode().split()[0]
    assert bench.read("first").split()[1] != bench.read("second").split()[1]


def test_a_processor_edited_during_the_run_runs_as_edited(tmp_path):
    bench = PipelineBench(tmp_path)
    bench.write("helper.py", "VALUE = 'old'\n")
    edits = (
        "import time\nfor name in ('second.py', 'helper.py'):\n"
        "    Path(name).write_text(Path(name).read_text().replace('old', 'new'))\nout.write_text('x')\n"
    )
    output = pair(bench, edits, "import helper\nout.write_text('old ' + helper.VALUE)\n")
    assert output == "new new"


@pytest.mark.full
def test_the_hash_seed_is_new_in_every_run_unless_the_spec_sets_it(tmp_path):
    bench = PipelineBench(tmp_path)
    shows = "out.write_text(str(hash('some text')))\n"
    hashes = {pair(bench, shows, shows)}
    for _ in range(2):
        bench.succeed("-f", "-j1")
        hashes.add(bench.read("second").decode())
    assert len(hashes) == 3
    seeded = [pair(bench, shows, shows, env={"PYTHONHASHSEED": "7"}) for _ in range(2)]
    bench.succeed("-f", "-j1")
    assert {*seeded, bench.read("second").decode()} == {seeded[0]}


@pytest.mark.full_after(3)
@pytest.mark.parametrize(
    ("env", "expression", "expected"),
    [
        ({"PYTHONUTF8": "1"}, "sys.flags.utf8_mode", "1"),
        ({"LC_ALL": "C"}, "os.environ['LC_ALL']", "C"),
        ({"LD_BIND_NOW": "1"}, "os.environ['LD_BIND_NOW']", "1"),
        ({"PYTHONOPTIMIZE": "2"}, "sys.flags.optimize", "2"),
        ({"LANG": "C"}, "os.environ['LANG']", "C"),
    ],
)  # fmt: skip
def test_a_variable_that_is_read_only_at_startup_gets_a_fresh_interpreter(tmp_path, env, expression, expected):
    bench = PipelineBench(tmp_path)
    source = (
        "import sys\ncommand = open('/proc/self/cmdline').read()\n"
        f"out.write_text(str({expression}) + str('/sandbox/program.py' in command))\n"
    )
    assert pair(bench, "out.write_text('x')\n", source, env=env) == f"{expected}False"


def test_without_caches_every_stage_gets_its_own_interpreter(tmp_path):
    bench = PipelineBench(tmp_path)
    bench.write("show.py", WRITES + "out.write_text(str('/sandbox/program.py' in open('/proc/self/cmdline').read()))\n")
    bench.define({"name": "a", "processor": "show.py", "outputs": {"out": "a"}})
    bench.succeed(env={"OFFPIPE_PLAIN": "1"})
    assert bench.read("a") == b"False"


def test_a_file_that_shadows_the_library_is_found_by_all_that_import_it(tmp_path):
    """The stage has a `string` of its own, which the library's `csv` or `random` would import as well."""
    bench = PipelineBench(tmp_path)
    bench.write("string.py", "MINE = True\nascii_letters = digits = punctuation = ''\nclass Template: pass\n")
    asks = "import tempfile, string, sys\nout.write_text(str((string.MINE, sys.modules['string'].__file__)))\n"
    assert pair(bench, "import tempfile\nout.write_text('x')\n", asks) == str((True, str(tmp_path / "string.py")))


AGAIN = {
    "warns": "import sys\nprint(sorted(sys.modules), 1 is 1)\n",
    "names": "import sys\nprint('unicodedata' in sys.modules, '\\N{SPACE}')\n",
    "codec": b"# coding: latin-1\nimport sys\nprint([n for n in sys.modules if 'latin' in n], ascii('\xe9'))\n",
    "broken": "return 1\n",
    "deletes": "class A:\n    def __del__(self): print('end')\na = A()\na.f = a.__del__\nprint(sorted(globals()))\n",
    "reads": "import sys, os\nprint(sys.stdin.read(), sys.stdin.seekable(), os.environ['PIPELINE_STAGE'])\n",
}  # fmt: skip


@pytest.mark.full
@pytest.mark.parametrize("program", AGAIN)
def test_a_program_that_comes_again_is_told_from_a_fresh_one_by_nothing(tmp_path, program):
    """Four stages of one run have the same program."""
    results = []
    bench = PipelineBench(tmp_path)
    bench.write("program.py", AGAIN[program])
    for fresh in (False, True):
        bench.define(
            *({"name": f"s{n}", "processor": "program.py", "outputs": {"out": f"out/{n}"}} for n in range(4)),
            defaults={"retry": {"attempts": 1}, "freshInterpreter": fresh},
        )
        assert bench.run("-k", "-j1", "-f").returncode == 1  # none makes its output
        logs = max((tmp_path / "state/logs").iterdir(), key=lambda directory: directory.stat().st_mtime_ns)
        results.append([VARYING.sub(b"N", (logs / f"s{n}.1.log").read_bytes()) for n in range(4)])
    forked, fresh = results
    assert forked == fresh
    assert forked[0]
