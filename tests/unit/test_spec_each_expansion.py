import pytest

from runner.spec.each.expansion import Expander
from runner.spec.each.tables import SourceError, Table
from runner.spec.globs import may_meet
from runner.spec.kinds import Spelled
from runner.spec.values import Inserter


class FakeDisk:
    """Files and tables in memory."""

    root = "/root"

    def __init__(self, files=(), tables=None):
        self._files = files
        self._tables = tables or {}

    def files(self, head, tail):
        return [path for path in self._files if path.startswith(head) and path.endswith(tail)]

    def directories(self, directory):
        return [f"/root/{directory}"]

    def table(self, path, columns, own, maker):
        if own is not None:
            return Table(tuple(own[0]) if own else (), [(path, row) for row in own])
        if path not in self._tables:
            raise SourceError(f"no {path}", at=("rows",), is_missing=True)
        rows = [(f"{path}:{number}", row) for number, row in enumerate(self._tables[path], 2)]
        return Table(tuple(rows[0][1]) if rows else columns, rows)


def expanded(*stages, files=(), tables=None, **variables):
    inserter = Inserter(variables)
    expander = Expander(stages, inserter, FakeDisk(files, tables))
    return expander.expand(), inserter.findings, expander


def template(name, each, to="out/{each.s}", **fields):
    return {"name": name, "each": each, "outputs": {"o": to}, **fields}


def names(instances):
    return [instance.given["name"] for instance in instances]


@pytest.mark.parametrize(
    ("output", "may"),
    [
        ("out/*.a", True), ("out/*.b", False), ("out/x.a", True), ("*", True), ("o*", True), ("in/*.a", False),
        ("out/*/", True),
    ],
)  # fmt: skip
def test_templates_depend_on_those_whose_outputs_their_pattern_may_match(output, may):
    assert may_meet("out/*.a", output) is may


def test_an_instance_knows_its_place_and_its_values():
    stages = {"name": "one", "outputs": {"o": "one"}}, template("two", {"s": ["a", 1]}, params={"p": "{each.s}"})
    instances, findings, _ = expanded(*stages)
    assert not findings and names(instances) == ["one", "two@a", "two@1"]
    assert [instance.position for instance in instances] == [0, 1, 1]
    assert instances[2].given == {"name": "two@1", "outputs": {"o": "out/1"}, "params": {"p": 1}}
    assert instances[2].values == {"s": 1}


def test_the_order_of_templates_in_the_spec_does_not_matter():
    last = template("last", {"t": "out/*"}, "last/{each.t}")
    instances, findings, expander = expanded(last, template("first", {"s": "in/*"}), files=["in/a", "in/b", "out/c"])
    assert not findings and names(instances) == ["last@a", "last@b", "last@c", "first@a", "first@b"]
    assert expander.matches == {"in/a", "in/b", "out/c"}


def test_templates_whose_files_are_missing_stand_for_their_instances():
    stages = (
        template("a", {"rows": "t.csv"}),
        template("b", "a", "b/{each.s}"),
        template("c", {"t": "b/*"}, "c/{each.t}"),
    )
    instances, findings, _ = expanded(*stages, files=["b/x"])
    assert not findings and names(instances) == ["a", "b", "c"]
    assert {instance.missing for instance in instances} == {(("stages", 0, "each", "rows"), "no t.csv", "")}
    assert [instance.given["needs"] for instance in instances] == [[], ["a"], ["b"]]
    assert [instance.given["outputs"] for instance in instances] == [{"o": "out/*"}, {"o": "b/*"}, {"o": "c/*"}]


def test_a_template_without_outputs_whose_files_are_missing_is_no_crash():
    instances, findings, _ = expanded({"name": "a", "each": {"rows": "t.csv"}})
    assert not findings and names(instances) == ["a"] and instances[0].missing


def test_rows_are_one_instance_for_each_stage_that_uses_the_same_columns():
    table = [{"s": "a", "n": "1"}, {"s": "a", "n": "2"}]
    plain, using = template("plain", {"rows": "t"}), template("using", "plain", "u/{each.s}{each.n}")
    instances, findings, _ = expanded(plain, tables={"t": table})
    assert names(instances) == ["plain@a"] and not findings
    _, findings, _ = expanded(plain, using, tables={"t": table})
    what = "t:3: has another n than t:2, which has the same key, a"
    assert [(finding.at, finding.what) for finding in findings] == [(("stages", 1, "each"), what)]


