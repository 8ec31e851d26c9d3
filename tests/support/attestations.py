"""Reads what `offpipe export` prints with the published protos, and compares it with what is on disk."""

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


def check_statement(line: str | bytes) -> Json:
    """Check a Statement and return its JSON. The parsers of the protos refuse unknown fields and wrong types."""
    parsed = json_format.Parse(line, statement_pb2.Statement())
    Statement.copy_from_pb(parsed).validate()
    assert parsed.predicate_type == "https://slsa.dev/provenance/v1"
    provenance = json_format.Parse(json_format.MessageToJson(parsed.predicate), Provenance())
    assert provenance.build_definition.build_type and provenance.build_definition.external_parameters
    assert provenance.run_details.builder.id and provenance.run_details.metadata.invocation_id
    for dependency in provenance.build_definition.resolved_dependencies:
        assert dependency.name and (dependency.digest or dependency.uri), dependency
    names = [each.name for each in parsed.subject]
    assert len(names) == len(set(names))
    return json.loads(line)


def statements(bench: PipelineBench, *words: str) -> list[Json]:
    return [check_statement(line) for line in bench.succeed("export", *words).stdout.splitlines()]


def run_of(statement: Json) -> str:
    return statement["predicate"]["runDetails"]["metadata"]["invocationId"]


def subjects(exported: list[Json]) -> dict[str, tuple[str, str]]:
    """Return the run and digest of each subject, by path. No path may occur twice."""
    pairs = [
        (each["name"], (run_of(statement), each["digest"]["offpipeTree" if each["name"].endswith("/") else "sha256"]))
        for statement in exported
        for each in statement["subject"]
    ]
    assert len(pairs) == len(dict(pairs)), "covered twice"
    return dict(pairs)


def dependencies(statement: Json) -> dict[str, str | None]:
    """Return the digest of each resolved dependency, by name."""
    resolved = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    return {each["name"]: next(iter(each.get("digest", {}).values()), None) for each in resolved}


def digest_on_disk(path: Path) -> str:
    if path.is_dir():
        command = [sys.executable, "-I", "-c", TREE, str(path)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return hashlib.sha256(path.read_bytes()).hexdigest()


def paths_in_markers(bench: PipelineBench) -> set[str]:
    """Return the output paths in the markers, read without the runner's code."""
    markers = [json.loads(path.read_bytes()) for path in (bench.root / "state").glob("stage_*.json")]
    return {output["path"] for marker in markers for output in marker["outputs"].values()}


def makers(bench: PipelineBench) -> dict[tuple[str, str], set[str]]:
    """Return the runs that committed each content, according to their `stage.commit` records, by path and digest."""
    runs: dict[tuple[str, str], set[str]] = {}
    for record in bench.records("stage.commit"):
        for output in record["data"]["outputs"].values():
            runs.setdefault((output["path"], output["sha256"]), set()).add(record["run"])
    return runs


def true_statements(bench: PipelineBench) -> list[Json]:
    """Export the Statements of all current outputs, check each of their claims, and return them."""
    exported = statements(bench)
    covered, made = subjects(exported), makers(bench)
    assert covered.keys() == paths_in_markers(bench)
    for path, (run, digest) in covered.items():
        assert digest == digest_on_disk(bench.root / path), path
        assert (path, digest) not in made or run in made[path, digest]  # a pruned run leaves only the marker
    return exported
