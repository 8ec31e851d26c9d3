"""Makes the state directories that every later release must read, and unpacks them for tests.

    python tests/support/make_state.py tests/formats/v1

The interpreter must find this checkout's `runner` and no other, because another would be a package in keys.
The first release with a new `v` runs this once. Never run it for an old `v`: its files must be what that release wrote.
`finished` is a pipeline that succeeded. In `killed`, the runner was killed (-9) after a stage's first checkpoint, and
the log ends with half a record. Lock files are left out: they mean nothing without a process that holds them.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PLACE = Path("/tmp/offpipe-formats")  # caches and logs contain it, so it must not be anyone's own directory
MTIME = 1_767_225_600  # of processors: their keys contain it
LINES = [f"line {number}" for number in range(1, 13)]
CHECKPOINT = 5  # lines

DOUBLE = '#!/bin/sh\nsed p "$PIPELINE_INPUT_TEXT" >"$PIPELINE_OUTPUT_TWICE"\n'
UPPER = """from runner import sdk

with sdk.stage() as stage, stage.lines("text", to="upper") as job:
    for line in job:
        job.write(line.upper())
"""
TREE = 'mkdir -p "$0/below" && split -l 10 "$1" "$0/below/part-" && ln -s below/part-aa "$0/first"'
FLAKY = '[ "$PIPELINE_ATTEMPT" -gt 1 ] || exit 75; sort -r "$1" >"$0"'
RESUMES = f"""set -e
done=0
[ ! -s "$PIPELINE_PROGRESS" ] || done=$(wc -l <"$0")
if [ "$PIPELINE_ATTEMPT" -eq 1 ]; then
    head -n {CHECKPOINT} "$1" | tr a-z A-Z >"$0"
    printf '{{"v":1,"key":"%s","lineOffset":{CHECKPOINT},"outputs":{{"upper":{{"length":%d}}}}}}' \\
        "$PIPELINE_KEY" "$(wc -c <"$0")" >"$PIPELINE_PROGRESS"
    exec sleep 600
fi
tail -n +$((done + 1)) "$1" | tr a-z A-Z >>"$0"
"""


def shell(name: str, script: str, target: str, source: str, **fields: object) -> dict[str, object]:
    """A stage whose script has its output as $0 and its input as $1."""
    command = ["sh", "-c", script, f"{{outputs.{name}}}", "{inputs.text}"]
    return {"name": name, "command": command, "inputs": {"text": source}, "outputs": {name: target}, **fields}


FINISHED = [
    {"name": "twice", "processor": "twice.sh", "inputs": {"text": "in.txt"}, "outputs": {"twice": "work/twice.txt"}},
    {"name": "upper", "processor": "upper.py", "inputs": {"text": "work/twice.txt"},
     "outputs": {"upper": "work/upper.txt"}},
    shell("tree", TREE, "out/tree/", "work/twice.txt"),
    shell("flaky", FLAKY, "out/flaky.txt", "work/upper.txt", retry={"attempts": 2, "delaySeconds": 0}),
]  # fmt: skip
KILLED = [
    {"name": "twice", "processor": "twice.sh", "inputs": {"text": "in.txt"}, "outputs": {"twice": "work/twice.txt"}},
    shell("upper", RESUMES, "work/upper.txt", "in.txt"),
    shell("last", 'cp "$1" "$0"', "out/last.txt", "work/upper.txt"),
]


def offpipe(place: Path, *words: str) -> subprocess.Popen[bytes]:
    command = [str(PLACE / "bin" / Path(sys.executable).name), "-m", "runner", *words]
    return subprocess.Popen(command, cwd=place, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdin=subprocess.DEVNULL)


def lay_out(name: str, stages: list[dict[str, object]]) -> Path:
    place = PLACE / name
    place.mkdir()
    (place / "in.txt").write_text("".join(f"{line}\n" for line in LINES))
    (place / "twice.sh").write_text(DOUBLE)
    if name == "finished":
        (place / "upper.py").write_text(UPPER)
    (place / "spec.json").write_text(json.dumps({"specVersion": 1, "name": name, "stages": stages}, indent=1) + "\n")
    with_fixed_status(place)
    return place


def with_fixed_status(place: Path) -> None:
    """Set the modes and times of all files: checkouts lose them, but keys and digests of directories contain them."""
    for path in (place, *place.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.suffix == ".sh" else 0o644)
            os.utime(path, (MTIME, MTIME))


def unpack(kept: Path, place: Path) -> Path:
    """Copy a kept state directory to `place`, with the files around it, ready for use."""
    shutil.copytree(kept, place, symlinks=True)
    with_fixed_status(place)
    return place


def finish() -> None:
    place = lay_out("finished", FINISHED)
    if code := offpipe(place, "run", "spec.json", "--run-id", "first").wait():
        raise SystemExit(code)
    if code := offpipe(place, "run", "spec.json", "--run-id", "nothing-to-do").wait():
        raise SystemExit(code)


def kill() -> None:
    place = lay_out("killed", KILLED)
    runner = offpipe(place, "run", "spec.json", "--run-id", "first", "-j", "1")
    while not (place / "state/progress_upper.json").exists():
        time.sleep(0.01)
    runner.send_signal(signal.SIGKILL)
    runner.wait()
    log = place / "state/audit_first.jsonl"
    with log.open("ab") as torn:
        torn.write(b'{"data":{"attempt":1,"exit":')


def main(target: Path) -> None:
    shutil.rmtree(PLACE, ignore_errors=True)
    PLACE.mkdir()
    for name in ("bin", "lib", "pyvenv.cfg"):  # the same virtual environment under another path
        (PLACE / name).symlink_to(Path(sys.prefix) / name)
    finish()
    kill()
    for name in ("finished", "killed"):
        shutil.rmtree(target / name, ignore_errors=True)
        ignored = shutil.ignore_patterns("locks", "__pycache__")
        shutil.copytree(PLACE / name, target / name, symlinks=True, ignore=ignored)
    shutil.rmtree(PLACE)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
