import json

import pytest

from runner.errors import SpecError, UsageError
from runner.spec.graph import build_graph, name_finder, select, select_names
from runner.spec.load import load_spec


def stage(name, inputs=(), outputs=None, needs=()):
    inputs = dict(inputs) if isinstance(inputs, dict) else {f"i{n}": path for n, path in enumerate(inputs)}
    return {
        "name": name,
        "command": ["true"],
        "inputs": inputs,
        "outputs": {f"o{n}": path for n, path in enumerate(outputs or [f"out/{name}"])},
        "needs": list(needs),
    }


@pytest.fixture
def graph_of(tmp_path):
    def build(*stages):
        path = tmp_path / "spec.json"
        path.write_text(json.dumps({"specVersion": 1, "name": "test", "stages": stages}))
        return build_graph(load_spec(str(path)))

    return build


def names(stages):
    return [stage.name for stage in stages]


def test_order_follows_files_and_needs_and_is_otherwise_that_of_the_spec(graph_of):
    graph = graph_of(stage("c", ["out/a"]), stage("b", needs=["d"]), stage("a"), stage("d"), stage("e"))
    assert names(graph.order) == ["a", "c", "d", "b", "e"]
    assert graph.upstream == {"c": ("a",), "b": ("d",), "a": (), "d": (), "e": ()}
    assert graph.downstream["a"] == ["c"]
    assert graph.feeds == {"c": {"i0": (("a", "out/a"),)}}
    assert graph.outputs.producers["out/d"] == ("d", "o0")


def test_a_list_needs_every_stage_that_makes_a_part_of_it(graph_of):
    reader = stage("reader", {"parts": ["w/b", "source", "w/*", "t/leaf"]})
    makers = (stage("a", outputs=["w/a"]), stage("b", outputs=["w/b"]), stage("tree", outputs=["t/"]))
    graph = graph_of(reader, *makers)
    assert graph.upstream["reader"] == ("a", "b", "tree")
    assert graph.feeds["reader"] == {"parts": (("b", "w/b"), ("a", "w/a"), ("tree", "t/"))}


@pytest.mark.parametrize(
    ("pattern", "output"),
    [
        ("w/a.txt", "w/a.txt"),
        ("./w//a.txt", "w/a.txt"),
        ("w/*.txt", "w/a.txt"),
        ("w/**", "w/x/y/a.txt"),
        ("**/a.txt", "w/x/a.txt"),
        ("w/", "w/"),
        ("w/", "w/x/a.txt"),
        ("w/a.txt", "w/"),
        ("w/*.txt", "w/"),
        ("w/x/a*.txt", "w/"),
        ("w/*/a.txt", "w/x/"),
        ("*/a.txt", "w/"),
        ("w/x/", "w/"),
        ("w/*/", "w/x/"),
        ("w/*/", "w/x/a.txt"),
        ("a[1].txt", "a[1].txt"),
        (".cfg/*", ".cfg/a"),
    ],
)
def test_an_input_means_the_output(graph_of, pattern, output):
    graph = graph_of(stage("reader", [pattern]), stage("writer", outputs=[output]))
    assert graph.feeds == {"reader": {"i0": (("writer", output),)}}
    assert names(graph.order) == ["writer", "reader"]


@pytest.mark.parametrize(
    ("pattern", "output"),
    [
        ("w/*.txt", "w/.a.txt"),
        ("w/*", "w/x/a.txt"),
        ("w/*", "w/x/"),
        ("q/**", "q/.w/a"),
        ("w/", "wx/a"),
        ("w", "wx"),
        ("a[1].txt", "a1.txt.gz"),
        ("w/*/a.txt", "w/x/b.txt"),
    ],
)
def test_an_input_does_not_mean_the_output(graph_of, pattern, output):
    assert graph_of(stage("reader", [pattern]), stage("writer", outputs=[output])).feeds == {}


def test_an_output_named_like_the_glob_comes_before_its_matches(graph_of):
    graph = graph_of(stage("literal", outputs=["a[1]"]), stage("other", outputs=["a1"]), stage("reader", ["a[1]"]))
    assert graph.feeds["reader"]["i0"] == (("literal", "a[1]"),)


