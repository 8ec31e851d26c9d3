"""Makes docs/demo.svg: what a terminal shows once ./run_demo.sh has run in it.

Run `.venv/bin/python tests/support/demo_picture.py` in a checkout. It needs `script` (util-linux), and first removes
what the demo has made. Left out are the text that the demo prints and its `explain`; the temporary directory is shown
as /tmp/demo, and the ledger's heads are shortened.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parents[2]
COLUMNS = 92
# What a terminal is sent: text with colours, the start of the line, the next line, and control sequences.
SENT = re.compile(
    r"(?P<text>(?:[^\r\n\x1b]|\x1b\[[\d;]*m)+)|\r|\n|\x1b\[(?P<count>\d*)(?P<control>[AK])|\x1b\[\?25[lh]"
)


def main() -> None:
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    for line in part_to_show(screen(record_demo())):
        console.print(Text.from_ansi(line), soft_wrap=True)
    svg = console.export_svg(title="./run_demo.sh", unique_id="offpipe")
    fonts = re.compile(r"\s*@font-face \{.*?\}", re.DOTALL)  # they would be fetched from a network
    (ROOT / "docs/demo.svg").write_text(fonts.sub("", svg), encoding="utf-8")


def record_demo() -> str:
    """Run the demo from nothing in a terminal, and return everything that the terminal was sent."""
    clean = [".venv/bin/offpipe", "clean", "pipelines/demo.json", "--state"]
    subprocess.run(clean, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    with tempfile.NamedTemporaryFile() as log:
        command = ["script", "-qec", f"stty cols {COLUMNS} rows 40; ./run_demo.sh", log.name]
        env = {**os.environ, "TERM": "xterm-256color"}
        subprocess.run(command, cwd=ROOT, env=env, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        return log.read().decode()


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
