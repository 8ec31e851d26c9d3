"""After any edit, lists of `each`, `columns`, `where`, `mayBeEmpty` and `if` do what written stages do."""

from __future__ import annotations

import csv
import os
from typing import TYPE_CHECKING

import pytest
from equal_pipelines import Edit, EqualPipelines

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline_bench import PipelineBench

HEAD = "sample\tlane\tfq2\n"
UNITS = f"{HEAD}A\t1\tin/A-1.b\nA\t2\t\nB\t1\tin/B-1.b\n"
GENOME = "chr1\t248\t6\nchr2\t242\t9\n"
CAT = ["cat", "{inputs.x}"]
CALL = ["sh", "-c", 'echo "$1 $2"; shift 2; cat "$@"', "sh"]
KEY = ["sample", "lane"]


def stage(name: str, source: object, to: str, command: list[str], **fields: object) -> dict[str, object]:
    return {
        "name": name, "command": command, "inputs": {"x": source}, "stdout": "o", "outputs": {"o": to}, **fields
    }  # fmt: skip


def short(_: PipelineBench, *, var: bool, words: list[str], rows: list[dict[str, object]], **__: object):
    units = {"rows": "units.tsv", "key": KEY}
    genome = {"rows": "genome.fai", "columns": ["contig", "length"]}
    reads, unit = "in/{each.sample}-{each.lane}.a", "work/{each.sample}/{each.lane}.txt"
    call = [*CALL, "{params.length}", "{each.contig}", "{inputs.x}"]
    stages = [
        stage("all", ["call/*.txt", "chunk/*.txt"], "all.txt", [*CAT, *words]),
        stage("single", reads, unit, CAT, each=units, where={"fq2": ""}, mayBeEmpty=True),
        stage("paired", [reads, "{each.fq2}"], unit, CAT, each=units, where={"fq2": {"not": ""}}, mayBeEmpty=True),
        stage("call", "work/{each.sample}/*.txt", "call/{each.sample}.{each.contig}.txt", call,
              each=[{"rows": "units.tsv"}, genome], params={"length": "{each.length}"}),
        stage("chunk", "parts/{each.s}/{each.part}.txt", "chunk/{each.s}-{each.part}.txt", CAT,
              each=[{"s": ["A", "B"]}, {"part": "parts/{each.s}/*.txt"}], where={"part": {"not": ["no", "{vars.no}"]}}),
        stage("extra", "parts/{each.s}/{each.part}.txt", "extra/{each.s}-{each.part}.txt", CAT, each="chunk",
              **{"if": "{vars.extra}"}),
        stage("twice", "extra/{each.s}-{each.part}.txt", "twice/{each.id}-{each.s}-{each.part}",
              ["head", "-n{each.lines}", "{inputs.x}"], each=["extra", {"rows": rows}], env={"ID": "{each.id}"}),
    ]  # fmt: skip
    return {"stages": stages, "vars": {"extra": var, "no": "off"}}


def by_hand(bench: PipelineBench, *, on: bool, words: list[str], rows: list[dict[str, object]], **_: object):
    """Return the instances as stages, for the files that are there now."""
    units = [*csv.DictReader(bench.read("units.tsv").decode().splitlines(), delimiter="\t")]
    written = [stage("all", ["call/*.txt", "chunk/*.txt"], "all.txt", [*CAT, *words])]
    for unit in units:
        name, reads = "@{sample},{lane}".format(**unit), "in/{sample}-{lane}.a".format(**unit)
        kind, source = ("paired", [reads, unit["fq2"]]) if unit["fq2"] else ("single", reads)
        written.append(stage(kind + name, source, "work/{sample}/{lane}.txt".format(**unit), CAT))
    for sample in dict.fromkeys(unit["sample"] for unit in units):
        for contig, length, *_ in (line.split("\t") for line in bench.read("genome.fai").decode().splitlines()):
            call = [*CALL, "{params.length}", contig, "{inputs.x}"]
            to = f"call/{sample}.{contig}.txt"
            written.append(
                stage(f"call@{sample},{contig}", f"work/{sample}/*.txt", to, call, params={"length": length})
            )
    for path in sorted((bench.root / "parts").glob("[AB]/*.txt")):
        sample, part = path.parent.name, path.stem
        if part in {"no", "off"}:
            continue
        source, to = f"parts/{sample}/{part}.txt", f"extra/{sample}-{part}.txt"
        written.append(stage(f"chunk@{sample},{part}", source, f"chunk/{sample}-{part}.txt", CAT))
        written += [stage(f"extra@{sample},{part}", source, to, CAT)] if on else []
        for row in rows if on else ():
            head, name = ["head", f"-n{row['lines']}", "{inputs.x}"], f"{row['id']}-{sample}-{part}"
            written.append(
                stage(f"twice@{sample},{part},{row['id']}", to, f"twice/{name}", head, env={"ID": row["id"]})
            )
    return {"stages": written}


