"""examples/variants: a published workflow as a spec; one sheet of units says what runs, and what is gone."""

from __future__ import annotations

import gzip
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from pipeline_bench import ROOT, PipelineBench

if TYPE_CHECKING:
    from pathlib import Path

EXAMPLE = ROOT / "examples/variants"
LINES = 250
OF_A_UNIT = [
    *("map_reads", "mark_duplicates", "recalibrate_base_qualities", "apply_base_quality_recalibration"),
    *("fastqc", "samtools_stats"),
]  # and a stage that trims
OF_ALL = [
    *(f"{stage}@{contig}" for stage in ("combine_calls", "genotype_variants") for contig in ("chr1", "chr2")),
    *(f"{stage}@{kind}" for stage in ("select_calls", "hard_filter_calls") for kind in ("snvs", "indels")),
    *("merge_variants", "merge_calls", "annotate_variants", "vcf_to_tsv", "plot_stats", "multiqc"),
]  # what runs if a unit comes or goes
KEPT = [
    *("recal/{}.bai", "recal/{}.bam", "recal/{}.grp", "trimmed/{}.json"),
    *("qc/dedup/{}.metrics.txt", "qc/fastqc/{}/", "qc/samtools-stats/{}.txt"),
]  # the outputs of a unit that are not temporary
TEMPORARY = ["trimmed/*.gz", "mapped/*", "dedup/*", "genotyped/all.*.vcf.gz", "filtered/all.*.vcf.gz"]
PROGRAMS = ("bwa", "samtools", "bcftools", "fastp", "fastqc")
PAIRED, SINGLE, THIRD = "A-1", "B-2", "C-1"


def make(root: Path) -> None:
    """Make the example with the data of a further sample, and run it."""
    left = shutil.ignore_patterns("data", "resources", "results", "state", "locks", ".*", "__pycache__")
    shutil.copytree(EXAMPLE, root, ignore=left)
    sheet = (root / "units.tsv").read_text()
    (root / "units.tsv").write_text(f"{sheet}C\t1\tILLUMINA\tdata/C-1.1.fq.gz\tdata/C-1.2.fq.gz\n")
    subprocess.run([sys.executable, "make_data.py"], cwd=root, check=True)
    (root / "units.tsv").rename(root / "more.tsv")
    (root / "units.tsv").write_text(sheet)
    benched(root).succeed()


