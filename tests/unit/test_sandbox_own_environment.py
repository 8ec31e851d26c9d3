"""One launcher, and a row of stages whose environments differ: each has its own, whatever came before it."""

import json
import sys
import time
from pathlib import Path

import pytest

from runner.levels import KERNEL, SCAN
from runner.sandbox.client import Launcher
from runner.sandbox.launch import Launch

ROOT = Path(__file__).resolve().parents[2]
WARM = {"LANG": "C.UTF-8", "TZ": "UTC", "PYTHONPATH": str(ROOT)}
OTHER_LANG = {**WARM, "LANG": "en_US.UTF-8"}
SHOWS = """
import json, os, subprocess, sys, time
inherited = subprocess.run(["/usr/bin/env", "-0"], stdout=subprocess.PIPE).stdout.decode().split("\\0")[:-1]
json.dump({
    "python": list(os.environ.items()), "c": [one.split("=", 1) for one in inherited],
    "hour": time.localtime(0).tm_hour, "argv": sys.argv[1:],
    "file": os.path.basename(__file__), "main": sys.modules["__main__"].__file__ == __file__,
    "forked": "sandbox/program.py" in open("/proc/self/cmdline").read(),
}, sys.stdout)
"""
ROW = {  # what it is -> environment, and whether a fork of a warm launcher suits it
    "the first": ({**WARM, "A": "1", "B": "2"}, True),
    "another value": ({**WARM, "A": "1", "B": "3"}, True),
    "the same": ({**WARM, "A": "1", "B": "3"}, True),
    "the first value": ({**WARM, "A": "1", "B": "2"}, True),
    "a time zone among the same names": ({**WARM, "A": "1", "B": "2", "TZ": "XYZ-5"}, True),
    "the first zone": ({**WARM, "A": "1", "B": "2"}, True),
    "another order": ({"B": "2", **WARM, "A": "4"}, True),
    "a value in that order": ({"B": "2", **WARM, "A": "5"}, True),
    "fewer names": (WARM, True),
    "a time zone": ({**WARM, "TZ": "XYZ-9"}, True),
    "no time zone of its own": (WARM, True),
    "another language": (OTHER_LANG, False),
    "more beside that language": ({**OTHER_LANG, "A": "6"}, False),
    "the own language beside that": ({**WARM, "A": "6"}, True),
    "another time zone beside others": ({**WARM, "A": "6", "TZ": "XYZ-5"}, True),
    "what Python heeds": ({**WARM, "A": "6", "PYTHONHASHSEED": "1"}, False),
    "nothing but what the launcher has": (WARM, True),
    "the first again": ({**WARM, "A": "1", "B": "2"}, True),
}


def hour(zone):
    return {"UTC": 0, "XYZ-9": 9, "XYZ-5": 5}[zone]


@pytest.fixture(scope="module", params=["warm", "cold", "cold, kernel"])
def shown(request, tmp_path_factory):
    """What each stage of the row, run by one launcher, tells of itself; two programs take turns."""
    directory = tmp_path_factory.mktemp("row")
    for name in ("one.py", "two.py"):
        (directory / name).write_text(SHOWS)
    is_warm = request.param == "warm"
    level = KERNEL if request.param.endswith("kernel") else SCAN
    told = {}
    with Launcher.start(level, warm=WARM if is_warm else None) as launcher:
        launcher.await_ready()
        if launcher.refusal:
            pytest.skip(f"this level cannot be had here: {launcher.refusal}")
        for number, (name, (env, _)) in enumerate(ROW.items(), 1):
            path, log = str(directory / ("one.py", "two.py")[number % 2]), directory / f"{number}.log"
            log.touch()
            argv = [sys.executable, "-B", path, str(number)]
            launcher.submit(Launch(number, argv, env, str(directory), None, None, str(log), script=path))
            ended = []
            until = time.monotonic() + 60
            while not ended:
                assert time.monotonic() < until, name
                ended = launcher.receive()
            assert ended[0].code == 0, log.read_text()
            told[name] = json.loads(log.read_text())
    return is_warm, told


@pytest.mark.parametrize("name", ROW)
def test_a_stage_has_its_own_environment_whatever_came_before(shown, name):
    is_warm, told = shown
    (env, suits), found = ROW[name], told[name]
    number = list(ROW).index(name) + 1
    given = [list(one) for one in env.items()]
    for way in ("python", "c"):  # an interpreter adds LC_CTYPE where it does not get the language (PEP 538)
        assert [one for one in found[way] if one[0] != "LC_CTYPE"] == given
    assert found["hour"] == hour(env["TZ"])
    assert (found["argv"], found["file"], found["main"]) == ([str(number)], ("one.py", "two.py")[number % 2], True)
    assert found["forked"] == (is_warm and suits)