def lay_out(bench: PipelineBench) -> None:
    for path in ("in/A-1.a", "in/A-1.b", "in/A-2.a", "in/B-1.a", "in/B-1.b", "parts/A/1.txt", "parts/A/no.txt"):
        bench.write(path, f"{path}\nsecond\n")
    bench.write("parts/B/2.txt", "2\n")
    bench.write("parts/C/3.txt", "3\n")
    bench.write("units.tsv", UNITS)
    bench.write("genome.fai", GENOME)


def table(name: str, text: str) -> Callable[[PipelineBench], object]:
    return lambda bench: bench.write(name, text)


P, Q = {"id": "p", "lines": 1}, {"id": "q", "lines": 2}
CALLS = {"call@A,chr1", "call@A,chr2"}
EDITS = [
    Edit("the first run"),
    Edit("nothing", set()),
    Edit("a unit more", {"single@B,2", "call@B,chr1", "call@B,chr2", "all"},
         lambda b: (b.write("in/B-2.a", "B-2\n"), b.write("units.tsv", f"{UNITS}B\t2\t\n"))),
    Edit("a single unit becomes a paired one, and one is gone", {"paired@A,2", *CALLS, "call@B,chr1", "call@B,chr2",
                                                                 "all"},
         lambda b: (b.write("in/A-2.b", "b\n"), b.write("units.tsv", UNITS.replace("A\t2\t", "A\t2\tin/A-2.b")))),
    Edit("no single unit is left, and one is touched", set(), lambda b: os.utime(b.root / "in/A-1.b", (1, 1))),
    Edit("all units are single", {"single@A,1", "single@A,2", "single@B,1", *CALLS, "call@B,chr1", "call@B,chr2",
                                  "all"}, table("units.tsv", f"{HEAD}A\t1\t\nA\t2\t\nB\t1\t\n")),
    Edit("a unit fewer, in another order", {*CALLS, "all"}, table("units.tsv", f"{HEAD}B\t1\t\nA\t1\t\n")),
    Edit("a contig more", {"call@A,chrM", "call@B,chrM", "all"}, table("genome.fai", f"{GENOME}chrM\t16\t9\n")),
    Edit("a further column", set(), table("genome.fai", f"{GENOME}chrM\t16\t7\n".replace("\n", "\tx\n"))),
    Edit("another length", {"call@A,chr2", "call@B,chr2", "all"}, table("genome.fai", "chr1\t248\nchr2\t9\n")),
    Edit("a new part", {"chunk@B,9", "extra@B,9", "twice@B,9,p", "all"}, lambda b: b.write("parts/B/9.txt", "9\n")),
    Edit("a part of another sample, and one that is left out", set(),
         lambda b: (b.write("parts/C/8.txt", "8\n"), b.write("parts/B/off.txt", ""))),
    Edit("a removed part", {"all"}, lambda b: (b.root / "parts/A/1.txt").unlink()),
    Edit("a row more in the spec", {"twice@B,2,q", "twice@B,9,q"}, settings={"rows": [Q, P]}),
    Edit("off", set(), settings={"var": False, "on": False}),
    Edit("on for one run, with a changed part", {"chunk@B,2", "extra@B,2", "twice@B,2,p", "twice@B,2,q", "all"},
         lambda b: b.write("parts/B/2.txt", "new\n2\n3\n"), settings={"on": True}, short_words=["--var", "extra=true"]),
    Edit("on again, and an instance is forced", {"extra@B,9", "twice@B,9,p", "twice@B,9,q"}, settings={"var": True},
         words=["-f", "extra@B,9", "twice@B,9,*"]),
    Edit("a lost output", {"single@B,1", "call@B,chr1", "call@B,chr2", "all"},
         lambda b: (b.root / "work/B/1.txt").unlink()),
    Edit("a missing file", {"single@A,1", *CALLS, "all"},
         lambda b: (b.root / "in/A-1.a").unlink(), run_words=["-k"], code=5),
    Edit("a command that fails", {"single@A,1", *CALLS, "all"},
         lambda b: b.write("in/A-1.a", "back\n"), settings={"words": ["none.txt"]}, run_words=["-k"], code=1),
]  # fmt: skip


@pytest.mark.full
def test_every_edit_has_the_effect_that_it_has_on_written_stages(tmp_path):
    pipelines = EqualPipelines(tmp_path, short, by_hand, var=True, on=True, words=[], rows=[P])
    pipelines.everywhere(lay_out)
    pipelines.apply(EDITS)
    pipelines.close()