def benched(root: Path) -> PipelineBench:
    bench = PipelineBench(root)
    bench.spec = root / "variants.json"
    return bench


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Return the example after its first run."""
    root = tmp_path_factory.mktemp("variants") / "made"
    make(root)
    return root


@pytest.fixture
def bench(made, tmp_path) -> PipelineBench:
    """Return a copy of the example after its first run."""
    return benched(shutil.copytree(made, tmp_path / "copy"))


def leave_out(bench: PipelineBench, *units: str) -> None:
    """Remove the rows of some units from the sheet."""
    rows = bench.read("units.tsv").decode().splitlines(keepends=True)
    bench.write("units.tsv", "".join(row for row in rows if "-".join(row.split("\t")[:2]) not in units))


def started_by(bench: PipelineBench, *words: str) -> list[str]:
    """Run; return the names of the stages that start, sorted."""
    before = len(bench.records("attempt.started"))
    bench.succeed(*words)
    return sorted(record["data"]["stage"] for record in bench.records("attempt.started")[before:])


def orphans(bench: PipelineBench) -> set[str]:
    """Return the outputs below results/ that no stage declares any more."""
    return {path.removeprefix("results/") for path in bench.json("status")["undeclared"]}


def kept(unit: str) -> set[str]:
    return {path.format(unit) for path in KEPT}


def called(sample: str) -> set[str]:
    return {f"called/{sample}.{contig}.g.vcf.gz" for contig in ("chr1", "chr2")}


def calls(*samples: str) -> list[str]:
    return [f"call_variants@{sample},{contig}" for sample in samples for contig in ("chr1", "chr2")]


def found(bench: PipelineBench) -> set[tuple[str, ...]]:
    """Return contig, place, reference and variant of each row of the last table."""
    rows = gzip.decompress(bench.read("results/tables/calls.tsv.gz")).decode().splitlines()[2:]
    return {tuple(row.split("\t")[:4]) for row in rows}


def planted(bench: PipelineBench, *samples: str) -> set[tuple[str, ...]]:
    """Return the variants that the reads of some samples were made with."""
    rows = [row for sample in samples for row in bench.read(f"data/{sample}.truth.tsv").decode().splitlines()]
    return {tuple(row.split("\t")[:4]) for row in rows}


def test_it_finds_the_variants_of_all_samples(bench) -> None:
    assert found(bench) == planted(bench, "A", "B")
    assert started_by(bench) == []


def test_temporary_files_are_gone_after_the_run(bench) -> None:
    assert [path for pattern in TEMPORARY for path in bench.root.glob(f"results/{pattern}")] == []
    assert all(bench.exists(f"results/{path}") for path in kept(PAIRED) | kept(SINGLE))


def test_without_single_end_units_their_sample_is_called_again(bench) -> None:
    leave_out(bench, SINGLE)
    assert orphans(bench) == kept(SINGLE)
    assert started_by(bench) == sorted([*calls("B"), *OF_ALL])
    assert {"stage": "trim_reads_se", "why": '"where" leaves no values'} in bench.json("status")["empty"]


@pytest.mark.full
def test_without_paired_units_one_sample_is_left(bench) -> None:
    leave_out(bench, PAIRED, "B-1")
    assert orphans(bench) == kept(PAIRED) | kept("B-1") | called("A")
    assert started_by(bench) == sorted([*calls("B"), *OF_ALL])
    assert found(bench) <= planted(bench, "B")


def test_a_unit_more_runs_its_stages_and_those_that_gather(bench) -> None:
    bench.write("units.tsv", bench.read("more.tsv"))
    of_unit = [f"{stage}@C,1" for stage in ("trim_reads_pe", *OF_A_UNIT)]
    assert started_by(bench) == sorted([*of_unit, *calls("C"), *OF_ALL])
    assert orphans(bench) == set()
    assert found(bench) == planted(bench, "A", "B", "C")


def test_a_sample_fewer_makes_no_variants_of_its_own(bench) -> None:
    leave_out(bench, PAIRED)
    assert orphans(bench) == kept(PAIRED) | called("A")
    assert started_by(bench) == sorted(OF_ALL)
    assert found(bench) == planted(bench, "B")


def test_a_sheet_without_units_ends_with_5(bench) -> None:
    leave_out(bench, PAIRED, "B-1", SINGLE)
    assert bench.run().returncode == 5


@pytest.mark.full
def test_a_contig_more_is_called_in_each_sample(bench) -> None:
    genome = bench.read("resources/genome.fasta").decode()
    bench.write("resources/genome.fasta", f"{genome}>chr3\n{genome.splitlines()[1][::-1]}\n")
    assert "as many as genome_faidx will say (4 last time)" in bench.succeed("plan").stdout
    new = [name for name in started_by(bench) if name.endswith("chr3")]
    assert new == ["call_variants@A,chr3", "call_variants@B,chr3", "combine_calls@chr3", "genotype_variants@chr3"]
    assert found(bench) == planted(bench, "A", "B")


def test_the_other_filter_takes_the_place_of_the_first(bench) -> None:
    after = ["merge_calls", "annotate_variants", "vcf_to_tsv", "plot_stats"]
    of_types = [f"{stage}@{kind}" for stage in ("recalibrate_calls", "select_calls") for kind in ("indels", "snvs")]
    started = started_by(bench, "--var", "vqsr=true")
    assert started == sorted([*of_types, *after])
    assert found(bench) <= planted(bench, "A", "B")


@pytest.mark.full
def test_duplicates_can_be_kept(bench) -> None:
    started = started_by(bench, "--var", "removeDuplicates=false")
    assert {"keep_duplicates@A,1", "multiqc"} <= set(started)
    assert not [name for name in started if name.startswith(("mark_duplicates", "fastqc"))]
    assert found(bench) == planted(bench, "A", "B")


@pytest.mark.full
def test_regions_limit_what_is_called(bench) -> None:
    started = started_by(bench, "--vars", str(EXAMPLE / "captured.json"))
    assert {"compose_regions@chr1", "compose_regions@chr2", "samtools_index@B,2"} <= set(started)
    within = {call for call in planted(bench, "A", "B") if 200 < int(call[1]) <= 900}
    assert found(bench) == within


@pytest.mark.full
@pytest.mark.skipif(not all(map(shutil.which, PROGRAMS)), reason=f"needs {', '.join(PROGRAMS)}")
def test_real_programs_find_the_same_variants(made, tmp_path) -> None:
    words = ("--var", "path=/usr/local/bin:/usr/bin:/bin:tools", "--workspace", str(tmp_path))
    bench = benched(made)
    bench.succeed(*words)
    assert (tmp_path / "results/recal/A-1.bam").read_bytes()[
        :4
    ] == b"\x1f\x8b\x08\x04"  # BGZF, which stand-ins do not write
    assert found(PipelineBench(tmp_path)) <= planted(bench, "A", "B")


@pytest.mark.full
def test_its_stages_pass_the_checks_of_pytest(bench) -> None:
    spec = bench.spec.read_text()
    bench.spec.write_text(spec.replace('"tools:', f'"{bench.root}/tools:'))  # shells find no others in a copy
    words = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "2", "variants.json")
    # `reads` rightly finds formats.py, a module of the stand-ins; the real programs have none.
    words += ("--offpipe-checks", "run,outputs,repeat,retry,resume,stop,full,offline,skip,audit")
    done = subprocess.run([sys.executable, *words], cwd=bench.root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert int(done.stdout.split(" passed")[0].split()[-1]) > 150


def test_the_spec_is_short() -> None:
    assert len((EXAMPLE / "variants.json").read_text().splitlines()) <= LINES
