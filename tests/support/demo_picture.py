"""Makes docs/demo.svg, a terminal after ./run_demo.sh, and docs/run.svg, a terminal during a run.

Run `.venv/bin/python tests/support/demo_picture.py` in a checkout. It needs `script` (util-linux), and first removes
what the demo has made. The picture leaves out the text that the demo prints and its `explain`, shows the temporary
directory as /tmp/demo, and shortens the ledger's heads.
"""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parents[2]
COLUMNS = 92
# What programs send to a terminal: text with colours, the start of the line, the next line, and control sequences.
SENT = re.compile(
    r"(?P<text>(?:[^\r\n\x1b]|\x1b\[[\d;]*m)+)|\r|\n|\x1b\[(?P<count>\d*)(?P<control>[AK])|\x1b\[\?25[lh]"
)
RUN = "offpipe -k -j4 plate.json"
MOMENT = re.compile(r"1[2-5] of 30 done, 2 failed")
SLOWLY = 'for part in 0 1 2 3 4; do tail -c +$((part * 400000 + 1)) "$0" | head -c 400000; sleep 0.1; done'
SAMPLES = [f"2026-11-28.plate-07.well-A{number:02}" for number in range(1, 11)]
ALIGN = dict.fromkeys(SAMPLES[1:3], "echo no index for chr7 >&2; exit 3")
ALIGN[SAMPLES[3]] = f"test $PIPELINE_ATTEMPT = 2 || exit 75; {SLOWLY}"


def main() -> None:
    draw("demo", "./run_demo.sh", part_to_show(screen(record_demo())))
    draw("run", RUN, [f"$ {RUN}", *screen(until_moment(record_run()))])


def draw(name: str, title: str, lines: list[str]) -> None:
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    for line in lines:
        console.print(Text.from_ansi(line), soft_wrap=True)
    svg = console.export_svg(title=title, unique_id="offpipe")
    fonts = re.compile(r"\s*@font-face \{.*?\}", re.DOTALL)  # a browser would fetch them from the network
    (ROOT / f"docs/{name}.svg").write_text(fonts.sub("", svg), encoding="utf-8")


def record_demo() -> str:
    """Run the demo from nothing in a terminal, and return everything that the terminal was sent."""
    clean = [".venv/bin/offpipe", "clean", "pipelines/demo.json", "--state"]
    subprocess.run(clean, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return record("./run_demo.sh", ROOT)


def record_run() -> str:
    """Run three stages for each of ten samples, of which two fail and one is retried; return what was sent."""
    steps = (("trim", "reads", "trimmed"), ("align", "trimmed", "aligned"), ("count", "aligned", "counted"))
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        (root / "reads").mkdir()
        stages = []
        for sample in SAMPLES:
            (root / "reads" / sample).write_bytes(bytes(2_000_000))
            for step, source, target in steps:
                script = ALIGN.get(sample, SLOWLY) if step == "align" else SLOWLY
                files = {"inputs": {"x": f"{source}/{sample}"}, "outputs": {"y": f"{target}/{sample}"}, "stdout": "y"}
                stages.append({"name": f"{step}.{sample}", "command": ["sh", "-c", script, "{inputs.x}"], **files})
        retry = {"attempts": 2, "delaySeconds": 5, "jitter": 0}
        spec = {"specVersion": 1, "name": "plate", "defaults": {"retry": retry}, "stages": stages}
        (root / "plate.json").write_text(json.dumps(spec))
        return record(f"{ROOT}/.venv/bin/{RUN} || true", root)


def record(command: str, cwd: Path) -> str:
    """Run a command in a terminal, and return everything that the terminal was sent."""
    with tempfile.NamedTemporaryFile() as log:
        words = ["script", "-qec", f"stty cols {COLUMNS} rows 60; {command}", log.name]
        env = {**os.environ, "TERM": "xterm-256color"}
        subprocess.run(words, cwd=cwd, env=env, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        return log.read().decode()


def until_moment(sent: str) -> str:
    """Return what offpipe had sent when the last row, which has the counts, matched MOMENT."""
    found = MOMENT.search(sent)
    assert found, "no row matched MOMENT: record again"
    return sent[sent.index("plate: run") : found.end()]


def screen(sent: str) -> list[str]:
    """Return the lines that stay on the terminal. Text always begins at the start of a line, as offpipe writes it."""
    lines, row = [""], 0
    for piece in SENT.finditer(sent):
        if piece["text"]:
            lines[row] = piece["text"]
        elif piece["control"] == "A":
            row -= int(piece["count"] or 1)
        elif piece["control"] == "K":
            lines[row] = ""
        elif piece[0] == "\n":
            row += 1
            lines += [""] * (row == len(lines))
    return lines


def part_to_show(lines: list[str]) -> list[str]:
    text = "\n".join(lines)
    text = re.sub(r"(?s)\A.*?(?=\$ )|\n\$ head .*?(?=\nA run of)|\n\$ \S+ explain .*", "", text)
    text = re.sub(r"\S*/tmp\.\w+", "/tmp/demo", text)
    return re.sub(r"(?<=head: \w{16})\w{48}", "...", text).strip().splitlines()


if __name__ == "__main__":
    main()
