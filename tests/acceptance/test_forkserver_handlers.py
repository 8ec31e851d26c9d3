"""A handler that raises after a forked program's end never changes how it ended, wherever the handler strikes."""

from __future__ import annotations

import json

import pytest
from pipeline_bench import PipelineBench

pytestmark = pytest.mark.full

# The handler runs at each place where one can, from the program's last instruction on. At one of them it raises.
PROGRAM = """
import _thread, collections, functools, os, signal, sys
ends, raises, left = sys.argv[1], sys.argv[2], int(sys.argv[3])
trips = collections.defaultdict(functools.partial(_thread.interrupt_main, signal.SIGURG))
ending = {"exits": SystemExit(3), "fails": ValueError("mine")}.get(ends)
def handler(*_):
    global left
    if signal.SIGURG in signal.pthread_sigmask(signal.SIG_BLOCK, ()):
        return  # no other one would come
    if left:
        left -= 1
        trips[left]  # an index, and no call, behind which it would be run here
        return
    os.write(raised, open("/proc/self/cmdline", "rb").read())
    if raises == "error":
        raise ArithmeticError("the handler's")
    sys.exit(0 if ends != "returns" else 4)
with open(os.environ["PIPELINE_OUTPUT_OUT"], "w") as out:
    out.write("all of it")
raised = os.open(f"raised{left}", os.O_CREAT | os.O_WRONLY)
signal.signal(signal.SIGURG, handler)
"""
RAISES = "raise (trips['last'], ending)[1]\n"
LAST = {"returns": "trips['last']\n", "exits": RAISES, "fails": RAISES}
CODES = {"returns": 0, "exits": 3, "fails": 1}
PLACES = 70


@pytest.fixture
def bench(tmp_path, monkeypatch):
    monkeypatch.delenv("OFFPIPE_PLAIN", raising=False)
    return PipelineBench(tmp_path)


def codes_of(bench, *words):
    stages = json.loads(bench.run("-k", "--json", *words).stdout)["stages"]
    return {name: stage["attempts"][-1]["exit"] for name, stage in stages.items()}


@pytest.mark.parametrize("raises", ["error", "exit"])
@pytest.mark.parametrize("ends", CODES)
def test_the_exit_code_is_the_programs(bench, ends, raises) -> None:
    bench.write("program.py", PROGRAM + LAST[ends])
    stage = {"processor": "program.py", "retry": {"attempts": 1}}
    bench.define(*(
        {**stage, "name": f"at{place}", "args": [ends, raises, str(place)], "outputs": {"out": f"out/{place}"}}
        for place in range(PLACES)
    ))  # fmt: skip
    codes = codes_of(bench)
    assert codes == dict.fromkeys(codes, CODES[ends]) and len(codes) == PLACES
    contents = [bench.read(f"raised{place}") for place in range(PLACES)]
    assert b"/sandbox/program.py" in contents[0], "the handler raised, in a fork"
    assert len([content for content in contents if content]) > 3
    if ends != "fails":  # a handler can cut a traceback short
        assert all(bench.run("log", name).stdout == "" for name in ("at0", "at1", "at5", "at20", f"at{PLACES - 1}"))


STRIPS = """
def main():
    raise {ending}
try:
    main()
except BaseException as error:
    error.__traceback__ = {trace}
    raise
"""
BY_C = """
import _thread, collections, functools
collections.defaultdict(functools.partial(_thread.interrupt_main, 2))['last']
"""
HOOK = """
import atexit, sys
out = os.environ['PIPELINE_OUTPUT_OUT']
atexit.register(lambda: os._exit(3 if open(out).read() == 'data' else 4))
def hook(*_):
    file = open(out, 'w')  # which ends with the hook, before the interpreter does
    file.write('data')
    sys.exit(5)
sys.excepthook = hook
1 / 0
"""
ODD = {  # errors that look like a handler's, and a handler that does not look like one
    "strips-its-frame": (STRIPS.format(ending="ValueError", trace="error.__traceback__.tb_next"), 1),
    "has-no-traceback": (STRIPS.format(ending="ValueError", trace="None"), 1),
    "exits-without-its-frame": (STRIPS.format(ending="SystemExit(3)", trace="error.__traceback__.tb_next"), 3),
    "handler-in-C": (BY_C, 0),
    "ends-an-iteration": ("next(iter(()))\n", 1),
    "stops": ("class Stop(StopIteration): pass\nraise Stop\n", 1),
    "misses-a-key": ("{}['a']\n", 1),
    "misses-an-index": ("raise IndexError(0)\n", 1),
    "hook-that-exits": (HOOK, 3),
}


def test_the_exit_code_does_not_depend_on_the_traceback(bench) -> None:
    opening = "import os\nopen(os.environ['PIPELINE_OUTPUT_OUT'], 'w').close()\n"
    stages, expected = [], {}
    for name, (program, code) in ODD.items():
        bench.write(f"{name}.py", opening + program)
        for way, fresh in (("forked", False), ("fresh", True)):
            expected[f"{name}-{way}"] = code
            stages.append({
                "name": f"{name}-{way}", "processor": f"{name}.py", "freshInterpreter": fresh,
                "outputs": {"out": f"out/{name}{way}"},
            })  # fmt: skip
    bench.define(*stages, defaults={"retry": {"attempts": 1}})
    assert codes_of(bench) == expected
