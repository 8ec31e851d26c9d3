"""Remakes the pictures in docs/report.md: `.venv/bin/python tests/support/report_pictures.py`; needs Chromium."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from browser import LACKING, Browser
from pipeline_bench import ROOT, PipelineBench

SAMPLES = "abcdefgh"


def step(name: str, seconds: float, inputs: dict[str, str], output: str, script: str = "", **fields: object):
    script = f'sleep {seconds}; {script} cat "$@" >"$0"'
    paths = [f"{{inputs.{label}}}" for label in inputs]
    command = ["bash", "-c", script, "{outputs.out}", *paths]
    return {"name": name, "command": command, "inputs": inputs, "outputs": {"out": output}, **fields}


def stages(last: str) -> list[dict[str, object]]:
    reads, clean, bam = (
        f"{folder}/{{each.sample}}.{end}" for folder, end in (("in", "fastq"), ("w", "fq"), ("w", "bam"))
    )
    retry = {"attempts": 3, "delaySeconds": [0.5, 0.9], "jitter": 0}
    flaky = f'case {{each.sample}} in c) [ "$PIPELINE_ATTEMPT" -ge 3 ] || exit 75;; f) {last};; esac;'
    table = {"title": "Reads of each sample", "caption": "Before trimming."}
    probe = "(exec 3<>/dev/tcp/192.0.2.1/80) 2>/dev/null;"
    return [
        step("index", 0.9, {"genome": "in/genome.fa"}, "w/genome.idx", probe, offline={"onAttempt": "record"}),
        step("trim", 0.2, {"reads": reads}, clean, each={"sample": "in/*.fastq"}),
        step("align", 0.3, {"reads": clean, "index": "w/genome.idx"}, bam, flaky, each="trim", retry=retry),
        step("merge", 0.5, {"parts": "w/*.bam"}, "out/all.bam"),
        step("count", 0.3, {"all": "out/all.bam"}, "out/counts.tsv"),
        step("survey", 0.1, {"reads": "in/reads.csv"}, "out/reads.csv", results={"out": table}),
    ]


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        bench, browser = PipelineBench(Path(directory)), Browser()
        bench.spec = bench.root / "nightly.json"
        os.chdir(bench.root)
        bench.write("in/genome.fa", "ACGT\n")
        for sample in SAMPLES:
            bench.write(f"in/{sample}.fastq", sample)
        bench.write(
            "in/reads.csv", "sample,reads,bases\na,1204118,180617700\nb,998340,149751000\nc,1310022,196503300\n"
        )
        bench.define(*stages("true"), name="nightly")
        for night in range(9):
            bench.write(f"in/{SAMPLES[night % 8]}.fastq", str(night // 3))
            bench.run("-j3")
        bench.write("in/genome.fa", "ACGTT\n")
        for sample in SAMPLES:
            bench.write(f"in/{sample}.fastq", sample)
        bench.define(*stages("exit 3"), name="nightly")
        bench.spec = Path("nightly.json")
        bench.run("-k", "-j3", cwd=bench.root, env={"PYTHONPATH": str(ROOT)})
        bench.spec = bench.root / bench.spec
        page = bench.root / "report.html"
        bench.run("report", "-o", str(page))
        browser.driver.set_window_size(1000, 900)
        for name, scheme, begin, end in (
            ("report", "light", "header", "#graph"),
            ("report-dark", "dark", "#graph", "#warnings"),
        ):
            browser.open(page, scheme)
            (ROOT / f"docs/{name}.png").write_bytes(browser.picture(begin, end))
        browser.close()


if __name__ == "__main__":
    sys.exit(LACKING or main())
