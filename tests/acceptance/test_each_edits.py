"""After any edit, a spec with `each` gives the same decisions, keys and outputs as stages written by hand."""

from __future__ import annotations

import csv
import os
from typing import TYPE_CHECKING

import pytest
from pipeline_bench import PipelineBench

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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


def by_hand(bench: PipelineBench, tag: str, lengths: list[int], extra: list[str]) -> list[dict[str, object]]:
    """Return the instances of `TEMPLATES` as stages, for the files that are there now."""
    rows = list(csv.DictReader(bench.read("sheet.csv").decode().splitlines()))
    trim = [word.replace("{vars.tag}", tag) for word in TRIM]
    written = [stage("all", "out/*.txt", "all.txt", CAT)]
    written += [
        stage(f"merge@{sample}", f"work/{sample}-*.txt", f"out/{sample}.txt", CAT, env={"SAMPLE": sample})
        for sample in dict.fromkeys(row["sample"] for row in rows)
    ]
    for row in rows:
        lane = f"{row['sample']}-{row['lane']}"
        name, source = f"trim@{row['sample']},{row['lane']}", f"in/{row['sample']}_{row['lane']}.txt"
        written.append(stage(name, source, f"work/{lane}.txt", trim, params={"q": row["quality"]}))
    for path in sorted((bench.root / "extra").glob("*.txt")):
        written.append(stage(f"copy@{path.stem}", f"extra/{path.name}", f"out/extra-{path.name}", [*CAT, *extra]))
        for n in lengths:
            head = ["head", f"-n{n}", "{inputs.x}"]
            source, to = f"out/extra-{path.name}", f"top/{path.stem}-{n}.txt"
            written.append(stage(f"top@{path.stem},{n}", source, to, head))
    return written


class Twins:
    """Two workspaces with the same files: one has the templates, the other the stages written by hand."""

    def __init__(self, each: PipelineBench, written: PipelineBench) -> None:
        self.each = each
        self.written = written
        self.tag, self.lengths, self.extra, self.words = "t", [1, 2], [], ()

    def everywhere(self, change: Callable[[PipelineBench], object]) -> None:
        for bench in (self.each, self.written):
            change(bench)

    def define(self) -> None:
        templates = [dict(template) for template in TEMPLATES]
        templates[3]["command"] = [*CAT, *self.extra]
        templates[4]["each"] = {"f": "extra/*.txt", "n": self.lengths}
        self.each.define(*templates, vars={"tag": "t" if self.words else self.tag})
        self.written.define(*by_hand(self.written, self.tag, self.lengths, self.extra))

    def compare(self) -> dict[str, str]:
        """Plan and run both, require equal decisions, keys and outputs, and return the decisions."""
        decisions, keys, made = [], [], []
        for bench, words in ((self.each, self.words), (self.written, ())):
            decisions.append({stage["stage"]: stage["decision"] for stage in bench.json("plan", *words)["stages"]})
            done = bench.json("run", *words)
            assert done["status"] == "succeeded"
            keys.append({name: stage["key"] for name, stage in done["stages"].items()})
            made.append({str(path.relative_to(bench.root)): path.read_bytes() for path in outputs(bench)})
        assert decisions[0] == decisions[1]
        assert keys[0] == keys[1]
        assert made[0] == made[1]
        return decisions[0]


def outputs(bench: PipelineBench) -> Iterator[os.PathLike]:
    for directory in ("work", "out", "top"):
        yield from sorted((bench.root / directory).iterdir())
    yield bench.root / "all.txt"


def sheet(text: str) -> Callable[[Twins], None]:
    return lambda twins: twins.everywhere(lambda bench: bench.write("sheet.csv", text))


def on_disk(change: Callable[[PipelineBench], object]) -> Callable[[Twins], None]:
    return lambda twins: twins.everywhere(change)


def setting(**fields: object) -> Callable[[Twins], None]:
    return lambda twins: vars(twins).update(fields)


EDITS: dict[str, tuple[Callable[[Twins], None], set[str]]] = {  # an edit, and the stages that then run or may run
    "nothing": (lambda _: None, set()),
    "a new file": (on_disk(lambda b: b.write("extra/w.txt", "w\n")), {"copy@w", "top@w,1", "top@w,2", "all"}),
    "a changed file": (on_disk(lambda b: b.write("in/a_2.txt", "new\n")), {"trim@a,2", "merge@a", "all"}),
    "a touched file": (on_disk(lambda b: os.utime(b.root / "in/b_1.txt", (1, 1))), set()),
    "a removed file": (on_disk(lambda b: (b.root / "extra/v.txt").unlink()), {"all"}),
    "a renamed file": (
        on_disk(lambda b: (b.root / "extra/w.txt").rename(b.root / "extra/x.txt")),
        {"copy@x", "top@x,1", "top@x,2", "all"},
    ),
    "rows in another order": (sheet("sample,lane,quality,note\nb,1,30,z\na,2,20,y\na,1,20,x\n"), set()),
    "an unused column": (sheet("new,sample,lane,quality\n1,b,1,30\n2,a,2,20\n3,a,1,20\n"), set()),
    "a used column": (sheet("sample,lane,quality\na,1,25\na,2,20\nb,1,30\n"), {"trim@a,1", "merge@a", "all"}),
    "a new row": (
        sheet("sample,lane,quality\na,1,25\na,2,20\nb,1,30\nb,2,30\n"), {"trim@b,2", "merge@b", "all"}
    ),
    "a removed row": (sheet("sample,lane,quality\na,2,20\nb,1,30\nb,2,30\n"), {"merge@a", "all"}),
    "a removed sample": (sheet("sample,lane,quality\nb,1,30\nb,2,30\n"), {"all"}),
    "another var": (setting(tag="T"), {"trim@b,1", "trim@b,2", "merge@b", "all"}),
    "a var for one run": (setting(tag="u", words=("--var", "tag=u")), {"trim@b,1", "trim@b,2", "merge@b", "all"}),
    "a new value in a list": (setting(lengths=[2, 3, 1], tag="u"), {"top@u,3", "top@x,3"}),
    "a lost output": (on_disk(lambda b: (b.root / "work/b-1.txt").unlink()), {"trim@b,1", "merge@b", "all"}),
    "an edited output": (on_disk(lambda b: b.write("out/extra-u.txt", "mine\n")), {"copy@u", "top@u,1", "top@u,2",
                                                                                    "top@u,3", "all"}),
    "another command": (setting(extra=["/dev/null"]), {"copy@u", "copy@x", "top@u,1", "top@u,2", "top@u,3", "top@x,1",
                                                       "top@x,2", "top@x,3", "all"}),
}  # fmt: skip


@pytest.mark.full
def test_every_edit_has_the_effect_that_it_has_on_written_stages(tmp_path):
    twins = Twins(*(PipelineBench(tmp_path / name) for name in ("each", "written")))
    for path in ("in/a_1.txt", "in/a_2.txt", "in/b_1.txt", "in/b_2.txt", "extra/u.txt", "extra/v.txt"):
        twins.everywhere(lambda bench, path=path: bench.write(path, f"{path}\nsecond\nthird\n"))
    sheet(SHEET)(twins)
    twins.define()
    assert set(twins.compare().values()) == {"run"}
    for name, (edit, affected) in EDITS.items():
        edit(twins)
        twins.define()
        decisions = twins.compare()
        assert {stage for stage, decision in decisions.items() if decision != "skip"} == affected, name
    twins.everywhere(PipelineBench.close)
