"""After any edit, a spec with `each` gives the same decisions, keys and outputs as stages written by hand."""

from __future__ import annotations

import csv
import os
from typing import TYPE_CHECKING

import pytest
from equal_pipelines import Edit, EqualPipelines

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline_bench import PipelineBench

SHEET = "sample,lane,quality,note\na,1,20,x\na,2,20,y\nb,1,30,z\n"
TRIM = ["sh", "-c", 'sed "s/^/$1-$2 /" "$3" >"$4"', "sh", "{vars.tag}", "{params.q}", "{inputs.x}", "{outputs.o}"]
CAT = ["cat", "{inputs.x}"]


def stage(name: str, source: object, to: str, command: list[str], **fields: object) -> dict[str, object]:
    stdout = {} if command[0] == "sh" else {"stdout": "o"}
    return {"name": name, "command": command, "inputs": {"x": source}, "outputs": {"o": to}, **stdout, **fields}


TEMPLATES = [
    stage("all", "out/*.txt", "all.txt", CAT),
    stage("merge", "work/{each.sample}-*.txt", "out/{each.sample}.txt", CAT,
          each={"rows": "sheet.csv", "key": "sample"}, env={"SAMPLE": "{each.sample}"}),
    stage("trim", "in/{each.sample}_{each.lane}.txt", "work/{each.sample}-{each.lane}.txt", TRIM,
          each={"rows": "sheet.csv", "key": ["sample", "lane"]}, params={"q": "{each.quality}"}),
    stage("copy", "extra/{each.f}.txt", "out/extra-{each.f}.txt", CAT, each={"f": "extra/*.txt"}),
    stage("top", "out/extra-{each.f}.txt", "top/{each.f}-{each.n}.txt", ["head", "-n{each.n}", "{inputs.x}"],
          each={"f": "extra/*.txt", "n": [1, 2]}),
]  # fmt: skip


def short(_: PipelineBench, *, tag: str, lengths: list[int], extra: list[str]) -> dict[str, object]:
    """Return the spec with templates."""
    templates = [dict(template) for template in TEMPLATES]
    templates[3]["command"] = [*CAT, *extra]
    templates[4]["each"] = {"f": "extra/*.txt", "n": lengths}
    return {"stages": templates, "vars": {"tag": tag}}


def by_hand(bench: PipelineBench, *, tag: str, lengths: list[int], extra: list[str]) -> dict[str, object]:
    """Return the instances of `TEMPLATES` as stages, for the files that are there now."""
    rows = list(csv.DictReader(bench.read("sheet.csv").decode().splitlines()))
    written = [stage("all", "out/*.txt", "all.txt", CAT)]
    written += [
        stage(f"merge@{sample}", f"work/{sample}-*.txt", f"out/{sample}.txt", CAT, env={"SAMPLE": sample})
        for sample in dict.fromkeys(row["sample"] for row in rows)
    ]
    for row in rows:
        lane = f"{row['sample']}-{row['lane']}"
        name, source = f"trim@{row['sample']},{row['lane']}", f"in/{row['sample']}_{row['lane']}.txt"
        written.append(stage(name, source, f"work/{lane}.txt", TRIM, params={"q": row["quality"]}))
    for path in sorted((bench.root / "extra").glob("*.txt")):
        written.append(stage(f"copy@{path.stem}", f"extra/{path.name}", f"out/extra-{path.name}", [*CAT, *extra]))
        for n in lengths:
            head = ["head", f"-n{n}", "{inputs.x}"]
            source, to = f"out/extra-{path.name}", f"top/{path.stem}-{n}.txt"
            written.append(stage(f"top@{path.stem},{n}", source, to, head))
    return {"stages": written, "vars": {"tag": tag}}


def sheet(text: str) -> Callable[[PipelineBench], object]:
    return lambda bench: bench.write("sheet.csv", text)


