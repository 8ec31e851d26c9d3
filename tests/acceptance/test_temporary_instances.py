"""Temporary outputs of instances, read by reference, over edits of tables, vars and names."""

from __future__ import annotations

import os
from itertools import cycle

from pipeline_bench import PipelineBench

NOTE = "echo $PIPELINE_STAGE >>notes; "
JOIN = 'n=$0 o=$1; shift; for each; do cat "$each/lane" || echo "$each"; done >$o; echo $# >$n'
WORDS = ("-j1", "-j4", "-k", "--paranoid")


class Lanes:
    """Lanes of samples, gathered by sample, and all samples in one file. What lies in `w` may be temporary."""

    def __init__(self, root, temporary):
        root.mkdir()
        self.bench = PipelineBench(root)
        self._label = ["o"] if temporary else []
        self.vars = {"keep": ["a", "b"], "flags": [], "call": True}
        self.names = {"map": "map", "gather": "gather"}
        for lane in ("a1", "a2", "b1", "b2"):
            self.bench.write(f"in/{lane}", f"{lane}\n")
        self.rows("a,1", "a,2", "b,1")

    def rows(self, *rows):
        self.bench.write("units.csv", "\n".join(["sample,lane", *rows, ""]))

    def define(self):
        made, gathered = self.names["map"], self.names["gather"]
        units = {"rows": "units.csv", "key": ["sample", "lane"]}
        where = {"where": {"sample": "{vars.keep}"}, "mayBeEmpty": True}
        self.bench.define(
            {"name": made, "each": units, **where, "inputs": {"x": "in/{each.sample}{each.lane}"},
             "outputs": {"o": "w/{each.sample}.{each.lane}/"}, "temporary": self._label,
             "command": ["sh", "-c", NOTE + "mkdir $1; cp $0 $1/lane", "{inputs.x}", "{outputs.o}"]},
            {"name": gathered, "each": {**units, "key": "sample"}, **where, "if": "{vars.call}",
             "inputs": {"lanes": f"{{outputs.{made}.o}}"},
             "outputs": {"o": "w/{each.sample}", "n": "out/{each.sample}"},
             "command": ["sh", "-c", NOTE + JOIN,
                         "{outputs.n}", "{outputs.o}", "{vars.flags}", "{inputs.lanes}"], "temporary": self._label},
            {"name": "all", "inputs": {"x": f"{{outputs.{gathered}.o}}"}, "optional": ["x"],
             "outputs": {"o": "out/all"},
             "command": ["sh", "-c", NOTE + 'cat /dev/null "$@"', "all", "{inputs.x}"], "stdout": "o"},
            vars=self.vars,
        )  # fmt: skip

    def ran(self, *words):
        (self.bench.root / "notes").unlink(missing_ok=True)
        self.define()
        self.bench.succeed(*words)
        return set(self.bench.read("notes").decode().split()) if self.bench.exists("notes") else set()

    def lost(self, *paths):
        for path in paths:
            os.unlink(self.bench.root / path)


EDITS = {
    # what is done, and what runs then, if the outputs are temporary
    "nothing": (lambda _: None, ""),
    "the end is lost": (lambda it: it.lost("out/all"), "map@a,1 map@a,2 map@b,1 gather@a gather@b all"),
    "one lasting output is lost": (lambda it: it.lost("out/a"), "map@a,1 map@a,2 gather@a"),
    "a lane more": (
        lambda it: it.rows("a,1", "a,2", "b,1", "b,2"), "map@a,1 map@a,2 map@b,1 map@b,2 gather@a gather@b all",
    ),
    "a lane less": (lambda it: it.rows("a,1", "b,1", "b,2"), "map@a,1 map@b,1 map@b,2 gather@a gather@b all"),
    "a sample that is left out": (lambda it: it.vars.update(keep=["a"]), "map@a,1 gather@a all"),
    "no sample": (lambda it: it.vars.update(keep=[]), "all"),
    "both again": (lambda it: it.vars.update(keep=["a", "b"]), "map@a,1 map@b,1 map@b,2 gather@a gather@b all"),
    "what reads them is off": (lambda it: it.vars.update(call=False), "all"),
    "an edit while it is off": (lambda it: it.bench.write("in/b1", "edited\n"), "map@b,1"),
    "it is on": (lambda it: it.vars.update(call=True), "map@a,1 map@b,1 map@b,2 gather@a gather@b all"),
    "a word more": (lambda it: it.vars.update(flags=["more"]), "map@a,1 map@b,1 map@b,2 gather@a gather@b all"),
    "a new name of what makes them": (lambda it: it.names.update(map="copy"), "copy@a,1 copy@b,1 copy@b,2"),
    "a new name of what makes and reads them": (
        lambda it: it.names.update(gather="join"), "copy@a,1 copy@b,1 copy@b,2 join@a join@b",
    ),
}  # fmt: skip


def test_over_edits_instances_make_what_the_same_instances_make_without_the_field(tmp_path):
    both = [Lanes(tmp_path / name, temporary) for name, temporary in (("with", True), ("without", False))]
    for each in both:
        each.ran()
    for (name, (edit, runs)), words in zip(EDITS.items(), cycle(WORDS)):
        for each in both:
            edit(each)
        assert both[0].ran(words) == {*runs.split()}, name
        both[1].ran(words)
        assert os.listdir(both[0].bench.root / "w") == [], name
        ends = [{path.name: path.read_bytes() for path in (each.bench.root / "out").iterdir()} for each in both]
        assert ends[0] == ends[1], name
        for each in both:
            assert each.bench.skips_everything(), name
            assert each.bench.run("verify", "--outputs").returncode == 0, name
            assert each.bench.leftovers() == [], name
    for each in both:
        each.bench.close()
