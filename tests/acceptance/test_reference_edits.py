"""After any edit, references, optional inputs and lists of vars give the same decisions, keys and outputs as paths."""

from __future__ import annotations

import csv
import os
from typing import TYPE_CHECKING

import pytest
from equal_pipelines import Edit, EqualPipelines

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pipeline_bench import PipelineBench

SHEET = "sample,lane,reads,mate\na,1,a1,a1m\na,2,a2,\nb,1,b1,b1m\n"
JOIN = ["sh", "-c", 'out=$1; shift; cat "$@" >"$out"', "sh"]


def joining(
    name: str, inputs: dict[str, object], to: str, words: Sequence[str] = (), **fields: object
) -> dict[str, object]:
    """Return a stage that joins files, and names what it is named after."""
    command = [*JOIN, "{outputs.o}", *words, *(f"{{inputs.{label}}}" for label in inputs)]
    return {"name": name, "command": command, "inputs": inputs, "outputs": {"o": to}, **fields}


REFERENCES = {"merge": "{outputs.merge.o}", "index": "{outputs.index.dir}genome.fa"}
INDEX = {
    "name": "index",
    "command": ["sh", "-c", 'mkdir "$2" && cp "$1" "$2/genome.fa"', "sh", "{inputs.fa}", "{outputs.dir}"],
    "inputs": {"fa": "genome.fa"},
    "outputs": {"dir": "ref/"},
}


def short(_: PipelineBench, *, words: list[str], order: list[str]) -> dict[str, object]:
    """Return the spec with references."""
    rows, sample = {"rows": "sheet.csv"}, {"rows": "sheet.csv", "key": "sample"}
    trimmed = {"reads": "in/{each.reads}.txt", "mate": "in/{each.mate}"}
    mapped = {"reads": "{outputs.trim.o}", "genome": "{outputs.index.dir}genome.fa"}
    everything = [REFERENCES[name] for name in order]
    report = {"all": everything, "notes": "notes/*.txt"}
    stages = [
        joining("report", report, "report.txt", ["{vars.words}"], optional=["notes"]),
        joining("merge", {"parts": "{outputs.map.o}"}, "out/{each.sample}.txt", each=sample),
        joining("map", mapped, "work/{each.sample}-{each.lane}.bam", each="trim"),
        INDEX,
        joining("trim", trimmed, "work/{each.sample}-{each.lane}.txt", optional=["mate"],
                each={**rows, "key": ["sample", "lane"]}),
    ]  # fmt: skip
    return {"stages": stages, "vars": {"words": words}}


def by_hand(bench: PipelineBench, *, words: list[str], order: list[str]) -> dict[str, object]:
    """Return the same pipeline with paths, for the files that are there now."""
    rows = list(csv.DictReader(bench.read("sheet.csv").decode().splitlines()))
    samples = sorted({row["sample"] for row in rows})
    meant = {"merge": [f"out/{sample}.txt" for sample in samples], "index": ["ref/genome.fa"]}
    everything = [path for name in order for path in meant[name]]
    stages = [
        joining("report", {"all": everything, "notes": "notes/*.txt"}, "report.txt", words, optional=["notes"]),
        INDEX,
    ]
    for sample in samples:
        lanes = sorted(row["lane"] for row in rows if row["sample"] == sample)
        parts = [f"work/{sample}-{lane}.bam" for lane in lanes]
        stages.append(joining(f"merge@{sample}", {"parts": parts}, f"out/{sample}.txt"))
    for row in rows:
        unit = f"{row['sample']}-{row['lane']}"
        name = unit.replace("-", ",")
        reads = {"reads": f"in/{row['reads']}.txt", "mate": f"in/{row['mate']}" if row["mate"] else []}
        mapped = {"reads": f"work/{unit}.txt", "genome": "ref/genome.fa"}
        stages.append(joining(f"map@{name}", mapped, f"work/{unit}.bam"))
        stages.append(joining(f"trim@{name}", reads, f"work/{unit}.txt", optional=["mate"]))
    return {"stages": stages}


def sheet(text: str) -> Callable[[PipelineBench], object]:
    return lambda bench: bench.write("sheet.csv", text)


