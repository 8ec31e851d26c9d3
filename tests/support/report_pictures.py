"""Remakes the pictures in docs/report.md: `.venv/bin/python tests/support/report_pictures.py`; needs Chromium."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from browser import LACKING, Browser
from pipeline_bench import ROOT, PipelineBench
from report_workflow import lay_out


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        bench, browser = PipelineBench(Path(directory)), Browser()
        bench.spec = bench.root / "nightly.json"
        os.chdir(bench.root)
        for night in range(9):
            lay_out(bench, f"ACGT{night // 3}\n")
            bench.run("-f", "-j3")
        lay_out(bench, "ACGTT\n", "exit 3")
        bench.spec = Path("nightly.json")
        bench.run("-j3", cwd=bench.root, env={"PYTHONPATH": str(ROOT)})
        bench.spec = bench.root / bench.spec
        page = bench.root / "report.html"
        bench.run("report", "-o", str(page))
        browser.driver.set_window_size(1000, 900)
        for name, scheme, begin, end in (
            ("report", "light", "header", "#changes"),
            ("report-dark", "dark", "#graph", "#warnings"),
        ):
            browser.open(page, scheme)
            (ROOT / f"docs/{name}.png").write_bytes(browser.picture(begin, end))
        browser.close()


if __name__ == "__main__":
    sys.exit(LACKING or main())
