"""Warnings about words in a valid spec that probably mean something else."""

from __future__ import annotations

import pytest

from runner.paths import StatePaths
from runner.spec.model import Spec, Stage
from runner.spec.placeholders import remarks


def remarked(*command: str, **fields: object) -> list[tuple[str, str]]:
    fields = {"outputs": {"o": "out"}, **fields}
    stage = Stage(0, "s", inputs={"i": "in"}, command=command, **fields)  # type: ignore[arg-type]
    paths = StatePaths("/state", "/locks")
    spec = Spec("/p.json", "p.json", "p", "/", "/", paths, (stage,), "/stages", vars={"q": 1})
    return [(fault.where, fault.hint) for fault in remarks(spec, spec.stages)]


@pytest.mark.parametrize(
    ("word", "hint"),
    [(">", '"stdout"'), ("<", '"stdin"'), ("|", '["sh", "-c", "..."]'), ("&&", '["sh", "-c", "..."]'), (";", '"sh"')],
)
def test_warns_once_of_words_for_a_shell_with_a_hint(word, hint) -> None:
    ((where, given_hint),) = remarked("sort", "in", word, "out", word, "more")
    assert where == "p.json#/stages/0/command/2" and hint in given_hint


@pytest.mark.parametrize(
    "command",
    [
        ("find", ".", "-exec", "cat", "x", ";"),
        ("expr", "1", "<", "2"),
        ("sh", "-c", "a | b"),
        ("awk", "{ a > b }"),
        (">",),
    ],
)
def test_programs_with_such_words_of_their_own_are_left_alone(command) -> None:
    assert remarked(*command) == []


@pytest.mark.parametrize(
    ("word", "near"),
    [("{output.o}", "{outputs.o}"), ("{input.i}", "{inputs.i}"), ("x={Inputs.i}", "{inputs.i}"),
     ("{lists.i}", "{list.i}"), ("{param.p}", "{params.p}"), ("{inputs[i]}", "{inputs.i}"),
     ("{wildcards.w}", "{each.w}"), ("{w}.txt", "{each.w}"), ("{each[w]}", "{each.w}"), ("{var.q}", "{vars.q}"),
     ("{config.q}", "{vars.q}"), ("{config[q]}", "{vars.q}"), ("-q{config['q']}", "{vars.q}"),
     ('{config["q"]}', "{vars.q}")],
)  # fmt: skip
def test_a_brace_that_is_nearly_a_placeholder_for_something_declared_is_remarked(word, near) -> None:
    assert remarked("cp", word, params={"p": 1}, values={"w": "a"}) == [
        ("p.json#/stages/0/command/1", f"did you mean {near}?")
    ]


@pytest.mark.parametrize(
    "word", ["{output.other}", "{inputs.i}", "{print $1}", "{a.b}", "{o}", "${w}", "{config.w}", "{var.w}"]
)
def test_other_braces_are_literal(word) -> None:
    assert remarked("cp", word, values={"w": "a"}) == []


@pytest.mark.parametrize(("path", "count"), [("out/*.csv", 1), ("out/?", 1), ("out/*/", 1), ("out/[1].csv", 0)])
def test_an_output_that_looks_like_a_glob_is_remarked(path, count) -> None:
    found = remarked("cp", outputs={"o": path})
    assert (
        found == [("p.json#/stages/0/outputs/o", 'to write several files, declare a directory, such as "out/"')] * count
    )


@pytest.mark.parametrize(("value", "count"), [("{outputs.o}", 1), ("a:{params.p}", 1), ("{o}", 0), ("{python}", 0)])
def test_a_placeholder_in_env_is_remarked(value, count) -> None:
    assert [where for where, _ in remarked("cp", env={"OUT": value})] == ["p.json#/stages/0/env/OUT"] * count


def test_warns_of_a_template_and_not_of_each_instance() -> None:
    stages = [
        Stage(index, f"s{index}@{value}", outputs={"o": f"{value}"}, command=("cp", "{w}", ">"), values={"w": value})
        for index in (0, 1)
        for value in "ab"
    ]
    spec = Spec("/p.json", "p.json", "p", "/", "/", StatePaths("/state", "/locks"), tuple(stages), "/stages")
    assert [fault.where.partition("#")[2] for fault in remarks(spec, stages)] == [
        "/stages/0/command/2", "/stages/0/command/1", "/stages/1/command/2", "/stages/1/command/1"
    ]  # fmt: skip
