"""A workflow of 29 templates and 54 instances, as a reader of reports may have it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline_bench import PipelineBench

SAMPLES = ["A", "B", "C", "D", "E", "F"]
_EACH = ("trim_reads", "quality", "align", "sort_reads", "mark_duplicates")
_READS = {
    "reference": "", "index_genome": "reference", "trim_reads": "reference", "quality": "trim_reads",
    "align": "index_genome trim_reads", "sort_reads": "align", "mark_duplicates": "sort_reads quality",
    "call_variants": "mark_duplicates index_genome", "genotype": "call_variants", "filter_snvs": "genotype",
    "filter_indels": "genotype", "merge_calls": "filter_snvs filter_indels", "annotate": "merge_calls reference",
    "statistics": "merge_calls", "coverage": "sort_reads", "contamination": "coverage annotate",
    "sex_check": "coverage", "relatedness": "genotype sex_check", "by_sample": "annotate coverage",
    "plots": "by_sample statistics", "collected": "quality coverage statistics", "database": "annotate",
    "export_vcf": "database", "checks": "export_vcf", "summary": "checks collected", "table": "summary",
    "figures": "plots summary", "archive": "export_vcf", "publish": "table figures archive",
}  # fmt: skip
_COUNT = r"""
printf 'sample\tSNVs\tindels\n' >"$0"
i=4
for s in A B C D E F; do i=$((i + 3)); printf "$s\t%d\t%d\n" $((i * 971)) $((i * 113)) >>"$0"; done
"""


def lay_out(bench: PipelineBench, genome: str, last: str = "true") -> None:
    """Define it, and write its input. Its stage `publish` starts with the script `last`."""
    bench.write("in/genome.fa", genome)
    bench.define(
        *(_stage(name, reads, last) for name, reads in _READS.items()),
        name="nightly",
        description="Variants of one night.",
    )


def _stage(name: str, reads: str, last: str) -> dict[str, object]:
    is_each = name in _EACH
    inputs: dict[str, object] = {each: f"w/{each}{_ending(each, one=is_each)}" for each in reads.split()}
    inputs = inputs or {"x": "in/genome.fa"}
    words = [word for label in inputs for word in (f"{{inputs.{label}}}",)]
    script = _COUNT if name == "table" else f'{last if name == "publish" else "true"}; cat "$@" >"$0"'
    given: dict[str, object] = {
        "name": name, "inputs": inputs, "outputs": {"out": f"w/{name}{_ending(name, one=True)}"},
        "command": ["sh", "-c", script, "{outputs.out}", *words], "description": f"Does the part {name}",
        "resources": {"memoryMiB": 100},
    }  # fmt: skip
    if name == "table":
        given["results"] = {"out": {"title": "Variants of each sample", "caption": "After the filters."}}
    return {**given, "each": {"s": SAMPLES}} if is_each else given


def _ending(name: str, *, one: bool) -> str:
    if name == "table":
        return ".tsv"
    return "" if name not in _EACH else "/{each.s}" if one else "/*"