def test_an_absolute_input_below_root_means_the_output(graph_of, tmp_path):
    graph = graph_of(stage("reader", [f"{tmp_path}/out/writer"]), stage("writer"))
    assert graph.upstream["reader"] == ("writer",)


def test_a_glob_gathers_all_that_match_in_order_of_paths(graph_of):
    graph = graph_of(stage("b", outputs=["w/b"]), stage("a", outputs=["w/a"]), stage("all", ["w/*"], needs=["a"]))
    assert graph.feeds["all"]["i0"] == (("a", "w/a"), ("b", "w/b"))
    assert graph.upstream["all"] == ("b", "a")


def test_a_cycle_is_shown_from_producer_to_consumer(graph_of):
    with pytest.raises(SpecError) as caught:
        graph_of(stage("x", ["out/b"]), stage("a", ["out/b"]), stage("b", ["out/c"]), stage("c", needs=["a"]))
    assert [fault.what for fault in caught.value.faults] == ["a cycle: a -> c -> b -> a"]


def test_separate_cycles_are_separate_faults(graph_of):
    pairs = [stage("a", needs=["b"]), stage("b", needs=["a"]), stage("c", needs=["c"])]
    with pytest.raises(SpecError) as caught:
        graph_of(*pairs)
    assert [fault.what for fault in caught.value.faults] == ["a cycle: a -> b -> a", "a cycle: c -> c"]


def test_selects_named_stages_and_their_upstream(graph_of):
    graph = graph_of(stage("c", ["out/b"]), stage("b", ["out/a"]), stage("a"), stage("d"))
    assert names(select(graph, ["b", "b"])) == ["a", "b"]
    assert names(select(graph, [])) == ["a", "b", "c", "d"]


def test_a_selector_is_a_stage_a_template_or_a_pattern():
    find = name_finder(["trim", "sort@a", "sort@b", "sort@b2", "x"])
    assert [*find("trim")] == ["trim"] and [*find("sort@b")] == ["sort@b"]
    assert [*find("sort")] == ["sort@a", "sort@b", "sort@b2"]
    assert [*find("sort@b*")] == ["sort@b", "sort@b2"] and [*find("*")] == ["trim", "sort@a", "sort@b", "sort@b2", "x"]
    assert not find("sort@c") and not find("so") and not find("y*")


def test_without_selectors_all_names_are_selected():
    assert select_names(["b", "a@1"], ()) == ["b", "a@1"]
    assert select_names(["b", "a@1"], ("a", "b")) == ["a@1", "b"]


def test_instances_stand_in_the_place_of_their_template(graph_of):
    each = {"n": [1, 2]}
    graph = graph_of(
        stage("last", ["t/*"]), {**stage("t", outputs=["t/{each.n}"]), "each": each}, stage("x", needs=["t"])
    )
    assert names(graph.order) == ["t@1", "t@2", "last", "x"]
    assert [stage.index for stage in graph.order] == [1, 1, 0, 2]
    assert graph.upstream["x"] == ("t@1", "t@2")


def test_selecting_an_unknown_stage_names_the_nearest(graph_of):
    with pytest.raises(UsageError) as caught:
        select(graph_of(stage("upper")), ["uper"])
    assert caught.value.faults[0].hint == 'did you mean "upper"?'


@pytest.mark.full
def test_chains_of_10000_need_no_recursion(graph_of):
    count = 10_000
    stages = [stage(f"s{n}", [f"out/s{n - 1}"] if n else []) for n in reversed(range(count))]
    assert names(graph_of(*stages).order) == [f"s{n}" for n in range(count)]
    stages[-1]["needs"] = [f"s{count - 1}"]
    with pytest.raises(SpecError) as caught:
        graph_of(*stages)
    assert "..." in caught.value.faults[0].what


@pytest.mark.full
def test_fans_of_10000_come_together_in_one_glob(graph_of):
    count = 10_000
    graph = graph_of(*(stage(f"s{n}", ["in"]) for n in range(count)), stage("all", ["out/s*"]))
    assert len(graph.feeds["all"]["i0"]) == count
    assert graph.order[-1].name == "all"
