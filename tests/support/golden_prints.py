"""What `graph` and `schema` print, and the fields of `doctor --json`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from golden_calls import ROOT, Call, Program
from golden_cross import chain, spec, stage

if TYPE_CHECKING:
    from pathlib import Path

PROSE = frozenset(("description", "title"))
GRAPHS = {
    "chain": spec(*chain("a", "b", "c")),
    "diamond": spec(
        *chain("a", "b"), stage("c", inputs=["out/a"]), stage("d", inputs=["out/b", "out/c"]), stage("e", needs=["d"])
    ),
    "backwards": spec(stage("z", inputs=["out/y"]), stage("y", inputs=["out/x"]), stage("x")),
    "names": spec(
        stage("a-b"), stage("a.b", needs=["a-b"], outputs=["d/"]), stage("a_b", inputs=["d/*.txt", "d/deep/**"])
    ),
}


def record(place: Path) -> list[dict[str, object]]:
    cases = []
    with Program() as program:
        for name, graph in GRAPHS.items():
            (place / f"{name}.json").write_text(json.dumps(graph))
            cases += [drawn(program, f"{name}.json", str(place), form) for form in ("text", "mermaid", "dot")]
        cases += [drawn(program, f"pipelines/{name}.json", str(ROOT), "text") for name in ("demo", "resume")]
        schema = program.answer(Call(["schema"], str(place)))
        doctor = program.answer(Call(["doctor", "--json"], str(place)))
    return [
        *cases,
        {"case": "schema", "exit": schema.exit, "json": without_prose(schema.json())},
        {"case": "doctor", "json": shape(doctor.json())},
    ]


def drawn(program: Program, path: str, cwd: str, form: str) -> dict[str, object]:
    answer = program.answer(Call(["graph", path, "--format", form], cwd))
    return {"case": f"graph {path} {form}", "exit": answer.exit, "lines": answer.out.splitlines()}


def without_prose(value: object, *, names: bool = False) -> object:
    """Return a JSON Schema without descriptions. `names`: the keys are names of fields."""
    if isinstance(value, dict):
        kept = {name: member for name, member in value.items() if names or name not in PROSE}
        return {name: without_prose(member, names=name == "properties") for name, member in kept.items()}
    return [without_prose(member) for member in value] if isinstance(value, list) else value


def shape(value: object) -> object:
    """Return only the field names, because values depend on the machine."""
    assert isinstance(value, dict)
    levels = {level: sorted(found) for level, found in value["levels"].items()}
    return {**dict.fromkeys(value, "<any>"), "levels": levels}
