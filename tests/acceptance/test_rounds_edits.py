"""After any edit, a pipeline whose table is made by a stage does what it does with the table written by hand."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from pipeline_bench import PipelineBench

if TYPE_CHECKING:
    from collections.abc import Callable

NAMES = "name\tn\na\t1\nb\t2\n"
TABLE = {
    "name": "table", "command": ["cat"], "stdin": "names", "stdout": "o", "inputs": {"names": "names.tsv"},
    "outputs": {"o": "w/names.tsv"},
}  # fmt: skip


def stages(rows: str, settings: dict[str, object]) -> list[dict[str, object]]:
    call = {
        "name": "call", "each": [{"rows": rows}, {"contig": settings["contigs"]}], "where": settings["where"],
        "mayBeEmpty": settings["empty"], "command": ["sh", "-c", "echo {each.n} $P; cat"], "stdin": "x", "stdout": "o",
        "inputs": {"x": "in/{each.name}"}, "env": {"P": settings["env"]},
        "outputs": {"o": f"{settings['to']}/{{each.name}}-{{each.contig}}"},
    }  # fmt: skip
    again = {
        "name": "again", "each": "call", "command": ["tr", "a-z", "A-Z"], "stdin": "x", "stdout": "o",
        "inputs": {"x": "{outputs.call.o}"}, "outputs": {"o": "again/{each.name}-{each.contig}"},
    }  # fmt: skip
    gather = {
        "name": "all", "command": ["cat", "{inputs.x}"], "stdout": "o",
        "inputs": {"x": ["x.txt", "{outputs.again.o}"]}, "outputs": {"o": "all.txt"},
    }  # fmt: skip
    return [call, again, gather]


class Sides:
    """The pipeline with a made table, and that with a table written by hand, side by side."""

    def __init__(self, place):
        self.made, self.by_hand = PipelineBench(place / "made"), PipelineBench(place / "hand")
        self.settings = {"contigs": ["1", "2"], "where": {}, "empty": True, "env": "p", "to": "calls"}
        for bench in self.both:
            bench.root.mkdir()
            for path, text in {"x.txt": "x\n", "in/a": "a\n", "in/b": "b\n", "in/c": "c\n"}.items():
                bench.write(path, text)
        self.table(NAMES)

    @property
    def both(self):
        return self.made, self.by_hand

    def write(self, path: str, text: str) -> None:
        for bench in self.both:
            bench.write(path, text)

    def table(self, text: str) -> None:
        self.made.write("names.tsv", text)
        self.by_hand.write("w/names.tsv", text)

    def outcomes(self, *words: str):
        """Run both, and return what must be equal."""
        self.made.define(
            {**TABLE, "params": {"p": self.settings.get("p")}}, *stages("{outputs.table.o}", self.settings)
        )
        self.by_hand.define(*stages("w/names.tsv", self.settings))
        return [outcome(bench, words) for bench in self.both]


def outcome(bench, words):
    ran = bench.run("run", "--json", *words)
    results = json.loads(ran.stdout)["stages"]
    plan = {each["stage"]: each["decision"] for each in bench.json("plan")["stages"]}
    markers = [json.loads(path.read_bytes()) for path in (bench.root / "state").glob("stage_*.json")]
    made = {
        marker["stage"]: (marker["key"], marker["components"],
                          {label: (each["path"], each["sha256"]) for label, each in marker["outputs"].items()})
        for marker in markers
    }  # fmt: skip
    files = {
        str(path.relative_to(bench.root)): path.read_bytes()
        for directory in ("calls", "others", "again")
        for path in (bench.root / directory).glob("*")
    }
    for values in (results, plan, made):
        values.pop("table", None)
    return {
        "code": ran.returncode, "results": {name: each["status"] for name, each in results.items()}, "plan": plan,
        "markers": made, "files": files, "all": bench.exists("all.txt") and bench.read("all.txt"),
        "orphans": sorted(bench.json("status")["undeclared"]),
    }  # fmt: skip


EDITS: list[tuple[str, Callable[[Sides], object], tuple[str, ...]]] = [
    ("nothing was made", lambda _: None, ()),
    ("nothing changed", lambda _: None, ()),
    ("a row more", lambda sides: sides.table(NAMES + "c\t3\n"), ()),
    ("another order", lambda sides: sides.table("name\tn\nc\t3\nb\t2\na\t1\n"), ()),
    ("another cell", lambda sides: sides.table("name\tn\nc\t3\nb\t9\na\t1\n"), ()),
    ("a row fewer", lambda sides: sides.table("name\tn\nc\t3\na\t1\n"), ()),
    ("a row renamed", lambda sides: sides.table("name\tn\nb\t3\na\t1\n"), ()),
    ("an input edited", lambda sides: sides.write("in/a", "A a\n"), ()),
    ("a list longer", lambda sides: sides.settings.update(contigs=["1", "2", "X"]), ()),
    ("where leaves one", lambda sides: sides.settings.update(where={"name": "b"}), ()),
    ("where leaves none", lambda sides: sides.settings.update(where={"name": "no"}), ()),
    ("all again", lambda sides: sides.settings.update(where={}), ()),
    ("no rows", lambda sides: sides.table("name\tn\n"), ()),
    ("rows again", lambda sides: sides.table(NAMES), ()),
    ("an output edited", lambda sides: sides.write("calls/a-1", "?\n"), ()),
    ("an output removed", lambda sides: [(bench.root / "again/b-1").unlink() for bench in sides.both], ()),
    ("outputs elsewhere", lambda sides: sides.settings.update(to="others"), ()),
    ("only the source", lambda sides: sides.settings.update(p=1), ()),
    ("one is forced", lambda sides: None, ("-f", "again@a,1")),
    ("another variable", lambda sides: sides.settings.update(env="q"), ()),
]  # fmt: skip


@pytest.mark.full
def test_after_any_edit_a_made_table_is_equal_to_one_written_by_hand(tmp_path):
    sides = Sides(tmp_path)
    for name, change, words in EDITS:
        change(sides)
        made, by_hand = sides.outcomes(*words)
        for what, value in made.items():
            assert value == by_hand[what], f"{name}: {what}"
