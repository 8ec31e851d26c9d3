"""The graph of a pipeline as text, Mermaid or DOT."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from runner.spec.graph import Graph


def graph_text(graph: Graph) -> Iterator[str]:
    """Yield a line a stage, in order: its name and what it needs."""
    width = max((len(stage.name) for stage in graph.order if graph.upstream[stage.name]), default=0)
    for stage in graph.order:
        upstream = graph.upstream[stage.name]
        yield f"{stage.name:<{width}}  <- {', '.join(upstream)}\n" if upstream else f"{stage.name}\n"


def graph_mermaid(graph: Graph) -> Iterator[str]:
    """Yield a Mermaid flowchart; stages are numbered in it, because a name such as `end` is a word of its own there."""
    yield "flowchart TD\n"
    numbers = {stage.name: f"s{stage.index}" for stage in graph.order}
    for stage in graph.order:
        yield f'  {numbers[stage.name]}["{stage.name}"]\n'
    for stage in graph.order:
        for one in graph.upstream[stage.name]:
            yield f"  {numbers[one]} --> {numbers[stage.name]}\n"


def graph_dot(graph: Graph) -> Iterator[str]:
    """Yield a DOT digraph. Names of stages hold no quote or backslash, so quoting them is enough."""
    yield f'digraph "{graph.spec.name}" {{\n  rankdir=TB;\n  node [shape=box];\n'
    for stage in graph.order:
        yield f'  "{stage.name}";\n'
    for stage in graph.order:
        for one in graph.upstream[stage.name]:
            yield f'  "{one}" -> "{stage.name}";\n'
    yield "}\n"


FORMATS: dict[str, Callable[[Graph], Iterator[str]]] = {
    "text": graph_text, "mermaid": graph_mermaid, "dot": graph_dot,
}  # fmt: skip