def test_a_stage_whose_each_was_refused_has_no_second_finding():
    inserter = Inserter({})
    stages = [{"name": "t", "outputs": {"o": "out/{each.s}"}}, template("u", "t", "u/{each.s}")]
    instances = Expander(stages, inserter, FakeDisk(), broken=(0,)).expand()
    assert names(instances) == ["t", "u"] and not inserter.findings


def test_an_instance_knows_which_values_its_name_is_made_of():
    tables = {"t": [{"s": "a", "lane": "1", "note": "x"}]}
    each = [{"rows": "t", "key": ["lane", "s"]}, {"n": [1], "m": [2]}]
    instances, findings, _ = expanded(
        template("one", each), template("two", ["one", {"z": [3]}], "two/{each.s}"), tables=tables
    )
    assert not findings and names(instances) == ["one@1,a,1,2", "two@1,a,1,2,3"]
    assert instances[0].named_by == ("lane", "s", "n", "m")
    assert instances[0].values == {"s": "a", "lane": "1", "note": "x", "n": 1, "m": 2}
    assert instances[1].named_by == ("lane", "s", "n", "m", "z")


def test_a_template_without_instances_stays_as_it_is_written_with_a_star_for_each_value():
    stages = [template("a", {"s": "in/*"}, "{vars.d}/{each.s}", mayBeEmpty=True), template("b", "a", "b/{each.s}x")]
    instances, findings, _ = expanded(*stages, d="out")
    assert not findings and names(instances) == ["a", "b"]
    assert [instance.given["outputs"] for instance in instances] == [{"o": "out/*"}, {"o": "b/*x"}]
    assert [instance.why for instance in instances] == ['no file matches "in/*"', '"a" has no instances']
    assert [instance.directories for instance in instances] == [("/root/in",), ()]


def test_unknown_values_of_a_template_without_instances_are_findings():
    stage = template("a", {"rows": []}, "out/{each.s}", mayBeEmpty=True)
    assert not expanded(stage)[1], "the columns are not known"
    _, findings, _ = expanded(template("a", {"s": "in/*"}, "out/{each.t}", mayBeEmpty=True))
    assert [finding.what for finding in findings] == ['{each.t}: no value named "t"']


def test_a_stage_that_is_off_depends_on_no_template_and_none_on_it():
    off = template("off", {"s": "on/*"}, "off/{each.s}", **{"if": "{vars.no}"})
    on = template("on", {"t": "off/*"}, "on/{each.t}")
    instances, findings, _ = expanded(off, on, files=["off/x"], no=0)
    assert not findings and names(instances) == ["off", "on@x"]
    _, findings, _ = expanded(off, on, files=["off/x"], no=1)
    assert {finding.what for finding in findings} == {
        "its values depend on its own instances: off -> on -> off",
        "its values depend on its own instances: on -> off -> on",
    }


def test_a_pattern_with_many_values_is_read_once_for_each():
    read = []
    disk = FakeDisk(["w/a/1", "w/b/2"])
    disk.files = lambda head, tail: read.append(head) or FakeDisk.files(disk, head, tail)
    each = [{"s": ["a", "b"], "n": [1, 2, 3]}, {"c": "w/{each.s}/*"}]
    assert len(Expander([template("t", each, "o/{each.s}{each.n}{each.c}")], Inserter({}), disk).expand()) == 6
    assert read == ["w/a/", "w/b/"]


def test_values_that_are_equal_and_spelled_otherwise_have_patterns_of_their_own():
    rows = [{"s": 1, "k": "a"}, {"s": Spelled("1.0"), "k": "b"}, {"s": True, "k": "c"}]
    each = [{"rows": rows, "key": "k"}, {"c": "w/{each.s}/*"}]
    instances, findings, _ = expanded(template("t", each, "o/{each.k}{each.c}"), files=["w/1/x", "w/1.0/y", "w/true/z"])
    assert not findings and names(instances) == ["t@a,x", "t@b,y", "t@c,z"]
