"""What references mean, against an oracle: the instances that agree in every name that both have, sorted by path."""

import json
from itertools import product

import pytest

from runner.errors import SpecError
from runner.spec.load import load_spec

UNITS = "sample,lane,fq\na,1,x\na,2,y\nb,1,z\nb,10,z\n"
PEOPLE = '[{"sample": "a", "age": 1}, {"sample": "b", "age": 2}, {"sample": "c", "age": 1}]'
FILES = {"units.csv": UNITS, "people.json": PEOPLE, "lanes.json": '[{"lane": 1}, {"lane": 2}, {"lane": 10}]'}
UNIT = {"rows": "units.csv", "key": ["sample", "lane"]}
UNIT_NAMES = [
    {"sample": "a", "lane": 1},
    {"sample": "a", "lane": 2},
    {"sample": "b", "lane": 1},
    {"sample": "b", "lane": 10},
]
A_B, A_B_C = [{"sample": "a"}, {"sample": "b"}], [{"sample": "a"}, {"sample": "b"}, {"sample": "c"}]
BY_AGE = [{"sample": sample, "age": age} for sample, age in product("ab", (1, 2))]


@pytest.fixture
def load(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)

    def write_and_load(*stages, **top):
        path = tmp_path / "spec.json"
        path.write_text(json.dumps({"specVersion": 1, "name": "test", "stages": stages, **top}))
        return load_spec(str(path))

    return write_and_load


def stage(name="read", **fields):
    return {"name": name, "command": ["true"], "outputs": {"o": f"out/{name}"}, **fields}


def maker(each, names=("sample",), name="make", **fields):
    values = "-".join(f"{{each.{name}}}" for name in names)
    return stage(name, each=each, outputs={"bam": f"w/{values}.bam", "dir": f"d/{values}/"}, **fields)


def reader(each=None, names=("sample",), text="{outputs.make.bam}", name="read", **fields):
    each = {"each": each, "outputs": {"o": "out/" + "-".join(f"{{each.{name}}}" for name in names)}} if each else {}
    return stage(name, inputs={"x": text}, **each, **fields)


def meant(spec, name="read"):
    """The paths of the input of each instance, by its name."""
    stages = [each for each in spec.stages if name in (each.template, each.name)]
    return {each.name: [path for _, _, path in each.entries("x")] for each in stages}


def oracle(makers, readers):
    """What each reader means: both are lists of the names of instances, with their values."""
    expected = {}
    for mine in readers:
        agreeing = [
            one for one in makers if all(str(one[name]) == str(mine[name]) for name in one.keys() & mine.keys())
        ]
        paths = sorted(f"w/{'-'.join(map(str, one.values()))}.bam" for one in agreeing)
        expected["read@" + ",".join(map(str, mine.values())) if mine else "read"] = paths
    return expected


CASES = {
    "two tables with a common column": (UNIT, UNIT_NAMES, {"rows": "people.json"}, A_B_C),
    "one table with two keys, from wide to narrow": (UNIT, UNIT_NAMES, {"rows": "units.csv"}, A_B),
    "one table with two keys, from narrow to wide": ({"rows": "units.csv"}, A_B, UNIT, UNIT_NAMES),
    "the same table with the same key": (UNIT, UNIT_NAMES, UNIT, UNIT_NAMES),
    "numbers of JSON and text of CSV": (UNIT, UNIT_NAMES, {"rows": "lanes.json"}, [{"lane": n} for n in (1, 2, 10)]),
    "names and a table": ({"sample": ["b", "a"], "age": [1, 2]}, BY_AGE, UNIT, UNIT_NAMES),
    "a table and names": (UNIT, UNIT_NAMES, {"sample": ["a", "b"], "age": [1, 2]}, BY_AGE),
    "a stage without each": (UNIT, UNIT_NAMES, None, [{}]),
}


@pytest.mark.parametrize("case", CASES)
def test_a_reference_means_the_instances_that_agree_in_every_name_that_both_have(load, case):
    made_each, makers, read_each, readers = CASES[case]
    spec = load(
        reader(read_each, (*readers[0],)),
        maker(made_each, (*makers[0],)),
    )
    assert meant(spec) == oracle(makers, readers) and not spec.warnings
    common = tuple(name for name in readers[0] if name in makers[0])
    for one in spec.stages[: len(readers)]:
        (join,) = one.joins
        assert join.total == len(makers) and join.found == len(meant(spec)[one.name]) and join.by == common


