"""A small pipeline with a stage of each kind, for the crash sweep. `root` has its spec, programs and inputs only.

Three of its stages are templates, one for each form of `each`, with two instances each.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from crash_checks import Place
    from crash_sweep import Kill

LINES, INTERVAL = 40, 10
FLAKY = "[ $PIPELINE_ATTEMPT -gt 1 ] || exit 75"
RETRY = {"attempts": 3, "delaySeconds": 0}

SPLIT = """
import os
from runner import sdk
with sdk.stage() as stage, stage.lines("text", to=("even", "odd")) as job:
    notes = os.open(os.path.dirname(stage.outputs["even"]) + "/notes", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for number, line in enumerate(job, job.line_offset):
        os.write(notes, b"%d\\n" % number)
        job.write(line.upper() * stage.params["times"], to="odd" if number % 2 else "even")
"""
PART = """
from runner import sdk
with sdk.stage() as stage, stage.lines("text", to="text") as job:
    for line in job:
        job.write(line.upper())
"""

NOTING = SPLIT.replace(
    'os.open(os.path.dirname(stage.outputs["even"]) + "/notes", os.O_WRONLY | os.O_APPEND | os.O_CREAT)', "2"
)
NUMBER = """
at=0 length=0
if [ -e "$PIPELINE_PROGRESS" ]; then
    read -r at length <<END
$(sed 's/.*"lineOffset": \\([0-9]*\\).*"length": \\([0-9]*\\).*/\\1 \\2/' "$PIPELINE_PROGRESS")
END
fi
number=0
while read -r line; do
    number=$((number + 1))
    [ $number -gt $at ] || continue
    text="$number $line"
    echo "$text" >>"$PIPELINE_OUTPUT_OUT"
    length=$((length + ${#text} + 1))
    [ $((number % 10)) = 0 ] || continue
    printf '{"v": 1, "key": "%s", "lineOffset": %d, "outputs": {"out": {"length": %d}}}\\n' \\
        $PIPELINE_KEY $number $length >"$PIPELINE_PROGRESS~"
    mv "$PIPELINE_PROGRESS~" "$PIPELINE_PROGRESS"
    [ $number != 20 ] || [ $PIPELINE_ATTEMPT -gt 1 ] || exit 75
done
"""


def shell(script: str, *words: str) -> list[str]:
    return ["sh", "-c", script, *words]


class CrashPipeline:
    """Writes the pipeline, changes it, and counts the lines that its SDK stage worked on.

    `TEMPORARY`: stage -> its temporary outputs.
    """

    TEMPORARY: ClassVar[Mapping[str, Sequence[str]]] = {}

    def __init__(self, root: Path) -> None:
        self.root = root
        self.spec = root / "spec.json"
        self._edition = 0
        (root / "split.py").write_text(SPLIT)
        (root / "part.py").write_text(PART)
        (root / "rows.csv").write_text("id,part,word\n1,a,x\n2,b,y\n")
        for name in "ab":
            self._write_lines(f"part-{name}.txt", name)
        self.write_spec()
        self.write_input()

    def write_spec(self, times: int = 1) -> str:
        stages = [
            {"name": "split", "processor": "split.py", "inputs": {"text": "in.txt"}, "params": {"times": times},
             "checkpoint": {"everyLines": INTERVAL}, "outputs": {"even": "w/even", "odd": "w/odd"}},
            {"name": "two", "inputs": {"even": "w/even"}, "outputs": {"up": "w/up", "down": "out/down"},
             "command": shell("sort $0 >$1; sort -r $0 >$2", "{inputs.even}", "{outputs.up}", "{outputs.down}")},
            {"name": "tree", "command": shell("mkdir $1 && split -l 7 $0 $1/part-", "{inputs.odd}", "{outputs.tree}"),
             "inputs": {"odd": "w/odd"}, "outputs": {"tree": "out/tree/"}},
            {"name": "pipe", "command": ["tr", "A-Z", "a-z"], "stdin": "up", "stdout": "low",
             "inputs": {"up": "w/up"}, "outputs": {"low": "out/low"}, "programVersion": ["tr", "--version"]},
            {"name": "flaky", "inputs": {"tree": "out/tree/", "parts": ["out/row-*", "p/*"]},
             "command": shell(f"cat $1/* $(cat $2) >$0; {FLAKY}", "{outputs.all}", "{inputs.tree}", "{list.parts}"),
             "outputs": {"all": "out/all"}, "retry": RETRY},
            {"name": "part", "each": {"part": "part-*.txt"}, "processor": "part.py",
             "inputs": {"text": "part-{each.part}.txt"}, "checkpoint": {"everyLines": INTERVAL},
             "outputs": {"text": "p/{each.part}"}},
            {"name": "row", "each": {"rows": "rows.csv"}, "command": ["sed", "s/$/{each.word}{vars.tag}/"],
             "stdin": "part", "inputs": {"part": "p/{each.part}"}, "stdout": "row", "outputs": {"row": "w/{each.id}"}},
            {"name": "again", "each": "row", "inputs": {"row": "w/{each.id}"}, "outputs": {"row": "out/row-{each.id}"},
             "command": shell(f"cp $0 $1; {FLAKY}", "{inputs.row}", "{outputs.row}"), "retry": RETRY},
        ]  # fmt: skip
        stages = [{**stage, "temporary": [*self.TEMPORARY.get(str(stage["name"]), ())]} for stage in stages]
        self.spec.write_text(json.dumps({"specVersion": 1, "name": "crash", "vars": {"tag": "t"}, "stages": stages}))
        return f"times {times}"

    def write_input(self, word: str = "line") -> str:
        self._write_lines("in.txt", word)
        return word

    def third_part(self, *, is_there: bool) -> bool:
        """Add or remove an input, and with it an instance."""
        if is_there:
            self._write_lines("part-c.txt", "c")
        else:
            (self.root / "part-c.txt").unlink(missing_ok=True)
        return is_there

    def _write_lines(self, name: str, word: str) -> None:
        (self.root / name).write_text("".join(f"{word} {number}\n" for number in range(LINES)))

    def another_input(self) -> str:
        """Write the input anew, with two contents in turn."""
        self._edition += 1
        return self.write_input("other" if self._edition % 2 else "line")

    def forget(self, place: Place) -> None:
        (place.workspace / "w/notes").unlink(missing_ok=True)

    def repeats(self, kill: Kill, place: Place) -> Iterator[str]:
        """Yield a fault if the SDK stage, since `forget`, has repeated more than one interval of lines a kill."""
        notes = place.workspace / "w/notes"
        worked = len(notes.read_bytes().split()) if notes.exists() else 0
        if worked > LINES + (2 if kill.again else 1) * INTERVAL:
            yield f"split worked on {worked} lines for {LINES}"


class TemporaryPipeline(CrashPipeline):
    """The same pipeline. It keeps only what no stage reads."""

    TEMPORARY: ClassVar = {
        "split": ("even", "odd"), "two": ("up",), "tree": ("tree",), "part": ("text",), "row": ("row",),
        "again": ("row",),
    }  # fmt: skip


class RoundsPipeline(CrashPipeline):
    """The same pipeline in three rounds: a stage makes a directory of parts, and then one the table of rows."""

    def write_spec(self, times: int = 1) -> str:
        written = super().write_spec(times)
        spec = json.loads(self.spec.read_text())
        stages = {stage["name"]: stage for stage in spec["stages"]}
        stages["part"] |= {"each": {"part": "w/parts/part-*.txt"}, "inputs": {"text": "w/parts/part-{each.part}.txt"}}
        stages["row"] |= {"each": {"rows": "{outputs.table.rows}"}, "outputs": {"row": "r/{each.id}"}}
        stages["again"]["inputs"] = {"row": "r/{each.id}"}
        spec["stages"] += [
            {"name": "parts", "command": shell('mkdir "$0" && cp "$@" "$0"', "{outputs.parts}", "{inputs.parts}"),
             "inputs": {"parts": "part-*.txt"}, "outputs": {"parts": "w/parts/"}},
            {"name": "table", "command": ["cp", "{inputs.rows}", "{outputs.rows}"],
             "inputs": {"rows": "rows.csv", "parts": "p/*"}, "outputs": {"rows": "w/rows.csv"}},
        ]  # fmt: skip
        self.spec.write_text(json.dumps(spec))
        return written


class SealedPipeline(CrashPipeline):
    """The same pipeline, sealed, with two more stages: one that writes its own progress file, and a fresh interpreter.

    The SDK stage notes its lines in its log, because nothing but its outputs outlives its view.
    """

    def write_spec(self, times: int = 1) -> str:
        written = super().write_spec(times)
        (self.root / "split.py").write_text(NOTING)
        (self.root / "number.sh").write_text(NUMBER)
        spec = json.loads(self.spec.read_text())
        stages = {stage["name"]: stage for stage in spec["stages"]}
        stages["again"]["seenAs"] = {"row": "top"}
        stages["again"]["inputs"] = {"from": "w/{each.id}"}
        stages["again"]["command"] = shell(f"cp $0 top; {FLAKY}", "{inputs.from}")
        stages["two"] |= {"outputs": {"up": "w/up", "down": "out/down", "new": "w/new/er/copy"}}
        stages["two"]["command"] = shell(
            "sort $0 >$1; sort -r $0 >$2; cp $1 $3",
            *("{inputs.even}", "{outputs.up}", "{outputs.down}", "{outputs.new}"),
        )
        spec["defaults"] = {"sealed": True}
        spec["stages"] += [
            {"name": "number", "command": ["sh", "number.sh"], "stdin": "text", "retry": RETRY,
             "inputs": {"text": "in.txt", "code": "number.sh"}, "outputs": {"out": "out/numbers"}},
            {"name": "fresh", "processor": "part.py", "inputs": {"text": "in.txt"}, "freshInterpreter": True,
             "outputs": {"text": "out/fresh"}},
        ]  # fmt: skip
        self.spec.write_text(json.dumps(spec))
        return written

    def forget(self, place: Place) -> None:
        for log in place.state.glob("logs/*/split.*.log"):
            log.unlink()

    def repeats(self, kill: Kill, place: Place) -> Iterator[str]:
        worked = sum(len(log.read_bytes().split()) for log in place.state.glob("logs/*/split.*.log"))
        if worked > LINES + (2 if kill.again else 1) * INTERVAL:
            yield f"split worked on {worked} lines for {LINES}"
