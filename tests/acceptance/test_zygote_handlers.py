"""A handler that raises once a forked program is over changes nothing about how that ended, wherever it strikes."""

from __future__ import annotations

import json

import pytest
from pipeline_bench import PipelineBench

# The handler is run at each place where one can be, from the program's last instruction on; at one of them it raises.
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
    elif raises == "error":
        raise ArithmeticError("the handler's")
    else:
        sys.exit(0 if ends != "returns" else 4)
with open(os.environ["PIPELINE_OUTPUT_OUT"], "w") as out:
    out.write("all of it")
signal.signal(signal.SIGURG, handler)
"""
LAST = {
    "returns": "trips['last']\n",
    "exits": "raise (trips['last'], ending)[1]\n",
    "fails": "raise (trips['last'], ending)[1]\n",
}
CODES = {"returns": 0, "exits": 3, "fails": 1}
PLACES = 70


@pytest.mark.parametrize("raises", ["error", "exit"])
@pytest.mark.parametrize("ends", CODES)
def test_the_exit_code_is_the_programs(tmp_path, monkeypatch, ends, raises) -> None:
    monkeypatch.delenv("OFFPIPE_PLAIN", raising=False)
    bench = PipelineBench(tmp_path)
    bench.write("program.py", PROGRAM + LAST[ends])
    stage = {"processor": "program.py", "retry": {"attempts": 1}}
    bench.define(*(
        {**stage, "name": f"at{place}", "args": [ends, raises, str(place)], "outputs": {"out": f"out/{place}"}}
        for place in range(PLACES)
    ))  # fmt: skip
    told = json.loads(bench.run("-k", "--json").stdout)["stages"]
    codes = {name: stage["attempts"][-1]["exit"] for name, stage in told.items()}
    assert codes == dict.fromkeys(told, CODES[ends])
    if ends != "fails":  # what is told of a failure can be broken off
        assert all(bench.run("log", name).stdout == "" for name in ("at0", "at1", "at5", "at20", f"at{PLACES - 1}"))
