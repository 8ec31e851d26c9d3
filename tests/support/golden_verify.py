"""Damages a state directory in hundreds of ways and records which file, line and field `verify` names."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from golden_calls import Answer, Call, Program, outcome
from golden_damage import damages, damages_of_killed
from golden_seals import LEDGER, Files, parsed
from golden_stories import ASKS, LINES, ONE, define, shell
from golden_story import Story
from pipeline_bench import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOLDS = """head -n 5 "$1" >"$0"
printf '{"v":1,"key":"%s","lineOffset":5,"outputs":{"out":{"length":35}}}' "$PIPELINE_KEY" >"$PIPELINE_PROGRESS"
touch holds
exec sleep 600"""
JUDGE = '[ -e good ] || exit 3; cp "$1" "$0"'


def make(place: Path) -> Story:
    """Make an intact state directory. Its runs have every event; the last run has nothing to do."""
    story = Story(place / "made")
    story.write("in.txt", LINES)
    story.write("asks.py", ASKS)
    asks = {"name": "asks", "processor": "asks.py", "inputs": ["in.txt"], "outputs": {"out": "out/asks.txt"}}
    stages = [
        shell("sort", 'sort "$1" >"$0"', "in.txt", "out/sort.txt"),
        {**asks, "offline": {"onAttempt": "record"}, "needs": ["sort"]},
        shell("judge", JUDGE, "out/asks.txt", "out/judge.txt"),
        shell("tree", 'mkdir "$0" && cp "$1" "$0/copy"', "out/judge.txt", "out/tree/"),
    ]
    define(story, *stages, offline={"allowImports": ["socket"]})
    run(story, 1, "--run-id=one")
    with (story.root / "state/audit_one.jsonl").open("ab") as torn:
        torn.write(b'{"data":{"attempt":1')
    story.write("good", "")
    run(story, 0, "-f")
    story.write("in.txt", LINES.replace("line 2", "line two"))
    run(story, 0, "--run-id=two")
    run(story, 0, "--run-id=three")
    return story


def make_killed(place: Path) -> Files:
    """Return the state of a run that was killed at a checkpoint of its second stage, with half a record at its end."""
    story = Story(place / "killed")
    story.write("in.txt", LINES)
    define(
        story, shell("twice", 'sed p "$1" >"$0"', "in.txt", "twice.txt"), shell("half", HOLDS, "twice.txt", "half.txt")
    )
    with story.running("run", "spec.json", "-q", "--run-id=first", *ONE) as process:
        wait_for((story.root / "holds").exists, "the checkpoint of the second stage")
        story.end(process, signal.SIGKILL)
    with (story.root / "state/audit_first.jsonl").open("ab") as torn:
        torn.write(b'{"data":{"attempt":1,"exit":')
    return read(story.root / "state")


def run(story: Story, code: int, *words: str) -> None:
    with story.running("run", "spec.json", "-q", *words, *ONE) as process:
        _, err = process.communicate()
    assert process.returncode == code, err


def record(place: Path) -> list[dict[str, object]]:
    with Program() as program:
        story = make(place)
        copy = Copy(place / "copy", program)
        cases = [copy.verify(name, files) for name, files in damages(read(story.root / "state"))]
        cases += [copy.verify(f"killed: {name}", files) for name, files in damages_of_killed(make_killed(place))]
        cases += with_outputs(program, story)
        cases += odd_kinds(program, story)
        run(story, 0)
        return [*cases, *mended_by_runs(program, story)]


def read(state: Path) -> Files:
    return {
        path.name: path.read_bytes() for path in sorted(state.iterdir()) if path.is_file() and path.name != "files.json"
    }


class Copy:
    """A copy of a state directory, damaged in one way after another."""

    def __init__(self, place: Path, program: Program) -> None:
        self._place, self._program = place, program
        self._files: Files = {}
        (place / "state").mkdir(parents=True)

    def verify(self, case: str, files: Files) -> dict[str, object]:
        for name in self._files.keys() - files.keys():
            (self._place / "state" / name).unlink()
        for name, content in files.items():
            if self._files.get(name) is not content:
                (self._place / "state" / name).write_bytes(content)
        self._files = files
        return {"case": case, **findings(self._program.answer(Call(["verify", "--json", "state"], str(self._place))))}


def findings(answer: Answer) -> dict[str, object]:
    """The outcome, and the place of each damage as `FILE:LINE:FIELD`."""
    value, shown = answer.json(), outcome(answer)
    if not isinstance(value, dict) or "damage" not in value:
        return shown
    faults = sorted(value["damage"], key=lambda fault: fault["file"])  # `verify` lists files in any order
    shown["damage"] = [":".join(str(fault[part]) for part in ("file", "line", "field")) for fault in faults]
    shown["more"] = value["moreDamage"]
    for kind in ("incomplete", "notes"):
        shown[kind] = sorted(remark["file"] for remark in value[kind])
    return {name: part for name, part in shown.items() if part or name == "exit"}


def with_outputs(program: Program, story: Story) -> Iterator[dict[str, object]]:
    """Verify with expected heads, with selected runs, and with changed outputs."""

    def verify(case: str, *words: str) -> dict[str, object]:
        call = Call(["verify", "--json", *words, "spec.json"], str(story.root))
        return {"case": case, **findings(program.answer(call))}

    heads = [record["hash"] for record in parsed((story.root / "state" / LEDGER).read_bytes())]
    expected = {"last": heads[-1], "older": heads[0], "unknown": "a" * 64, "upper case": heads[-1].upper()}
    for name, head in expected.items():
        yield verify(f"the {name} head is expected", "--expect-head", head)
    for run_id in ("one", "three", "nobody"):
        yield verify(f"only run {run_id}", "--run", run_id)
    yield verify("outputs as they were", "--outputs")
    output = story.root / "out/sort.txt"
    before = output.stat()
    output.write_bytes(output.read_bytes().replace(b"line", b"LINE"))
    os.utime(output, ns=(before.st_atime_ns, before.st_mtime_ns))
    yield verify("an output edited, its time restored", "--outputs")
    yield verify("an output edited, not looked at")
    output.unlink()
    yield verify("an output removed", "--outputs")
    output.symlink_to("asks.txt")
    yield verify("an output that is a link", "--outputs")
    (story.root / "out/tree/more").write_text("x")
    yield verify("a file more in a directory", "--outputs")


def odd_kinds(program: Program, story: Story) -> Iterator[dict[str, object]]:
    """Put a FIFO, a directory or a link in the place of a state file; record what `verify` and `plan` say."""
    for name in (LEDGER, "audit_two.jsonl", "metrics_two.json", "stage_sort.json", "files.json"):
        path = story.root / "state" / name
        kept = path.read_bytes()
        for kind, make in {
            "FIFO": os.mkfifo,
            "directory": os.mkdir,
            "link": lambda at: os.symlink("nowhere", at),
        }.items():
            path.unlink()
            make(path)
            for verb in ("verify", "plan"):
                answer = program.answer(Call([verb, "--json", "spec.json"], str(story.root)))
                yield {"case": f"{name} is a {kind}: {verb}", **findings(answer)}
            path.rmdir() if kind == "directory" else path.unlink()
            path.write_bytes(kept)


def mended_by_runs(program: Program, story: Story) -> Iterator[dict[str, object]]:
    """Damage one file at a time and run twice; yield the outcomes, and the stages that run again."""
    other_marker = (story.root / "state/stage_tree.json").read_bytes()
    for name in ("state/stage_sort.json", "state/progress_sort.json", "state/files.json", ".offpipe/noop-spec.json",
                 "locks/pipeline.lock", "state/audit_two.jsonl", f"state/{LEDGER}"):  # fmt: skip
        for what, content in {
            "empty": b"",
            "no JSON": b"\xff{",
            "of another stage": other_marker,
            "a FIFO": None,
        }.items():
            path = story.root / name
            kept = path.read_bytes() if path.exists() else None
            path.unlink(missing_ok=True)
            os.mkfifo(path) if content is None else path.write_bytes(content)
            for time in ("first", "second"):
                answer = program.answer(Call(["run", "--json", *ONE, "spec.json"], str(story.root)))
                stages = (answer.json() or {}).get("stages", {})
                ran = [stage for stage, result in stages.items() if result["status"] != "skipped"]
                yield {"case": f"{name} is {what}: {time} run", **outcome(answer), "ran": ran}
            if LEDGER in name or not path.exists():
                path.unlink(missing_ok=True)
                path.write_bytes(kept) if kept is not None else None