def lay_out(bench: PipelineBench) -> None:
    for name in ("a1.txt", "a1m", "a2.txt", "a2m", "b1.txt", "b1m", "b2.txt"):
        bench.write(f"in/{name}", f"{name}\n")
    bench.write("genome.fa", "genome\n")
    bench.write("title", "title\n")
    bench.write("sheet.csv", SHEET)


HEAD = "sample,lane,reads,mate\n"
ALL = {"trim@a,1", "trim@a,2", "trim@b,1", "map@a,1", "map@a,2", "map@b,1", "merge@a", "merge@b", "index", "report"}
MAPPED = {"map@a,1", "map@a,2", "map@b,1", "merge@a", "merge@b", "report"}
EDITS = [
    Edit("the first run", ALL),
    Edit("nothing", set()),
    Edit("a changed source", {"trim@a,2", "map@a,2", "merge@a", "report"}, lambda b: b.write("in/a2.txt", "new\n")),
    Edit("a touched source", set(), lambda b: os.utime(b.root / "in/b1.txt", (1, 1))),
    Edit("a changed mate", {"trim@b,1", "map@b,1", "merge@b", "report"}, lambda b: b.write("in/b1m", "new\n")),
    Edit("a new note", {"report"}, lambda b: b.write("notes/n.txt", "note\n")),
    Edit("no note any more", {"report"}, lambda b: (b.root / "notes/n.txt").unlink()),
    Edit("a cell that is empty now", {"trim@b,1", "map@b,1", "merge@b", "report"},
         sheet("sample,lane,reads,mate\na,1,a1,a1m\na,2,a2,\nb,1,b1,\n")),
    Edit("a cell that is no longer empty", {"trim@a,2", "map@a,2", "merge@a", "report"},
         sheet(f"{HEAD}a,1,a1,a1m\na,2,a2,a2m\nb,1,b1,\n")),
    Edit("rows in another order", set(), sheet(f"{HEAD}b,1,b1,\na,2,a2,a2m\na,1,a1,a1m\n")),
    Edit("a new lane", {"trim@b,2", "map@b,2", "merge@b", "report"},
         sheet(f"{HEAD}a,1,a1,a1m\na,2,a2,a2m\nb,1,b1,\nb,2,b2,\n")),
    Edit("a removed lane", {"merge@a", "report"}, sheet(f"{HEAD}a,1,a1,a1m\nb,1,b1,\nb,2,b2,\n")),
    Edit("a removed sample", {"report"}, sheet(f"{HEAD}b,1,b1,\nb,2,b2,\n")),
    Edit("a renamed sample", {"trim@c,1", "map@c,1", "merge@b", "merge@c", "report"},
         sheet(f"{HEAD}c,1,b1,\nb,2,b2,\n")),
    Edit("another genome", {"index", "map@c,1", "map@b,2", "merge@b", "merge@c", "report"},
         lambda b: b.write("genome.fa", "other\n")),
    Edit("more words", {"report"}, settings={"words": ["title", "title"]}),
    Edit("no words", {"report"}, settings={"words": []}),
    Edit("another order of references", {"report"},
         settings={"order": ["index", "merge"]}),
    Edit("a lost output", {"map@c,1", "merge@c", "report"}, lambda b: (b.root / "work/c-1.bam").unlink()),
    Edit("an edited output", {"map@c,1", "merge@c", "report"}, lambda b: b.write("work/c-1.bam", "mine\n")),
    Edit("a forced instance", {"merge@c"}, words=["-f", "merge@c"]),
    Edit("a missing source", {"trim@b,2", "map@b,2", "merge@b", "report"}, lambda b: (b.root / "in/b2.txt").unlink(),
         run_words=["-k"], code=5),
]  # fmt: skip


@pytest.mark.full
def test_every_edit_has_the_effect_that_it_has_on_written_stages(tmp_path):
    pipelines = EqualPipelines(tmp_path, short, by_hand, words=["title"], order=["merge", "index"])
    pipelines.everywhere(lay_out)
    pipelines.apply(EDITS)
    pipelines.close()