def lay_out(bench: PipelineBench) -> None:
    for path in ("in/a_1.txt", "in/a_2.txt", "in/b_1.txt", "in/b_2.txt", "extra/u.txt", "extra/v.txt"):
        bench.write(path, f"{path}\nsecond\nthird\n")
    bench.write("sheet.csv", SHEET)


EDITS = [
    Edit("the first run"),
    Edit("nothing", set()),
    Edit("a new file", {"copy@w", "top@w,1", "top@w,2", "all"}, lambda b: b.write("extra/w.txt", "w\n")),
    Edit("a changed file", {"trim@a,2", "merge@a", "all"}, lambda b: b.write("in/a_2.txt", "new\n")),
    Edit("a touched file", set(), lambda b: os.utime(b.root / "in/b_1.txt", (1, 1))),
    Edit("a removed file", {"all"}, lambda b: (b.root / "extra/v.txt").unlink()),
    Edit("a renamed file", {"copy@x", "top@x,1", "top@x,2", "all"},
         lambda b: (b.root / "extra/w.txt").rename(b.root / "extra/x.txt")),
    Edit("rows in another order", set(), sheet("sample,lane,quality,note\nb,1,30,z\na,2,20,y\na,1,20,x\n")),
    Edit("an unused column", set(), sheet("new,sample,lane,quality\n1,b,1,30\n2,a,2,20\n3,a,1,20\n")),
    Edit("a used column", {"trim@a,1", "merge@a", "all"}, sheet("sample,lane,quality\na,1,25\na,2,20\nb,1,30\n")),
    Edit("a new row", {"trim@b,2", "merge@b", "all"},
         sheet("sample,lane,quality\na,1,25\na,2,20\nb,1,30\nb,2,30\n")),
    Edit("a removed row", {"merge@a", "all"}, sheet("sample,lane,quality\na,2,20\nb,1,30\nb,2,30\n")),
    Edit("a removed sample", {"all"}, sheet("sample,lane,quality\nb,1,30\nb,2,30\n")),
    Edit("another var", {"trim@b,1", "trim@b,2", "merge@b", "all"}, settings={"tag": "T"}),
    Edit("a var for one run", {"trim@b,1", "trim@b,2", "merge@b", "all"}, words=["--var", "tag=u"]),
    Edit("a new value in a list", {"top@u,3", "top@x,3"}, settings={"lengths": [2, 3, 1], "tag": "u"}),
    Edit("a lost output", {"trim@b,1", "merge@b", "all"}, lambda b: (b.root / "work/b-1.txt").unlink()),
    Edit("an edited output", {"copy@u", "top@u,1", "top@u,2", "top@u,3", "all"},
         lambda b: b.write("out/extra-u.txt", "mine\n")),
    Edit("another command", {"copy@u", "copy@x", "top@u,1", "top@u,2", "top@u,3", "top@x,1", "top@x,2", "top@x,3",
                             "all"}, settings={"extra": ["/dev/null"]}),
    Edit("a forced instance", {"top@x,3"}, words=["-f", "top@x,3"]),
    Edit("a command that fails", {"copy@u", "copy@x", "top@u,1", "top@u,2", "top@u,3", "top@x,1", "top@x,2", "top@x,3",
                                  "all"}, settings={"extra": ["none.txt"]}, run_words=["-k"], code=1),
    Edit("a missing file", {"copy@u", "copy@x", "top@u,1", "top@u,2", "top@u,3", "top@x,1", "top@x,2", "top@x,3",
                            "trim@b,2", "merge@b", "all"},
         lambda b: (b.root / "in/b_2.txt").unlink(), settings={"extra": []}, run_words=["-k"], code=5),
]  # fmt: skip


@pytest.mark.full
def test_every_edit_has_the_effect_that_it_has_on_written_stages(tmp_path):
    pipelines = EqualPipelines(tmp_path, short, by_hand, tag="t", lengths=[1, 2], extra=[])
    pipelines.everywhere(lay_out)
    pipelines.apply(EDITS)
    pipelines.close()