def test_instances_of_instances_keep_their_names(load):
    other = stage(
        "next", each="make", inputs={"x": "{outputs.make.bam}"}, outputs={"bam": "n/{each.sample}-{each.lane}"}
    )
    spec = load(maker(UNIT, ("sample", "lane")), other, reader("next", ("sample", "lane"), "{outputs.next.bam}"))
    assert meant(spec, "next")["next@b,10"] == ["w/b-10.bam"]
    assert meant(spec)["read@b,10"] == ["n/b-10"] and len(meant(spec)) == 4


def test_two_templates_without_a_common_name_are_joined_whole_with_a_warning(load):
    spec = load(maker({"sample": ["b", "a"]}), reader({"contig": ["1", "2"]}, ("contig",)))
    assert meant(spec) == {f"read@{contig}": ["w/a.bam", "w/b.bam"] for contig in "12"}
    (warning,) = spec.warnings
    assert warning.where.endswith("spec.json#/stages/1/inputs/x")
    assert warning.what == '{outputs.make.bam} means all instances of "make": no name is common to both'
    assert warning.hint == 'if each instance should read its own, its "each" needs sample; or write the path'


def test_a_common_name_that_is_only_a_column_of_the_reader_is_refused(load):
    with pytest.raises(SpecError) as caught:
        load(maker({"sample": ["a", "b"]}), reader({"rows": "units.csv", "key": "fq"}, ("fq",)))
    (fault,) = caught.value.faults
    assert fault.where.endswith("#/stages/1/inputs/x")
    assert fault.what == '{outputs.make.bam} means all instances of "make": "key" does not hold "sample"'
    assert fault.hint == 'add sample to "key", or write the path'


def test_a_value_that_only_one_side_has_leaves_the_entry_empty(load):
    spec = load(maker(UNIT, ("sample", "lane")), reader({"rows": "people.json"}))
    assert meant(spec)["read@c"] == []
    (join,) = spec.stages[-1].joins
    assert (join.found, join.total, join.at, str(join)) == (0, 4, ("x",), "x: 0 of 4 of make, by sample")


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("{outputs.make@a,2.bam}", ["w/a-2.bam"]),
        ("{outputs.make@b,10.dir}", ["d/b-10/"]),
        ("{outputs.make@a,1.dir}sub/*.txt", ["d/a-1/sub/*.txt"]),
        ("{outputs.odd.x}", ["odd/[1]*.txt"]),
        ("{outputs.odd.tree}*.txt", ["odd/[[]2]/*.txt"]),
        ("{outputs.odd.tree}{vars.name}.txt", ["odd/[[]2]/[*].txt"]),
        ("{outputs.a.b.c.x}", ["abc"]),
        (["in/z", "{outputs.make@a,2.bam}", "{outputs.a.b.c.x}"], ["in/z", "w/a-2.bam", "abc"]),
    ],
)
def test_a_reference_names_one_output_or_begins_a_path_in_it(load, text, paths):
    odd = stage("odd", outputs={"x": "odd/[1]*.txt", "tree": "odd/[2]/"})
    stages = maker(UNIT, ("sample", "lane")), odd, stage("a.b.c", outputs={"x": "./abc"})
    assert meant(load(*stages, reader(text=text), vars={"name": "*"}))["read"] == paths


def test_paths_of_a_reference_stand_at_its_place_in_a_list(load):
    spec = load(maker({"sample": ["b", "a"]}), reader(text=["in/1", "{outputs.make.bam}", "in/2"]))
    one = spec.stages[-1]
    assert one.inputs["x"] == ("in/1", "w/a.bam", "w/b.bam", "in/2")
    assert [at for _, at, _ in one.entries()] == [("x", 0), ("x", 1), ("x", 1), ("x", 2)]


def test_without_labels_an_entry_has_the_label_of_the_output(load):
    inputs = ["{outputs.make.bam}", "{outputs.make@a.dir}genome.fa"]
    spec = load(maker({"sample": ["a", "b"]}), stage("read", inputs=inputs))
    assert spec.stages[-1].inputs == {"bam": ("w/a.bam", "w/b.bam"), "genome": "d/a/genome.fa"}


def test_braces_of_a_value_make_no_reference(load):
    spec = load(maker({"sample": ["a"]}), reader(text="{vars.text}"), vars={"text": "{outputs.make.bam}"})
    assert meant(spec)["read"] == ["{outputs.make.bam}"]


