"""Values for each attempt, "any" exit codes and versions change no decision, no key and no byte."""

from __future__ import annotations

import os

import pytest
from equal_pipelines import Edit, EqualPipelines
from pipeline_bench import shell

AGAIN = {"attempts": 3, "delaySeconds": 0}
LISTED = {
    "resources": {"cpus": [0.5, 64], "memoryMiB": [10, 20, 30]},
    "timeoutSeconds": [60, 90],
    "retry": {**AGAIN, "retryExitCodes": "any"},
    "programVersion": ["sh", "-c", "echo tool 1.2"],
}
PLAIN = {"resources": {"cpus": 1, "memoryMiB": 10}, "timeoutSeconds": 60, "retry": {**AGAIN, "retryExitCodes": [3]}}


def stages(keep="[a-z]", **more):
    """Three stages; the second fails in its first attempt."""
    flaky = "test $PIPELINE_ATTEMPT -gt 1 || exit 3; cat work/*.txt > $PIPELINE_OUTPUT_OUT"
    script = f"test ! -s in/$0.txt || grep {keep} in/$0.txt > $PIPELINE_OUTPUT_OUT"  # of an empty file nothing is made
    each = shell("trim", script, each={"text": "in/*.txt"}, inputs={"in": "in/{each.text}.txt"})
    each["command"].append("{each.text}")
    each["outputs"] = {"out": "work/{each.text}.txt"}
    return [
        each,
        shell("join", flaky, inputs={"all": "work/*.txt"}),
        shell("count", "wc -l < out/join.txt > $PIPELINE_OUTPUT_OUT", inputs={"in": "out/join.txt"}, **more),
    ]


def listed(_, **settings):
    return {"stages": stages(**settings), "defaults": LISTED}


def plain(_, **settings):
    return {"stages": [{**PLAIN, **stage} for stage in stages(**settings)]}


@pytest.fixture
def pipelines(tmp_path):
    made = EqualPipelines(tmp_path, listed, plain)
    yield made
    made.close()


def write(path, text):
    return lambda bench: bench.write(path, text)


def remove(path):
    return lambda bench: os.unlink(bench.root / path)


ALL = {"trim@a", "trim@b", "join", "count"}
NEW = {"trim@c", "join", "count"}
EDITS = [
    Edit("first run", ALL, lambda bench: [bench.write(f"in/{name}.txt", f"{name}\n1\n") for name in "ab"]),
    Edit("nothing", set()),
    Edit("another input", {"trim@a", "join", "count"}, write("in/a.txt", "a\nb\n2\n")),
    Edit("an input that gives the same bytes", {"trim@a", "join", "count"}, write("in/a.txt", "a\nb\n3\n")),
    Edit("a new input", NEW, write("in/c.txt", "c\n")),
    Edit("a changed output", {"join", "count"}, write("out/join.txt", "by hand\n")),
    Edit("a missing output", {"trim@b", "join", "count"}, remove("work/b.txt")),
    Edit("another script", {"trim@a", "trim@b", "trim@c", "join", "count"}, settings={"keep": "[0-9a-z]"}),
    Edit("a param", {"count"}, settings={"params": {"n": 1}}),
    Edit("a variable", {"count"}, settings={"env": {"A": "b"}}),
    Edit("forced", {"join"}, words=("-f", "join")),
    Edit("one at a time", {"trim@a", "join", "count"}, write("in/a.txt", "d\n"), run_words=("-j", "1")),
    Edit("an input that is gone", {"join", "count"}, remove("in/c.txt")),
    Edit("an input that lets a stage fail", {"trim@b", "join", "count"}, write("in/b.txt", ""), code=1),
    Edit("after the failure", {"trim@b", "join", "count"}, write("in/b.txt", "b\n")),
]


def test_a_pipeline_decides_and_makes_the_same_with_these_fields(pipelines):
    pipelines.apply(EDITS)
