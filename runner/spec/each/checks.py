"""Checks of templates once all instances are known: what their globs match, and where their values come from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.spec.globs import is_glob
from runner.spec.kinds import Finding
from runner.spec.values import paths_in, references, spelled

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from runner.spec.each.forms import Source
    from runner.spec.graph import OutputIndex
    from runner.spec.model import Spec, Stage
    from runner.spec.values import Json


def check_globs(stages: Sequence[Stage], written: Sequence[Json], outputs: OutputIndex) -> Iterator[Finding]:
    """Refuse a glob of an instance that matches an output of an instance with another value of the same name."""
    values = {stage.name: stage.values for stage in stages if stage.values}
    templates = [(i, given.get("inputs", {})) for i, given in enumerate(written) if "each" in given]
    globs = {index for index, inputs in templates if any(map(is_glob, paths_in(inputs)))}
    for stage in (stage for stage in stages if stage.values and stage.index in globs):
        given = written[stage.index].get("inputs", {})
        labelled = dict(zip(stage.inputs, given, strict=False)) if isinstance(given, list) else given
        for _, (step, *number), path in stage.entries():
            text = given[step] if isinstance(step, int) else labelled[step]
            text = text[number[0]] if number else text
            if not is_glob(text):
                continue
            used = {*references(text, "each")} & stage.values.keys()
            for producer, output in outputs.matches(path):
                other = values.get(producer, {})
                if any(spelled(other.get(name, own := stage.values[name])) != spelled(own) for name in used):
                    what = f'"{path}" of "{stage.name}" also matches "{output}" of "{producer}"'
                    hint = "put something between the value and the wildcard that no value holds"
                    yield Finding(("stages", stage.index, "inputs", step, *number), what, hint)


def check_sources(spec: Spec, sources: Iterable[Source], outputs: OutputIndex) -> Iterator[Finding]:
    """Refuse values that a template makes itself, tables in a directory output, and patterns that may lead into one."""
    positions = {stage.name: stage.index for stage in spec.stages}
    makers = {stage.index: stage.sources for stage in spec.declared}
    for index, at, source, glob in sources:
        for producer, path in outputs.matches(glob):
            if positions[producer] == index:
                hint = "no stage can make its own values"
            elif path == source and producer not in makers.get(index, ()):
                hint = f"refer to the instance: {{outputs.{producer}.LABEL}}"
            elif path.endswith("/") and at[-1] == "rows":
                hint = "make the table an output of its own"
            elif path.endswith("/") and not source.startswith(path):
                hint = "begin the pattern with that directory"
            else:
                continue
            yield Finding(at, f'"{source}" reads "{path}", an output of stage "{producer}"', hint)
            break