@pytest.mark.parametrize(
    ("fields", "at", "what", "hint"),
    [
        ({"inputs": {"x": "{outputs.maek.bam}"}}, "inputs/x", 'no stage named "maek"', 'did you mean "make"?'),
        ({"inputs": {"x": ["in", "{outputs.make.bma}"]}}, "inputs/x/1", 'no output named "bma"', 'did you mean "bam"?'),
        ({"inputs": {"x": "{outputs.make@x.bam}"}}, "inputs/x", 'no stage named "make@x"', "did you mean"),
        ({"inputs": {"x": "{outputs.make}"}}, "inputs/x", "no reference that can be resolved", "write {outputs.STAGE."),
        ({"inputs": {"x": "w/{outputs.make.bam}"}}, "inputs/x", "no reference that can", "or at its beginning"),
        ({"inputs": {"x": "{outputs.make.bam}.bai"}}, "inputs/x", 'is "w/a.bam", which is no directory', "only a dir"),
        ({"command": ["cat", "{outputs.make.bam}"]}, "command/1", "is an output of a stage", "declare it as an input"),
        ({"command": ["cat", "{outputs.read.o}"]}, "command/1", "is an output of a stage", "write {outputs.o}"),
        ({"inputs": {"x": "{outputs.read.o}"}}, "outputs/o", "is also read by this stage", "write elsewhere"),
    ],
)
def test_a_mistake_in_a_reference_is_refused_with_its_place(load, fields, at, what, hint):
    with pytest.raises(SpecError) as caught:
        load(maker({"sample": ["a", "b"]}), stage("read", **fields))
    (fault,) = caught.value.faults
    assert fault.where.endswith(f"#/stages/1/{at}") and what in fault.what and hint in fault.hint, fault


def test_a_mistake_in_a_template_without_instances_is_found_too(load):
    none = reader({"sample": ["a"]}, mayBeEmpty=True, where={"sample": "z"})
    load(maker({"sample": ["a"]}), none)
    with pytest.raises(SpecError) as caught:
        load(maker({"sample": ["a"]}), {**none, "inputs": {"x": "{outputs.make.bma}"}})
    assert caught.value.faults[0].hint == 'did you mean "bam"?'


def test_a_template_without_instances_gives_no_path(load):
    none = maker({"sample": ["a"]}, mayBeEmpty=True, where={"sample": "z"})
    spec = load(none, reader(text=["in/a", "{outputs.make.bam}", "{outputs.make@z.dir}x"]))
    assert meant(spec)["read"] == ["in/a"]
    assert [(join.at, join.found, join.total) for join in spec.stages[0].joins] == [(("x", 1), 0, 0), (("x", 2), 0, 0)]


def test_names_of_a_list_of_forms_are_joined(load):
    units = [{"rows": "units.csv"}, {"contig": ["1", "2"]}]
    spec = load(
        maker(units, ("sample", "contig")),
        reader({"rows": "units.csv", "key": ["sample", "lane"]}, ("sample", "lane")),
        reader({"contig": ["2"]}, ("contig",), name="by-contig"),
        reader(["by-contig", {"rows": "units.csv"}], ("contig", "sample"), name="both"),
    )
    assert meant(spec)["read@b,10"] == ["w/b-1.bam", "w/b-2.bam"]
    assert meant(spec, "by-contig") == {"by-contig@2": ["w/a-2.bam", "w/b-2.bam"]}
    assert meant(spec, "both") == {"both@2,a": ["w/a-2.bam"], "both@2,b": ["w/b-2.bam"]}


@pytest.mark.parametrize("is_labelled", [True, False])
def test_a_glob_beside_a_reference_is_still_compared_with_the_outputs_of_other_instances(load, is_labelled):
    samples = {"sample": ["s1", "s10"]}
    paths = ["{outputs.ref.bam}", "{vars.two}", "w/{each.sample}*.bam"]
    inputs = {"x": paths} if is_labelled else [*paths[:-1], "w/{each.sample}*/x.txt"]
    made = maker(samples) if is_labelled else stage("make", each=samples, outputs={"o": "w/{each.sample}.d/"})
    stages = stage("ref", each={"n": ["a", "b", "c"]}, outputs={"bam": "r/{each.n}"}), made
    with pytest.raises(SpecError) as caught:
        load(*stages, {**reader(samples), "inputs": inputs}, vars={"two": ["one", "two"]})
    (fault,) = [fault for fault in caught.value.faults if "also matches" in fault.what]
    assert fault.where.endswith("#/stages/2/inputs/x/2" if is_labelled else "#/stages/2/inputs/2")


def test_the_effective_spec_holds_paths(load):
    from runner.spec.model import effective_spec

    spec = load(maker({"sample": ["b", "a"]}), reader(), reader({"sample": ["a"]}, name="own"))
    effective = json.loads(json.dumps(effective_spec(spec)))
    assert [one["inputs"] for one in effective["stages"][2:]] == [{"x": ["w/a.bam", "w/b.bam"]}, {"x": "w/a.bam"}]
