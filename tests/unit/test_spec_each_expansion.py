import pytest

from runner.spec.each.expansion import Expander, Pattern
from runner.spec.each.tables import SourceError
from runner.spec.globs import may_meet
from runner.spec.values import Inserter


class FakeDisk:
    """Files and tables in memory."""

    root = "/root"

    def __init__(self, files=(), tables=None):
        self._files = files
        self._tables = tables or {}

    def files(self, head, tail):
        return [path for path in self._files if path.startswith(head) and path.endswith(tail)]

    def table(self, path):
        if path not in self._tables:
            raise SourceError(f"no {path}", at=("rows",), is_missing=True)
        return [(f"{path}:{number}", row) for number, row in enumerate(self._tables[path], 2)]


def expanded(*stages, files=(), tables=None, **variables):
    inserter = Inserter(variables)
    expander = Expander(stages, inserter, FakeDisk(files, tables))
    return expander.expand(), inserter.findings, expander


def template(name, each, to="out/{each.s}", **fields):
    return {"name": name, "each": each, "outputs": {"o": to}, **fields}


def names(instances):
    return [instance.given["name"] for instance in instances]


@pytest.mark.parametrize(
    ("pattern", "path", "value"),
    [
        (("in/", ".txt"), "in/a.txt", "a"),
        (("in/", ".txt"), "in/.a.txt", None),
        (("in/x", ".txt"), "in/x.a.txt", ".a"),
        (("in/x", ".txt"), "in/x.txt", ""),
        (("in/x.", ".txt"), "in/x.txt", None),
        (("in/", ".txt"), "in/a/b.txt", None),
        (("in/", "/b.txt"), "in/a/b.txt", "a"),
        (("", ""), "a", "a"),
    ],
)
def test_a_value_is_the_text_that_the_star_matches(pattern, path, value):
    assert Pattern(*pattern).value(path) == value


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
