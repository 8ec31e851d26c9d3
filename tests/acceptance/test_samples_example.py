"""examples/samples: its 60 lines give the same outputs and keys as a spec in which a script wrote each stage."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from pipeline_bench import ROOT, PipelineBench

if TYPE_CHECKING:
    from pathlib import Path

EXAMPLE = ROOT / "examples/samples"
CONFIG = json.loads((EXAMPLE / "config.json").read_text("utf-8"))
LINES = 60
ALL = 110


def written(rows: list[dict[str, str]]) -> list[dict[str, object]]:
    """The stages as a script writes them: name, inputs, program, and the output that it prints."""

    def stage(name: str, inputs: dict[str, str], label: str, path: str, **program: object) -> dict[str, object]:
        return {"name": name, "inputs": inputs, **program, "stdout": label, "outputs": {label: path}}

    reference = {"reference": CONFIG["reference"]}
    stages = []
    for row in rows:
        sample, lane = row["sample"], row["lane"]
        trimmed, aligned = f"work/trimmed/{sample}/{lane}.fastq", f"work/aligned/{sample}/{lane}.tsv"
        words = [str(CONFIG["quality"]), "{inputs.reads}"]
        trim = {"processor": "tools/trim.py", "args": words}
        stages.append(stage(f"trim-{sample}-{lane}", {"reads": row["reads"]}, "trimmed", trimmed, **trim))
        align = {"processor": "tools/align.py", "args": ["{inputs.reference}", "{inputs.reads}"]}
        stages.append(stage(f"align-{sample}-{lane}", {**reference, "reads": trimmed}, "aligned", aligned, **align))
    for sample, ploidy in {row["sample"]: row["ploidy"] for row in rows}.items():
        lanes, reads = {"lanes": f"work/aligned/{sample}/*.tsv"}, f"work/sorted/{sample}.tsv"
        stages.append(stage(f"sort-{sample}", lanes, "sorted", reads, command=["sort", "-n", "{inputs.lanes}"]))
        words = [sample, ploidy, str(CONFIG["minDepth"]), "{inputs.reference}", "{inputs.reads}"]
        call = {"processor": "tools/call.py", "args": words}
        stages.append(
            stage(f"call-{sample}", {**reference, "reads": reads}, "calls", f"work/calls/{sample}.tsv", **call)
        )
    calls, variants = {"calls": "work/calls/*.tsv"}, "work/variants.tsv"
    stages.append(stage("merge", calls, "variants", variants, command=["sort", "-n", "{inputs.calls}"]))
    report = {"processor": "tools/report.py", "args": [CONFIG["title"], "{inputs.variants}"]}
    stages.append(stage("report", {"variants": variants}, "report", "out/report.txt", **report))
    return stages


def lay_out(root: Path, samples: int) -> PipelineBench:
    """Lay out the example with its first samples, and make their reads."""
    shutil.copytree(EXAMPLE, root, ignore=shutil.ignore_patterns("in", "work", "out", "state", "locks", ".*"))
    sheet = (root / "samples.csv").read_text().splitlines(keepends=True)
    (root / "samples.csv").write_text("".join(sheet[: 1 + 2 * samples]))
    subprocess.run([sys.executable, "make_reads.py"], cwd=root, check=True)
    bench = PipelineBench(root)
    bench.spec = root / "samples.json"
    return bench


def made(bench: PipelineBench, *words: str) -> dict[str, tuple[str, dict[str, object]]]:
    """Run all stages; return the key and outputs of each, by the name that a script would give it."""
    done = json.loads(bench.succeed("run", "--json", *words).stdout)["stages"]
    assert {stage["status"] for stage in done.values()} == {"succeeded"}
    plain = str.maketrans("@,", "--")
    return {name.translate(plain): (stage["key"], stage["outputs"]) for name, stage in done.items()}


@pytest.mark.parametrize("samples", [3, pytest.param(ALL, marks=pytest.mark.full)])
def test_outputs_and_keys_are_those_of_a_spec_that_a_script_wrote(tmp_path, samples) -> None:
    short, long = lay_out(tmp_path / "short", samples), lay_out(tmp_path / "long", samples)
    rows = list(csv.DictReader((long.root / "samples.csv").read_text().splitlines()))
    long.define(*written(rows), name="samples")
    ours = made(short, "--vars", str(short.root / "config.json"))
    assert ours == made(long)
    assert len(ours) == 6 * samples + 2
    assert short.read("out/report.txt").startswith(b"# Plate 7: ")


def test_moving_from_written_stages_to_the_example_runs_nothing(tmp_path) -> None:
    bench = lay_out(tmp_path / "moved", 3)
    short = bench.spec.read_text()
    bench.define(*written(list(csv.DictReader((bench.root / "samples.csv").read_text().splitlines()))), name="samples")
    bench.succeed()
    bench.spec.write_text(short)
    assert started_by(bench) == []
    assert len(bench.records("stage.adopted")) == 6 * 3


def started_by(bench: PipelineBench, *words: str) -> list[str]:
    """Run; return the names of the stages that start, sorted."""
    before = len(bench.records("attempt.started"))
    bench.succeed(*words, "--vars", str(bench.root / "config.json"))
    return sorted(record["data"]["stage"] for record in bench.records("attempt.started")[before:])


def edit(bench: PipelineBench, path: str, old: str, new: str) -> None:
    text = bench.read(path).decode()
    assert old in text
    bench.write(path, text.replace(old, new))


@pytest.mark.full
def test_edits_run_what_the_readme_says(tmp_path) -> None:
    bench = lay_out(tmp_path / "edited", 4)
    *rows, fourth, fifth = bench.read("samples.csv").decode().splitlines(keepends=True)
    bench.write("samples.csv", "".join(rows))
    ended = ["merge", "report"]
    assert started_by(bench, "call@s00[12]") == sorted(
        f"{stage}@{value}"
        for sample in ("s001", "s002")
        for stage, value in (
            ("call", sample), ("sort", sample),
            *((stage, f"{sample},{lane}") for stage in ("trim", "align") for lane in ("L1", "L2")),
        )
    )  # fmt: skip
    assert len(started_by(bench)) == 6 + len(ended)
    assert started_by(bench) == []
    edit(bench, "config.json", "Plate 7", "Plate 8")
    assert started_by(bench) == ["report"]
    edit(bench, "config.json", '"quality": 20', '"quality": 21')
    assert [name for name in started_by(bench) if name.startswith("trim")] == [
        f"trim@s00{sample},L{lane}" for sample in (1, 2, 3) for lane in (1, 2)
    ]
    edit(bench, "samples.csv", "s002_L1.fastq,2", "s002_L1.fastq,1")
    edit(bench, "samples.csv", "s002_L2.fastq,2", "s002_L2.fastq,1")
    assert started_by(bench) == ["call@s002", *ended]
    header, *rows = bench.read("samples.csv").decode().splitlines()
    bench.write("samples.csv", "".join([f"{header},by\n", *(f"{row},me\n" for row in reversed(rows))]))
    assert started_by(bench) == []
    bench.write("samples.csv", "".join([f"{header}\n", *(f"{row}\n" for row in rows), fourth, fifth]))
    six = ["align@s004,L1", "align@s004,L2", "call@s004", "sort@s004", "trim@s004,L1", "trim@s004,L2"]
    assert started_by(bench) == sorted([*six, *ended])
    assert b" s004\n" in bench.read("work/variants.tsv").replace(b"\t", b" ")
    bench.write("samples.csv", "".join([f"{header}\n", *(f"{row}\n" for row in rows)]))
    assert started_by(bench) == ended
    assert b"s004" not in bench.read("work/variants.tsv")
    bench.succeed("clean", "--orphans")
    assert not bench.exists("work/calls/s004.tsv")


def test_the_spec_is_short_and_the_sheet_has_all_samples() -> None:
    assert len((EXAMPLE / "samples.json").read_text().splitlines()) <= LINES
    assert len((EXAMPLE / "samples.csv").read_text().splitlines()) == 1 + 2 * ALL
