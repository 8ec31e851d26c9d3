"""What `offpipe export` prints, read by the published protos and compared with what is on disk."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from typing import TYPE_CHECKING

from google.protobuf import json_format
from in_toto_attestation.predicates.provenance.v1.provenance_pb2 import Provenance
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.statement import Statement
from pipeline_bench import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline_bench import PipelineBench

    Json = dict[str, object]

PAGE = (ROOT / "docs/on-disk.md").read_text()
TREE = PAGE.partition("```python\n# the digest of a directory\n")[2].partition("```")[0]


def checked(line: str | bytes) -> Json:
    """A Statement; the parsers of the protos refuse unknown fields and wrong types."""
    read = json_format.Parse(line, statement_pb2.Statement())
    Statement.copy_from_pb(read).validate()
    assert read.predicate_type == "https://slsa.dev/provenance/v1"
    provenance = json_format.Parse(json_format.MessageToJson(read.predicate), Provenance())
    assert provenance.build_definition.build_type and provenance.build_definition.external_parameters
    assert provenance.run_details.builder.id and provenance.run_details.metadata.invocation_id
    for found in provenance.build_definition.resolved_dependencies:
        assert found.name and (found.digest or found.uri), found
    names = [each.name for each in read.subject]
    assert len(names) == len(set(names))
    return json.loads(line)


def statements(bench: PipelineBench, *words: str) -> list[Json]:
    return [checked(line) for line in bench.succeed("export", *words).stdout.splitlines()]


def run_of(statement: Json) -> str:
    return statement["predicate"]["runDetails"]["metadata"]["invocationId"]


def subjects(found: list[Json]) -> dict[str, tuple[str, str]]:
    """Path -> run and digest; none may be there twice."""
    pairs = [
        (each["name"], (run_of(statement), each["digest"]["offpipeTree" if each["name"].endswith("/") else "sha256"]))
        for statement in found
        for each in statement["subject"]
    ]
    assert len(pairs) == len(dict(pairs)), "covered twice"
    return dict(pairs)


def dependencies(statement: Json) -> dict[str, str | None]:
    """Name -> digest."""
    found = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    return {each["name"]: next(iter(each.get("digest", {}).values()), None) for each in found}


def digest_on_disk(path: Path) -> str:
    if path.is_dir():
        command = [sys.executable, "-I", "-c", TREE, str(path)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return hashlib.sha256(path.read_bytes()).hexdigest()


def standing(bench: PipelineBench) -> set[str]:
    """The outputs in the markers, read without any code of ours."""
    markers = [json.loads(path.read_bytes()) for path in (bench.root / "state").glob("stage_*.json")]
    return {output["path"] for marker in markers for output in marker["outputs"].values()}


def makers(bench: PipelineBench) -> dict[tuple[str, str], set[str]]:
    """The runs whose logs say in a `stage.commit` that they made this content, by path and digest."""
    found: dict[tuple[str, str], set[str]] = {}
    for record in bench.records("stage.commit"):
        for output in record["data"]["outputs"].values():
            found.setdefault((output["path"], output["sha256"]), set()).add(record["run"])
    return found


def true_statements(bench: PipelineBench) -> list[Json]:
    """The Statements of all that stands, each of whose claims holds."""
    found = statements(bench)
    covered, made = subjects(found), makers(bench)
    assert covered.keys() == standing(bench)
    for path, (run, digest) in covered.items():
        assert digest == digest_on_disk(bench.root / path), path
        assert (path, digest) not in made or run in made[path, digest]  # of a pruned run only the marker is left
    return found
