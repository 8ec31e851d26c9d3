"""Calls verbs in this process, as the console script does, and checks what must hold for every answer."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
from typing import TYPE_CHECKING, NamedTuple

from runner.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LONG = bool(os.environ.get("OFFPIPE_FUZZ"))
PATIENCE = 30.0  # seconds that a call may take, on a busy machine

# The exit codes of each verb, from docs/cli.md.
LOOKING = frozenset({0, 2, 4, 5, 74})
CODES = {
    "run": frozenset({0, 1, 2, 4, 5, 9, 74, 75}), "plan": LOOKING, "validate": LOOKING, "explain": LOOKING,
    "status": LOOKING | {3}, "graph": frozenset({0, 2, 74}), "verify": frozenset({0, 2, 3, 6, 74}),
    "log": frozenset({0, 2, 74}), "report": frozenset({0, 2, 3, 6, 74}),
    "clean": frozenset({0, 2, 5, 9, 74}), "schema": frozenset({0, 2}),
    "export": frozenset({0, 2, 6, 74}), "who": frozenset({0, 2, 5, 74}),
    "runs": frozenset({0, 2, 3, 6, 74}), "prune": frozenset({0, 2, 6, 9, 74}),
    "learn": frozenset({0, 1, 2, 4, 5, 74}),
}  # fmt: skip
LOOKS = (
    ("validate",), ("plan",), ("plan", "-v"), ("plan", "-f"), ("plan", "--paranoid"), ("plan", "--json"), ("run",
    "-n"), ("status",),
    ("status", "--json"), ("status", "--exit-code"), ("explain", "first"), ("explain", "copy"), ("graph",), ("graph",
    "--format=dot"),
    ("graph", "--format=mermaid"), ("verify",), ("verify", "--json"), ("verify", "--outputs"), ("log",), ("log",
    "copy"),
    ("log", "first"), ("clean", "-n"), ("clean", "-n", "--state"),
    ("plan", "-v", "many"), ("status", "-v", "many@*"), ("explain", "many@one"), ("log", "many@one"), ("log", "many"),
    ("graph", "--expand"), ("report", "--logs", "-o", "-"), ("plan", "-f", "many@t*"), ("clean", "-n", "--orphans"),
    ("export",), ("who", "in.txt"), ("who", "."), ("runs", "--summary"),
    ("runs", "--summary", "--json"),
)  # fmt: skip


class HungError(BaseException):
    """A call took too long. No `except Exception` may swallow this, so it is a BaseException."""


class Answer(NamedTuple):
    """The result of a call."""

    code: int
    stdout: str
    stderr: str


def examples(few: int) -> int:
    """Return the number of examples of a test: `few` in the suite, N percent of that with OFFPIPE_FUZZ=N."""
    return max(1, few * int(os.environ.get("OFFPIPE_FUZZ", "100")) // 100)


@contextlib.contextmanager
def in_time() -> Iterator[None]:
    def hung(number: int, frame: object) -> None:
        raise HungError(f"no answer within {PATIENCE} s")

    before = signal.signal(signal.SIGALRM, hung)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def call(verb: str, *words: str) -> Answer:
    """Call a verb. Raises AssertionError for an answer that the verb may not give."""
    stdout, stderr = io.StringIO(), io.StringIO()
    with in_time(), contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        code = main([verb, *words])
    answer = Answer(code, stdout.getvalue(), stderr.getvalue())
    judge(verb, words, answer)
    return answer


def judge(verb: str, words: tuple[str, ...], answer: Answer) -> None:
    code, stdout, stderr = answer
    text = "\n".join(ascii(line) for line in [f"{verb} {words}: {code}", stdout[-2000:], *stderr[-4000:].splitlines()])
    assert code in CODES[verb], text
    assert "Traceback" not in stderr + stdout, text
    assert "internal error" not in stderr + stdout, text
    answers_no = verb == "who" and code == 5  # that nobody makes or reads the path is no error
    is_in_row = "--summary" in words  # what is wrong with a pipeline
    if code in {2, 4, 5, 9, 74} and "--json" not in words and not (answers_no or is_in_row):
        assert "error: " in stderr, text
    if "--json" in words:
        json.loads(stdout)
    assert stderr.replace("\n", "").replace("\t", "").isprintable(), text


def look(spec: Path | str, words: tuple[str, ...]) -> Answer:
    return call(words[0], str(spec), *words[1:])


FULL = {
    "specVersion": 1, "name": "fuzz", "root": ".", "stateDir": "state", "locksDir": "locks",
    "processorIdentity": "mtime", "programIdentity": "content",
    "description": "all fields", "x-own": {"a": [1, None]},
    "offline": {"bannedImports": ["paramiko"], "allowImports": ["json"], "onAttempt": "fail"},
    "vars": {"tag": "x", "env": "env", "number": 1.50, "words": ["-n", 2], "files": ["in/*.txt", "in/deep/"]},
    "defaults": {"retry": {"attempts": 2}, "timeoutSeconds": [60, 90], "mayBeEmpty": True,
                 "programVersion": ["{python}", "--version"], "tools": "env", "toolsIdentity": "name"},
    "stages": [
        {"name": "first", "processor": "work.py", "args": ["-x", "{params.n}", "{inputs.text}"], "params": {"n": 1,
        "t": "x"},
         "inputs": {"text": "in/*.txt", "more": "in/deep/"}, "outputs": {"out": "out/a.txt", "tree": "out/tree/"},
         "temporary": ["out"], "sealed": True, "seenAs": {"more": "more/", "out": "{vars.tag}/a.txt"},
         "results": {"tree": {"title": "{vars.tag}", "files": "*", "caption": "", "group": "g"}},
         "checkpoint": {"everyLines": 10, "everySeconds": 1}, "freshInterpreter": False,
         "retry": {"attempts": 3, "delaySeconds": [0, 0.1], "multiplier": 2, "maxDelaySeconds": 1, "jitter": 0.5,
                   "retryExitCodes": [75, "SIGKILL"], "maxTotalSeconds": 5, "retryOnTimeout": True},
         "resources": {"cpus": 1, "memoryMiB": 512, "ioConcurrency": 2, "enforce": True}, "timeoutSeconds": 60},
        {"name": "copy", "command": ["sh", "-c", "cat $0 >$1", "{inputs.text}", "{outputs.b}"], "needs": ["first"],
         "inputs": {"text": "out/a.txt"}, "outputs": ["out/b.txt", "out/c.d/e"], "env": {"LC_ALL": "C"},
         "description": "x", "x-more": 1, "offline": {"onAttempt": "record"}, "tools": ["{vars.env}", "env"],
         "toolsIdentity": "content"},
        {"name": "many", "each": {"file": "in/*.txt", "n": [1, "b"]}, "command": ["sh", "-c", "cat", "{vars.tag}"],
         "inputs": {"text": "in/{each.file}.txt"}, "outputs": {"out": "many/{each.file}-{each.n}{vars.number}"},
         "params": {"n": "{each.n}"}, "stdin": "text", "stdout": "out"},
        {"name": "again", "each": "many", "command": ["cp", "{inputs.text}", "{outputs.out}"], "needs": ["many@*"],
         "inputs": {"text": "many/{each.file}-{each.n}{vars.number}"}, "outputs": {"out": "again/{each.file}{each.n}"}},
        {"name": "rows", "each": {"rows": "sheet.csv", "key": ["a", "b"]}, "command": ["touch", "{outputs.out}"],
         "outputs": {"out": "rows/{each.a}{each.b}"}, "where": {"a": {"not": ["none", "{vars.tag}"]}, "b": "1"},
         "mayBeEmpty": True},
        {"name": "lists", "if": {"not": "{vars.tag}"}, "command": ["touch", "{outputs.out}"],
         "each": ["many", {"rows": "sheet.csv", "columns": ["x", "y"]}, {"rows": [{"z": 1.0}], "key": "z"},
                  {"part": "many/{each.file}*"}],
         "outputs": {"out": "lists/{each.file}{each.n}{each.x}{each.y}{each.part}"}},
        {"name": "pipe", "command": ["tr", "a", "b"], "stdin": "b", "stdout": "gz", "inputs": ["out/b.txt"],
         "outputs": {"gz": "out/p.gz"}},
        {"name": "joined", "each": "again", "command": ["cat", "{vars.words}", "{inputs.none}", "{inputs.own}"],
         "inputs": {"own": "{outputs.again.out}", "none": ["none/*", "{outputs.lists.out}", "{outputs.first.tree}*"],
                    "rows": ["{outputs.rows.out}", "{vars.files}"]},
         "optional": ["none", "rows"], "outputs": {"out": "joined/{each.file}{each.n}"}},
    ],
}  # fmt: skip
SMALL = {
    "specVersion": 1, "name": "fuzz", "vars": {"to": "b"},
    "stages": [
        {"name": "copy", "processor": "offpipe:stage_copy.py", "inputs": {"text": "in/*.txt"},
        "outputs": {"text": "out/{vars.to}.txt"}},
        {"name": "many", "each": {"file": "in/*.txt"}, "processor": "offpipe:stage_copy.py",
        "inputs": {"text": "in/{each.file}.txt"}, "outputs": {"text": "many/{each.file}"}},
        {"name": "rows", "each": {"rows": "sheet.csv"}, "processor": "offpipe:stage_copy.py",
        "inputs": {"text": ["many/*"]}, "outputs": {"text": "rows/{each.a}"}},
        {"name": "again", "each": "many", "processor": "offpipe:stage_copy.py", "needs": ["rows"],
        "inputs": {"text": "many/{each.file}"}, "outputs": {"text": "again/{each.file}"}},
    ],
}  # fmt: skip
# A pipeline that runs: `first`, `copy` and `many` finish; `last` fails after a checkpoint, from which it can resume.
RUNNING = {
    "specVersion": 1, "name": "fuzz", "vars": {"to": "many"},
    "stages": [
        {"name": "first", "processor": "offpipe:stage_upper.py", "inputs": {"text": "in/*.txt"},
        "outputs": {"text": "out/a.txt"}},
        {"name": "copy", "command": ["sh", "-c", "mkdir $1; cp $0 $1", "{inputs.text}", "{outputs.tree}"],
        "params": {"n": [1, 1.5]},
         "inputs": {"text": "out/a.txt"}, "outputs": {"tree": "out/tree/"}},
        {"name": "many", "each": {"file": "in/*.txt"}, "command": ["cp", "{inputs.text}", "{outputs.out}"],
        "inputs": {"text": "in/{each.file}.txt"}, "outputs": {"out": "{vars.to}/{each.file}"}},
        {"name": "last", "command": ["sh", "./last.sh"], "inputs": {"text": "out/a.txt"},
        "outputs": {"out": "out/last.txt"}},
    ],
}  # fmt: skip
LAST = """
test -e "$PIPELINE_OUTPUT_OUT" || printf 'kept, junk' >"$PIPELINE_OUTPUT_OUT"
if test -e stop; then
    echo "{\\"v\\": 1, \\"key\\": \\"$PIPELINE_KEY\\", \\"lineOffset\\": 1, \\"byteOffset\\": 4,
    \\"outputs\\": {\\"out\\": {\\"length\\": 4}}}" \
        >"$PIPELINE_PROGRESS"
    exit 1
fi
"""


def lay_out(root: Path) -> None:
    """Make files of every kind, and the state of two runs: one that finished, one that failed."""
    (root / "in/deep").mkdir(parents=True)
    for name in ("in/one.txt", "in/two.txt", "in/deep/three.txt"):
        (root / name).write_text("some\ntext\n")
    (root / "env/conda-meta").mkdir(parents=True)
    os.mkfifo(root / "fifo")
    (root / "dangling").symlink_to("nowhere")
    (root / "loop").symlink_to("loop")
    (root / "sheet.csv").write_text("a,b\nx,1\ny,2\n")
    (root / "local.py").write_text("import keyword\n")
    (root / "work.py").write_text("import local, sys\n")
    (root / "last.sh").write_text(LAST)
    spec = root / "spec.json"
    spec.write_bytes(json.dumps(RUNNING).encode())
    assert look(spec, ("run",)).code == 0
    (root / "stop").touch()
    assert look(spec, ("run", "-f")).code == 1
    (root / "stop").unlink()
    assert look(spec, ("verify",)).code == 3
