"""The stories: plain runs, failures, kills, and runs with a key. Each has a golden file of its own."""

from __future__ import annotations

import json
import signal
from itertools import pairwise
from typing import TYPE_CHECKING

from golden_calls import Program
from golden_story import MTIME, Story
from pipeline_bench import wait_for

if TYPE_CHECKING:
    from pathlib import Path

LINES = "".join(f"line {number}\n" for number in range(1, 13))
DOUBLE = '#!/bin/sh\nsed p "$PIPELINE_INPUT_TEXT" >"$PIPELINE_OUTPUT_TWICE"\n'
UPPER = """import os, time
from runner import sdk
from shout import shout

with sdk.stage() as stage, stage.lines("text", to="upper") as job:
    for number, line in enumerate(job, job.line_offset):
        if number == 7 and os.path.exists("hold"):
            open("holds", "w").close()
            time.sleep(600)
        job.write(shout(line, stage.params["mark"]))
"""
SHOUT = "def shout(line, mark):\n    return line.upper().replace(b'\\n', mark.encode() + b'\\n')\n"
TREE = 'echo made; mkdir -p "$0/below" && sort -u "$1" >"$0/below/sorted" && ln -s below/sorted "$0/link"'
FLAKY = 'echo "$PIPELINE_ATTEMPT" >&2; [ "$PIPELINE_ATTEMPT" -gt 1 ] || exit 75; sort -r "$1" >"$0"'
ONE = ("-j1",)  # one stage at a time, so that the order of records is fixed


def shell(name: str, script: str, source: str, target: str, **fields: object) -> dict[str, object]:
    """Return a stage that runs a script with its output as $0 and its input as $1."""
    command = ["sh", "-c", script, "{outputs.out}", "{inputs.text}"]
    return {"name": name, "command": command, "inputs": {"text": source}, "outputs": {"out": target}, **fields}


def define(story: Story, *stages: dict[str, object], **top: object) -> None:
    story.write("spec.json", json.dumps({"specVersion": 1, "name": "story", **top, "stages": stages}, indent=1))


def plain_stages() -> list[dict[str, object]]:
    return [
        {"name": "twice", "processor": "twice.sh", "inputs": {"text": "in.txt"},
         "outputs": {"twice": "work/twice.txt"}},
        {"name": "upper", "processor": "upper.py", "inputs": {"text": "work/twice.txt"}, "params": {"mark": "!"},
         "outputs": {"upper": "work/upper.txt"}, "checkpoint": {"everyLines": 5}},
        {"name": "copy", "processor": "offpipe:stage_copy.py", "inputs": ["work/upper.txt"],
         "outputs": ["work/copy.txt"]},
        shell("tree", TREE, "work/copy.txt", "out/tree/"),
        shell("flaky", FLAKY, "out/tree/below/sorted", "out/flaky.txt",
              retry={"attempts": 3, "delaySeconds": 0.01, "jitter": 0}),
        {"name": "count", "command": ["wc", "-l"], "stdin": "text", "stdout": "lines", "needs": ["flaky"],
         "inputs": {"text": "out/flaky.txt"}, "outputs": {"lines": "out/count.txt"}, "env": {"LC_ALL": "C"}},
    ]  # fmt: skip


def lay_out(place: Path, cluster: str = "") -> Story:
    story = Story(place, "upper", "copy", cluster=cluster)
    story.write("in.txt", LINES)
    story.write("twice.sh", DOUBLE, 0o755)
    story.write("upper.py", UPPER)
    story.write("shout.py", SHOUT)
    define(story, *plain_stages())
    return story


def plain(place: Path, cluster: str = "") -> list[dict[str, object]]:
    story = lay_out(place / "plain", cluster)
    with Program() as program:
        story.note("nothing has run", program)
        story.run("the first run", "run", "spec.json", "--run-id", "first", "--json", *ONE, program=program)
        story.run("nothing to do", "run", "--run-id", "nothing", "--json", "spec.json", program=program)
        story.run("nothing to do, plain", "spec.json", program=program)
        story.run("nothing to do, by the record of that", "spec.json", program=program)
        story.write("in.txt", LINES.replace("line 3", "line three"))
        story.note("another input", program)
        story.run("run with it", "run", "--json", "spec.json", *ONE, program=program)
        story.run("another parameter", "run", "--json", "--param", 'upper.mark="?"', "spec.json", *ONE, program=program)
        story.write("twice.sh", DOUBLE, 0o755, mtime=MTIME + 1)
        story.write("shout.py", SHOUT.replace("upper()", "lower()"))
        story.write("out/count.txt", "other\n")
        (story.root / "out/flaky.txt").unlink()
        story.note("a touched processor, another module, an output edited and one removed", program)
        story.run("two stages by name", "run", "--json", "spec.json", "twice", "upper", *ONE, program=program)
        story.run("the rest", "run", "--json", "spec.json", "--durability=process", *ONE, program=program)
        story.run("forced", "run", "--json", "-f", "spec.json", "twice", *ONE, program=program)
        define(story, *plain_stages()[:-1], shell("last", 'cp "$1" "$0"', "out/flaky.txt", "out/last.txt"))
        story.note("another stage, and one less", program)
        story.run("run with it", "run", "--json", "--run-id", "last", "spec.json", *ONE, program=program)
        story.call(program, "the log of a stage", "log", "tree")
        story.call(program, "the log of an attempt", "log", "flaky", "--run=first", "--attempt=1")
        story.call(program, "what clean would remove", "clean", "-n")
        story.call(program, "clean", "clean")
        story.call(program, "clean all", "clean", "--state")
    return story.steps


# ---- failures --------------------------------------------------------------------------------------------------------

MENDED = '[ -e mended ] && echo "$PIPELINE_STAGE" >"$0" && exit 0; '
FAILING = {
    "exits": "exit 3",
    "later": "exit 75",
    "signal": "kill -9 $$",
    "slow": "exec sleep 600",
    "silent": "exit 0",
    "direct": "echo x >out/direct.txt",
    "fifo": 'mkfifo "$0"',
    "directory": 'mkdir "$0"',
}
RETRIES = {
    "later": {"retry": {"attempts": 3, "delaySeconds": [0]}},  # no delay: the order of stages is fixed
    "signal": {"retry": {"attempts": 2, "delaySeconds": 0, "retryExitCodes": ["SIGKILL"]}},
    "slow": {"timeoutSeconds": 0.3, "retry": {"attempts": 2, "delaySeconds": 0, "retryOnTimeout": True}},
}
ASKS = """import os, socket
try:
    os.path.exists("mended") or socket.socket(socket.AF_INET)
except OSError:
    pass
with open(os.environ["PIPELINE_OUTPUT_OUT"], "w") as out:
    out.write("x\\n")
"""


def failing_stages() -> list[dict[str, object]]:
    def asks(name: str, source: str) -> dict[str, object]:
        return {"name": name, "processor": "asks.py", "inputs": [source], "outputs": {"out": f"out/{name}.txt"}}

    stages = [
        shell(name, MENDED + script, "in.txt", f"out/{name}.txt", **RETRIES.get(name, {}))
        for name, script in FAILING.items()
    ]
    return [
        *stages,
        asks("asks", "in.txt"),
        shell("blocked", 'cp "$1" "$0"', "out/exits.txt", "out/blocked.txt"),
        shell("behind", 'cp "$1" "$0"', "out/blocked.txt", "out/behind.txt"),
        {**asks("records", "in.txt"), "offline": {"onAttempt": "record"}},
        shell("leaves", 'sleep 600 & cp "$1" "$0"', "out/records.txt", "out/leaves.txt"),
        shell(
            "enforced",
            'cp "$1" "$0"',
            "out/leaves.txt",
            "out/enforced.txt",
            resources={"memoryMiB": 512, "enforce": True},
        ),
    ]


def one_after_the_other(stages: list[dict[str, object]]) -> list[dict[str, object]]:
    """Return the same stages as a chain, because the order in which independent stages succeed is not fixed."""
    return [stages[0], *({**stage, "needs": [before["name"]]} for before, stage in pairwise(stages))]


def failures(place: Path, cluster: str = "") -> list[dict[str, object]]:
    story = Story(place / "failures", "asks", "records", cluster=cluster)
    story.write("in.txt", LINES)
    story.write("asks.py", ASKS)
    define(story, *failing_stages(), offline={"allowImports": ["socket"]})
    with Program() as program:
        story.run("up to the first failure", "run", "--json", "--run-id", "one", "spec.json", *ONE, program=program)
        story.run("all that fail", "run", "-k", "--json", "spec.json", *ONE, program=program)
        story.run(
            "one that may be tried again",
            "run",
            "--json",
            "--run-id",
            "two",
            "spec.json",
            "later",
            *ONE,
            program=program,
        )
        story.write("mended", "")
        define(story, *one_after_the_other(failing_stages()), offline={"allowImports": ["socket"]})
        story.run("mended", "run", "--json", "spec.json", *ONE, program=program)
        (story.root / "in.txt").unlink()
        story.run("no input", "run", "--json", "spec.json", program=program)
    return story.steps


# ---- kills -----------------------------------------------------------------------------------------------------------


def kills(place: Path) -> list[dict[str, object]]:
    story = lay_out(place / "kills")
    log = story.root / "state/audit_held.jsonl"
    with Program() as program:
        hold(story, program, "held in the middle of a stage", "--run-id=held", number=signal.SIGKILL, beside=True)
        with log.open("ab") as torn:
            torn.write(b'{"data":{"attempt":1,"exit":')
        story.note("with half a record behind it", program)
        hold(story, program, "goes on, and is asked to end", number=signal.SIGTERM)
        (story.root / "hold").unlink()
        story.run("goes on to the end", "run", "--json", "spec.json", *ONE, program=program)
        hold(story, program, "killed again", "-f", number=signal.SIGKILL)
        (story.root / "hold").unlink()
        story.write("shout.py", SHOUT.replace("upper()", "lower()"))
        story.note("other code than the checkpoint's", program)
        story.run("goes on with other code", "run", "--json", "spec.json", *ONE, program=program)
    return story.steps


def hold(story: Story, program: Program, step: str, *words: str, number: int, beside: bool = False) -> None:
    """Run until the stage `upper` waits after its checkpoint; look; send a signal."""
    story.write("hold", "")
    (story.root / "holds").unlink(missing_ok=True)
    with story.running("run", "spec.json", "--json", *words, *ONE) as process:
        wait_for((story.root / "holds").exists, "the stage at its seventh line")
        story.note(step, program)
        if beside:
            story.call(program, "a run beside it", "run", "--json")
            story.call(program, "clean beside it", "clean")
        answer = story.end(process, number)
    story.add(f"{step}: {signal.Signals(number).name}", words, answer)
    story.look(program)


# ---- a key -----------------------------------------------------------------------------------------------------------


def keyed(place: Path, cluster: str = "") -> list[dict[str, object]]:
    story = Story(place / "keyed", cluster=cluster)
    story.write("in.txt", LINES)
    define(story, shell("sort", 'sort "$1" >"$0"', "in.txt", "out.txt"))
    for name, content, mode in (
        ("key", b"k" * 32, 0o600),
        ("other", b"o" * 32, 0o600),
        ("open", b"k" * 32, 0o644),
        ("short", b"k", 0o600),
    ):
        story.write(f"../{name}", content, mode)
    story.write("inside", b"k" * 32, 0o600)
    with Program() as program:
        for name in ("../short", "../none", "inside"):
            key = {"OFFPIPE_AUDIT_KEY_FILE": str(story.root / name)}
            story.run(f"key: {name}", "run", "--json", "--run-id", "bad", "spec.json", program=program, env=key)
        story.run("without a key", "run", "--json", "--run-id", "plain", "spec.json", program=program)
        for name in ("key", "open"):
            key = {"OFFPIPE_AUDIT_KEY_FILE": str(place / name)}
            story.run(f"key: {name}", "run", "--json", "-f", "--run-id", name, "spec.json", program=program, env=key)
        for name, key in (("no key", {}), ("another key", {"OFFPIPE_AUDIT_KEY_FILE": str(place / "other")})):
            story.run(name, "run", "--json", "--run-id", "bad", "spec.json", program=program, env=key)
    return story.steps
